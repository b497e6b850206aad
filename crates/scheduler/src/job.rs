//! What a timed job is, and how it is done again and again.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use facts::Facts;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, record::Record};

/// Periods are this much shorter or longer, so that jobs of one period do not stay in step.
const JITTER: std::ops::Range<f64> = 0.9..1.1;
/// A pass that takes longer is recorded while it runs.
const SHORT: Duration = Duration::from_secs(2);

/// How a pass ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All that was to do is done: so many things.
    Done(u64),
    /// It was not the moment for all of it, or there was no input.
    PutOff,
    /// There is nothing to do in an installation like this one, and why.
    Skipped(&'static str),
}

/// Work that is done every now and then. A pass may end at any moment, and the next one goes on.
pub(crate) trait Job: Send {
    const NAME: &'static str;
    /// A pass that takes longer is given up.
    const DEADLINE: Duration;

    fn pass(&mut self, now: Timestamp) -> impl Future<Output = anyhow::Result<Pass>> + Send;
}

/// Does a job now, and then once a period, until asked to stop. A pass begins when the one before it has ended.
///
/// One that failed is tried again sooner, with growing delays; how it fares is in `job_run`, also for the next leader.
pub(crate) async fn keep_doing<J: Job>(job: J, every: Duration, facts: Facts, stop: CancellationToken) {
    // Stopped at any moment: what is not recorded then is done or tried again by the next leader.
    stop.run_until_cancelled(do_again_and_again(job, every, facts)).await;
}

async fn do_again_and_again<J: Job>(mut job: J, every: Duration, facts: Facts) {
    let (mut record, wait) = Record::open(facts, J::NAME, every, Timestamp::now()).await;
    tokio::time::sleep(wait).await;
    let mut failing = false;
    loop {
        let (started, began) = (Timestamp::now(), Instant::now());
        let passed = pass(&mut job, &mut record, started).await;
        Metrics::pass(J::NAME, result_of(&passed), began);
        let pause = record.ended(started, &passed).await;
        match &passed {
            // Said once, however long it lasts.
            Err(error) if !failing => {
                let error = format!("{error:#}");
                tracing::warn!(job = J::NAME, error, "a timed job failed; it is tried again and again");
            }
            Err(error) => tracing::debug!(job = J::NAME, "still failing: {error:#}"),
            Ok(_) if failing => tracing::info!(job = J::NAME, "a timed job works again"),
            Ok(_) => {}
        }
        failing = passed.is_err();
        tokio::time::sleep(pause.mul_f64(rand::random_range(JITTER))).await;
    }
}

/// One pass within its deadline; a long one is recorded as running.
async fn pass<J: Job>(job: &mut J, record: &mut Record, started: Timestamp) -> anyhow::Result<Pass> {
    let mut passing = std::pin::pin!(tokio::time::timeout(J::DEADLINE, job.pass(started)));
    let passed = match tokio::time::timeout(SHORT, &mut passing).await {
        Ok(passed) => passed,
        Err(_) => tokio::join!(record.running(started), passing).1,
    };
    passed.unwrap_or_else(|_| Err(anyhow!("it was not done after {} s", J::DEADLINE.as_secs())))
}

fn result_of(passed: &anyhow::Result<Pass>) -> &'static str {
    match passed {
        Ok(Pass::Done(_)) => "done",
        Ok(Pass::PutOff) => "put_off",
        Ok(Pass::Skipped(_)) => "skipped",
        Err(_) => "failed",
    }
}
