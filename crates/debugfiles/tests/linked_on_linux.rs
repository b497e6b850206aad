//! Programs as linkers and distributions leave them: without a build id, stripped, split in two.
//!
//! They are made by the C compiler by which Rust links, and by binutils.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use debugfiles::{Error, Options, Stripped, SymbolFile, dump};
use tempfile::TempDir;

const SOURCE: &str = "int answer(int seed) { return seed + 41; }\nint main(void) { return answer(1); }\n";

struct Program {
    folder: TempDir,
    executable: PathBuf,
}

impl Program {
    fn linked_with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.c"), SOURCE).unwrap();
        let executable = folder.path().join("app");
        run(Command::new("cc").current_dir(folder.path()).args(["-g", "-o", "app", "app.c"]).args(flags));
        Self { folder, executable }
    }

    /// Moves the debug information to `app.debug`, as distributions do.
    fn split(&self) -> PathBuf {
        let debug = self.folder.path().join("app.debug");
        run(Command::new("objcopy").arg("--only-keep-debug").args([&self.executable, &debug]));
        self.strip();
        debug
    }

    fn strip(&self) {
        run(Command::new("strip").arg(&self.executable));
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}");
}

fn refused(file: &Path) -> Error {
    dump(file, &Options::default()).unwrap_err()
}

fn names(symbols: &SymbolFile, function: &str) -> bool {
    let text = String::from_utf8_lossy(&symbols.text);
    text.lines().any(|line| line.starts_with("FUNC ") && line.ends_with(&format!(" {function}")))
}

#[test]
fn a_program_without_a_build_id_is_refused_and_the_flag_is_named() {
    let program = Program::linked_with(&["-Wl,--build-id=none"]);
    let error = refused(&program.executable);
    assert!(matches!(error, Error::NoId { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("app has no build id") && message.contains("-Wl,--build-id"), "{message}");
}

#[test]
fn a_build_id_becomes_the_debug_id() {
    let program = Program::linked_with(&["-Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567"]);
    let symbols = dump(&program.executable, &Options::default()).unwrap();
    // The first three parts of a GUID are little-endian; the age of ELF files is 0.
    assert_eq!(symbols.debug_id, "67452301AB89EFCD0123456789ABCDEF0");
    assert_eq!(symbols.relative_path(), Path::new("app").join(&symbols.debug_id).join("app.sym"));
    assert!(names(&symbols, "answer"));
}

#[test]
fn a_library_bears_the_name_that_it_gives_itself() {
    let program = Program::linked_with(&["-shared", "-fPIC", "-Wl,-soname,libapp.so.3", "-Wl,--build-id"]);
    assert_eq!(dump(&program.executable, &Options::default()).unwrap().debug_file, "libapp.so.3");
}

#[test]
fn a_stripped_program_is_refused_until_it_is_accepted_for_what_it_has() {
    let program = Program::linked_with(&["-Wl,--build-id"]);
    program.strip();
    let error = refused(&program.executable);
    assert!(matches!(error, Error::NoDebugInfo { .. }), "{error:?}");
    assert!(error.to_string().contains("stripped"), "{error}");

    let options = Options { stripped: Stripped::Accept, ..Options::default() };
    let symbols = dump(&program.executable, &options).unwrap();
    assert!(symbols.says_how_to_unwind());
    assert!(!names(&symbols, "answer"));
}

#[test]
fn either_half_of_a_split_program_gives_the_whole() {
    let program = Program::linked_with(&["-Wl,--build-id"]);
    let whole = dump(&program.executable, &Options::default()).unwrap();
    let debug = program.split();
    for half in [&program.executable, &debug] {
        let symbols = dump(half, &Options::default()).unwrap();
        assert_eq!((&symbols.debug_file, &symbols.debug_id), (&whole.debug_file, &whole.debug_id));
        assert!(names(&symbols, "answer"), "{}", half.display());
        assert!(symbols.says_how_to_unwind(), "{}", half.display());
    }
}

#[test]
fn a_debug_file_alone_bears_the_name_of_its_program() {
    let program = Program::linked_with(&["-Wl,--build-id"]);
    let debug = program.split();
    std::fs::remove_file(&program.executable).unwrap();
    let symbols = dump(&debug, &Options::default()).unwrap();
    assert_eq!(symbols.debug_file, "app");
    assert!(names(&symbols, "answer"));
    assert!(!symbols.says_how_to_unwind());
}

#[test]
fn a_debug_file_of_another_build_is_left_alone() {
    let program = Program::linked_with(&["-Wl,--build-id"]);
    program.strip();
    let other = Program::linked_with(&["-Wl,--build-id=uuid"]);
    std::fs::copy(other.split(), program.folder.path().join("app.debug")).unwrap();
    assert!(matches!(refused(&program.executable), Error::NoDebugInfo { .. }));
}

#[test]
fn a_program_that_was_cut_off_costs_only_itself() {
    let program = Program::linked_with(&["-Wl,--build-id"]);
    let bytes = std::fs::read(&program.executable).unwrap();
    let cut = program.folder.path().join("cut");
    for part in 1..16 {
        std::fs::write(&cut, &bytes[..bytes.len() * part / 16]).unwrap();
        if let Err(error) = dump(&cut, &Options::default()) {
            assert!(error.to_string().contains("cut"), "{error}");
        }
    }
}

#[test]
fn what_is_no_debug_file_says_what_could_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("notes.txt");
    std::fs::write(&file, "Remember the milk, and the symbols.").unwrap();
    let message = refused(&file).to_string();
    assert!(message.contains("notes.txt") && message.contains("PDB"), "{message}");
    assert!(refused(folder.path()).to_string().contains("no debug file"));
    assert!(matches!(refused(&folder.path().join("absent")), Error::Open { .. }));
}
