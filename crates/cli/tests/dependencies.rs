//! Each thing that Crashmill depends on, alone, is down, refuses, is silent or slow: what the client sees meanwhile, that no
//! attempt is spent, and how soon everything is well again afterwards.

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
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use support::{
    RunToEnd,
    client::{self, Answer},
    daemon::{Role, migrated},
    folder,
    standalone::setting,
    stderr,
};
use tempfile::TempDir;
use testing::{Database, Proxy, amqp_url, eventually_blocking, report};

/// How long everything may take to be well again.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long a client may wait for its answer: no more than a publish is waited for, and some time for a busy machine.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a crash may take where nothing is wrong but slow.
const SLOWLY: Duration = Duration::from_secs(90);
/// What each chunk takes on a slow way.
const LATENCY: Duration = Duration::from_millis(200);
/// How many crashes come while something is wrong.
const CRASHES: usize = 5;

/// What is wrong with the way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Connections end as soon as they are made.
    Down,
    /// Nobody listens.
    Refusing,
    /// Connections stand, and nothing goes through them.
    Silent,
    /// Everything takes its time.
    Slow(Duration),
    /// Connections end in the middle of what is said, again and again.
    Torn,
}

impl Trouble {
    fn befall(self, way: &Proxy) {
        match self {
            Self::Down => way.cut(),
            Self::Refusing => way.refuse(),
            Self::Silent => way.silence(),
            Self::Slow(latency) => way.slow(latency),
            // Enough for a greeting, not for all that follows.
            Self::Torn => way.cut_after(3_000),
        }
    }
}

/// A collector, a processor and a scheduler, with ways to their servers that can be spoilt.
struct Installation {
    collector: Role,
    processor: Role,
    scheduler: Role,
    database: Database,
    to_database: Proxy,
    to_broker: Proxy,
    _dir: TempDir,
}

impl Installation {
    fn start(name: &str, more: &[(String, String)]) -> Self {
        Self::start_in(folder(), name, more)
    }

    fn start_in(dir: TempDir, name: &str, more: &[(String, String)]) -> Self {
        let database = Database::create(name);
        let (to_database, to_broker) = (Proxy::to_url(database.url()), Proxy::to_url(&amqp_url()));
        let mut settings = migrated(&database, &to_database.url(), &to_broker.url(), name);
        settings.extend(impatient());
        settings.extend(more.iter().cloned());
        let [collector, processor, scheduler] =
            ["collector", "processor", "scheduler"].map(|role| Role::ready(role, dir.path(), &settings));
        Self { collector, processor, scheduler, database, to_database, to_broker, _dir: dir }
    }

    fn report(&self) -> Answer {
        self.report_of(&report::minidump())
    }

    fn report_of(&self, dump: &[u8]) -> Answer {
        client::report(&self.collector.url(), &[("ProductName", "Game")], dump)
    }

    /// Sends crashes, each of which is answered with 200, and soon.
    #[track_caller]
    fn answered(&self, crashes: usize) {
        for _ in 0..crashes {
            let began = Instant::now();
            let answer = self.report();
            assert!(matches!(answer, Answer::Taken(_)), "{answer:?}\n{}", self.collector.logged());
            assert!(began.elapsed() < ANSWER, "the answer took {:?}", began.elapsed());
        }
    }

    /// Waits until so many crashes have their facts.
    #[track_caller]
    fn until_facts(&self, crashes: usize, within: Duration) {
        let began = Instant::now();
        let expected = i64::try_from(crashes).unwrap();
        eventually_blocking(within, || {
            (self.database.number("SELECT count(*) FROM fact_crash") == expected).then_some(())
        });
        println!("{crashes} facts after {:.1?}", began.elapsed());
    }

    /// Nothing was given up, no attempt was spent, and every role still runs and ends well.
    fn ends_well(self) {
        for (table, what) in [
            ("fact_crash WHERE attempt > 1", "attempts were spent"),
            ("crash_attempt", "attempts have failed"),
            ("dead_letter", "crashes were given up"),
        ] {
            let count = self.database.number(&format!("SELECT count(*) FROM {table}"));
            assert_eq!(count, 0, "{what}\n{}", self.processor.logged());
        }
        for role in [self.collector, self.processor, self.scheduler] {
            let log = role.log.clone();
            assert!(role.stop().success(), "{}", fs::read_to_string(log).unwrap());
        }
    }
}

