//! Crash data over all rules, languages and list entries.

use std::path::Path;

use serde_json::{Value, json};

use crate::{dice::Dice, entries, names};

/// All of it, the same every time.
pub(crate) fn corpus(lists: &Path) -> Vec<Value> {
    let mut dice = Dice::new(0x5161_6e61_7475_7265);
    let mut crashes = list_entries(lists, &mut dice);
    crashes.extend((0..700).map(|_| one_stack(&mut dice)));
    crashes.extend((0..250).map(|_| several_threads(&mut dice)));
    crashes.extend((0..400).map(|_| with_rules(&mut dice)));
    crashes.extend((0..150).map(|_| java_stack_trace(&mut dice)));
    crashes.extend((0..100).map(|_| java_exception(&mut dice)));
    crashes.extend(repaired_rust());
    crashes.extend(allowed_differences(&mut dice));
    crashes
}

fn stack(frames: &[Value]) -> Value {
    json!({"crashing_thread": 0, "threads": [{"frames": frames}]})
}

/// Each entry of each list at the top of a stack, and below a frame that is skipped.
fn list_entries(lists: &Path, dice: &mut Dice) -> Vec<Value> {
    let mut crashes = Vec::new();
    for list in
        ["irrelevant_signature_re.txt", "prefix_signature_re.txt", "signatures_with_line_numbers_re.txt"]
    {
        for entry in entries::of(lists, list) {
            let name = entries::matching(&entry, dice);
            let longer = format!("{name}{}", dice.pick(&["X", "::y", "<int>(a)", "@4", "(int)", "_1", ""]));
            let end = json!({"function": names::cpp(dice)});
            crashes.push(stack(&[json!({"function": name, "line": 7}), end.clone()]));
            crashes.push(stack(&[
                json!({"function": "raise"}),
                json!({"module": name}),
                json!({"function": longer}),
                end,
            ]));
        }
    }
    for sentinel in entries::of(lists, "signature_sentinels.txt") {
        let above = json!({"function": names::cpp(dice)});
        let below = json!({"function": names::rust(dice), "file": "/a/b.rs"});
        crashes.push(stack(&[above.clone(), json!({"function": sentinel}), below.clone()]));
        crashes.push(stack(&[
            above,
            json!({"function": format!("{sentinel}X")}),
            json!({"function": sentinel}),
            json!({}),
        ]));
    }
    crashes
}

fn frame(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0..=4 => json!({"function": names::cpp(dice), "file": cpp_file(dice), "line": dice.below(300)}),
        5..=7 => json!({"function": names::rust(dice), "file": rust_file(dice), "line": dice.below(3)}),
        8 | 9 => json!({"function": names::c(dice), "module": module(dice), "module_offset": "0x10"}),
        _ => place(dice),
    }
}

fn cpp_file(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "",
        "a.cpp",
        "/src/a.cpp",
        "c:\\src\\a.cpp",
        "hg:hg.example:dom/a.cpp:abc",
        "git:x:y.rs.cpp:1",
        "a.rs",
        "src/a.rs",
    ])
}

fn rust_file(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "/src/a.rs",
        "c:\\src\\a.rs",
        "hg:hg.example:dom/a.rs:abc",
        "git:github.com/rust-lang/rust:library/std/src/a.rs:1",
        "::a.rs:",
        "x:a.rs",
    ])
}

fn module(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "libc.so.6",
        "NTDLL.dll",
        "game.exe",
        "[vdso]",
        "libxul.so",
        "XUL",
        "[[x]]",
        "[]",
        "a.DLL",
        "libart.so",
        "b.so",
        "",
    ])
}

/// A frame without a function.
fn place(dice: &mut Dice) -> Value {
    let mut frame = json!({});
    if dice.one_in(3) {
        frame["function"] = dice.pick_value(&[json!(null), json!("")]);
    }
    if dice.one_in(3) {
        frame["file"] = json!(dice.pick(&[
            "a.cpp",
            "/x/b.cpp",
            "hg:hg.example:dom/a.cpp:abc",
            "c:\\x\\y.c",
            "x\\y/z.c",
            "d/",
            "",
            "hg:x:y.cpp:r"
        ]));
        frame["line"] = dice.pick_value(&[json!(3), json!(0), json!("12"), json!(""), json!(null)]);
    }
    if dice.one_in(2) {
        frame["module"] = json!(module(dice));
    }
    if dice.one_in(4) {
        frame["unloaded_modules"] = dice.pick_value(&[
            json!([]),
            json!([{"module": "old.dll"}, {"module": "b.dll"}]),
            json!([{"module": ""}]),
            json!([{}]),
        ]);
    }
    if dice.one_in(2) {
        frame["offset"] =
            json!(dice.pick(&["0x0", "0x1", "0x00007ff812345678", "0xABC", "00a0", "zz", "", "0x"]));
    }
    frame
}

