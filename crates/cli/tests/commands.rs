//! The commands that need no service.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    env::current_exe,
    fs,
    hint::black_box,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
};

use serde_json::Value;
use support::{RunToEnd, command, crashmill, dump_in, folder, printed, stderr, stdout};
use testing::report::{self, known};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("folders of tests are text")
}

/// Breakpad symbols that name the functions of the dump of tests.
fn symbols_in(dir: &Path) -> PathBuf {
    let folder = dir.join("symbols");
    let file = folder.join(known::MODULE).join(known::DEBUG_ID);
    fs::create_dir_all(&file).unwrap();
    let symbols = format!(
        "MODULE Linux x86_64 {} {}\nFILE 0 level.c\n\
         FUNC 1000 100 0 load_level\n1000 100 42 0\nFUNC 2000 100 0 play_game\n2000 100 7 0\n",
        known::DEBUG_ID,
        known::MODULE
    );
    fs::write(file.join(format!("{}.sym", known::MODULE)), symbols).unwrap();
    folder
}

#[test]
fn stackwalk_shows_the_functions_to_programs_and_to_people() {
    let dir = folder();
    let (dump, symbols) = (dump_in(dir.path()), symbols_in(dir.path()));
    let walk = |how: &str| stdout(&crashmill(&["stackwalk", text(&dump), "--symbols", text(&symbols), how]));

    let walked = json(&walk("--json"));
    assert_eq!(walked["status"], "ok");
    assert_eq!(walked["crash_info"]["type"], "SIGSEGV / SEGV_MAPERR");
    let frame = &walked["threads"][0]["frames"][0];
    assert_eq!((&frame["function"], &frame["line"]), (&"load_level".into(), &42.into()), "{frame}");

    let people = walk("--human");
    for shown in ["SIGSEGV / SEGV_MAPERR", "Thread 0", "game!load_level  level.c:42", "game!play_game"] {
        assert!(people.contains(shown), "{shown} is not in\n{people}");
    }
}

#[test]
fn process_puts_a_dump_through_the_whole_transform() {
    let dir = folder();
    let (dump, symbols) = (dump_in(dir.path()), symbols_in(dir.path()));
    let args = [
        "process",
        text(&dump),
        "--symbols",
        text(&symbols),
        "--annotation",
        "ProductName=Game",
        "-a",
        "Version=1.2=beta",
    ];

    let processed = json(&stdout(&crashmill(&args)));
    assert_eq!((&processed["product"], &processed["version"]), (&"Game".into(), &"1.2=beta".into()));
    assert_eq!(processed["success"], true);
    let signature = processed["signature"].as_str().unwrap();
    assert!(signature.contains("load_level"), "{signature}");
    assert_eq!(processed["dumps"][0]["bytes"], report::minidump().len());

    let people = stdout(&crashmill(&[&args[..], &["--human"]].concat()));
    for shown in [signature, "Game 1.2=beta", "Thread 0", "level.c:42"] {
        assert!(people.contains(shown), "{shown} is not in\n{people}");
    }
}

