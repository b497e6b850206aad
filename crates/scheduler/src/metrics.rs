//! The scheduler's metrics.

use std::time::Instant;

use metrics::{counter, gauge, histogram};

/// What a scheduler counts. Labels are small closed sets.
pub(crate) enum Metrics {}

impl Metrics {
    /// `crashmill_scheduler_leading`: 1 in the process whose jobs run, 0 in those that wait.
    pub(crate) fn leading(leading: bool) {
        gauge!("crashmill_scheduler_leading").set(if leading { 1.0 } else { 0.0 });
    }

    /// `crashmill_scheduler_job_runs_total{job,result}` and `crashmill_scheduler_job_seconds{job}`: every pass of a job.
    pub(crate) fn pass(job: &'static str, result: &'static str, started: Instant) {
        counter!("crashmill_scheduler_job_runs_total", "job" => job, "result" => result).increment(1);
        histogram!("crashmill_scheduler_job_seconds", "job" => job).record(started.elapsed());
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