fn one_stack(dice: &mut Dice) -> Value {
    let mut crash = stack(&(0..dice.below(6)).map(|_| frame(dice)).collect::<Vec<_>>());
    if dice.one_in(4) {
        crash["os"] = json!(dice.pick(&["Windows NT", "Windows", "Linux", "Mac OS X"]));
    }
    crash
}

/// Threads, inlined functions, long stacks, and indexes of the crashing thread of all kinds.
fn several_threads(dice: &mut Dice) -> Value {
    let mut threads = Vec::new();
    for _ in 0..dice.below(4) {
        let mut frames = Vec::new();
        for _ in 0..dice.below(6) {
            frames.push(frame(dice));
        }
        if dice.one_in(4) {
            frames
                .splice(0..0, (0..dice.below(60)).map(|_| json!({"function": "raise"})).collect::<Vec<_>>());
        }
        if let Some(first) = frames.first_mut().filter(|_| dice.one_in(2)) {
            let inlines: Vec<Value> = (0..dice.below(4)).map(|_| frame(dice)).collect();
            first["inlines"] = if dice.one_in(5) { json!(null) } else { json!(inlines) };
        }
        threads.push(if dice.one_in(12) { json!({}) } else { json!({"frames": frames}) });
    }
    let index = dice.pick_value(&[
        json!(0),
        json!(1),
        json!(2),
        json!(5),
        json!(-1),
        json!(-2),
        json!(-9),
        json!("1"),
        json!(" 1 "),
        json!("x"),
        json!(""),
        json!(1.7),
        json!(true),
        json!(null),
        json!([]),
        json!("1.5"),
        json!("-1"),
    ]);
    json!({"crashing_thread": index, "threads": threads, "mdsw_status_string": dice.pick_value(&[json!(null), json!("OK"), json!("ERROR_NO_THREADS"), json!("")])})
}

/// A value of each field that a rule reads.
fn rule_values(field: &str) -> Vec<Value> {
    let texts = |texts: &[&str]| texts.iter().map(|text| json!(text)).collect();
    match field {
        "reason" => texts(&[
            "STATUS_DEVICE_DATA_ERROR",
            "EXCEPTION_IN_PAGE_ERROR_READ / STATUS_DEVICE_DATA_ERROR",
            "STATUS_NO_MEMORY",
            "STATUS_FATAL_MEMORY_EXHAUSTION",
            "EXCEPTION_STACK_OVERFLOW",
            "EXCEPTION_STACK_OVERFLOW ",
            "SIGSEGV",
            "",
            "xSTATUS_NO_MEMORY",
        ]),
        "oom_allocation_size" => vec![
            json!(0),
            json!(1),
            json!("0"),
            json!(262_144),
            json!(262_145),
            json!("262145"),
            json!("x"),
            json!("1.5"),
            json!(262_144.5),
            json!(-5),
            json!(" 7 "),
            json!(null),
            json!(""),
            json!(true),
            json!("1_000"),
        ],
        "js_large_allocation_failure" => texts(&["Reporting", "Recovered", "", "reporting"]),
        "abort_message" => texts(&[
            "plain",
            "[1] ###!!! ABORT: OOM: file a.cpp, line 3",
            "###!!! ABORT: file a.cpp",
            "a ###!!! ABORT: b ###!!! ABORT: c: file d: file e",
            "unable to find a usable font (Arial (x)) y",
            "###!!! ABORT: unable to find a usable font (Arial): file x",
            "  a  b  ",
            "",
            "x\ty\nz",
            ": file x",
            "RunWatchdog",
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901",
            "01234567890123456789012345678901234567890123456789012345678901234567890123456789",
        ]),
        "async_shutdown_timeout" => texts(&[
            r#"{"phase":"P","conditions":[{"name":"b"},{"name":"a"}]}"#,
            r#"{"phase":"P","conditions":["b","a",5]}"#,
            r#"{"phase":"P"}"#,
            r#"{"conditions":[]}"#,
            "{}",
            "[]",
            "5",
            "bad",
            r#"{"phase":"P","conditions":[{"n":"b"}]}"#,
            r#"{"phase":null,"conditions":null}"#,
            r#"{"phase":"P","conditions":"ab"}"#,
            r#"{"phase":"P","conditions":5}"#,
            r#"{"phase":5,"conditions":[null,{"name":null}]}"#,
            "",
            r#"{"phase":"P","conditions":{"k":1}}"#,
        ]),
        "ipc_channel_error" => texts(&[
            "ShutDownKill",
            "",
            " ",
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789tail",
        ]),
        "ipc_message_name" => vec![json!("PContent::Msg_A"), json!(""), json!(5), json!(" a  b ")],
        "additional_minidumps" => vec![
            json!("upload_file_minidump_browser"),
            json!("a,upload_file_minidump_browser,b"),
            json!(["upload_file_minidump_browser"]),
            json!(["a"]),
            json!("browser"),
            json!(null),
        ],
        "hang" => vec![json!(null), json!(""), json!(0), json!(1), json!(-1), json!("x"), json!(" y ")],
        "os" => texts(&["Windows NT", "Linux"]),
        _ => vec![json!(null)],
    }
}

