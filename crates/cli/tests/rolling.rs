//! A rolling restart of all roles under load: no upload is refused, and every crash has its fact.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{
    client::{self, Answer},
    folder, processes,
    standalone::{Standalone, setting, settings},
};
use testing::{Database, amqp_url, eventually_blocking, namespace, report};

const CLIENTS: usize = 4;
/// How often each role is restarted.
const ROUNDS: usize = 2;
/// How many crashes come, at least, between one restart and the next.
const BETWEEN: usize = 5;
/// How long a role may take to be there again, or a client to be answered.
const AGAIN: Duration = Duration::from_secs(60);

/// Uploads that go on until something else is over.
struct Uploads {
    standalone: Standalone,
    database: Database,
    _dir: tempfile::TempDir,
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Uploads {
    fn start(name: &str) -> Self {
        let (dir, database) = (folder(), Database::create(name));
        let mut settings = settings(&database, &amqp_url(), &namespace(name));
        settings.extend([
            setting("CRASHMILL__SCHEDULER__LEAD_EVERY", "1s"),
            setting("CRASHMILL__SCHEDULER__SWEEP_EVERY", "1s"),
            setting("CRASHMILL__SCHEDULER__SWEEP_AFTER", "5s"),
        ]);
        let standalone = Standalone::start(dir.path(), &settings);
        Self {
            standalone,
            database,
            _dir: dir,
            answered: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Several clients report one crash after the other while `meanwhile` is done; all their answers, and the longest wait.
    fn during(&self, meanwhile: impl FnOnce()) -> (Vec<Answer>, Duration) {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| self.report_on())).collect();
            let over = Over(&self.is_over);
            self.until_more_are_answered();
            meanwhile();
            self.until_more_are_answered();
            drop(over);
            let reports = clients.into_iter().map(|client| client.join().expect("a client ends"));
            let (answers, waits): (Vec<_>, Vec<_>) = reports.unzip();
            (answers.concat(), waits.into_iter().max().unwrap_or_default())
        })
    }

    fn report_on(&self) -> (Vec<Answer>, Duration) {
        let dump = report::minidump();
        let (mut answers, mut longest) = (Vec::new(), Duration::ZERO);
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            answers.push(client::report(&self.standalone.submit_url, &[("ProductName", "Game")], &dump));
            longest = longest.max(began.elapsed());
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        (answers, longest)
    }

    fn until_more_are_answered(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        eventually_blocking(AGAIN, || {
            (self.answered.load(Ordering::Relaxed) >= before + BETWEEN).then_some(())
        });
    }

    /// Ends a role's process by a signal, and waits until another one is in its place and reports have been answered again.
    fn restart(&self, role: &str, signal: Signal) {
        let before = self.standalone.role(role);
        processes::signal(before.pid, signal);
        processes::until_gone(std::slice::from_ref(&before));
        assert_ne!(self.standalone.role(role), before);
        self.until_more_are_answered();
    }

    /// Every crash that was answered has its fact, and none was given up.
    fn all_have_facts(self, answers: &[Answer]) {
        let ids: Vec<String> = answers.iter().cloned().filter_map(Answer::id).collect();
        let listed: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let count = format!("SELECT count(*) FROM fact_crash WHERE crash_id IN ({})", listed.join(", "));
        let expected = i64::try_from(ids.len()).unwrap();
        eventually_blocking(AGAIN, || (self.database.number(&count) == expected).then_some(()));
        assert_eq!(self.database.number("SELECT count(*) FROM dead_letter"), 0);
        assert_eq!(self.database.number("SELECT count(*) FROM crash_attempt"), 0);
        assert!(self.standalone.stop().success());
    }
}

/// Ends the clients, also where the test fails before.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_rolling_restart_of_all_roles_under_load_refuses_no_upload_and_every_crash_has_its_fact() {
    let uploads = Uploads::start("rolling");

    let (answers, longest) = uploads.during(|| {
        for _ in 0..ROUNDS {
            for role in ["collector", "processor", "scheduler"] {
                uploads.restart(role, Signal::TERM);
            }
        }
        for role in ["processor", "scheduler"] {
            uploads.restart(role, Signal::KILL);
        }
    });

    println!("{} uploads, the longest took {longest:.1?}", answers.len());
    let refused: Vec<_> = answers.iter().filter(|answer| !matches!(answer, Answer::Taken(_))).collect();
    assert!(refused.is_empty(), "{refused:?}");
    uploads.all_have_facts(&answers);
}

#[test]
fn a_collector_that_is_killed_costs_the_uploads_that_it_had_in_hand_and_no_other() {
    let uploads = Uploads::start("rolling_kill");

    let (answers, longest) = uploads.during(|| uploads.restart("collector", Signal::KILL));

    println!("{} uploads, the longest took {longest:.1?}", answers.len());
    let lost: Vec<_> = answers.iter().filter(|answer| !matches!(answer, Answer::Taken(_))).collect();
    assert!(lost.len() <= CLIENTS, "{lost:?}");
    for answer in lost {
        let Answer::Nothing(error) = answer else { panic!("{answer:?}") };
        assert!(!error.contains("refused"), "somebody listens at any time: {error}");
    }
    uploads.all_have_facts(&answers);
}
