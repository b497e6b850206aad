//! Whatever is killed or cut off while crashes come in: what was answered has one fact, and nothing has two.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    env,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use support::{
    client, dump_in, folder, processes,
    processes::Process,
    standalone::{Standalone, setting, settings},
};
use testing::{Database, Proxy, amqp_url, eventually_blocking, namespace, report};

/// Decides when what is killed; `CRASHMILL_TEST_SEED` names another storm.
const SEED: u64 = 20_261_123;
const CRASHES: usize = 100;
const CLIENTS: usize = 4;
/// How many crashes may come while the killer makes up its mind.
const AHEAD: usize = 10;
/// How long all facts may take, with restarts and retries on the way.
const FACTS: Duration = Duration::from_secs(60);
/// How long the next crash may take to come, with a collector that is being restarted on the way.
const NEXT_CRASH: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
enum Victim {
    Collector,
    Processor,
    Worker,
}

impl Victim {
    fn find(self, standalone: &Standalone) -> Process {
        match self {
            Self::Collector => standalone.role("collector"),
            Self::Processor => standalone.role("processor"),
            Self::Worker => processes::until_there(standalone.process.id(), |command| {
                command.ends_with(" stackwalk-worker")
            }),
        }
    }
}

/// A crash that was sent: its number, which is its build id too, and its crash id where it was answered.
struct Sent {
    number: usize,
    answer: Option<String>,
}

/// What clients and killer know of each other.
struct Storm {
    /// How many crashes have been begun.
    begun: AtomicUsize,
    /// How many crashes may be begun: so that they do not all come before the next kill.
    allowed: AtomicUsize,
    /// Where the number of each crash goes when it is sent.
    tell: mpsc::Sender<usize>,
}

#[test]
fn every_crash_that_was_answered_has_exactly_one_fact_whatever_was_killed_meanwhile() {
    let (dir, database, name) = (folder(), Database::create("kills"), namespace("kills"));
    let mut settings = settings(&database, &amqp_url(), &name);
    settings.push(setting("CRASHMILL__QUEUE__RETRY_DELAYS", "['200ms']"));
    let standalone = Standalone::start(dir.path(), &settings);

    let (tell, begun) = mpsc::channel();
    let storm = Storm { begun: AtomicUsize::new(0), allowed: AtomicUsize::new(0), tell };
    let sent = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| send(&standalone, &storm))).collect();
        kill(&standalone, &storm, &begun);
        clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect::<Vec<_>>()
    });

    let answered: Vec<&Sent> = sent.iter().filter(|sent| sent.answer.is_some()).collect();
    println!("{} of {} crashes were answered", answered.len(), sent.len());
    assert!(answered.len() > CRASHES / 2, "a storm that stops everything shows nothing");
    let ids: Vec<String> =
        answered.iter().flat_map(|sent| &sent.answer).map(|id| format!("'{id}'")).collect();
    let of_answered = format!("SELECT count(*) FROM fact_crash WHERE crash_id IN ({})", ids.join(", "));
    let expected = i64::try_from(ids.len()).unwrap();
    eventually_blocking(FACTS, || (database.number(&of_answered) == expected).then_some(()));
    // Crashes that were stored and not answered may still be on their way; a dead letter would stay.
    eventually_blocking(FACTS, || {
        let status = standalone.status();
        status["queues"].as_array()?.iter().all(|queue| queue["ready"] == 0).then_some(())
    });
    // What is still in hand is finished before the standalone ends.
    assert!(standalone.stop().success());

    let facts = database.number("SELECT count(*) FROM fact_crash");
    assert!(facts <= i64::try_from(CRASHES).unwrap(), "{facts} facts of {CRASHES} crashes");
    assert_eq!(
        database.number("SELECT count(DISTINCT build_key) FROM fact_crash"),
        facts,
        "none is there twice"
    );
    let numbers: Vec<String> = answered.iter().map(|sent| format!("'{}'", build_id(sent.number))).collect();
    let of_answered = format!(
        "SELECT count(*) FROM fact_crash JOIN dim_build USING (build_key) WHERE build_id IN ({})",
        numbers.join(", ")
    );
    assert_eq!(database.number(&of_answered), expected, "each answer is of the crash that was sent");
    assert_eq!(database.number("SELECT count(*) FROM dead_letter"), 0);
}

