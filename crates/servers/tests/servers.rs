//! The real servers: they come up, survive what may happen to them and their supervisor, and leave nothing behind.

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use servers::{Durability, Error, Guard, Layout, Postgres, RabbitMq, Urls};
use tempfile::TempDir;
use testing::eventually_blocking;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn servers_whose_supervisor_is_killed_are_gone_and_go_on_where_they_were_at_the_next_start() {
    let dir = folder();
    let (mut supervisor, urls) = supervise(&dir);
    let processes = descendants(supervisor.id());
    let mut client = connect(&urls);
    client
        .batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)")
        .expect("a database of ours");
    assert_eq!(servers::urls(dir.path()).expect("a record"), Some(urls.clone()));

    let second = Layout::at(dir.path()).expect_err("the folder is taken");
    assert!(second.to_string().contains(&format!("in use by process {}", supervisor.id())), "{second}");

    supervisor.kill().expect("a child of ours");
    supervisor.wait().expect("a child of ours");
    let (mut supervisor, urls_again) = supervise(&dir);

    all_gone(&processes);
    assert_eq!(urls_again, urls);
    let kept: i32 = connect(&urls).query_one("SELECT n FROM kept", &[]).expect("the table is there").get(0);
    assert_eq!(kept, 42);
    assert!(speaks_amqp(&urls));

    let processes = descendants(supervisor.id());
    assert!(processes.len() >= 6, "three guards and what they guard: {processes:?}");
    signal(supervisor.id(), Signal::TERM);
    assert!(supervisor.wait().expect("a child of ours").success());
    all_gone(&processes);
}

#[test]
fn a_server_that_dies_can_be_restarted_at_the_same_address() {
    let dir = folder();
    let layout = Layout::guarded_by(dir.path(), guard()).expect("a folder of ours");
    let mut postgres = Postgres::start(&layout, Durability::Full).expect("PostgreSQL starts");
    let url = postgres.url();
    let mut client = Client::connect(&url, NoTls).expect("it takes connections");
    client.batch_execute("CREATE TABLE kept (n int)").expect("a database of ours");
    let timezone: String = client.query_one("SHOW timezone", &[]).expect("a setting").get(0);
    let checksums: String = client.query_one("SHOW data_checksums", &[]).expect("a setting").get(0);
    let fsync: String = client.query_one("SHOW fsync", &[]).expect("a setting").get(0);
    assert_eq!((timezone.as_str(), checksums.as_str(), fsync.as_str()), ("UTC", "on", "on"));
    let upper: String = client.query_one("SELECT upper('é')", &[]).expect("an expression").get(0);
    assert_eq!(upper, "É");

    signal(postgres.guarded().program_pid().expect("it runs"), Signal::KILL);
    eventually_blocking(SOON, || postgres.try_wait().expect("a child of ours"));
    postgres.restart().expect("it starts again");

    assert_eq!(postgres.url(), url);
    Client::connect(&url, NoTls)
        .and_then(|mut client| client.batch_execute("SELECT n FROM kept"))
        .expect("as before");
    assert!(postgres.stop().expect("a child of ours").success());
}

#[test]
fn a_broker_that_dies_can_be_restarted_at_the_same_address_even_without_its_port_mapper() {
    let dir = folder();
    let layout = Layout::guarded_by(dir.path(), guard()).expect("a folder of ours");
    let mut rabbitmq = RabbitMq::start(&layout, Durability::Full).expect("RabbitMQ starts");
    let url = rabbitmq.url();

    signal(rabbitmq.guarded().program_pid().expect("it runs"), Signal::KILL);
    eventually_blocking(SOON, || rabbitmq.try_wait().expect("a child of ours"));
    rabbitmq.restart().expect("it starts again");
    assert_eq!(rabbitmq.url(), url);

    signal(rabbitmq.epmd().program_pid().expect("it runs"), Signal::KILL);
    eventually_blocking(SOON, || rabbitmq.try_wait().expect("a child of ours"));
    rabbitmq.restart().expect("it starts again");

    assert!(speaks_amqp(&Urls { postgres: None, amqp: Some(url) }));
    rabbitmq.stop().expect("a child of ours");
}

