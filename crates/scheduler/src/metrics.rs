//! The scheduler's metrics.

use std::time::{Duration, Instant};

use crashstore::Area;
use facts::JobRun;
use jiff::{SignedDuration, Timestamp};
use metrics::{counter, gauge, histogram};

use crate::Kept;

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

    /// `crashmill_scheduler_reconciler_orphans_total`: crashes that nothing was known of, each counted once.
    pub(crate) fn found() {
        counter!("crashmill_scheduler_reconciler_orphans_total").increment(1);
    }

    /// `crashmill_scheduler_reconciler_age_seconds`: since when crashes may be without a result that should have one by
    /// now; 0 when none is known of.
    pub(crate) fn behind(age: Duration) {
        gauge!("crashmill_scheduler_reconciler_age_seconds").set(age.as_secs_f64());
    }

    /// `crashmill_scheduler_queue_depth{queue}`: how many ids wait, `retry` being all delays together.
    pub(crate) fn depth(queue: &'static str, ready: u32) {
        gauge!("crashmill_scheduler_queue_depth", "queue" => queue).set(f64::from(ready));
    }

    /// `crashmill_scheduler_queue_oldest_seconds{queue}`: how long what is being taken has waited, or what waits while
    /// nothing is taken; 0 when nothing waits.
    pub(crate) fn oldest(queue: &'static str, age: Option<SignedDuration>) {
        let seconds = age.map_or(0.0, |age| age.as_secs_f64().max(0.0));
        gauge!("crashmill_scheduler_queue_oldest_seconds", "queue" => queue).set(seconds);
    }

    /// `crashmill_scheduler_backlog_seconds`: how many seconds of all processors' work wait; not a number while nobody can tell.
    pub(crate) fn backlog(seconds: Option<f64>) {
        gauge!("crashmill_scheduler_backlog_seconds").set(seconds.unwrap_or(f64::NAN));
    }

    /// Of a broker that does not answer nothing is known.
    pub(crate) fn no_backlog() {
        for queue in ["priority", "standard", "reprocessing", "retry", "dead"] {
            gauge!("crashmill_scheduler_queue_depth", "queue" => queue).set(f64::NAN);
        }
        Self::backlog(None);
    }

    /// `crashmill_scheduler_dead_letters`: crashes that were given up and about which nothing was decided.
    pub(crate) fn dead_letters(letters: u64) {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 dead letters")]
        gauge!("crashmill_scheduler_dead_letters").set(letters as f64);
    }

    /// `crashmill_scheduler_dead_unreadable_total`: messages among the dead that named no crash and were taken away.
    pub(crate) fn dead_unreadable() {
        counter!("crashmill_scheduler_dead_unreadable_total").increment(1);
    }

    /// `crashmill_scheduler_expired_bytes_total{area}`: what dropping old days and partitions gave back.
    pub(crate) fn expired(area: Kept, bytes: u64) {
        counter!("crashmill_scheduler_expired_bytes_total", "area" => area.as_str()).increment(bytes);
    }

    /// `crashmill_scheduler_erased_crashes_total{found}`: crashes that the scheduler erased; `rows` where something of it
    /// was in the database.
    pub(crate) fn erased(rows: u64) {
        let found = if rows > 0 { "rows" } else { "nothing" };
        counter!("crashmill_scheduler_erased_crashes_total", "found" => found).increment(1);
    }

    /// `crashmill_scheduler_compacted_frames_total{area}` and `crashmill_scheduler_compacted_bytes_total{area}`: superseded
    /// frames that were taken back, and what the filesystem got by it.
    pub(crate) fn compacted(area: Area, frames: u64, bytes: u64) {
        counter!("crashmill_scheduler_compacted_frames_total", "area" => area.as_str()).increment(frames);
        counter!("crashmill_scheduler_compacted_bytes_total", "area" => area.as_str()).increment(bytes);
    }

    /// These counters are there from the start, so that their first increase is seen.
    pub(crate) fn begin() {
        counter!("crashmill_scheduler_dead_unreadable_total").increment(0);
        counter!("crashmill_scheduler_reconciler_orphans_total").increment(0);
        Self::leading(false);
    }
}