/// Sends crashes, each once, until all clients together have sent all.
fn send(standalone: &Standalone, storm: &Storm) -> Vec<Sent> {
    let dump = report::minidump();
    let mut sent = Vec::new();
    loop {
        let number = storm.begun.fetch_add(1, Ordering::Relaxed);
        if number >= CRASHES {
            return sent;
        }
        eventually_blocking(NEXT_CRASH, || (number < storm.allowed.load(Ordering::Relaxed)).then_some(()));
        let build_id = build_id(number);
        let annotations = [("ProductName", "Game"), ("Version", "1.0"), ("BuildID", &build_id)];
        storm.tell.send(number).expect("somebody listens");
        let answer = client::post(&standalone.submit_url, &annotations, &dump);
        if answer.is_none() {
            // The next one is sent to a collector that is there again.
            standalone.until_listening();
        }
        sent.push(Sent { number, answer });
    }
}

/// A build of its own for each crash, so that facts can be told apart by what was sent.
fn build_id(number: usize) -> String {
    format!("2026110112{number:04}")
}

/// Kills one after the other, each when so many crashes have been begun as chance decides.
fn kill(standalone: &Standalone, storm: &Storm, begun: &mpsc::Receiver<usize>) {
    let seed = env::var("CRASHMILL_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a seed is a number"));
    println!("the seed is {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut victims = [
        Victim::Collector,
        Victim::Collector,
        Victim::Processor,
        Victim::Processor,
        Victim::Worker,
        Victim::Worker,
        Victim::Worker,
    ];
    victims.shuffle(&mut chance);
    let mut moments = victims.map(|_| chance.random_range(1..CRASHES - AHEAD));
    moments.sort_unstable();
    for (victim, moment) in victims.into_iter().zip(moments) {
        let process = victim.find(standalone);
        storm.allowed.store(moment + AHEAD, Ordering::Relaxed);
        while begun.recv_timeout(NEXT_CRASH).expect("crashes go on") < moment {}
        println!("{victim:?} is killed when {moment} crashes were begun");
        process.kill();
    }
    storm.allowed.store(CRASHES, Ordering::Relaxed);
}

#[test]
fn crashes_wait_for_a_database_that_is_cut_off_and_no_attempt_is_spent() {
    let (dir, database, name) = (folder(), Database::create("cut_database"), namespace("cut_database"));
    let dump = dump_in(dir.path());
    let proxy = Proxy::to_url(database.url());
    let mut settings = settings(&database, &amqp_url(), &name);
    settings.push(setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "200ms"));
    settings.retain(|(name, _)| name != "CRASHMILL__FACTS__URL");
    settings.push(setting("CRASHMILL__FACTS__URL", &proxy.url()));
    let standalone = Standalone::start(dir.path(), &settings);

    proxy.cut();
    let ids: Vec<String> = (0..3).map(|_| standalone.submit(&dump, &["ProductName=Game"])).collect();
    eventually_blocking(FACTS, || {
        let log = standalone.log("processor");
        log.lines()
            .any(|line| line.contains("a dependency is down") && line.contains("postgresql"))
            .then_some(())
    });
    let output = standalone.crashmill(&["where", &ids[0]]);
    assert_eq!(output.status.code(), Some(1), "where cannot be certain");
    let said = support::printed(&output);
    assert!(said.contains("raw "), "the store is shown: {said}");
    assert!(said.contains("error ") && said.contains("the database could not be asked"), "{said}");
    assert_eq!(database.number("SELECT count(*) FROM fact_crash"), 0);

    proxy.restore();
    for id in &ids {
        assert_eq!(standalone.until_processed(id)["fact"]["attempt"], 1);
    }
    assert!(standalone.stop().success());
    assert_eq!(database.number("SELECT count(*) FROM crash_attempt"), 0);
    assert_eq!(database.number("SELECT count(*) FROM dead_letter"), 0);
}
