//! What is recorded of timed jobs.

mod support;

use std::time::Duration;

use crash::ThrottleDigit;
use facts::{JobRun, JobState};
use support::{Installation, Scheduler};

const SOON: Duration = Duration::from_secs(30);

/// Waits until a job stands so.
async fn job(installation: &Installation, name: &str, is_so: impl Fn(&JobRun) -> bool) -> JobRun {
    testing::eventually(SOON, async || {
        let jobs = installation.facts.last_jobs().await.expect("the database answers");
        jobs.into_iter().find(|run| run.job == name && is_so(run))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_leaves_its_state_and_what_it_did() {
    let installation = Installation::new("job_states").await;
    let scheduler = Scheduler::start(&installation.config).await;
    for name in ["partitions", "tails", "sweep"] {
        let run = job(&installation, name, |run| run.state == JobState::Ok).await;
        assert_eq!((run.attempt, run.failures, run.error), (0, 0, None), "{name}");
        assert!(run.ok_at.is_some() && run.ok_at == run.finished_at, "{name}");
    }
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_says_why_and_when_it_is_tried_again_and_then_that_it_works() {
    let installation = Installation::new("job_fails").await;
    let mut config = installation.config.clone();
    let proxy = testing::Proxy::to_url(&testing::amqp_url());
    config.queue.url = proxy.url().parse().expect("it is a URL");
    proxy.cut();

    let scheduler = Scheduler::start(&config).await;
    let failed = job(&installation, "sweep", |run| run.state == JobState::Failed && run.attempt > 1).await;
    assert!(failed.error.is_some_and(|error| error.contains("broker")));
    assert!(failed.failures > 1 && failed.ok_at.is_none() && failed.next_try > failed.finished_at);
    // The others go on meanwhile.
    job(&installation, "tails", |run| run.state == JobState::Ok).await;

    proxy.restore();
    let works = job(&installation, "sweep", |run| run.state == JobState::Ok).await;
    assert!(works.failures >= failed.failures && works.attempt == 0 && works.next_try.is_none());
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_there_for_every_day_ahead_that_the_configuration_says() {
    let mut installation = Installation::new("partitions_ahead").await;
    // More than the migration has made.
    installation.config.facts.partition_days_ahead = 60;
    let missing = || {
        installation.database.number(
            "SELECT count(*) FROM pg_partitioned_table p, generate_series(current_date, current_date + 60, '1 day') AS day
             WHERE NOT EXISTS (
                 SELECT FROM partition_range(p.partrelid::regclass) WHERE day::date >= first_day AND day::date < end_day)",
        )
    };
    assert!(missing() > 0);
    let scheduler = Scheduler::start(&installation.config).await;
    let run = job(&installation, "partitions", |run| run.state == JobState::Ok).await;
    assert!(run.rows > 0);
    assert_eq!(missing(), 0);
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_a_writer_that_never_came_back_is_cut_and_that_of_one_that_runs_is_not() {
    let installation = Installation::new("tails_cut").await;
    let store = installation.config.crashstore.path.clone();
    let crash = support::id(20, ThrottleDigit::Accept, 1);
    let place = installation.store(crash).await;
    let segment = |name: &str| store.join(format!("raw/{}/{name}.tar.zst", crash.minute()));
    let whole = std::fs::metadata(segment(&place.segment)).expect("it is there").len();
    // As a kill in the middle of a batch leaves it.
    let tear = |name: &str| {
        let record = store.join(format!("writers/{name}.segments"));
        std::fs::write(record, format!("raw/{} {name}\n", crash.minute())).expect("it can be written");
        let mut torn = std::fs::read(segment(&place.segment)).expect("it can be read");
        torn.truncate(usize::try_from(whole).expect("it is short"));
        torn.extend([0x5c, 0x2a, 0x4d, 0x18, 0, 0]);
        std::fs::write(segment(name), &torn).expect("it can be written");
    };
    // Its lock is held for as long as it runs.
    let running = installation.crashes.writer("running").expect("the name is free");
    tear("running");
    tear(&place.segment);

    let scheduler = Scheduler::start(&installation.config).await;
    let run = job(&installation, "tails", |run| run.state == JobState::Ok).await;
    assert_eq!(run.rows, 1);
    let lengths = [place.segment.as_str(), "running"]
        .map(|name| std::fs::metadata(segment(name)).expect("it is there").len());
    assert_eq!(lengths, [whole, whole + 6]);
    scheduler.stop().await;
    running.close().await;
}
