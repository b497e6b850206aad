//! Walks of dumps made to measure: what a stackwalk says, and where symbols come in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod synth;

use crash::{Address, Stackwalk, SymbolStatus, WalkStatus};
use minidump_synth::{AnnotationValue, CrashpadInfo, ModuleCrashpadInfo};
use stackwalk::{Limits, Walker, walk};
use symbols::Symbols;
use test_assembler::Endian;

use synth::{DEBUG_FILE, DEBUG_ID, Dump, MODULE, write_symbols};

fn no_symbols() -> Symbols {
    Symbols::open(&symbols::Config::default()).unwrap()
}

fn symbols_below(folder: &std::path::Path) -> Symbols {
    Symbols::open(&symbols::Config { paths: vec![folder.to_owned()], ..symbols::Config::default() }).unwrap()
}

async fn walk_without_symbols(dump: &[u8]) -> Stackwalk {
    walk(dump, &no_symbols(), &Limits::default()).await
}

#[tokio::test]
async fn frames_get_functions_files_lines_and_inlines_from_symbols() {
    let folder = tempfile::tempdir().unwrap();
    write_symbols(folder.path(), &synth::symbols());
    let dump = Dump::called_from(&[MODULE + 0x1004, MODULE + 0x2010, MODULE + 0x3008]).bytes();
    let walk = walk(&dump, &symbols_below(folder.path()), &Limits::default()).await;
    insta::assert_json_snapshot!(walk);
}

#[tokio::test]
async fn without_symbols_the_stack_is_scanned_and_the_frames_say_what_is_missing() {
    let dump = Dump::called_from(&[MODULE + 0x1004, 0, MODULE + 0x2010]).bytes();
    let walk = walk_without_symbols(&dump).await;
    let frames = &walk.crashing().unwrap().frames;
    let trusts: Vec<_> = frames.iter().map(|frame| &*frame.trust).collect();
    assert_eq!(trusts, ["context", "scan"]);
    assert!(frames.iter().all(|frame| frame.missing_symbols && frame.function.is_none()));
    assert_eq!(frames[1].module_offset, Some(Address(0x200f)), "the call, not what comes after it");
    assert_eq!((&*walk.modules[0].debug_file, &*walk.modules[0].debug_id), (DEBUG_FILE, DEBUG_ID));
    assert_eq!(walk.modules[0].symbols, SymbolStatus::Missing);
}

#[tokio::test]
async fn symbols_that_arrive_later_are_used_for_the_next_dump() {
    let folder = tempfile::tempdir().unwrap();
    let walker = Walker::new(symbols_below(folder.path()), Limits::default());
    let dump = Dump::called_from(&[MODULE + 0x1020]).bytes();
    let status = |walk: &Stackwalk| (walk.modules[0].symbols, walk.threads[0].frames[0].line);

    assert_eq!(status(&walker.walk(&dump).await.stackwalk), (SymbolStatus::Missing, None));
    write_symbols(folder.path(), "");
    let corrupt = walker.walk(&dump).await.stackwalk;
    assert_eq!(status(&corrupt), (SymbolStatus::Corrupt, None));
    assert!(corrupt.soft_errors[0].contains("symbols of app are unreadable"), "{:?}", corrupt.soft_errors);
    write_symbols(folder.path(), &synth::symbols());
    assert_eq!(status(&walker.walk(&dump).await.stackwalk), (SymbolStatus::Loaded, Some(21)));
    write_symbols(folder.path(), &synth::symbols().replace("1010 f0 21 0", "1010 f0 1021 0"));
    assert_eq!(status(&walker.walk(&dump).await.stackwalk), (SymbolStatus::Loaded, Some(1021)));
}

#[tokio::test]
async fn symbols_that_do_not_fit_into_memory_are_left_out_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    write_symbols(folder.path(), &synth::symbols());
    let limits = Limits { max_symbol_bytes: settings::Size::from_bytes(100), ..Limits::default() };
    let dump = Dump::called_from(&[MODULE + 0x1020]).bytes();
    let walk = walk(&dump, &symbols_below(folder.path()), &limits).await;
    assert_eq!((walk.status, walk.modules[0].symbols), (WalkStatus::Ok, SymbolStatus::Corrupt));
    assert!(walk.soft_errors[0].contains("max_symbol_bytes"), "{:?}", walk.soft_errors);
}

