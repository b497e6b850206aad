//! The processor's metrics.

use std::time::Instant;

use metrics::{counter, gauge, histogram};

use crate::rules::Outcome;

/// What a processor counts. Labels are small closed sets.
pub(crate) enum Metrics {}

impl Metrics {
    /// `crashmill_processor_jobs_total{result}`: every verdict on a delivery.
    pub(crate) fn job(result: &'static str) {
        counter!("crashmill_processor_jobs_total", "result" => result).increment(1);
    }

    /// `crashmill_processor_stage_seconds{stage}`: how long each stage of a crash took.
    pub(crate) fn stage(stage: &'static str, started: Instant) {
        histogram!("crashmill_processor_stage_seconds", "stage" => stage).record(started.elapsed());
    }

    /// `crashmill_processor_stackwalk_total{result}`: every dump that was walked.
    pub(crate) fn stackwalk(result: &'static str) {
        counter!("crashmill_processor_stackwalk_total", "result" => result).increment(1);
    }

    /// `crashmill_processor_degraded_total{part}`: every crash that was saved without a part.
    pub(crate) fn degraded(part: facts::Part) {
        counter!("crashmill_processor_degraded_total", "part" => part.as_str()).increment(1);
    }

    /// `crashmill_processor_backlog_seconds`: how many seconds of all processors' work wait in the queues; not a number
    /// while nobody can tell.
    pub(crate) fn backlog(seconds: Option<f64>) {
        gauge!("crashmill_processor_backlog_seconds").set(seconds.unwrap_or(f64::NAN));
    }

    /// `crashmill_processor_rule_total{rule,outcome}`: every rule that ran.
    pub(crate) fn rule(rule: &'static str, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Applied => "applied",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
        };
        counter!("crashmill_processor_rule_total", "rule" => rule, "outcome" => outcome).increment(1);
    }
}
