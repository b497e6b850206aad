//! The built program crashes in every way it knows, and leaves minidumps that are fit to be kept.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail the test")]

use std::path::PathBuf;
use std::process::{Command, Output};

use debugfiles::{Options, SymbolFile, dump};
use tempfile::TempDir;

const SAMPLE: &str = env!("CARGO_BIN_EXE_crashmill-sample");
const SIGILL: i32 = 4;
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

/// One run of the program, in a folder of its own.
struct Run {
    _folder: TempDir,
    minidump: PathBuf,
    output: Output,
}

fn crash(kind: &str, environment: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let minidump = folder.path().join("crash.dmp");
    let output = Command::new(SAMPLE)
        .arg("--minidump")
        .arg(&minidump)
        .args(["--crash", kind])
        .current_dir(folder.path())
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    Run { _folder: folder, minidump, output }
}

/// The minidump, once it was made as it should be.
fn minidump_of(kind: &str, signal: i32) -> Vec<u8> {
    let run = crash(kind, &[]);
    let said = String::from_utf8_lossy(&run.output.stderr);
    assert_eq!(run.output.status.code(), Some(128 + signal), "{said}");
    assert_eq!(String::from_utf8_lossy(&run.output.stdout), format!("{}\n", run.minidump.display()));
    assert_eq!(run.minidump.parent().unwrap().read_dir().unwrap().count(), 1, "nothing else is left behind");
    let bytes = std::fs::read(&run.minidump).unwrap();
    assert!(bytes.starts_with(b"MDMP"));
    assert!((20_000..2_000_000).contains(&bytes.len()), "{} bytes", bytes.len());
    bytes
}

fn symbols() -> SymbolFile {
    dump(SAMPLE.as_ref(), &Options::default()).unwrap()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

/// From the exception stream, by the layout of the format: a header, a directory, and in the stream the address at 24.
fn crash_address(minidump: &[u8]) -> u64 {
    const EXCEPTION_STREAM: u32 = 6;
    let number = |at: usize| u32::from_le_bytes(minidump[at..at + 4].try_into().unwrap());
    let (streams, directory) = (number(8), number(12));
    let entry = (0..streams)
        .map(|index| usize::try_from(directory + index * 12).unwrap())
        .find(|entry| number(*entry) == EXCEPTION_STREAM)
        .unwrap();
    let stream = usize::try_from(number(entry + 8)).unwrap();
    u64::from(number(stream + 24)) | u64::from(number(stream + 28)) << 32
}

#[test]
fn a_null_write_leaves_a_minidump() {
    // Vertex 1 of the array at the null pointer, of 12 bytes each.
    assert!((12..24).contains(&crash_address(&minidump_of("null-write", SIGSEGV))));
}

#[test]
fn an_abort_leaves_a_minidump() {
    minidump_of("abort", SIGABRT);
}

#[test]
fn an_overflowed_stack_leaves_a_minidump() {
    assert_ne!(crash_address(&minidump_of("overflow", SIGSEGV)), 0);
}

#[test]
fn an_illegal_instruction_leaves_a_minidump() {
    minidump_of("illegal", SIGILL);
}

#[test]
fn the_dump_names_the_module_by_the_id_of_its_symbols() {
    let guid = symbols().debug_id;
    let digits: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&guid[at..at + 2], 16).unwrap()).collect();
    // A debug id is a GUID, whose first three parts are little-endian; the dump has the build id as it is.
    let build_id = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(|at| digits[at]);
    assert!(holds(&minidump_of("null-write", SIGSEGV), &build_id));
}

#[test]
fn the_symbols_name_every_function_on_the_way_to_a_crash() {
    let text = String::from_utf8(symbols().text).unwrap();
    let functions = [
        "game::play",
        "game::mix_audio",
        "game::watch_assets",
        "level::load_level",
        "mesh::parse_mesh",
        "mesh::give_up",
        "vertex::read_vertex",
        "vertex::store_vertex",
        "vertex::unknown_kind",
        "scene::place_node",
    ];
    for function in functions {
        let ending = format!("::{function}");
        assert!(text.lines().any(|line| line.starts_with("FUNC ") && line.ends_with(&ending)), "{function}");
    }
}

#[test]
fn a_dump_carries_the_threads_and_nothing_of_the_environment() {
    let run = crash("null-write", &[("API_TOKEN", "ledger-of-secrets")]);
    let bytes = std::fs::read(&run.minidump).unwrap();
    assert!(!holds(&bytes, b"API_TOKEN") && !holds(&bytes, b"ledger-of-secrets"));
    for thread in ["level-loader", "audio-mixer", "asset-watcher"] {
        let utf_16: Vec<u8> = thread.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(holds(&bytes, &utf_16), "{thread}");
    }
}

#[test]
fn a_dump_that_cannot_be_written_is_an_error_that_names_it() {
    let output =
        Command::new(SAMPLE).args(["--minidump", "/nowhere/crash.dmp"]).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/nowhere/crash.dmp: No such file"),
        "{output:?}"
    );
}
