//! Signatures and their explanations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::{fs, path::Path, sync::LazyLock};

use crash::{FrameFate, ProcessedCrash, RuleOutcome};
use serde_json::{Value, json};
use signature::{CrashData, Generator, ListError, Lists, Signature};

/// Compiling the lists takes its time where nothing is optimised.
static BUILT_IN: LazyLock<Generator> = LazyLock::new(|| Generator::new(Lists::built_in()));

fn made(crash: &Value) -> Signature {
    BUILT_IN.generate(&CrashData::from_json(crash).unwrap())
}

fn made_of(crash: &Value) -> String {
    made(crash).signature
}

fn stack(functions: &[&str]) -> Value {
    let frames: Vec<Value> = functions.iter().map(|function| json!({"function": function})).collect();
    json!({"crashing_thread": 0, "threads": [{"frames": frames}]})
}

fn name(functions: &[&str]) -> String {
    made(&stack(functions)).signature
}

/// A processed crash whose main dump has one thread with these frames.
fn processed(frames: &Value, more: &Value) -> ProcessedCrash {
    let modules = json!([
        {"filename": "game", "debug_id": "5A9832E5287241C1838ED98914E9B7FF1", "base_addr": "0x1000", "end_addr": "0x9000"},
        {"filename": "game", "code_id": "0badcafe", "base_addr": "0x10000", "end_addr": "0x19000"},
        {"filename": "libc.so.6", "base_addr": "0x20000", "end_addr": "0x29000"},
    ]);
    let mut crash = json!({
        "format": 1, "crash_id": "0b4d3a6e-72c1-4f0b-8a57-3c9d50261123", "submitted_at": "2026-11-23T00:00:00Z",
        "started_at": "2026-11-23T00:00:00Z", "completed_at": "2026-11-23T00:00:00Z", "attempt": 1, "node": "n",
        "ruleset": "", "success": true, "throttle": "accept", "sample_rate": 1.0,
        "dumps": [{"name": "upload_file_minidump", "bytes": 1, "sha256": "", "stackwalk": {
            "status": "ok", "crashing_thread": 0, "modules": modules, "threads": [{"thread_id": 1, "frames": frames}],
        }}],
    });
    for (key, value) in more.as_object().unwrap() {
        crash[key] = value.clone();
    }
    serde_json::from_value(crash).unwrap()
}

fn unknown(number: usize, module: &str, address: u64, offset: u64) -> Value {
    json!({
        "frame": number, "trust": "context", "offset": format!("{address:#x}"), "module": module,
        "module_offset": format!("{offset:#x}"),
    })
}

fn name_processed(frames: &Value, more: &Value) -> Signature {
    BUILT_IN.generate(&CrashData::from_processed(&processed(frames, more)))
}

#[test]
fn the_first_frame_of_the_program_names_the_crash() {
    for (stack, expected) in [
        (&["__pthread_kill_implementation", "raise", "abort", "game::save(int)", "main"][..], "game::save"),
        (
            &["KERNELBASE!RaiseException", "KiUserExceptionDispatcher", "memcpy", "Level::load()"],
            "Level::load",
        ),
        (
            &[
                "game::on_panic(int)",
                "std::panicking::rust_panic_with_hook",
                "core::panicking::panic_fmt",
                "game::run",
            ],
            "game::run",
        ),
        (
            &[
                "__cxa_throw",
                "std::__throw_out_of_range_fmt",
                "std::vector<int>::at(unsigned long)",
                "Mesh::vertex(int)",
            ],
            "Mesh::vertex",
        ),
        (&["<core::option::Option<T>>::unwrap", "core::option::unwrap_failed", "app::start"], "app::start"),
        (&["objc_msgSend", "-[NSObject release]", "-[GameView draw:]"], "-[GameView draw:]"),
        (&["_int_free", "free", "operator delete(void*)", "Scene::~Scene()"], "Scene::~Scene"),
        (&["NtWaitForSingleObject", "WaitForSingleObjectEx", "Worker::wait()"], "Worker::wait"),
        (
            &["art::Runtime::Abort", "art::JNI::CallVoidMethod", "Java_org_game_Main_step"],
            "Java_org_game_Main_step",
        ),
        (&["__asan::ReportGenericError", "__interceptor_memcpy", "decode(char*)"], "decode"),
    ] {
        assert_eq!(name(stack), expected, "{stack:?}");
    }
}

#[test]
fn names_that_only_begin_like_the_platform_s_are_the_program_s() {
    for function in [
        "abortTransaction",
        "freeze",
        "mainLoop",
        "memcpyTexture",
        "strlenOfName",
        "raiseFlag",
        "corelib::run",
        "news_feed",
        "startGame",
        "readLevel",
        "allocateLevel",
    ] {
        assert_eq!(name(&[function, "other"]), function);
    }
}