fn with_rules(dice: &mut Dice) -> Value {
    const FIELDS: &[&str] = &[
        "reason",
        "oom_allocation_size",
        "js_large_allocation_failure",
        "abort_message",
        "async_shutdown_timeout",
        "ipc_channel_error",
        "ipc_message_name",
        "additional_minidumps",
        "hang",
        "os",
    ];
    const TOPS: &[&str] = &[
        "NS_ABORT_OOM",
        "mozalloc_handle_oom",
        "js::CrashAtUnhandlableOOM",
        "js::AutoEnterOOMUnsafeRegion::crash",
        "alloc::oom::oom",
        "mozilla::(anonymous namespace)::RunWatchdog",
        "RunWatchdog",
        "EMPTYfoo",
        "const",
    ];
    let mut crash = one_stack(dice);
    if dice.one_in(2) {
        crash["threads"][0]["frames"] = json!([{"function": dice.pick(TOPS)}, frame(dice)]);
    }
    if dice.one_in(5) {
        crash["threads"][0]["last_error_value"] = json!(dice.pick(&[
            "ERROR_COMMITMENT_LIMIT",
            "ERROR_NOT_ENOUGH_MEMORY",
            "ERROR_SUCCESS",
            "x ERROR_NOT_ENOUGH_MEMORY"
        ]));
    }
    if dice.one_in(3) {
        let crashing = crash["threads"][0].take();
        crash["threads"] = json!([{"frames": [frame(dice), frame(dice)]}, crashing]);
        crash["crashing_thread"] = json!(1);
    }
    for _ in 0..=dice.below(3) {
        let field = dice.pick(FIELDS);
        crash[field] = dice.pick_value(&rule_values(field));
    }
    crash
}

fn java_stack_trace(dice: &mut Dice) -> Value {
    let first = format!(
        "{}{}{}",
        dice.pick(&[
            "java.lang.NullPointerException",
            "X",
            "",
            "org.a.B$C",
            "kotlin.KotlinNullPointerException",
            "X@1234abcd"
        ]),
        dice.pick(&[": ", ":", "", " : "]),
        dice.pick(&[
            "Attempt to invoke",
            "a: b",
            "",
            "android.view.View@1234abcd is gone",
            "View@1234abcd",
            "View@1234ABCD",
            "V@12345678 W@abcdef01",
            &"d".repeat(240),
            &"d".repeat(300),
            "  two  spaces  "
        ])
    );
    let rest = dice.pick(&[
        "\n\tat a.b.C.d(C.java:12)\n\tat e.f(G.java:3)",
        "\n\tat a.b(C.kt:12)",
        "\n at a.b(Native Method)",
        "\r\n\tat a.b(C.java:1)\r\n",
        "",
        "\n",
        "\n\n at x",
        "\n  at a(B.java:)",
        "\n at a(B.java:1)x",
        "\n at a(B.java:1) (C.java:22)",
    ]);
    json!({"java_stack_trace": dice.pick_value(&[json!(format!("{first}{rest}")), json!(format!("{first}{rest}")), json!(format!("{first}{rest}")), json!(""), json!(5)]), "crashing_thread": 0, "threads": [{"frames": [{"function": "native"}]}]})
}

