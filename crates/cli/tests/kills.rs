//! Whatever is killed while crashes come in: what was answered has one fact, nothing has two, and nobody has to help.
//!
//! The servers are the standalone's own, made durable as in earnest: what they have confirmed is on the disk when they are
//! killed. A power cut is another matter, and is tested where bytes are written (`crashstore`, `queue`).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rand::{
    RngExt, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use serde_json::Value;
use support::{
    client, folder, printed, processes,
    processes::Process,
    standalone::{Standalone, setting},
};
use testing::{eventually_blocking, report};

/// Decides when what is killed; `CRASHMILL_TEST_SEED` names another storm.
const SEED: u64 = 20_261_123;
const CRASHES: usize = 1_000;
const CLIENTS: usize = 6;
/// What is killed, and how often.
const VICTIMS: [(Victim, usize); 6] = [
    (Victim::Collector, 4),
    (Victim::Processor, 4),
    (Victim::Worker, 6),
    (Victim::Scheduler, 3),
    (Victim::Broker, 2),
    (Victim::Database, 3),
];
/// How many crashes may come while the killer makes up its mind.
const AHEAD: usize = 20;
/// How long all facts may take, with restarts and retries on the way.
const FACTS: Duration = Duration::from_secs(120);
/// How long the next crash may take to come, with a collector that is being restarted on the way.
const NEXT_CRASH: Duration = Duration::from_secs(60);
/// How many crashes are asked for at a time: at random while the storm goes on, and all after it.
const ASKED_DURING: usize = 10;
const ASKED_AFTER: usize = 200;
/// The states that a crash may be in while it is on its way.
const UNDER_WAY: [&str; 4] = ["spooled", "stored", "queued", "retrying"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Collector,
    Processor,
    Worker,
    Scheduler,
    Broker,
    Database,
}

impl Victim {
    fn find(self, standalone: &Standalone) -> Process {
        let runs = |fits: &dyn Fn(&str) -> bool| {
            processes::until_there(standalone.process.id(), |command| {
                !command.contains(" guard ") && fits(command)
            })
        };
        match self {
            Self::Collector => standalone.role("collector"),
            Self::Processor => standalone.role("processor"),
            Self::Scheduler => standalone.role("scheduler"),
            Self::Worker => runs(&|command| command.ends_with(" stackwalk-worker")),
            Self::Broker => runs(&|command| command.contains("/beam.smp ")),
            Self::Database => runs(&|command| command.contains("/postgres -D")),
        }
    }
}

/// A crash that was sent: its number, which is its build id too, and its crash id where it was answered.
struct Sent {
    number: usize,
    answer: Option<String>,
}

/// What clients, killer and sampler know of each other.
struct Storm {
    standalone: Standalone,
    /// How many crashes have been begun.
    begun: AtomicUsize,
    /// How many crashes may be begun: so that they do not all come before the next kill.
    allowed: AtomicUsize,
    /// Where the number of each crash goes when it is sent.
    tell: mpsc::Sender<usize>,
    answered: Mutex<Vec<String>>,
    is_over: AtomicBool,
    /// Crashes that were seen with their result: they stay so.
    processed: Mutex<BTreeSet<String>>,
    /// How often `where` has said that the database could not be asked.
    silences: AtomicUsize,
}

/// Ends the sampler, also where the test fails before.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_crash_that_was_answered_has_exactly_one_fact_whatever_was_killed_meanwhile() {
    let seed = env::var("CRASHMILL_TEST_SEED").map_or(SEED, |seed| seed.parse().expect("a seed is a number"));
    println!("the seed is {seed}");
    let dir = folder();
    let (tell, begun) = mpsc::channel();
    let storm = Storm {
        standalone: Standalone::start(&dir.path().join("data"), &impatient()),
        begun: AtomicUsize::new(0),
        allowed: AtomicUsize::new(0),
        tell,
        answered: Mutex::default(),
        is_over: AtomicBool::new(false),
        processed: Mutex::default(),
        silences: AtomicUsize::new(0),
    };

    let sent = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| storm.send())).collect();
        let sampler = scope.spawn(|| storm.sample(StdRng::seed_from_u64(seed ^ 1)));
        let over = Over(&storm.is_over);
        storm.kill(StdRng::seed_from_u64(seed), &begun);
        let sent = clients.into_iter().flat_map(|client| client.join().expect("a client ends"));
        let sent = sent.collect::<Vec<_>>();
        drop(over);
        println!("{} crashes were asked for meanwhile", sampler.join().expect("the sampler ends"));
        sent
    });

    let answered = sent.iter().filter(|sent| sent.answer.is_some()).count();
    println!("{answered} of {} crashes were answered", sent.len());
    assert!(answered > CRASHES * 9 / 10, "a storm that stops everything shows nothing");
    assert!(storm.silences.load(Ordering::Relaxed) > 0, "where says when the database cannot be asked");
    storm.until_everything_has_its_fact();
    storm.check_whereabouts();
    check_facts(&storm.standalone, &sent);
    assert!(storm.standalone.stop().success());
}

