//! The scheduler's metrics.

use std::time::Instant;

use facts::JobRun;
use jiff::Timestamp;
use metrics::{counter, gauge, histogram};

/// What a scheduler counts. Labels are small closed sets.
pub(crate) enum Metrics {}

impl Metrics {
    /// `crashmill_scheduler_leading`: 1 in the process whose jobs run, 0 in those that wait.
    pub(crate) fn leading(leading: bool) {
        gauge!("crashmill_scheduler_leading").set(if leading { 1.0 } else { 0.0 });
    }

    /// `crashmill_scheduler_job_runs_total{job,result}`, `crashmill_scheduler_job_errors_total{job}` and
    /// `crashmill_scheduler_job_seconds{job}`: every pass of a job.
    pub(crate) fn pass(job: &'static str, result: &'static str, started: Instant) {
        counter!("crashmill_scheduler_job_runs_total", "job" => job, "result" => result).increment(1);
        histogram!("crashmill_scheduler_job_seconds", "job" => job).record(started.elapsed());
        // There from the first pass on, so that its first increase is seen.
        let failed = u64::from(result == "failed");
        counter!("crashmill_scheduler_job_errors_total", "job" => job).increment(failed);
    }

    /// `crashmill_scheduler_job_last_success_age_seconds{job}`: how long ago a pass ended well, to the minute, whichever
    /// scheduler did it.
    pub(crate) fn last_successes(jobs: &[JobRun], now: Timestamp) {
        for (run, at) in jobs.iter().filter_map(|run| Some((run, run.ok_at?))) {
            gauge!("crashmill_scheduler_job_last_success_age_seconds", "job" => run.job.clone())
                .set(now.duration_since(at).as_secs_f64().max(0.0));
        }
    }

    /// `crashmill_scheduler_sweep_found_total`: crashes that nothing was known of, each counted once.
    pub(crate) fn found() {
        counter!("crashmill_scheduler_sweep_found_total").increment(1);
    }

    /// The counter of finds is there from the start, so that its first increase is seen.
    pub(crate) fn begin() {
        counter!("crashmill_scheduler_sweep_found_total").increment(0);
        Self::leading(false);
    }
}