/// What would be waited for in seconds or minutes is waited for more shortly.
fn impatient() -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__QUEUE__PUBLISH_TIMEOUT", "1s"),
        setting("CRASHMILL__QUEUE__RECONNECT_DELAY", "2s"),
        setting("CRASHMILL__FACTS__STATEMENT_TIMEOUT", "2s"),
        setting("CRASHMILL__FACTS__CONNECT_TIMEOUT", "2s"),
        setting("CRASHMILL__SCHEDULER__LEAD_EVERY", "1s"),
        setting("CRASHMILL__SCHEDULER__SWEEP_EVERY", "1s"),
        setting("CRASHMILL__SCHEDULER__SWEEP_AFTER", "2s"),
    ]
}

/// A database in trouble: clients notice nothing, crashes wait, and have their facts soon after it is back.
fn database_in(trouble: Trouble) {
    let mut installation = Installation::start(&format!("database_{trouble:?}"), &[]);
    installation.answered(1);
    installation.until_facts(1, RECOVERY);

    trouble.befall(&installation.to_database);
    installation.answered(CRASHES);
    installation.processor.until_logged(&["a dependency is down", "postgresql"]);
    installation.to_database.restore();

    installation.until_facts(1 + CRASHES, RECOVERY);
    installation.ends_well();
}

#[test]
fn a_database_that_is_down_is_not_noticed_by_clients_and_costs_no_attempt() {
    database_in(Trouble::Down);
}

#[test]
fn a_database_that_refuses_connections_is_not_noticed_by_clients_and_costs_no_attempt() {
    database_in(Trouble::Refusing);
}

#[test]
fn a_database_that_does_not_answer_is_not_noticed_by_clients_and_costs_no_attempt() {
    database_in(Trouble::Silent);
}

#[test]
fn a_database_whose_connections_are_torn_is_not_noticed_by_clients_and_costs_no_attempt() {
    database_in(Trouble::Torn);
}

#[test]
fn with_a_slow_database_crashes_have_their_facts_all_the_same() {
    let installation = Installation::start("database_slow", &[]);
    Trouble::Slow(LATENCY).befall(&installation.to_database);
    installation.answered(CRASHES);
    installation.until_facts(CRASHES, SLOWLY);
    installation.ends_well();
}

/// A broker in trouble: clients are answered, ids wait in the journal, and the crashes have their facts soon after it is back.
fn broker_in(trouble: Trouble) {
    let mut installation = Installation::start(&format!("broker_{trouble:?}"), &[]);
    installation.answered(1);
    installation.until_facts(1, RECOVERY);

    trouble.befall(&installation.to_broker);
    installation.answered(CRASHES);
    installation.collector.until_logged(&["a dependency is down", "rabbitmq"]);
    installation.to_broker.restore();

    installation.until_facts(1 + CRASHES, RECOVERY);
    installation.ends_well();
}

#[test]
fn while_the_broker_is_down_every_client_is_answered() {
    broker_in(Trouble::Down);
}

#[test]
fn while_the_broker_refuses_connections_every_client_is_answered() {
    broker_in(Trouble::Refusing);
}

#[test]
fn while_the_broker_does_not_answer_every_client_is_answered() {
    broker_in(Trouble::Silent);
}

#[test]
fn while_the_connections_to_the_broker_are_torn_every_client_is_answered() {
    broker_in(Trouble::Torn);
}

#[test]
fn with_a_slow_broker_every_client_is_answered_and_crashes_have_their_facts() {
    let installation = Installation::start("broker_slow", &[]);
    Trouble::Slow(LATENCY).befall(&installation.to_broker);
    installation.answered(CRASHES);
    installation.until_facts(CRASHES, SLOWLY);
    installation.ends_well();
}

/// A small disk of a test's own.
struct Disk(PathBuf);

impl Disk {
    /// Nothing, with a word about it, where a test may not mount.
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "tmpfs"]).arg(&at);
        let output = mount.run_to_end();
        if !output.status.success() {
            println!("skipped: no disk can be mounted here: {}", stderr(&output));
            return None;
        }
        Some(Self(at))
    }

    /// Leaves nothing free on it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).run_to_end();
    }
}

/// Some pages that cannot be compressed.
fn noise() -> Vec<u8> {
    (0..16 * 1024).flat_map(|_| rand::random::<u32>().to_le_bytes()).collect()
}