/// What would be waited for in seconds or minutes is waited for more shortly, so that a storm is over soon.
fn impatient() -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__QUEUE__RETRY_DELAYS", "['200ms']"),
        setting("CRASHMILL__QUEUE__PUBLISH_TIMEOUT", "2s"),
        setting("CRASHMILL__QUEUE__RECONNECT_DELAY", "1s"),
        setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"),
        setting("CRASHMILL__SCHEDULER__LEAD_EVERY", "1s"),
        setting("CRASHMILL__SCHEDULER__SWEEP_EVERY", "1s"),
        setting("CRASHMILL__SCHEDULER__SWEEP_AFTER", "5s"),
        setting("CRASHMILL__SCHEDULER__SWEEP_ANYWAY", "30s"),
        setting("CRASHMILL__STACKWALK__WORKERS", "2"),
    ]
}

impl Storm {
    /// Sends crashes, each once, until all clients together have sent all.
    fn send(&self) -> Vec<Sent> {
        let dump = report::minidump();
        let mut sent = Vec::new();
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= CRASHES {
                return sent;
            }
            eventually_blocking(NEXT_CRASH, || (number < self.allowed.load(Ordering::Relaxed)).then_some(()));
            let build_id = build_id(number);
            let annotations = [("ProductName", "Game"), ("Version", "1.0"), ("BuildID", &build_id)];
            self.tell.send(number).expect("somebody listens");
            let answer = client::post(&self.standalone.submit_url, &annotations, &dump);
            match &answer {
                Some(id) => self.answered().push(id.clone()),
                // The next one is sent to a collector that is there again.
                None => self.standalone.until_listening(),
            }
            sent.push(Sent { number, answer });
        }
    }

    /// Kills one after the other, each when so many crashes have been begun as chance decides.
    fn kill(&self, mut chance: StdRng, begun: &mpsc::Receiver<usize>) {
        let mut victims: Vec<Victim> =
            VICTIMS.iter().flat_map(|(victim, times)| vec![*victim; *times]).collect();
        victims.shuffle(&mut chance);
        let mut moments: Vec<usize> =
            victims.iter().map(|_| chance.random_range(1..CRASHES - AHEAD)).collect();
        moments.sort_unstable();
        let began = Instant::now();
        for (victim, moment) in victims.into_iter().zip(moments) {
            let process = victim.find(&self.standalone);
            self.allowed.fetch_max(moment + AHEAD, Ordering::Relaxed);
            while begun.recv_timeout(NEXT_CRASH).expect("crashes go on") < moment {}
            process.kill();
            let at = began.elapsed().as_secs_f32();
            println!("{at:5.1} s: {victim:?} was killed when {moment} crashes were begun");
            if victim == Victim::Database {
                self.ask_while_the_database_is_down();
            }
        }
        self.allowed.store(CRASHES, Ordering::Relaxed);
    }

    /// Asks where crashes are, random ones, until the storm is over; returns how many.
    fn sample(&self, mut chance: StdRng) -> usize {
        let mut asked = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let answered = eventually_blocking(NEXT_CRASH, || {
                let answered = self.answered().clone();
                (!answered.is_empty()).then_some(answered)
            });
            let ids: Vec<&str> = answered.sample(&mut chance, ASKED_DURING).map(String::as_str).collect();
            self.ask(&ids);
            asked += ids.len();
        }
        asked
    }

    fn answered(&self) -> MutexGuard<'_, Vec<String>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_while_the_database_is_down(&self) {
        let last = self.answered().last().cloned();
        if let Some(id) = last {
            self.ask(&[&id]);
        }
    }

    /// Asks where crashes are that were answered, and looks whether that can be.
    fn ask(&self, ids: &[&str]) {
        // Taken before the question: what others see meanwhile may be younger than our answer.
        let processed = self.processed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (known, id) in self.standalone.whereabouts_of(ids).into_iter().zip(ids) {
            assert_eq!(known["crash_id"], **id);
            let state = known["state"].as_str().unwrap();
            let is_silent = says_that_the_database_is_silent(&known);
            if is_silent {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
            if state == "processed" {
                // Of a silent database it is said by the processed crash in the store, and that it is not certain.
                assert!(is_silent || known["fact"].is_object(), "{known}");
                if known["fact"].is_object() {
                    self.processed.lock().unwrap_or_else(PoisonError::into_inner).insert((*id).to_owned());
                }
            } else {
                assert!(UNDER_WAY.contains(&state), "a crash that was answered is on its way: {known}");
                assert!(!processed.contains(*id), "what is processed stays so: {known}");
            }
        }
    }

    /// Waits until every crash in the store has its fact, also those that were not answered: the sweep finds them.
    fn until_everything_has_its_fact(&self) {
        let began = Instant::now();
        let listed = self.standalone.crashmill(&["store", "list", "--area", "raw", "--json"]);
        let stored: BTreeSet<String> = printed(&listed)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["crash_id"].as_str().unwrap().to_owned())
            .collect();
        let answered = self.answered();
        let lost: Vec<_> = answered.iter().filter(|id| !stored.contains(*id)).collect();
        assert!(lost.is_empty(), "answered, and not in the store: {lost:?}");

        eventually_blocking(FACTS, || {
            let facts = self.standalone.try_sql("SELECT crash_id FROM fact_crash")?;
            let facts: BTreeSet<String> = facts.into_iter().flatten().collect();
            (facts == stored).then_some(())
        });
        println!("{} crashes had their facts after {:.1?}", stored.len(), began.elapsed());
    }

    /// Everything that was answered is processed, and says so.
    fn check_whereabouts(&self) {
        for ids in self.answered().chunks(ASKED_AFTER) {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            for known in self.standalone.whereabouts_of(&ids) {
                assert_eq!((&known["state"], &known["errors"]), (&"processed".into(), &Value::Array(vec![])));
                assert!(known["fact"].is_object(), "{known}");
            }
        }
    }
}

