//! A standalone, mostly with servers of its own, and what may happen to it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
    process::Command,
};

use rustix::process::Signal;
use support::{
    RunToEnd, command, dump_in, folder, printed, processes,
    standalone::{Standalone, setting, settings},
    stderr,
};
use testing::{Database, amqp_url, namespace};

/// The user and the group that every system has and that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn a_standalone_that_is_killed_leaves_nothing_and_goes_on_where_it_was_at_the_next_start() {
    let dir = folder();
    let dump = dump_in(dir.path());
    // With blanks, and longer than the 107 bytes that the path of a socket may have.
    let relative = Path::new("crashes of a game").join("x".repeat(120));
    let data = dir.path().join(&relative);
    let start = |more: &[&str]| {
        let mut command = command();
        command.current_dir(dir.path()).args(["standalone", "--data"]).arg(&relative).args(more);
        command
    };

    let standalone = Standalone::run(start(&["--listen", "127.0.0.1:0"]), &data, &[]);
    let first = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.until_processed(&first);

    let second = start(&["--listen", "127.0.0.1:0"]).run_to_end();
    assert_eq!(second.status.code(), Some(1));
    let message = stderr(&second);
    assert!(message.contains(&format!("process {}", standalone.process.id())), "{message}");
    assert!(message.contains(&standalone.submit_url), "{message}");

    let started = standalone.processes();
    for part in ["postgres", "beam.smp", "epmd", "collector", "processor", "scheduler", "stackwalk-worker"] {
        assert!(started.iter().any(|process| process.command.contains(part)), "{part} is not in {started:?}");
    }
    let submit_url = standalone.submit_url.clone();
    let last = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.kill();
    processes::until_gone(&started);
    processes::until_nothing_works_in(&data);

    let standalone = Standalone::run(start(&[]), &data, &[]);
    assert_eq!(standalone.submit_url, submit_url, "the address is the one that the folder had before");
    assert_eq!(standalone.whereabouts(&first)["state"], "processed");
    standalone.until_processed(&last);

    let started = standalone.processes();
    assert!(standalone.stop().success());
    let left: Vec<_> = started.iter().filter(|process| process.is_alive()).collect();
    assert!(left.is_empty(), "{left:?}");
    let left = processes::working_in(&data);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_ordinary_user_can_run_a_standalone_too() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the other tests are run by an ordinary user already");
        return;
    }
    let dir = folder();
    let dump = dump_in(dir.path());
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    // The checkout may lie in a folder that is closed to others.
    let executable = dir.path().join("crashmill");
    let built = env!("CARGO_BIN_EXE_crashmill");
    if fs::hard_link(built, &executable).is_err() {
        fs::copy(built, &executable).unwrap();
    }
    let mut command = Command::new(&executable);
    command.env_clear().uid(NOBODY).gid(NOBODY).current_dir(&data);
    command.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(&data);

    let standalone = Standalone::run(command, &data, &[]);
    let id = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.until_processed(&id);
    assert!(standalone.stop().success());
    assert!(processes::working_in(&data).is_empty());
}

#[test]
fn a_start_that_is_interrupted_while_the_database_is_made_leaves_nothing_and_does_not_harm_the_next_one() {
    interrupted("/initdb --pgdata", &own_database("interrupted_database"));
}

#[test]
fn a_start_that_is_interrupted_while_the_broker_starts_leaves_nothing_and_does_not_harm_the_next_one() {
    let database = Database::create("interrupted_broker");
    interrupted("/beam.smp ", &own_broker(&database));
}

/// Interrupts a start when there is a process with these words in its command, and starts once more.
fn interrupted(moment: &str, settings: &[(String, String)]) {
    let dir = folder();
    let dump = dump_in(dir.path());
    let data = dir.path().join("data");
    let mut start = command();
    start.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(&data);

    let mut standalone = Standalone::launch(start, &data, settings);
    standalone.until_runs(|command| command.contains(moment));
    processes::signal(standalone.process.id(), Signal::TERM);
    assert_eq!(standalone.until_ended().code(), Some(1));
    assert!(standalone.said().contains("asked to stop while starting"), "{}", standalone.said());
    processes::until_nothing_works_in(&data);

    let standalone = Standalone::start(&data, settings);
    let id = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.until_processed(&id);
    assert!(standalone.stop().success());
}

#[test]
fn a_database_server_that_is_killed_is_started_again_and_crashes_meanwhile_get_their_facts() {
    let dir = folder();
    let dump = dump_in(dir.path());
    let mut standalone = Standalone::start(&dir.path().join("data"), &own_database("killed_database"));
    let server =
        standalone.until_runs(|command| command.contains("/postgres -D") && !command.contains(" guard "));

    server.kill();
    let id = standalone.submit(&dump, &["ProductName=Game"]);

    assert_eq!(standalone.until_processed(&id)["fact"]["attempt"], 1);
    assert!(standalone.said().contains("PostgreSQL ended"), "{}", standalone.said());
    assert!(standalone.stop().success());
}

