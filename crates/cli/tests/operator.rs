//! The commands by which an operator looks into what runs.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{fs, path::Path};

use serde_json::Value;
use support::{
    RunToEnd, command, dump_in, folder, printed,
    standalone::{Standalone, setting, settings},
    stderr, stdout,
};
use testing::{Database, amqp_url, namespace, report};

/// An id of a crash that nobody has sent.
const UNKNOWN: &str = "0b4d3a6e-72c1-4f0b-8a57-3c9d50261123";

fn start(dir: &Path, name: &str) -> (Standalone, Database) {
    let database = Database::create(name);
    let standalone = Standalone::start(dir, &settings(&database, &amqp_url(), &namespace(name)));
    (standalone, database)
}

#[test]
fn where_takes_every_form_of_an_id() {
    let dir = folder();
    let (standalone, _database) = start(dir.path(), "where_forms");
    let id = standalone.submit(&dump_in(dir.path()), &["ProductName=Game"]);
    let known = standalone.until_processed(&id);
    let short = known["short_id"].as_str().unwrap();

    for form in [id.clone(), format!("bp-{id}"), short.to_owned(), id.to_uppercase()] {
        let shown = stdout(&standalone.crashmill(&["where", &form]));
        assert!(shown.contains(&id) && shown.contains(short), "{form}: {shown}");
        assert!(shown.contains("state            processed") && shown.contains("Game"), "{form}: {shown}");
    }

    let output = standalone.crashmill(&["where", UNKNOWN, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let known: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!((&known["state"], &known["errors"]), (&"unknown".into(), &Value::Array(vec![])));
    let output = standalone.crashmill(&["where", "26460bd3a6e72c14"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no crash with the short id"), "{}", stderr(&output));
    let output = standalone.crashmill(&["store", "get", UNKNOWN]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no processed crash"), "{}", stderr(&output));
    assert!(standalone.stop().success());
}

#[test]
fn every_dump_of_a_crash_is_walked_and_a_broken_one_does_not_spoil_the_others() {
    let dir = folder();
    let (standalone, database) = start(dir.path(), "several_dumps");
    let dump = dump_in(dir.path());
    let broken = dir.path().join("broken.dmp");
    fs::write(&broken, b"MDMP, and nothing that follows from it").unwrap();
    let more = |name: &str, file: &Path| format!("upload_file_minidump_{name}={}", file.display());

    let dumps = [more("browser", &broken), more("plugin", &dump)];
    let id = standalone.submit_dumps(&dump, &dumps, &["ProductName=Game"]);

    let fact = &standalone.until_processed(&id)["fact"];
    let walked: Vec<_> = fact["dumps"].as_array().unwrap().iter().map(|dump| &dump["walk_status"]).collect();
    assert_eq!(walked.len(), 3);
    assert_eq!((walked[0], walked[2]), (&"ok".into(), &"ok".into()), "{fact}");
    assert_ne!(walked[1], "ok", "{fact}");
    assert_eq!(fact["success"], true, "the main dump decides");
    let processed = standalone.processed(&id);
    for dump in processed["dumps"].as_array().unwrap() {
        let threads = dump["stackwalk"]["threads"].as_array().map_or(0, Vec::len);
        assert_eq!(threads, usize::from(dump["stackwalk"]["status"] == "ok"), "{}", dump["name"]);
    }
    assert_eq!(database.number("SELECT count(*) FROM fact_crash"), 1);
    assert_eq!(database.number("SELECT count(*) FROM fact_dump"), 3);

    // Without a main dump there is a crash all the same.
    let url = &standalone.submit_url;
    let alone = stdout(&command().args(["submit", "--url", url, "-a", "ProductName=Game"]).run_to_end());
    standalone.until_processed(alone.trim());
    assert_eq!(database.number("SELECT count(*) FROM fact_crash"), 2);
    assert_eq!(database.number("SELECT count(*) FROM fact_dump"), 3);
    assert!(standalone.stop().success());
}

#[test]
fn store_lists_crashes_gives_them_back_and_finds_damage() {
    let dir = folder();
    let (standalone, _database) = start(dir.path(), "store");
    let other = dir.path().join("other.dmp");
    fs::write(&other, [report::minidump(), b"and more".repeat(100)].concat()).unwrap();
    let dumps = [format!("upload_file_minidump_plugin={}", other.display())];
    let dump = dump_in(dir.path());
    let id = standalone.submit_dumps(&dump, &dumps, &["ProductName=Game", "Email=a@b.example"]);
    let known = standalone.until_processed(&id);
    // Crashes are stored by the minute of their id, in UTC.
    let received = known["received_at"].as_str().unwrap().replace(['-', ':'], "");
    let minute = format!("{}/{}", &received[..8], &received[9..13]);

    for area in ["raw", "private", "processed"] {
        let list = |more: &[&str]| {
            stdout(&standalone.crashmill(&[&["store", "list", "--area", area][..], more].concat()))
        };
        assert!(list(&[]).contains(&id), "{area}");
        let line: Value = serde_json::from_str(list(&["--json"]).trim()).unwrap();
        assert_eq!((&line["crash_id"], &line["erased"]), (&id.as_str().into(), &false.into()), "{area}");
        assert!(list(&["--minute", &minute]).contains(&id), "{area} {minute}");
        assert!(!list(&["--minute", "20000101/0000"]).contains(&id));
    }

    let to = dir.path().join("crash");
    stdout(&standalone.crashmill(&["store", "get", &id, "--to", to.to_str().unwrap()]));
    let crash: Value = serde_json::from_slice(&fs::read(to.join("crash.json")).unwrap()).unwrap();
    assert_eq!(crash["annotations"]["ProductName"], "Game");
    let given: Vec<_> = crash["metadata"]["dumps"].as_array().unwrap().iter().collect();
    for (member, sent) in given.iter().zip([&dump, &other]) {
        let member = member["member"].as_str().unwrap();
        assert!(fs::read(to.join(member)).unwrap() == fs::read(sent).unwrap(), "{member} is what was sent");
    }
    assert_eq!(given.len(), 2);
    let processed: Value = serde_json::from_slice(&fs::read(to.join("processed.json")).unwrap()).unwrap();
    assert_eq!(processed, standalone.processed(&id));

    let line = stdout(&standalone.crashmill(&["store", "list", "--json"]));
    let line: Value = serde_json::from_str(line.trim()).unwrap();
    assert!(standalone.stop().success());

    // With every segment closed: of an open one the last frames may be in the making.
    let check = |more: &[&str]| {
        command().args(["store", "check"]).args(more).arg("--data").arg(dir.path()).run_to_end()
    };
    assert_eq!(stdout(&check(&[])), "every frame is whole\n");
    let segment = format!("{minute}/{}.tar.zst", line["segment"].as_str().unwrap());
    let file = dir.path().join("store/raw").join(&segment);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let checked = check(&[]);
    assert_eq!(checked.status.code(), Some(1));
    let said = printed(&checked);
    assert!(said.contains(&id) && said.contains(&segment), "{said}");
    assert_eq!(stdout(&check(&["--area", "processed"])), "every frame is whole\n");
}

#[test]
fn migrate_says_what_is_to_be_done_and_does_it_once() {
    let database = Database::create("migrate");
    let migrate = |more: &[&str]| {
        command().arg("migrate").args(more).env("CRASHMILL__FACTS__URL", database.url()).run_to_end()
    };

    let pending = migrate(&["--check"]);
    assert_eq!(pending.status.code(), Some(1));
    assert!(printed(&pending).contains("to be applied: "), "{}", printed(&pending));
    assert!(stdout(&migrate(&[])).contains("the schema went from version 0 to "));
    assert!(stdout(&migrate(&["--check"])).contains("nothing to do"));
    assert!(stdout(&migrate(&[])).contains("the schema is at version "));

    let (name, url) = setting("CRASHMILL__FACTS__URL", "postgres://crashmill:hunter2@127.0.0.1:1/crashmill");
    let nowhere = command().arg("migrate").env(name, url).run_to_end();
    assert_eq!(nowhere.status.code(), Some(1));
    let message = stderr(&nowhere);
    assert!(message.contains("migrating the database") && message.contains("127.0.0.1:1"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn status_shows_every_queue_and_what_cannot_be_asked() {
    let dir = folder();
    let (standalone, _database) = start(dir.path(), "status");
    let id = standalone.submit(&dump_in(dir.path()), &["ProductName=Game"]);
    standalone.until_processed(&id);

    let status = standalone.status();
    for name in ["standard", "priority", "reprocessing", "dead"] {
        let queues = status["queues"].as_array().unwrap().iter();
        let queue =
            queues.clone().find(|queue| queue["name"].as_str().unwrap().ends_with(&format!(".{name}")));
        assert_eq!(queue.unwrap_or_else(|| panic!("{name} is not in {status}"))["ready"], 0);
    }
    assert_eq!((&status["journal"]["crashes"], &status["facts_today"]), (&0.into(), &1.into()));
    let people = stdout(&standalone.crashmill(&["status"]));
    for shown in ["standard", "journal", "facts today      1"] {
        assert!(people.contains(shown), "{shown} is not in\n{people}");
    }
    assert!(standalone.stop().success());

    let down = command()
        .args(["status", "--json", "--data"])
        .arg(dir.path())
        .env("CRASHMILL__FACTS__URL", "postgres://crashmill:hunter2@127.0.0.1:1/crashmill")
        .env("CRASHMILL__QUEUE__URL", "amqp://crashmill:hunter2@127.0.0.1:1/%2f")
        .run_to_end();
    assert_eq!(down.status.code(), Some(1));
    let status: Value = serde_json::from_str(&printed(&down)).unwrap();
    assert_eq!(status["errors"].as_array().map(Vec::len), Some(2), "{status}");
    assert_eq!(status["journal"]["crashes"], 0, "what is on the disk is shown all the same");
    assert!(!printed(&down).contains("hunter2"), "{status}");
}
