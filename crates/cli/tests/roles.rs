//! The roles started one by one, as systemd starts them: how they end, and what they say when they cannot start.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use support::{
    RunToEnd, client, command, folder, processes,
    standalone::{setting, settings},
    stderr, stdout,
};
use tempfile::TempDir;
use testing::{Database, Proxy, amqp_url, eventually_blocking, namespace, report};

/// How long a role may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long a role that has nothing in hand may take to end.
const END: Duration = Duration::from_secs(10);

/// A role's process, with its store, its journal and its log in a folder.
struct Role {
    process: Child,
    log: PathBuf,
    listen: SocketAddr,
}

impl Role {
    fn start(name: &str, dir: &Path, settings: &[(String, String)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).expect("the log can be made");
        let listen = free_address();
        let process = command()
            .arg(name)
            .envs(places(dir, listen))
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the executable runs");
        Self { process, log, listen }
    }

    /// Starts a role and waits until it does its work.
    fn ready(name: &str, dir: &Path, settings: &[(String, String)]) -> Self {
        let mut role = Self::start(name, dir, settings);
        role.until_logged(&["\"ready\""]);
        role
    }

    fn url(&self) -> String {
        format!("http://{}/submit", self.listen)
    }

    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line with all of these texts.
    #[track_caller]
    fn until_logged(&mut self, texts: &[&str]) {
        eventually_blocking(READY, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            let found = self.logged().lines().any(|line| texts.iter().all(|text| line.contains(text)));
            assert!(found || ended.is_none(), "it ended ({ended:?}):\n{}", self.logged());
            found.then_some(())
        });
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    fn stop(mut self) -> ExitStatus {
        processes::signal(self.process.id(), Signal::TERM);
        let process = &mut self.process;
        eventually_blocking(END, || process.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("there is a free port").local_addr().expect("a listener has one")
}

/// Where a role keeps its files and listens, as environment variables.
fn places(dir: &Path, listen: SocketAddr) -> Vec<(String, String)> {
    let path = |name: &str| dir.join(name).to_str().expect("folders of tests are text").to_owned();
    vec![
        setting("CRASHMILL__CRASHSTORE__PATH", &path("store")),
        setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
        setting("CRASHMILL__SYMBOLS__CACHE", &path("symbols-cache")),
        setting("CRASHMILL__COLLECTOR__LISTEN", &listen.to_string()),
        setting("CRASHMILL__DAEMON__LOG__FORMAT", "json"),
    ]
}

/// The URL of a server that is down: nobody listens there.
fn nowhere(scheme: &str) -> String {
    format!("{scheme}://crashmill:secret@{}/crashmill", free_address())
}

/// The settings of a role with a database that has its schema, a broker's URL and a namespace of its own.
fn migrated(database: &Database, database_url: &str, broker: &str, name: &str) -> Vec<(String, String)> {
    let (key, url) = setting("CRASHMILL__FACTS__URL", database.url());
    stdout(&command().arg("migrate").env(&key, url).run_to_end());
    let mut settings = settings(database, broker, &namespace(name));
    settings.retain(|(name, _)| *name != key);
    settings.push(setting(&key, database_url));
    settings.push(setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"));
    settings
}

/// The settings of a collector, which knows no database.
fn broker(url: &str, name: &str) -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__QUEUE__URL", url),
        setting("CRASHMILL__QUEUE__NAMESPACE", &namespace(name)),
        setting("CRASHMILL__QUEUE__PUBLISH_TIMEOUT", "1s"),
    ]
}

#[test]
fn a_collector_that_is_asked_to_stop_ends_with_0() {
    let dir = folder();
    let collector = Role::ready("collector", dir.path(), &broker(&amqp_url(), "collector_stop"));
    // Neither a connection that says nothing nor one that is done keeps it.
    let _silent = TcpStream::connect(collector.listen).unwrap();
    let mut asking = TcpStream::connect(collector.listen).unwrap();
    write!(asking, "GET /__lbheartbeat__ HTTP/1.1\r\nHost: crashes\r\n\r\n").unwrap();
    asking.read_exact(&mut [0; 12]).unwrap();

    assert!(collector.stop().success());
}

#[test]
fn a_collector_ends_with_0_while_the_broker_is_down_and_answers_until_then() {
    let dir = folder();
    let collector = Role::ready("collector", dir.path(), &broker(&nowhere("amqp"), "collector_nowhere"));
    let url = format!("http://{}/submit", collector.listen);
    let answer = client::post(&url, &[("ProductName", "Game")], &report::minidump());
    assert!(answer.is_some(), "{}", collector.logged());

    assert!(collector.stop().success());
}

/// A collector with two clients that have begun and go on no more: one with its body, one with its head.
fn half_sent(name: &str, key: &str) -> (TempDir, Role, [TcpStream; 2]) {
    let dir = folder();
    let mut settings = broker(&amqp_url(), name);
    settings.push(setting(key, "500ms"));
    let collector = Role::ready("collector", dir.path(), &settings);
    let mut head = TcpStream::connect(collector.listen).unwrap();
    head.write_all(b"POST /submit HTTP/1.1\r\nHost:").unwrap();
    let (content_type, whole) = report::multipart(&[("ProductName", "Game")], &[]);
    let mut body = client::begin(&collector.url(), &content_type, whole.len()).unwrap();
    body.write_all(&whole[..whole.len() / 2]).unwrap();
    (dir, collector, [head, body])
}

#[test]
fn a_collector_hangs_up_on_half_sent_reports_and_ends_with_0() {
    let (_dir, collector, [_, mut body]) = half_sent("collector_half", "CRASHMILL__COLLECTOR__DRAIN_TIMEOUT");

    assert!(collector.stop().success());
    let mut answer = Vec::new();
    // Either an end or a reset; what counts is that nothing was promised.
    body.read_to_end(&mut answer).unwrap_or_default();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_collector_that_is_not_done_by_its_deadline_ends_with_1_and_says_so() {
    let (_dir, collector, _clients) = half_sent("collector_late", "CRASHMILL__DAEMON__SHUTDOWN_TIMEOUT");

    let log = collector.log.clone();
    assert_eq!(collector.stop().code(), Some(1));
    let logged = fs::read_to_string(log).unwrap();
    assert!(logged.contains("the time to finish is over"), "{logged}");
}

#[test]
fn a_report_that_is_sent_to_its_end_while_the_collector_stops_is_answered() {
    let dir = folder();
    let mut collector = Role::ready("collector", dir.path(), &broker(&amqp_url(), "collector_whole"));
    let (content_type, body) = report::multipart(&[("ProductName", "Game")], &[]);
    let mut sending = client::begin(&collector.url(), &content_type, body.len()).unwrap();
    sending.write_all(&body[..body.len() / 2]).unwrap();

    processes::signal(collector.process.id(), Signal::TERM);
    collector.until_logged(&["stopping: finishing what is in hand"]);
    sending.write_all(&body[body.len() / 2..]).unwrap();
    let mut answer = String::new();
    sending.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("CrashID=bp-"), "{answer}");
    let process = &mut collector.process;
    assert!(eventually_blocking(END, || process.try_wait().unwrap()).success());
}

#[test]
fn a_processor_that_is_asked_to_stop_ends_with_0_and_leaves_no_worker() {
    let (dir, database) = (folder(), Database::create("processor_stop"));
    let settings = migrated(&database, database.url(), &amqp_url(), "processor_stop");
    let processor = Role::ready("processor", dir.path(), &settings);
    let workers = processes::descendants(processor.process.id());
    assert!(!workers.is_empty());

    assert!(processor.stop().success());
    assert!(workers.iter().all(|worker| !worker.is_alive()), "{workers:?}");
}

#[test]
fn a_processor_that_is_killed_leaves_no_worker() {
    let (dir, database) = (folder(), Database::create("processor_killed"));
    let settings = migrated(&database, database.url(), &amqp_url(), "processor_killed");
    let mut processor = Role::ready("processor", dir.path(), &settings);
    let workers = processes::descendants(processor.process.id());
    assert!(!workers.is_empty());

    processor.process.kill().unwrap();
    processes::until_gone(&workers);
}

#[test]
fn a_processor_ends_with_0_while_the_broker_is_down() {
    let (dir, database) = (folder(), Database::create("processor_nowhere"));
    let settings = migrated(&database, database.url(), &nowhere("amqp"), "processor_nowhere");
    let processor = Role::ready("processor", dir.path(), &settings);

    assert!(processor.stop().success());
}

#[test]
fn a_processor_ends_with_0_while_a_crash_waits_for_the_database_and_the_next_one_takes_it() {
    let (dir, database) = (folder(), Database::create("processor_cut"));
    let proxy = Proxy::to_url(database.url());
    let settings = migrated(&database, &proxy.url(), &amqp_url(), "processor_cut");
    let collector = Role::ready("collector", dir.path(), &settings);
    let mut processor = Role::ready("processor", dir.path(), &settings);
    proxy.cut();
    client::post(&collector.url(), &[("ProductName", "Game")], &report::minidump()).expect("an answer");
    processor.until_logged(&["a dependency is down", "postgresql"]);

    assert!(processor.stop().success());
    assert_eq!(database.number("SELECT count(*) FROM fact_crash"), 0);

    proxy.restore();
    let processor = Role::ready("processor", dir.path(), &settings);
    eventually_blocking(READY, || (database.number("SELECT count(*) FROM fact_crash") == 1).then_some(()));
    assert_eq!(database.number("SELECT count(*) FROM fact_crash WHERE attempt = 1"), 1);
    assert_eq!(database.number("SELECT count(*) FROM crash_attempt"), 0);
    assert!(processor.stop().success());
    assert!(collector.stop().success());
}

#[test]
fn a_scheduler_ends_with_0_whether_its_servers_are_there_or_not() {
    let (dir, database) = (folder(), Database::create("scheduler_stop"));
    let settings = migrated(&database, database.url(), &amqp_url(), "scheduler_stop");
    assert!(Role::ready("scheduler", dir.path(), &settings).stop().success());

    let proxy = Proxy::to_url(database.url());
    let settings = migrated(&database, &proxy.url(), &nowhere("amqp"), "scheduler_nowhere");
    let scheduler = Role::ready("scheduler", dir.path(), &settings);
    proxy.cut();
    assert!(scheduler.stop().success());
}

#[test]
fn a_port_that_somebody_has_is_named_with_its_setting() {
    let dir = folder();
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap().to_string();
    for (name, key) in [
        ("CRASHMILL__COLLECTOR__LISTEN", "collector.listen"),
        ("CRASHMILL__DAEMON__METRICS_LISTEN", "daemon.metrics_listen"),
    ] {
        let refused = command()
            .arg("collector")
            .envs(places(dir.path(), free_address()))
            .envs(broker(&nowhere("amqp"), "taken"))
            .env(name, &taken)
            .run_to_end();
        assert_eq!(refused.status.code(), Some(1), "{name}");
        let message = stderr(&refused);
        let line = message.lines().find(|line| line.starts_with("crashmill collector: ")).expect("one line");
        assert!(line.contains(&taken) && line.contains(key) && line.contains("in use"), "{line}");
    }
}

#[test]
fn a_processor_without_a_schema_or_a_database_says_what_to_do() {
    let (dir, database) = (folder(), Database::create("processor_refused"));
    let refused = |url: &str| {
        let output = command()
            .arg("processor")
            .envs(places(dir.path(), free_address()))
            .envs(settings(&database, &amqp_url(), &namespace("processor_refused")))
            .env("CRASHMILL__FACTS__URL", url)
            .run_to_end();
        assert_eq!(output.status.code(), Some(1));
        let message = stderr(&output);
        let line = message.lines().find(|line| line.starts_with("crashmill processor: ")).expect("one line");
        assert!(!line.contains("secret"), "{line}");
        line.to_owned()
    };

    let line = refused(database.url());
    assert!(line.contains("crashmill migrate"), "{line}");
    let line = refused(&nowhere("postgres"));
    assert!(line.contains("connecting to PostgreSQL") && line.contains("refused"), "{line}");
}