#[tokio::test]
async fn a_dump_waits_for_symbols_only_so_long_and_the_next_one_has_them() {
    let server = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let cache = tempfile::tempdir().unwrap();
    let config = symbols::Config {
        servers: vec![format!("http://{}/", server.local_addr().unwrap()).parse().unwrap()],
        cache: cache.path().to_owned(),
        ..symbols::Config::default()
    };
    let limits = Limits { symbol_wait: settings::Duration::from_millis(50), ..Limits::default() };
    let walker = Walker::new(Symbols::open(&config).unwrap(), limits);
    let dump = Dump::called_from(&[MODULE + 0x1020]).bytes();

    let first = walker.walk(&dump).await.stackwalk;
    assert_eq!(first.modules[0].symbols, SymbolStatus::Unavailable);
    assert!(first.soft_errors[0].contains("not here in time"), "{:?}", first.soft_errors);

    let (mut connection, _) = server.accept().await.unwrap();
    let body = synth::symbols();
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    tokio::io::AsyncWriteExt::write_all(&mut connection, response.as_bytes()).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let walk = walker.walk(&dump).await.stackwalk;
        if walk.modules[0].symbols == SymbolStatus::Loaded {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{:?}", walk.soft_errors);
    }
}

#[tokio::test]
async fn what_is_no_minidump_has_a_status() {
    let empty = walk_without_symbols(b"").await;
    assert_eq!(empty.status, WalkStatus::EmptyDump);
    for bytes in [&b"MDMP"[..], b"hello, world, this is no minidump at all", &[0; 4096]] {
        let walk = walk_without_symbols(bytes).await;
        assert_eq!(walk.status, WalkStatus::BadMinidump);
        assert!(walk.error.is_some());
    }
    let whole = Dump::called_from(&[MODULE]).bytes();
    let cut = walk_without_symbols(&whole[..whole.len() / 2]).await;
    assert_eq!(cut.status, WalkStatus::BadMinidump);
}

#[tokio::test]
async fn a_dump_without_a_crash_has_threads_and_no_crashing_one() {
    let dump = Dump { crashing: None, ..Dump::called_from(&[MODULE + 0x1000]) }.bytes();
    let walk = walk_without_symbols(&dump).await;
    assert_eq!((walk.status, walk.crashing_thread, walk.crash_info), (WalkStatus::Ok, None, None));
    assert_eq!(walk.threads.len(), 1);
}

#[tokio::test]
async fn names_cannot_carry_control_characters() {
    let dump = Dump {
        module_path: "/opt/a\u{1b}[2Jb\nc".to_owned(),
        thread_names: vec![(1, "main\r\nforged: line".to_owned())],
        ..Dump::called_from(&[MODULE + 0x1000])
    };
    let walk = walk_without_symbols(&dump.bytes()).await;
    assert_eq!(walk.modules[0].filename, "a\u{fffd}[2Jb\u{fffd}c");
    assert_eq!(walk.threads[0].frames[0].module.as_deref(), Some("a\u{fffd}[2Jb\u{fffd}c"));
    assert_eq!(walk.threads[0].thread_name.as_deref(), Some("main\u{fffd}\u{fffd}forged: line"));
}

#[tokio::test]
async fn addresses_in_unloaded_modules_name_them() {
    let unloaded = |base| (base, 0x1000, "/opt/gone.so".to_owned());
    let dump = Dump {
        unloaded: vec![unloaded(0x50_0000), unloaded(0x50_0800)],
        ..Dump::called_from(&[0x50_0900, MODULE + 0x1000])
    };
    let walk = walk_without_symbols(&dump.bytes()).await;
    let frame = &walk.threads[0].frames[0];
    assert_eq!((&frame.module, frame.missing_symbols), (&None, false));
    assert_eq!(frame.unloaded_modules.len(), 1);
    assert_eq!(frame.unloaded_modules[0].filename, "gone.so");
    assert_eq!(frame.unloaded_modules[0].offsets, [Address(0x900), Address(0x100)]);
    assert_eq!(walk.unloaded_modules.len(), 2);
}

#[tokio::test]
async fn of_crashpads_annotations_the_first_of_a_name_counts() {
    let le = Endian::Little;
    let text = |text: &str| AnnotationValue::String(text.to_owned());
    let info = CrashpadInfo::new(le).add_simple_annotation("prod", "App").add_module(
        ModuleCrashpadInfo::new(0, le)
            .add_simple_annotation("prod", "Other")
            .add_simple_annotation("ver", "1.2")
            .add_list_annotation("first")
            .add_list_annotation("second")
            .add_annotation_object("ver", text("9"))
            .add_annotation_object("url-chunk", text("x"))
            .add_annotation_object("binary", AnnotationValue::Custom(0x8001, vec![1, 2, 3])),
    );
    let dump = Dump { crashpad: Some(info), ..Dump::called_from(&[MODULE]) }.bytes();
    let annotations = Walker::new(no_symbols(), Limits::default()).walk(&dump).await.annotations;
    assert_eq!(
        serde_json::to_string(&annotations).unwrap(),
        r#"{"list_annotations":"first\nsecond","prod":"App","url-chunk":"x","ver":"1.2"}"#
    );
}