#[test]
fn a_frame_that_says_too_little_takes_the_next_one_along() {
    assert_eq!(
        name(&["raise", "<lambda_0f3>::operator()", "Game::update"]),
        "<T>::operator() | Game::update"
    );
    assert_eq!(name(&["abort", "MOZ_Crash", "Game::update"]), "MOZ_Crash | Game::update");
}

#[test]
fn what_is_better_than_in_the_reference_stays_so() {
    for (function, expected) in [
        ("bool a::operator<(A const&, B<int>)", "bool a::operator<"),
        ("a::operator<< <char>(A)", "a::operator<< <T>"),
        ("std2::operator<=>(A, B)", "std2::operator<=>"),
        ("cooperator<int>(A)", "cooperator<T>"),
        ("void <X as Y>::f(int)", "<X as Y>::f"),
        ("foo((anonymous namespace)::X, std::vector<int>)", "foo"),
        ("(anonymous namespace)::run(int)", "(anonymous namespace)::run"),
        (
            "foo(`anonymous namespace'::X)::{lambda(int)#1}::operator()(int) const",
            "foo::{lambda#1}::operator()",
        ),
        ("caf\u{e9}::run\tfast", "caf::runfast"),
    ] {
        assert_eq!(name(&[function, "main"]), expected, "{function}");
    }
}

#[test]
fn an_explanation_says_what_became_of_each_frame_and_which_line_said_so() {
    let made = made(&stack(&[
        "game::on_signal",
        "__restore_rt",
        "memcpy",
        "<lambda_1>::operator()",
        "Game::update",
        "main",
    ]));
    let fates: Vec<_> = made.explanation.frames.iter().map(|frame| frame.fate).collect();
    use FrameFate::{BeforeStart, Ended, Kept, NotReached, Skipped};
    assert_eq!(fates, [BeforeStart, Skipped, Skipped, Kept, Ended, NotReached]);
    let frames = &made.explanation.frames;
    let begins = frames[1].begins.as_ref().unwrap();
    assert_eq!((&*begins.list, &*begins.entry), ("signature_sentinels.txt", "__restore_rt"));
    for (frame, list) in [(2, "irrelevant_signature_re.txt"), (3, "prefix_signature_re.txt")] {
        let line = frames[frame].because.as_ref().unwrap();
        let text =
            fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("lists").join(list)).unwrap();
        assert_eq!((&*line.list, text.lines().nth(line.line as usize - 1).unwrap()), (list, &*line.entry));
    }
    assert_eq!(
        made.explanation.sentence,
        "The signature starts at frame 1, `__restore_rt`, which is a sentinel. 2 frames were skipped as irrelevant. 1 \
         frame was kept on the way. Frame 4, `Game::update`, ends the signature: no list knows it."
    );
}

#[test]
fn an_explanation_says_what_each_rule_did() {
    let mut crash = stack(&["raise", "game::allocate"]);
    crash["oom_allocation_size"] = json!("a lot");
    crash["abort_message"] = json!("out of handles");
    let made = made(&crash);
    assert_eq!(made.signature, "Abort | out of handles | game::allocate");
    let outcome = |name| made.explanation.rules.iter().find(|rule| rule.rule == name).unwrap().outcome;
    assert_eq!(outcome("OOMSignature"), RuleOutcome::Failed);
    assert_eq!(outcome("AbortSignature"), RuleOutcome::Changed);
    assert_eq!(outcome("HungProcess"), RuleOutcome::Unchanged);
    assert!(made.explanation.sentence.contains("AbortSignature put the program's abort message before it."));
    assert_eq!(made.notes, ["OOMSignature: Rule failed: the size of the allocation is not a whole number"]);
}

#[test]
fn programs_without_symbols_are_told_apart_by_build_and_place() {
    let none = json!({});
    let libc = unknown(0, "libc.so.6", 0x20010, 0x10);
    let made = name_processed(&json!([libc, unknown(1, "game", 0x1234, 0x234)]), &none);
    assert_eq!(made.signature, "game@0x234 (5a9832e5)");
    let other_build = name_processed(&json!([unknown(0, "game", 0x10234, 0x234)]), &none);
    assert_eq!(other_build.signature, "game@0x234 (0badcafe)");
    let elsewhere = name_processed(&json!([unknown(0, "plugin", 0x99999, 0x234)]), &none);
    assert_eq!(elsewhere.signature, "plugin@0x234");
}

#[test]
fn a_function_in_a_module_of_the_platform_is_the_platform_s_whatever_its_name() {
    let mut nearest = unknown(0, "libc.so.6", 0x20010, 0x10);
    nearest["function"] = json!("fsetlocking");
    let made = name_processed(&json!([nearest, unknown(1, "game", 0x1234, 0x234)]), &json!({}));
    assert_eq!(made.signature, "game@0x234 (5a9832e5)");
    let because = made.explanation.frames[0].because.as_ref().unwrap();
    assert!(because.entry.contains("libpthread"), "{because}");
    let crash = json!({"threads": [{"frames": [{"function": "fsetlocking", "module": "libc.so.6"}]}]});
    assert_eq!(made_of(&crash), "fsetlocking", "the reference looks at functions alone");
}

