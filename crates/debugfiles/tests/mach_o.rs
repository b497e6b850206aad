//! Mach-O files and dSYM bundles, written here byte by byte: this machine's linker makes none.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};

use debugfiles::{Error, Options, Stripped, dump};
use tempfile::TempDir;

const X86_64: u32 = 0x0100_0007;
const ARM64: u32 = 0x0100_000c;
const UUID: u8 = 0xc5;

/// A 64-bit Mach-O header with one load command, the UUID; nothing that could be named.
fn object(cpu: u32, uuid: Option<u8>) -> Vec<u8> {
    const LC_UUID: u32 = 0x1b;
    let commands = u32::from(uuid.is_some());
    let mut words = vec![0xfeed_facf, cpu, subtype(cpu), 0xa, commands, commands * 24, 0, 0];
    if uuid.is_some() {
        words.extend([LC_UUID, 24]);
    }
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.extend(uuid.into_iter().flat_map(|byte| [byte; 16]));
    bytes
}

/// A universal file of objects for these processors.
fn universal(cpus: &[u32]) -> Vec<u8> {
    const ALIGN: usize = 4096;
    let mut bytes: Vec<u8> =
        [0xcafe_babe_u32, count(cpus.len())].into_iter().flat_map(u32::to_be_bytes).collect();
    let objects: Vec<_> = cpus.iter().map(|cpu| object(*cpu, Some(UUID))).collect();
    for (index, (cpu, object)) in cpus.iter().zip(&objects).enumerate() {
        let record = [*cpu, subtype(*cpu), count(ALIGN * (index + 1)), count(object.len()), 12];
        bytes.extend(record.into_iter().flat_map(u32::to_be_bytes));
    }
    for (index, object) in objects.into_iter().enumerate() {
        bytes.resize(ALIGN * (index + 1), 0);
        bytes.extend(object);
    }
    bytes
}

/// "Any of the family", which is 3 for x86_64.
fn subtype(cpu: u32) -> u32 {
    if cpu == X86_64 { 3 } else { 0 }
}

fn count(number: usize) -> u32 {
    number.try_into().unwrap()
}

fn file(name: &str, bytes: Vec<u8>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn accepting(architecture: Option<&str>) -> Options {
    Options { architecture: architecture.map(str::to_owned), stripped: Stripped::Accept }
}

#[test]
fn the_uuid_becomes_the_debug_id() {
    let (_folder, path) = file("App", object(X86_64, Some(UUID)));
    let symbols = dump(&path, &accepting(None)).unwrap();
    assert_eq!(symbols.debug_id, "C5C5C5C5C5C5C5C5C5C5C5C5C5C5C5C50");
    assert_eq!(
        (symbols.os.as_str(), symbols.arch.as_str(), symbols.debug_file.as_str()),
        ("Mac", "x86_64", "App")
    );
}

#[test]
fn a_file_without_a_uuid_is_refused() {
    let (_folder, path) = file("App", object(X86_64, None));
    assert!(matches!(dump(&path, &accepting(None)), Err(Error::NoId { .. })));
}

#[test]
fn a_universal_file_gives_the_architecture_that_was_asked_for() {
    let (_folder, path) = file("App", universal(&[X86_64, ARM64]));
    for architecture in ["x86_64", "arm64"] {
        assert_eq!(dump(&path, &accepting(Some(architecture))).unwrap().arch, architecture);
    }
}

#[test]
fn a_universal_file_lists_its_architectures_when_none_or_another_was_asked_for() {
    let (_folder, path) = file("App", universal(&[X86_64, ARM64]));
    for architecture in [None, Some("ppc")] {
        let error = dump(&path, &accepting(architecture)).unwrap_err();
        assert!(error.to_string().contains("App holds x86_64, arm64"), "{error}");
    }
}

#[test]
fn a_bundle_stands_for_the_file_within_it() {
    let (folder, _path) = file("App.dSYM/Contents/Resources/DWARF/App", object(ARM64, Some(UUID)));
    let bundle = folder.path().join("App.dSYM");
    assert_eq!(dump(&bundle, &accepting(None)).unwrap().debug_file, "App");

    let error = dump(&bundle, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("dSYM"), "{error}");
}

#[test]
fn a_bundle_of_several_files_is_not_guessed_at() {
    let (folder, path) = file("App.dSYM/Contents/Resources/DWARF/App", object(ARM64, Some(UUID)));
    std::fs::write(path.with_file_name("Other"), object(ARM64, Some(UUID))).unwrap();
    let error = dump(Path::new(&folder.path().join("App.dSYM")), &accepting(None)).unwrap_err();
    assert!(matches!(error, Error::UnknownFormat { .. }), "{error:?}");
}
