//! `crashmill signature`, as a script uses it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on says why")]

mod support;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Output, Stdio},
    thread,
};

use serde_json::Value;
use support::{command, crashmill, dump_in, folder, printed, stderr, stdout};

/// Runs the command with these lines on standard input.
fn signature(args: &[&str], lines: &[u8]) -> Output {
    let mut child = command()
        .arg("signature")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    let written = thread::spawn(move || input.write_all(&lines));
    let output = child.wait_with_output().unwrap();
    // A command that ends before it has read all is the test's to judge.
    drop(written.join().unwrap());
    output
}

fn json_lines(output: &Output) -> Vec<Value> {
    printed(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const CRASH: &str = r#"{"crashing_thread": 0, "threads": [{"frames": [{"function": "raise"}, {"function": "game::save(int)"}]}]}"#;

#[test]
fn each_line_of_crash_data_gives_a_line_with_its_signature() {
    let output = signature(&[], format!("{CRASH}\n{{}}\n").as_bytes());
    stdout(&output);
    let lines = json_lines(&output);
    assert_eq!(
        lines[0],
        serde_json::json!({"signature": "game::save", "proto_signature": "raise | game::save", "notes": []})
    );
    assert_eq!(lines[1]["signature"], "EMPTY: no frame data available");
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_bad_line_is_named_by_its_number_and_the_run_goes_on() {
    let mut lines = format!("{CRASH}\nno json\n[1]\n").into_bytes();
    lines.extend(b"{\"a\": \"\xff\"}\n{\"format\": 1, \"crash_id\": \"x\", \"submitted_at\": \"y\"}\n\n");
    lines.extend(CRASH.as_bytes());
    let output = signature(&[], &lines);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let lines = json_lines(&output);
    let bad: Vec<_> = lines.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(bad, [2, 3, 4, 5, 6]);
    assert!(lines[1]["error"].as_str().unwrap().starts_with("not JSON: "), "{}", lines[1]);
    assert!(lines[4]["error"].as_str().unwrap().starts_with("not a processed crash"), "{}", lines[4]);
    assert_eq!(
        (&lines[0]["signature"], &lines[6]["signature"]),
        (&"game::save".into(), &"game::save".into())
    );
}

#[test]
fn a_processed_crash_gets_the_signature_that_a_processor_gives_it() {
    let dir = folder();
    let dump = dump_in(dir.path());
    let output = crashmill(&["process", dump.to_str().unwrap(), "--annotation", "IPCMessageName=Msg"]);
    let processed: Value = serde_json::from_str(&printed(&output)).unwrap();
    let explanation = &processed["signature_explanation"];
    assert_eq!(explanation["lists"], "built-in");
    assert!(explanation["sentence"].as_str().unwrap().contains("ends the signature"), "{explanation}");

    let again = signature(&["--explain", "--json"], processed.to_string().as_bytes());
    let again = &json_lines(&again)[0];
    assert_eq!(again["signature"], processed["signature"]);
    assert!(again["signature"].as_str().unwrap().ends_with(" | IPC_Message_Name=Msg"), "{again}");
    assert_eq!(&again["explanation"], explanation);
}

#[test]
fn people_are_told_which_line_of_which_list_said_what() {
    let people = stdout(&signature(&["--explain"], CRASH.as_bytes()));
    for shown in ["game::save\n", "1 frame was skipped", "skipped", "irrelevant_signature_re.txt:", "ended"] {
        assert!(people.contains(shown), "{shown} is not in\n{people}");
    }
}

#[test]
fn signatures_that_gather_unlike_stacks_are_named_as_mixes() {
    let mut lines = String::new();
    for number in 0..20 {
        let way = number % 7;
        lines += &format!(
            r#"{{"oom_allocation_size": 5, "threads": [{{"frames": [{{"function": "w{way}"}}, {{"function": "x{way}"}}]}}]}}"#
        );
        lines += "\n";
        lines += CRASH;
        lines += "\n";
    }
    let mixes = signature(&["--mixes"], lines.as_bytes());
    stdout(&mixes);
    let expected =
        serde_json::json!({"signature": "OOM | small", "crashes": 20, "mix": "7 kinds of unlike stacks"});
    assert_eq!(json_lines(&mixes), [expected]);
}

fn lists(dir: &Path, irrelevant: &str) -> String {
    let folder = dir.join("lists");
    fs::create_dir_all(&folder).unwrap();
    for name in ["prefix_signature_re.txt", "signature_sentinels.txt", "signatures_with_line_numbers_re.txt"]
    {
        fs::write(folder.join(name), "# none\n").unwrap();
    }
    fs::write(folder.join("irrelevant_signature_re.txt"), irrelevant).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn other_lists_come_from_a_folder_or_from_the_configuration() {
    let dir = folder();
    let folder = lists(dir.path(), "game::\n");
    let first = |output: Output| {
        stdout(&output);
        json_lines(&output)[0]["signature"].clone()
    };
    assert_eq!(first(signature(&["--lists", &folder], CRASH.as_bytes())), "raise");
    let config = dir.path().join("crashmill.toml");
    fs::write(&config, format!("[processor]\nsignature_lists = '{folder}'\n")).unwrap();
    assert_eq!(first(signature(&["--config", config.to_str().unwrap()], CRASH.as_bytes())), "raise");
}

#[test]
fn lists_that_cannot_be_used_are_refused_with_file_and_line() {
    let dir = folder();
    let folder = lists(dir.path(), "# fine\nfine\n(bad\n");
    let output = signature(&["--lists", &folder], CRASH.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("irrelevant_signature_re.txt:3: `(bad`"), "{}", stderr(&output));
}
