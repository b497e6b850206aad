//! Real minidumps of many writers. They are not part of the repository; without them these tests say so and skip.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use breakpad_symbols::{SimpleSymbolSupplier, Symbolizer};
use crash::{Frame, Stackwalk};
use minidump::Minidump;
use minidump_processor::ProcessState;
use stackwalk::{Limits, walk};
use symbols::Symbols;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/testdata");

fn testdata() -> Option<PathBuf> {
    let folder = Path::new(TESTDATA);
    if folder.exists() {
        return Some(folder.to_owned());
    }
    println!("skipped: there are no real dumps at {TESTDATA}");
    None
}

async fn walk_file(testdata: &Path, name: &str) -> Stackwalk {
    let config = symbols::Config { paths: vec![testdata.join("symbols")], ..symbols::Config::default() };
    let symbols = Symbols::open(&config).unwrap();
    let dump = std::fs::read(testdata.join("minidumps").join(name)).unwrap();
    walk(&dump, &symbols, &Limits::default()).await
}

/// Innermost frame first: function or module, how it was found, place in the source.
fn frames(frames: &[Frame]) -> String {
    let mut text = String::new();
    for frame in frames {
        for inline in &frame.inlines {
            let place = inline.file.as_deref().and_then(|file| file.rsplit('/').next()).unwrap_or_default();
            writeln!(text, "inlined {} {place}:{}", inline.function, inline.line.unwrap_or_default())
                .unwrap();
        }
        let name = frame.function.as_deref().or(frame.module.as_deref()).unwrap_or("?");
        let place = frame.file.as_deref().and_then(|file| file.rsplit(['/', '\\']).next());
        let place =
            place.map(|file| format!(" {file}:{}", frame.line.unwrap_or_default())).unwrap_or_default();
        writeln!(text, "{} {name}{place}", frame.trust).unwrap();
    }
    text
}

fn line(name: &str, walk: &Stackwalk) -> String {
    let info = walk.crash_info.clone().unwrap_or_default();
    let frames: usize = walk.threads.iter().map(|thread| thread.frames.len()).sum();
    let main = walk.main_module.map(|index| walk.modules[index].filename.clone());
    let version = walk.main_module.and_then(|index| walk.modules[index].version.clone());
    let system = &walk.system_info;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{name}: {}{} | {} {} {} x{} | {} at {} thread {:?}{} | {} threads {} named {frames} frames | {} modules, main {} {} | uptime {:?}\n",
        walk.status.as_str(),
        walk.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default(),
        text(&system.os),
        text(&system.os_ver),
        text(&system.cpu_arch),
        system.cpu_count.unwrap_or_default(),
        text(&info.reason),
        info.address.map(|address| address.to_string()).unwrap_or_else(|| "-".to_owned()),
        walk.crashing_thread,
        info.assertion.map(|assertion| format!(" assertion {assertion}")).unwrap_or_default(),
        walk.threads.len(),
        walk.threads.iter().filter(|thread| thread.thread_name.is_some()).count(),
        walk.modules.len(),
        text(&main),
        text(&version),
        walk.process_uptime,
    )
}

#[tokio::test]
async fn every_real_dump_gives_its_crash_or_a_status() {
    let Some(testdata) = testdata() else { return };
    let mut names: Vec<_> = std::fs::read_dir(testdata.join("minidumps"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut lines = String::new();
    for name in names {
        lines += &line(&name, &walk_file(&testdata, &name).await);
    }
    insta::assert_snapshot!(lines);
}

#[tokio::test]
async fn a_windows_x86_dump_is_walked_by_stack_win_records() {
    let Some(testdata) = testdata() else { return };
    let walk = walk_file(&testdata, "test.dmp").await;
    insta::assert_snapshot!(frames(&walk.crashing().unwrap().frames));
    let symbols: Vec<_> = walk.modules.iter().map(|module| (&*module.filename, module.symbols)).collect();
    insta::assert_snapshot!(format!("{symbols:?}"));
}

#[tokio::test]
async fn inlined_functions_are_told_apart() {
    let Some(testdata) = testdata() else { return };
    let walk = walk_file(&testdata, "pipeline-inlines-macos-segv.dmp").await;
    insta::assert_snapshot!(frames(&walk.crashing().unwrap().frames));
}

/// What the stock processor says of the crash and of each frame.
fn stock(state: &ProcessState) -> String {
    let exception = state.exception_info.as_ref();
    let reason = exception.map(|exception| (exception.reason.to_string(), exception.address.0));
    let mut text = format!("{reason:?} {:?} {:?}\n", state.requesting_thread, state.process_id);
    for thread in &state.threads {
        writeln!(text, "{} {:?}", thread.thread_id, thread.thread_name).unwrap();
        for frame in &thread.frames {
            let module = frame.module.as_ref().map(|module| minidump_common::utils::basename(&module.name));
            let line = frame.source_line.filter(|line| *line > 0);
            let source = (&frame.function_name, &frame.source_file_name, line, frame.inlines.len());
            writeln!(text, "{:x} {} {module:?} {source:?}", frame.instruction, frame.trust.as_str()).unwrap();
        }
    }
    text
}

/// The same of ours.
fn ours(walk: &Stackwalk) -> String {
    let reason = walk.crash_info.as_ref().and_then(|info| Some((info.reason.clone()?, info.address?.0)));
    let mut text = format!("{reason:?} {:?} {:?}\n", walk.crashing_thread, walk.pid);
    for thread in &walk.threads {
        writeln!(text, "{} {:?}", thread.thread_id, thread.thread_name).unwrap();
        for frame in &thread.frames {
            let source = (&frame.function, &frame.file, frame.line, frame.inlines.len());
            writeln!(text, "{:x} {} {:?} {source:?}", frame.offset.0, frame.trust, frame.module.as_deref())
                .unwrap();
        }
    }
    text
}

/// The threads are walked by ourselves, in another order and within a budget; that must not show.
#[tokio::test]
async fn stacks_are_those_of_the_stock_processor() {
    let Some(testdata) = testdata() else { return };
    let mut compared = 0;
    for entry in std::fs::read_dir(testdata.join("minidumps")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = std::fs::read(testdata.join("minidumps").join(&name)).unwrap();
        let symbolizer = Symbolizer::new(SimpleSymbolSupplier::new(vec![testdata.join("symbols")]));
        let dump = Minidump::read(&bytes[..]).unwrap();
        let Ok(state) = minidump_processor::process_minidump(&dump, &symbolizer).await else { continue };
        let walk = walk_file(&testdata, &name).await;
        assert_eq!(ours(&walk), stock(&state), "{name}");
        compared += 1;
    }
    assert!(compared > 10);
}