fn says_that_the_database_is_silent(known: &Value) -> bool {
    known["errors"].as_array().unwrap().iter().any(|error| error.as_str().unwrap().contains("the database"))
}

/// A build of its own for each crash, so that facts can be told apart by what was sent.
fn build_id(number: usize) -> String {
    format!("2026110112{number:04}")
}

/// What was answered has one fact, of the crash that was sent; what was not has one or none.
fn check_facts(standalone: &Standalone, sent: &[Sent]) {
    let mut facts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in standalone.sql("SELECT build_id, crash_id FROM fact_crash JOIN dim_build USING (build_key)") {
        let [build, id] = row.try_into().unwrap();
        facts.entry(build).or_default().push(id);
    }
    for Sent { number, answer } in sent {
        let facts = facts.remove(&build_id(*number)).unwrap_or_default();
        match answer {
            Some(id) => {
                let fact = std::slice::from_ref(id);
                assert_eq!(facts, fact, "crash {number} has one fact, the one of its answer");
            }
            None => assert!(facts.len() <= 1, "crash {number}, which was not answered, has {facts:?}"),
        }
    }
    assert!(facts.is_empty(), "facts of crashes that nobody has sent: {facts:?}");

    let dead = standalone.sql("SELECT crash_id, stage, reason FROM dead_letter");
    assert!(dead.is_empty(), "{dead:?}");
    let failed = standalone.sql("SELECT DISTINCT stage, reason FROM crash_attempt");
    let worker_died = vec!["stackwalk".to_owned(), "worker_died".to_owned()];
    assert!(
        failed.iter().all(|failure| *failure == worker_died),
        "only a worker's death costs an attempt: {failed:?}"
    );
}