#[test]
fn a_server_that_does_not_start_shows_the_end_of_its_log() {
    let dir = folder();
    let layout = Layout::guarded_by(dir.path(), guard()).expect("a folder of ours");
    let mut postgres = Postgres::start(&layout, Durability::Fast).expect("PostgreSQL starts");
    postgres.stop().expect("a child of ours");
    let configuration = layout.data().join("postgres/data/postgresql.conf");
    fs::write(configuration, "no_such_setting = 1\n").expect("a file of ours");

    let error = Postgres::start(&layout, Durability::Fast).expect_err("the configuration is wrong");

    assert!(matches!(error, Error::Startup { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("PostgreSQL ended before it was ready"), "{message}");
    assert!(message.contains("no_such_setting"), "{message}");
    assert!(!message.contains("is ready to accept connections"), "that was the start before: {message}");
}

#[test]
fn a_folder_that_the_servers_cannot_reach_has_its_data_elsewhere_and_a_wiped_one_none() {
    let dir = folder();
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("a folder of ours");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("ours");
    let layout = Layout::at(&closed.join("demo")).expect("a folder of ours");

    let root = rustix::process::geteuid().is_root();
    assert_eq!(layout.data().starts_with(&closed), !root, "{}", layout.data().display());
    let data = layout.data().to_path_buf();
    drop(layout);
    let again = Layout::at(&closed.join("demo")).expect("free again");
    assert_eq!(again.data(), data);

    fs::write(data.join("something"), "left").expect("a folder of ours");
    again.wipe().expect("a folder of ours");
    assert_eq!(fs::read_dir(&data).expect("it is there").count(), 0);
    fs::remove_dir(&data).expect("a folder of ours");
}

#[test]
fn the_data_of_a_folder_that_was_removed_do_not_come_back() {
    let dir = folder();
    let layout = Layout::at(dir.path()).expect("a folder of ours");
    fs::write(layout.data().join("something"), "old").expect("a folder of ours");
    let data = layout.data().to_path_buf();
    drop(layout);
    fs::remove_file(dir.path().join("servers.json")).expect("a file of ours");

    let layout = Layout::at(dir.path()).expect("a folder of ours");

    assert_eq!(layout.data(), data);
    assert_eq!(fs::read_dir(&data).expect("it is there").count(), 0);
    assert!(dir.path().join("servers.old/something").exists(), "the last are kept");
}

/// A folder that the servers' users can reach when we are root, as the folders of people usually are.
fn folder() -> TempDir {
    let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("ours");
    dir
}

fn guard() -> Guard {
    Guard::at(env!("CARGO_BIN_EXE_private-servers"))
}

/// Starts both servers under a supervisor that can be killed, and reads what it prints when they are ready.
fn supervise(dir: &TempDir) -> (Child, Urls) {
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_private-servers"))
        .arg("--fast")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the supervisor starts");
    // All that it prints: it would end, and the servers with it, if nobody read the last line.
    let lines: Vec<String> = BufReader::new(supervisor.stdout.take().expect("piped"))
        .lines()
        .take(3)
        .collect::<Result<_, _>>()
        .expect("lines of text");
    let value = |line: &String| line.split('\'').nth(1).map(str::to_owned);
    let urls = Urls { postgres: lines.first().and_then(value), amqp: lines.get(1).and_then(value) };
    assert!(urls.postgres.is_some(), "the servers did not start");
    (supervisor, urls)
}

fn connect(urls: &Urls) -> Client {
    Client::connect(urls.postgres.as_ref().expect("a URL"), NoTls).expect("PostgreSQL answers")
}

fn speaks_amqp(urls: &Urls) -> bool {
    let url = urls.amqp.as_ref().expect("a URL");
    let (_, address) = url.trim_end_matches("/%2f").rsplit_once('@').expect("a user in the URL");
    let mut stream = TcpStream::connect(address).expect("RabbitMQ listens");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(b"AMQP\x00\x00\x09\x01").expect("it takes the header");
    let mut reply = [0; 1];
    stream.read_exact(&mut reply).expect("it answers");
    reply == [1]
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("a process of ours");
}

/// A process and when it began, since its id may be given to another.
type Process = (u32, String);

fn descendants(pid: u32) -> Vec<Process> {
    let all: Vec<u32> = fs::read_dir("/proc")
        .expect("Linux")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|pid| stat(**pid, 1) == Some(parent.to_string())));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(|pid| Some((pid, stat(pid, 19)?))).collect()
}

fn all_gone(processes: &[Process]) {
    eventually_blocking(SOON, || {
        let alive = |(pid, began): &&Process| {
            stat(*pid, 19).as_ref() == Some(began) && stat(*pid, 0).is_some_and(|state| state != "Z")
        };
        processes.iter().find(alive).is_none().then_some(())
    });
}

/// A field of a process's `stat`, counted from the one after its name.
fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}
