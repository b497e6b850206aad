//! PDB and PE files of Microsoft's and MinGW's linkers, of which Linux makes none: those that come with the sources of
//! `dump_syms`, found where Cargo keeps them.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;
use debugfiles::{Error, Options, Stripped, SymbolFile, dump};
use tempfile::TempDir;

/// The folder of files, where Cargo's sources have them.
fn files() -> Option<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let options = ["--offline".to_owned(), "--locked".to_owned()];
    let metadata = MetadataCommand::new().manifest_path(manifest).other_options(options).exec().ok()?;
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "dump_syms")?;
    let folder = package.manifest_path.parent()?.join("test_data/windows").into_std_path_buf();
    folder.is_dir().then_some(folder)
}

/// Copies of these files in a folder of their own, so that each test decides what is beside what.
fn beside(names: &[&str]) -> Option<TempDir> {
    let Some(files) = files() else {
        println!("skipped: the sources of dump_syms are not there with their test data");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(files.join(name), folder.path().join(name)).unwrap();
    }
    Some(folder)
}

fn dumped(file: &Path) -> SymbolFile {
    dump(file, &Options::default()).unwrap()
}

#[test]
fn a_pdb_is_filed_under_its_stem() {
    let Some(folder) = beside(&["basic64.pdb"]) else { return };
    let symbols = dumped(&folder.path().join("basic64.pdb"));
    assert_eq!((symbols.os.as_str(), symbols.arch.as_str()), ("windows", "x86_64"));
    assert_eq!(symbols.relative_path(), Path::new("basic64.pdb").join(&symbols.debug_id).join("basic64.sym"));
    assert!(symbols.text.windows(6).any(|bytes| bytes == b"\nFUNC "));
}

#[test]
fn a_pdb_of_a_64_bit_program_knows_how_to_unwind_only_beside_it() {
    let Some(folder) = beside(&["basic64.pdb"]) else { return };
    assert!(!dumped(&folder.path().join("basic64.pdb")).says_how_to_unwind());
    let Some(folder) = beside(&["basic64.pdb", "basic64.dll"]) else { return };
    assert!(dumped(&folder.path().join("basic64.pdb")).says_how_to_unwind());
}

#[test]
fn a_program_and_its_pdb_give_the_same_symbols() {
    let Some(folder) = beside(&["basic64.pdb", "basic64.dll"]) else { return };
    assert!(dumped(&folder.path().join("basic64.dll")) == dumped(&folder.path().join("basic64.pdb")));
}

#[test]
fn a_program_without_its_pdb_is_refused_until_it_is_accepted() {
    let Some(folder) = beside(&["basic64.dll"]) else { return };
    let file = folder.path().join("basic64.dll");
    let error = dump(&file, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NoDebugInfo { .. }) && error.to_string().contains("PDB"), "{error}");

    let symbols = dump(&file, &Options { stripped: Stripped::Accept, ..Options::default() }).unwrap();
    assert!(symbols.says_how_to_unwind());
}

#[test]
fn a_program_of_mingw_carries_its_own_debug_information() {
    let Some(folder) = beside(&["basic64-dwarf.dll"]) else { return };
    let file = folder.path().join("basic64-dwarf.dll");
    match dump(&file, &Options::default()) {
        Ok(symbols) => assert!(symbols.text.windows(6).any(|bytes| bytes == b"\nFUNC ")),
        Err(error) => assert!(error.to_string().contains("--build-id"), "{error}"),
    }
}
