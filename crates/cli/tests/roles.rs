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
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crashstore::space::Room;
use rustix::process::Signal;
use support::{
    RunToEnd,
    client::{self, Answer},
    command,
    daemon::{END, READY, Role, broker, free_address, migrated, nowhere, places},
    folder,
    processes::{self, Process},
    standalone::{setting, settings},
    stderr,
};
use tempfile::TempDir;
use testing::{Database, Proxy, SmallDisk, amqp_url, eventually_blocking, namespace, report};

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
fn the_scheduler_that_waits_leads_within_seconds_once_the_leader_is_killed() {
    let database = Database::create("leader_killed");
    let mut settings = migrated(&database, database.url(), &amqp_url(), "leader_killed");
    settings.push(setting("CRASHMILL__SCHEDULER__LEAD_EVERY", "1s"));
    let [first, second] = [folder(), folder()];
    let mut leader = Role::ready("scheduler", first.path(), &settings);
    leader.until_logged(&["this scheduler leads"]);
    let mut next = Role::ready("scheduler", second.path(), &settings);
    next.until_logged(&["another scheduler leads"]);

    leader.process.kill().unwrap();
    let killed = Instant::now();
    next.until_logged(&["this scheduler leads"]);
    // A second, its jitter, and a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    assert!(next.stop().success());
}

#[test]
fn a_collector_whose_disk_fills_up_refuses_in_time_and_takes_crashes_again_by_itself() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let dir = folder();
    let mut settings = broker(&amqp_url(), "collector_full");
    let on_disk = |name: &str| disk.path().join(name).display().to_string();
    settings.push(setting("CRASHMILL__CRASHSTORE__PATH", &on_disk("store")));
    settings.push(setting("CRASHMILL__QUEUE__JOURNAL", &on_disk("journal")));
    let mut collector = Role::ready("collector", dir.path(), &settings);
    let url = collector.url();
    let (content_type, body) =
        report::multipart(&[("ProductName", "Game")], &[("upload_file_minidump", b"MDMP")]);
    let answer = || client::exchange(&url, &content_type, &body).unwrap();
    assert!(answer().starts_with("HTTP/1.1 200 "));
    let stored = bytes_below(&disk.path().join("store"));

    // As far down as the mark it is said, and crashes are taken.
    disk.fill_to(5 << 20);
    collector.until_logged(&["a disk fills up", "below warn_below"]);
    assert!(answer().starts_with("HTTP/1.1 200 "));
    let stored = stored.max(bytes_below(&disk.path().join("store")));
    disk.fill_to(2 << 20);
    collector.until_logged(&["a disk fills up", "below refuse_below"]);
    let refused = answer();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 60"), "{refused}");
    assert_eq!(bytes_below(&disk.path().join("store")), stored);
    assert!(Room::of(disk.path()).unwrap().free > 1 << 20);

    disk.make_room();
    collector.until_logged(&["a disk has room again"]);
    assert!(answer().starts_with("HTTP/1.1 200 "));
    assert!(collector.stop().success());
}

/// How long all files below a folder are together.
fn bytes_below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            folder if folder.is_dir() => bytes_below(&entry.path()),
            file => file.len(),
        })
        .sum()
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

/// A processor that was asked to stop with one crash in hand, whose worker stands still.
struct InHand {
    dir: TempDir,
    database: Database,
    settings: Vec<(String, String)>,
    processor: Role,
    worker: Process,
}

impl InHand {
    fn stopping(name: &str, more: &[(String, String)]) -> Self {
        let (dir, database) = (folder(), Database::create(name));
        let mut settings = migrated(&database, database.url(), &amqp_url(), name);
        settings.extend(more.iter().cloned());
        let mut collector = Role::ready("collector", dir.path(), &settings);
        let mut processor = Role::ready("processor", dir.path(), &settings);
        for role in [&mut collector, &mut processor] {
            role.until_logged(&["connected to RabbitMQ"]);
        }
        let worker =
            processes::until_there(processor.process.id(), |command| command.ends_with("stackwalk-worker"));
        processes::signal(worker.pid, Signal::STOP);
        client::post(&collector.url(), &[("ProductName", "Game")], &report::minidump()).expect("an answer");
        assert!(collector.stop().success());
        until_taken(&settings);
        processes::signal(processor.process.id(), Signal::TERM);
        processor.until_logged(&["finishing the crashes in flight", "\"crashes\":1"]);
        Self { dir, database, settings, processor, worker }
    }

