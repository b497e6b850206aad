//! What a timed job is, and how it is done again and again.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Periods are this much shorter or longer, so that jobs of one period do not stay in step.
const JITTER: std::ops::Range<f64> = 0.9..1.1;

/// How a pass ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// All that was to do is done.
    Done,
    /// It was not the moment for all of it.
    PutOff,
}

/// Work that is done every now and then. A pass may end at any moment, and the next one goes on.
pub(crate) trait Job: Send {
    const NAME: &'static str;
    /// A pass that takes longer is given up.
    const DEADLINE: Duration;

    fn pass(&mut self, now: Timestamp) -> impl Future<Output = anyhow::Result<Pass>> + Send;
}

/// Does a job now, and then once a period, until asked to stop. A pass begins when the one before it has ended.
pub(crate) async fn keep_doing<J: Job>(mut job: J, every: Duration, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let started = Instant::now();
        let passing = tokio::time::timeout(J::DEADLINE, job.pass(Timestamp::now()));
        let Some(passed) = stop.run_until_cancelled(passing).await else { return };
        let passed =
            passed.unwrap_or_else(|_| Err(anyhow!("it was not done after {} s", J::DEADLINE.as_secs())));
        let result = match &passed {
            Ok(Pass::Done) => "done",
            Ok(Pass::PutOff) => "put_off",
            Err(_) => "failed",
        };
        Metrics::pass(J::NAME, result, started);
        match passed {
            // Said once, however long it lasts.
            Err(error) if !failing => {
                let error = format!("{error:#}");
                tracing::warn!(job = J::NAME, error, "a timed job failed; it is tried again every period");
            }
            Err(error) => tracing::debug!(job = J::NAME, "still failing: {error:#}"),
            Ok(_) if failing => tracing::info!(job = J::NAME, "a timed job works again"),
            Ok(_) => {}
        }
        failing = result == "failed";

        let pause = tokio::time::sleep(every.mul_f64(rand::random_range(JITTER)));
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}