#[test]
fn with_a_full_disk_clients_are_refused_and_what_was_answered_before_waits_and_costs_no_attempt() {
    let dir = folder();
    let Some(disk) = Disk::mount(dir.path().join("store"), "16m") else { return };
    let mut installation = Installation::start_in(dir, "disk_full", &[]);
    installation.answered(1);
    installation.until_facts(1, RECOVERY);

    // While the broker is away crashes are stored and not processed: their results will find no room.
    installation.to_broker.cut();
    installation.answered(CRASHES);
    let filler = disk.fill();
    installation.to_broker.restore();
    installation.processor.until_logged(&["a dependency is down", "crashstore"]);
    // Larger than what is left of the page that was written last.
    let large = [report::minidump(), noise()].concat();
    let refused = installation.report_of(&large);
    assert_eq!(refused, Answer::Refused(503), "nowhere is anything durable: the client has to know");

    fs::remove_file(filler).unwrap();
    let began = Instant::now();
    eventually_blocking(RECOVERY, || installation.report_of(&large).id());
    println!("taken again after {:.1?}", began.elapsed());
    installation.until_facts(2 + CRASHES, RECOVERY);
    installation.ends_well();
    drop(disk);
}

#[test]
fn with_a_full_journal_and_no_broker_every_client_is_answered_and_the_sweep_finds_the_crashes() {
    let dir = folder();
    let Some(disk) = Disk::mount(dir.path().join("journal"), "1m") else { return };
    let installation = Installation::start_in(dir, "journal_full", &[]);
    installation.answered(1);
    installation.until_facts(1, RECOVERY);

    installation.to_broker.cut();
    disk.fill();
    installation.answered(CRASHES);
    installation.to_broker.restore();

    installation.until_facts(1 + CRASHES, RECOVERY);
    installation.ends_well();
}

/// A server that has the symbols of every module whose name begins like a game's.
fn symbol_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || send_symbols(&client));
        }
    });
    url
}

/// Answers one request of the form `GET /<debug file>/<debug id>/<file>`.
fn send_symbols(mut client: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(client).lines();
    let first = lines.next()?.ok()?;
    // What is unread when the connection ends would reset it.
    while lines.next()?.ok().is_some_and(|line| !line.is_empty()) {}
    let path: Vec<&str> = first.split(' ').nth(1)?.split('/').collect();
    let (status, body) = match path[..] {
        ["", file, id, _] if file.starts_with("game") => {
            ("200 OK", format!("MODULE Linux x86_64 {id} {file}\nFUNC 1000 100 0 load_level_of_{file}\n"))
        }
        _ => ("404 Not Found", String::new()),
    };
    let length = body.len();
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").ok()
}

#[test]
fn a_symbol_server_in_trouble_costs_names_of_functions_and_no_attempt_until_it_is_well_again() {
    let to_server = Proxy::to_url(&symbol_server());
    let installation = Installation::start(
        "symbol_server",
        &[
            setting("CRASHMILL__SYMBOLS__SERVERS", &format!("['{}']", to_server.url())),
            setting("CRASHMILL__SYMBOLS__CONNECT_TIMEOUT", "1s"),
            setting("CRASHMILL__SYMBOLS__TIMEOUT", "5s"),
            setting("CRASHMILL__STACKWALK__LIMITS__SYMBOL_WAIT", "1s"),
        ],
    );
    let mut facts = 0;
    let slow = Trouble::Slow(Duration::from_secs(1));
    for (number, trouble) in
        [Trouble::Down, Trouble::Refusing, Trouble::Silent, slow, Trouble::Torn].into_iter().enumerate()
    {
        // A module of its own, whose symbols nobody has asked for.
        let module = format!("game{number}");
        let dump = report::minidump_of(&module, 77 + u128::try_from(number).unwrap(), 0x1010);
        let named = format!(
            "SELECT count(*) FROM fact_crash JOIN dim_signature USING (signature_id) \
             WHERE signature LIKE '%load_level_of_{module}%'"
        );
        match trouble {
            // In the middle of an answer.
            Trouble::Torn => to_server.cut_after(20),
            _ => trouble.befall(&to_server),
        }
        assert!(matches!(installation.report_of(&dump), Answer::Taken(_)), "{trouble:?}");
        facts += 1;
        installation.until_facts(facts, RECOVERY);
        assert_eq!(installation.database.number(&named), 0, "{trouble:?}: nobody could have the symbols");

        to_server.restore();
        let began = Instant::now();
        while installation.database.number(&named) == 0 {
            assert!(began.elapsed() < RECOVERY, "{trouble:?}\n{}", installation.processor.logged());
            assert!(matches!(installation.report_of(&dump), Answer::Taken(_)), "{trouble:?}");
            facts += 1;
            installation.until_facts(facts, RECOVERY);
        }
        println!("after {trouble:?} functions had their names again in {:.1?}", began.elapsed());
    }
    installation.ends_well();
}