fn java_exception(dice: &mut Dice) -> Value {
    let mut trace = json!({});
    if !dice.one_in(5) {
        trace["type"] = dice.pick_value(&[json!("NullPointerException"), json!("T"), json!(null), json!("")]);
    }
    if !dice.one_in(3) {
        trace["module"] = dice.pick_value(&[json!("java.lang"), json!(null), json!("")]);
    }
    let mut frames = Vec::new();
    for _ in 0..dice.below(3) {
        let mut frame = json!({"lineno": 4});
        for (part, value) in [("module", "a.b.C"), ("function", "d"), ("filename", "C.java")] {
            if !dice.one_in(4) {
                frame[part] = if dice.one_in(6) { json!("") } else { json!(value) };
            }
        }
        frames.push(frame);
    }
    if !dice.one_in(6) {
        trace["frames"] = json!(frames);
    }
    let exception = match dice.below(10) {
        0 => dice.pick_value(&[
            json!({}),
            json!([]),
            json!("x"),
            json!({"exception": null}),
            json!({"exception": {"values": []}}),
            json!({"exception": {"values": [{}]}}),
            json!({"exception": {"values": [null]}}),
        ]),
        _ => json!({"exception": {"values": [{"stacktrace": trace}, {"stacktrace": {"type": "Cause"}}]}}),
    };
    json!({"java_exception": exception, "crashing_thread": 0, "threads": [{"frames": [{"function": "native"}]}]})
}

/// The functions of Rust 1.34 that lost their modules, and neighbours that did not.
fn repaired_rust() -> Vec<Value> {
    const FILES: &[&str] = &[
        "src/liballoc/raw_vec.rs",
        "src/libcore/option.rs",
        "src/libcore/panicking.rs",
        "src/libcore/slice/mod.rs",
        "src/libstd/panicking.rs",
    ];
    const FUNCTIONS: &[&str] = &[
        "capacity_overflow",
        "expect_failed",
        "panic_bounds_check",
        "panic_fmt",
        "panic",
        "slice_index_order_fail",
        "begin_panic_fmt",
        "continue_panic_fmt",
        "rust_panic_with_hook",
        "expect_failed::h12",
    ];
    let pairs = FILES.iter().flat_map(|file| FUNCTIONS.iter().map(move |function| (file, function)));
    pairs
        .map(|(file, function)| {
            let file =
                format!("git:github.com/rust-lang/rust:{file}:9fda7c2237db910e41d6a712e9a2139b352e558b");
            stack(&[
                json!({"function": function, "file": file, "line": 3}),
                json!({"function": "next", "file": file}),
            ])
        })
        .collect()
}

/// What our signatures are to be unlike the reference's in.
fn allowed_differences(dice: &mut Dice) -> Vec<Value> {
    let mut functions = Vec::new();
    for text in ["caf\u{e9}::run", "a\tb", "a\u{0}b", "\u{4f60}\u{597d}", "x\u{200b}y(int)", "tail\n"] {
        functions.push(text.to_owned());
    }
    for operator in [
        "operator<",
        "operator<<",
        "operator<=>",
        "operator<=",
        "operator<<=",
        "operator< <int>",
        "operator<< <char>",
    ] {
        functions.push(format!("bool a::{operator}(A const&, B<int>)"));
        functions.push(format!("{operator}(A, B)"));
    }
    for function in
        ["<X as Y>::f", "core::<impl A<B> as C<D>>::g(int)", "a::<b as c>::{{closure}}", "f<A as B>(int)"]
    {
        functions.push(function.to_owned());
    }
    for function in [
        "foo((anonymous namespace)::X)",
        "a::b(int, (anonymous namespace)::Y<Z>, char)",
        "f(std::function<void ((anonymous namespace)::Q)>, (anonymous namespace)::R*)",
        "foo(`anonymous namespace'::X)::{lambda(int)#1}::operator()(int) const",
    ] {
        functions.push(function.to_owned());
    }
    functions
        .into_iter()
        .map(|function| stack(&[json!({"function": function, "file": "a.cpp", "line": 1}), frame_of_c(dice)]))
        .collect()
}

fn frame_of_c(dice: &mut Dice) -> Value {
    json!({"function": names::c(dice)})
}