#[test]
fn a_broken_dump_is_a_status_and_an_exit_status() {
    let dir = folder();
    let dump = dir.path().join("broken.dmp");
    for broken in [&b"MDMP, and nothing that follows from it"[..], b"", b"plain text"] {
        fs::write(&dump, broken).unwrap();

        let walked = crashmill(&["stackwalk", text(&dump)]);
        assert_eq!(walked.status.code(), Some(1));
        let walked = json(&printed(&walked));
        assert_ne!(walked["status"], "ok");
        let reason = walked["error"].as_str().expect("the reason is printed");

        let people = crashmill(&["stackwalk", text(&dump), "--human"]);
        assert_eq!(people.status.code(), Some(1));
        assert!(printed(&people).contains(reason), "{}", printed(&people));

        let processed = crashmill(&["process", text(&dump)]);
        assert_eq!(processed.status.code(), Some(1));
        let processed = json(&printed(&processed));
        assert_eq!(processed["dumps"][0]["stackwalk"]["status"], walked["status"]);
        assert_eq!(processed["success"], false);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for command in ["stackwalk", "process"] {
        let output = crashmill(&[command, "no/such.dmp"]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(stderr(&output).contains("reading no/such.dmp"), "{command}: {}", stderr(&output));
    }
    let output = crashmill(&["submit", "no/such.dmp", "--url", "http://127.0.0.1:1/submit"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("reading no/such.dmp"), "{}", stderr(&output));
    let output = crashmill(&["config", "check", "--config", "no/such.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no/such.toml"), "{}", stderr(&output));
    let output = crashmill(&["status", "--data", "no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not the folder of a standalone"), "{}", stderr(&output));
}

#[test]
fn wrong_usage_is_exit_status_2() {
    for line in [
        "",
        "frobnicate",
        "stackwalk",
        "stackwalk crash.dmp --json --human",
        "process crash.dmp --annotation ProductName",
        "process crash.dmp --annotation =Game",
        "submit crash.dmp",
        "submit crash.dmp --url crashes.example",
        "standalone --data /tmp --listen everywhere",
        "where",
        "where not-an-id",
        "where 0b4d3a6e-72c1-4f0b-8a57-3c9d5026112",
        "where 26460bd3a6e72c1",
        "store list --area everything",
        "store list --minute noon",
        "store get",
        "symbols add",
    ] {
        let output = crashmill(&line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(2), "crashmill {line}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "crashmill {line} says nothing");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let mut commands = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(path) = commands.pop() {
        let help = stdout(&command().args(&path).arg("--help").run_to_end());
        assert!(help.contains("Examples:\n"), "crashmill {} --help has no examples", path.join(" "));
        seen += 1;
        let below = help.split_once("Commands:\n").map_or("", |(_, after)| after);
        for line in below.lines().take_while(|line| !line.is_empty()) {
            // A line that goes on with the description begins further to the right.
            let name = line.strip_prefix("  ").filter(|line| !line.starts_with(' '));
            let name = name.and_then(|line| line.split_whitespace().next());
            if let Some(name) = name.filter(|name| *name != "help") {
                commands.push(path.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
    }
    assert!(seen > 15, "only {seen} commands were found");
}

#[test]
fn config_check_names_file_line_and_key() {
    let dir = folder();
    let file = dir.path().join("crashmill.toml");
    let check = |content: &str| {
        fs::write(&file, content).unwrap();
        crashmill(&["config", "check", "--config", text(&file)])
    };

    assert_eq!(stdout(&check("[collector]\nlisten = '127.0.0.1:9000'\n")), "the configuration is good\n");
    for (content, place, complaint) in [
        ("[collector]\nlissten = '127.0.0.1:9000'\n", ":2:1", "lissten"),
        ("[collector]\n\nlisten = 'everywhere'\n", ":3:10", "collector.listen"),
        ("[colector]\n", ":1:2", "colector"),
        ("[queue]\nurl = 'amqp://u:hunter2@h/'\n", ":2:7", "queue.url"),
        ("[facts]\npassword = 'hunter2'\n", ":2:12", "facts.password"),
        ("[collector\n", ":1:11", ""),
    ] {
        let output = check(content);
        assert_eq!(output.status.code(), Some(1), "{content}");
        let message = stderr(&output);
        assert!(message.contains(&format!("{}{place}", file.display())), "{content}: {message}");
        assert!(message.contains(complaint), "{content}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn config_check_refuses_variables_that_mean_nothing() {
    for (name, value) in [
        ("CRASHMILL__COLLECTOR__LISSTEN", "127.0.0.1:9000"),
        ("CRASHMILL__COLECTOR__LISTEN", "127.0.0.1:9000"),
        ("CRASHMILL__COLLECTOR__LISTEN", "everywhere"),
    ] {
        let output = command().args(["config", "check"]).env(name, value).run_to_end();
        assert_eq!(output.status.code(), Some(1), "{name}={value}");
        assert!(stderr(&output).contains(name), "{}", stderr(&output));
    }
}

#[test]
fn config_show_prints_what_is_in_force_without_passwords() {
    let output = command()
        .args(["config", "show"])
        .env("CRASHMILL__FACTS__PASSWORD", "hunter2")
        .env("CRASHMILL__QUEUE__URL", "amqp://somebody:hunter2@broker:5672/%2f")
        .env("CRASHMILL__COLLECTOR__LISTEN", "127.0.0.1:9000")
        .run_to_end();
    let shown = stdout(&output);
    assert!(!shown.contains("hunter2"), "{shown}");
    for expected in ["[collector]", "listen = \"127.0.0.1:9000\"", "somebody", "broker:5672", "max_body"] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[test]
fn submit_says_what_became_of_a_report_that_was_not_taken() {
    let dir = folder();
    let dump = dump_in(dir.path());
    // Nobody listens on a port that was free a moment ago.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{dead}/submit");
    let output = crashmill(&["submit", text(&dump), "--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(printed(&output).is_empty());
    let message = stderr(&output);
    assert!(message.contains(&format!("sending the report to {url}")), "{message}");
    assert!(message.contains("Connection refused"), "{message}");

    for (answer, said) in [
        (
            "400 Bad Request\r\n\r\nDiscarded=malformed_no_annotations",
            "400 Bad Request: Discarded=malformed_no",
        ),
        ("200 OK\r\n\r\nDiscarded=rule_has_hangid", "took no crash: Discarded=rule_has_hangid"),
        ("503 Service Unavailable\r\n\r\n", "503 Service Unavailable"),
    ] {
        let url = answering(answer);
        let output = crashmill(&["submit", text(&dump), "--url", &url]);
        assert_eq!(output.status.code(), Some(1), "{answer}");
        assert!(printed(&output).is_empty(), "{answer}");
        assert!(stderr(&output).contains(said), "{answer}: {}", stderr(&output));
    }
}

/// A server that reads one request and gives one answer.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/submit", listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client comes");
        let mut request = Vec::new();
        let mut some = [0; 4096];
        // The last boundary of a multipart body ends with two dashes more.
        while !request.ends_with(b"--\r\n") {
            let length = stream.read(&mut some).expect("a request");
            request.extend_from_slice(&some[..length]);
        }
        stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).expect("the client waits");
    });
    url
}

/// Where the dump of the next test says that it crashed. Compilers describe it only for what is inlined into it, where
/// nothing but line tables is kept.
#[inline(never)]
fn the_function_that_crashed(times: u32) -> u32 {
    inlined_into_it(times) + 1
}

#[inline(always)]
fn inlined_into_it(times: u32) -> u32 {
    black_box(times)
}

#[test]
fn symbols_that_were_added_are_used() {
    assert_eq!(the_function_that_crashed(1), 2);
    let dir = folder();
    let folder = dir.path().join("symbols");
    let executable = current_exe().unwrap();
    let added = stdout(&crashmill(&["symbols", "add", text(&executable), "--to", text(&folder)]));
    let file = PathBuf::from(added.trim());
    assert!(file.starts_with(&folder), "{added}");

    // Its debug id is the folder's name, and the function's place in it a line of the file.
    let symbols = fs::read_to_string(&file).unwrap();
    let function =
        symbols.lines().find(|line| line.starts_with("FUNC ") && line.contains("the_function_that_crashed"));
    let address = function.and_then(|line| line.split(' ').nth(1)).expect("the function is in the symbols");
    let debug_id = file.parent().and_then(Path::file_name).unwrap().to_str().unwrap();
    let dump = dir.path().join("crash.dmp");
    let name = executable.file_name().unwrap().to_str().unwrap();
    let offset = u64::from_str_radix(address, 16).unwrap();
    fs::write(&dump, report::minidump_of(name, build_id(debug_id), offset)).unwrap();

    let walked = stdout(&crashmill(&["stackwalk", text(&dump), "--symbols", text(&folder), "--human"]));
    assert!(walked.contains("the_function_that_crashed") && walked.contains("commands.rs:"), "{walked}");
}

/// The ELF build id of a Breakpad debug id, which is the same bytes read as a GUID.
fn build_id(debug_id: &str) -> u128 {
    let id = u128::from_str_radix(&debug_id[..32], 16).unwrap().to_be_bytes();
    let [a, b, c, d, e, f, g, h, rest @ ..] = id;
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&[d, c, b, a, f, e, h, g]);
    bytes[8..].copy_from_slice(&rest);
    u128::from_be_bytes(bytes)
}