#[test]
fn an_address_in_no_module_names_a_crash_only_when_nothing_else_is_there() {
    let code_on_the_stack = json!({"frame": 0, "trust": "context", "offset": "0x3df944"});
    let made =
        name_processed(&json!([code_on_the_stack, unknown(1, "libc.so.6", 0x20010, 0x10)]), &json!({}));
    assert_eq!(made.signature, "mix | libc.so.6@0x10");
    let made = name_processed(&json!([code_on_the_stack]), &json!({}));
    assert_eq!(made.signature, "mix | @0x3df944");
}

#[test]
fn a_crash_without_a_frame_of_its_own_is_named_a_mix() {
    let frames = json!([unknown(0, "libc.so.6", 0x20010, 0x10), {"frame": 1, "trust": "scan", "offset": "0x5", "function": "abort"}]);
    let made = name_processed(&frames, &json!({}));
    assert_eq!(made.signature, "mix | libc.so.6@0x10");
    assert!(made.explanation.sentence.contains("SignatureMix put `mix` before it"));
    let replaced = name_processed(&frames, &json!({"annotations": {"ipc_channel_error": "gone"}}));
    assert_eq!(replaced.signature, "IPCError-content | gone", "that is no name made of frames");
    assert_eq!(name(&["raise", "abort"]), "raise", "crash data gets the reference's name");
}

#[test]
fn a_processed_crash_is_named_by_its_public_annotations_too() {
    let frames = json!([{"frame": 0, "trust": "context", "offset": "0x5", "function": "Level::load"}]);
    for (annotations, expected) in [
        (json!({"OOMAllocationSize": "1048576"}), "OOM | large | Level::load"),
        (json!({"Hang": "1"}), "hang: 1 | Level::load"),
        (json!({"Hang": "0"}), "Level::load"),
        (json!({"JavaStackTrace": "a.B: c\n at d.e(F.java:3)"}), "a.B: c at d.e(F.java)"),
        (
            json!({"JavaException": r#"{"exception":{"values":[{"stacktrace":{"type":"T","module":"m"}}]}}"#}),
            "m.T",
        ),
        (json!({"JavaException": "no JSON"}), "EMPTY: Java exception not in expected format"),
    ] {
        let made = name_processed(&frames, &json!({"annotations": annotations}));
        assert_eq!(made.signature, expected, "{annotations}");
    }
}

#[test]
fn a_dump_that_could_not_be_walked_has_a_signature_that_says_why() {
    let dumps = json!([{"name": "upload_file_minidump", "bytes": 0, "sha256": "", "stackwalk": {"status": "bad_minidump"}}]);
    let made = name_processed(&json!([]), &json!({"dumps": dumps}));
    assert_eq!(made.signature, "EMPTY: no frame data available; bad_minidump");
}

fn folder_of_lists(irrelevant: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (list, text) in [
        ("irrelevant_signature_re.txt", irrelevant),
        ("prefix_signature_re.txt", "keep$\n"),
        ("signature_sentinels.txt", "# none\n"),
        ("signatures_with_line_numbers_re.txt", "numbered$\n"),
    ] {
        fs::write(folder.path().join(list), text).unwrap();
    }
    folder
}

#[test]
fn a_folder_of_lists_is_used_as_it_is() {
    let folder = folder_of_lists("  # a comment\n\nskip\n");
    let generator = Generator::new(Lists::read(folder.path()).unwrap());
    let crash = stack(&["skipped", "keep", "numbered"]);
    let made = generator.generate(&CrashData::from_json(&crash).unwrap());
    assert_eq!(made.signature, "keep | numbered:None");
    assert_eq!(
        made.explanation.frames[0].because.as_ref().unwrap().to_string(),
        "irrelevant_signature_re.txt:3"
    );
    let other = folder_of_lists("else\n");
    assert_ne!(generator.lists().hash(), Lists::read(other.path()).unwrap().hash());
    assert_eq!(Lists::built_in().hash(), None);
}

#[test]
fn an_entry_that_cannot_be_taken_is_named_by_file_and_line() {
    let folder = folder_of_lists("good\n(?=looking)ahead\n");
    let error = Lists::read(folder.path()).unwrap_err();
    assert!(matches!(&error, ListError::BadEntry { line: 2, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("irrelevant_signature_re.txt:2: `(?=looking)ahead`"), "{text}");

    fs::remove_file(folder.path().join("signature_sentinels.txt")).unwrap();
    fs::write(folder.path().join("irrelevant_signature_re.txt"), "good\n").unwrap();
    let error = Lists::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("signature_sentinels.txt"), "{error}");
}

#[test]
fn each_group_of_our_lists_has_its_reason_above_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lists");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for group in text.split("\n\n").map(str::trim).filter(|group| !group.is_empty()) {
            assert!(group.starts_with('#'), "{}: no reason for\n{group}", path.display());
        }
    }
}
