//! What is recorded of timed jobs.

mod support;

use std::time::Duration;

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