#[test]
fn a_broker_that_is_killed_is_started_again_and_crashes_meanwhile_get_their_facts() {
    let (dir, database) = (folder(), Database::create("killed_broker"));
    let dump = dump_in(dir.path());
    let mut standalone = Standalone::start(&dir.path().join("data"), &own_broker(&database));
    let server = standalone.until_runs(|command| command.contains("/beam.smp "));

    server.kill();
    let id = standalone.submit(&dump, &["ProductName=Game"]);

    standalone.until_processed(&id);
    assert!(standalone.said().contains("RabbitMQ ended"), "{}", standalone.said());
    assert!(standalone.stop().success());
}

#[test]
fn a_role_that_is_killed_takes_its_workers_along_and_is_started_again() {
    let (dir, database, name) = (folder(), Database::create("killed_role"), namespace("killed_role"));
    let dump = dump_in(dir.path());
    let standalone = Standalone::start(dir.path(), &settings(&database, &amqp_url(), &name));

    let processor = standalone.role("processor");
    let workers = processes::descendants(processor.pid);
    assert!(workers.iter().any(|worker| worker.command.contains("stackwalk-worker")), "{workers:?}");
    processor.kill();
    let id = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.until_processed(&id);
    processes::until_gone(&workers);

    let collector = standalone.role("collector");
    collector.kill();
    processes::until_gone(&[collector]);
    // The address is the supervisor's: nobody is refused, and the next collector answers.
    let id = standalone.submit(&dump, &["ProductName=Game"]);
    standalone.until_processed(&id);
    assert!(standalone.stop().success());
}

#[test]
fn a_submit_address_that_somebody_has_is_refused_before_anything_is_started() {
    let dir = folder();
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = somebody.local_addr().unwrap().to_string();

    let refused = command().args(["standalone", "--listen", &address, "--data"]).arg(dir.path()).run_to_end();

    assert_eq!(refused.status.code(), Some(1));
    let message = stderr(&refused);
    assert!(message.contains(&format!("{address} cannot be used as the submit address")), "{message}");
    assert!(message.contains("--listen"), "{message}");
    assert!(!message.contains("starting PostgreSQL"), "{message}");
}

#[test]
fn a_submit_address_in_the_settings_file_is_taken_at_the_next_start() {
    let (dir, database, name) = (folder(), Database::create("settings_file"), namespace("settings_file"));
    let settings = settings(&database, &amqp_url(), &name);
    let standalone = Standalone::start(dir.path(), &settings);
    let before = standalone.submit_url.clone();
    assert!(standalone.stop().success());

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    fs::write(dir.path().join("crashmill.toml"), format!("[collector]\nlisten = '{free}'\n")).unwrap();
    let mut start = command();
    start.args(["standalone", "--data"]).arg(dir.path());
    let standalone = Standalone::run(start, dir.path(), &settings);

    assert_eq!(standalone.submit_url, format!("http://{free}/submit"));
    assert_ne!(standalone.submit_url, before);
    assert!(standalone.stop().success());
}

#[test]
fn a_wrong_settings_file_is_refused_before_anything_is_started() {
    let dir = folder();
    fs::write(dir.path().join("crashmill.toml"), "[collector]\nlissten = '127.0.0.1:0'\n").unwrap();

    let refused = command().args(["standalone", "--data"]).arg(dir.path()).run_to_end();

    assert_eq!(refused.status.code(), Some(1));
    let message = stderr(&refused);
    assert!(message.contains("crashmill.toml:2:1") && message.contains("lissten"), "{message}");
    assert!(!message.contains("starting PostgreSQL"), "{message}");
}

#[test]
fn a_standalone_without_a_folder_is_wrong_usage() {
    let refused = command().arg("standalone").run_to_end();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("--data DIR"), "{}{}", printed(&refused), stderr(&refused));
}

/// The settings of a standalone with a database server of its own and the tests' broker.
fn own_database(test_name: &str) -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__QUEUE__URL", &amqp_url()),
        setting("CRASHMILL__QUEUE__NAMESPACE", &namespace(test_name)),
        setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"),
        setting("CRASHMILL__STACKWALK__WORKERS", "1"),
    ]
}

/// The settings of a standalone with a broker of its own and a database on the tests' server.
fn own_broker(database: &Database) -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__FACTS__URL", database.url()),
        setting("CRASHMILL__QUEUE__RECONNECT_DELAY", "500ms"),
        setting("CRASHMILL__STACKWALK__WORKERS", "1"),
    ]
}
