//! The collector's metrics.

use std::time::Instant;

use metrics::{Histogram, counter, histogram};

/// What a collector counts. Labels are small closed sets.
pub(crate) struct Metrics {
    /// `crashmill_collector_request_seconds`: from the head of a request to its answer.
    request_seconds: Histogram,
    /// `crashmill_collector_payload_bytes{kind="wire"}`: bodies as they came.
    wire_bytes: Histogram,
    /// `crashmill_collector_payload_bytes{kind="inflated"}`: bodies once decoded.
    inflated_bytes: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            request_seconds: histogram!("crashmill_collector_request_seconds"),
            wire_bytes: histogram!("crashmill_collector_payload_bytes", "kind" => "wire"),
            inflated_bytes: histogram!("crashmill_collector_payload_bytes", "kind" => "inflated"),
        }
    }

    /// `crashmill_collector_submissions_total{disposition}`: every answer.
    pub(crate) fn answered(&self, disposition: &'static str, started: Instant) {
        counter!("crashmill_collector_submissions_total", "disposition" => disposition).increment(1);
        self.request_seconds.record(started.elapsed());
    }

    /// `crashmill_collector_rejected_total{reason}`: reports that were not taken.
    pub(crate) fn rejected(&self, reason: &str) {
        counter!("crashmill_collector_rejected_total", "reason" => reason.to_owned()).increment(1);
    }

    /// A whole payload.
    #[expect(clippy::cast_precision_loss, reason = "a histogram of sizes needs no exact bytes")]
    pub(crate) fn received(&self, wire: u64, inflated: u64) {
        self.wire_bytes.record(wire as f64);
        self.inflated_bytes.record(inflated as f64);
    }

    /// `crashmill_collector_stage_seconds{stage}`: how long saving and publishing took.
    pub(crate) fn stage(&self, stage: &'static str, started: Instant) {
        histogram!("crashmill_collector_stage_seconds", "stage" => stage).record(started.elapsed());
    }
}