    fn facts(&self) -> i64 {
        self.database.number("SELECT count(*) FROM fact_crash WHERE attempt = 1")
    }

    /// Waits for the processor's end.
    #[track_caller]
    fn ended(&mut self) -> Option<i32> {
        let process = &mut self.processor.process;
        eventually_blocking(END, || process.try_wait().unwrap()).code()
    }
}

/// Waits until no crash waits on a queue: somebody has it.
fn until_taken(settings: &[(String, String)]) {
    let of = |ending: &str| settings.iter().find(|(name, _)| name.ends_with(ending)).unwrap().1.clone();
    let queue =
        queue::Config { url: amqp_url().parse().unwrap(), namespace: of("NAMESPACE"), ..Default::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    eventually_blocking(READY, || {
        let depths = runtime.block_on(queue::depths(&queue)).unwrap();
        depths.iter().all(|depth| depth.ready == 0).then_some(())
    });
}

#[test]
fn a_processor_that_is_asked_to_stop_saves_the_crash_in_hand() {
    let mut in_hand = InHand::stopping("processor_in_hand", &[]);
    assert_eq!(in_hand.facts(), 0);

    processes::signal(in_hand.worker.pid, Signal::CONT);
    assert_eq!(in_hand.ended(), Some(0), "{}", in_hand.processor.logged());
    assert_eq!(in_hand.facts(), 1);
}

#[test]
fn a_processor_whose_time_to_stop_is_over_leaves_the_crash_in_hand_to_the_next_one() {
    let deadline = setting("CRASHMILL__DAEMON__SHUTDOWN_TIMEOUT", "500ms");
    let mut in_hand = InHand::stopping("processor_late", &[deadline]);

    assert_eq!(in_hand.ended(), Some(1), "{}", in_hand.processor.logged());
    assert_eq!(in_hand.facts(), 0);
    processes::until_gone(std::slice::from_ref(&in_hand.worker));

    let next = Role::ready("processor", in_hand.dir.path(), &in_hand.settings);
    eventually_blocking(READY, || (in_hand.facts() == 1).then_some(()));
    assert!(next.stop().success());
}

#[test]
fn a_collector_that_is_asked_to_stop_while_the_broker_is_silent_answers_what_it_has_begun() {
    let dir = folder();
    let proxy = Proxy::to_url(&amqp_url());
    let mut collector = Role::ready("collector", dir.path(), &broker(&proxy.url(), "collector_silent"));
    collector.until_logged(&["connected to RabbitMQ"]);
    proxy.silence();
    let url = collector.url();
    let client = thread::spawn(move || client::report(&url, &[("ProductName", "Game")], &report::minidump()));
    // The crash is stored, and its publish is under way.
    eventually_blocking(READY, || {
        let has_raw = fs::read_dir(dir.path().join("store/raw")).is_ok_and(|mut days| days.next().is_some());
        has_raw.then_some(())
    });

    assert!(collector.stop().success());
    let answer = client.join().unwrap();
    assert!(matches!(answer, Answer::Taken(_)), "{answer:?}");
    let journaled = fs::read_dir(dir.path().join("journal")).unwrap().count();
    assert_eq!(journaled, 1, "the id waits for the next start");
}

#[test]
fn a_scheduler_ends_with_0_while_its_servers_are_silent() {
    let (dir, database) = (folder(), Database::create("scheduler_silent"));
    let (to_database, to_broker) = (Proxy::to_url(database.url()), Proxy::to_url(&amqp_url()));
    let mut settings = migrated(&database, &to_database.url(), &to_broker.url(), "scheduler_silent");
    settings.push(setting("CRASHMILL__SCHEDULER__SWEEP_EVERY", "100ms"));
    let mut scheduler = Role::ready("scheduler", dir.path(), &settings);
    scheduler.until_logged(&["this scheduler leads"]);
    to_database.silence();
    to_broker.silence();

    let log = scheduler.log.clone();
    assert_eq!(scheduler.stop().code(), Some(0), "{}", fs::read_to_string(log).unwrap());
}
