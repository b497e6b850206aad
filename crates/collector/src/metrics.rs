//! The collector's metrics.

use std::time::Instant;

use crashstore::{SpoolDepth, space::Reading};
use jiff::Timestamp;
use metrics::{Histogram, counter, gauge, histogram};

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

    /// `crashmill_collector_disk_free_bytes{filesystem}`, `crashmill_collector_disk_free_inodes{filesystem}` and
    /// `crashmill_collector_disk_state{filesystem}`: the room on the disks that it writes to; 0 is well, 1 below
    /// `warn_below`, 2 below `refuse_below`, 3 below `stop_below`.
    #[expect(clippy::cast_precision_loss, reason = "a gauge of free room needs no exact bytes")]
    pub(crate) fn disk(filesystem: &'static str, reading: &Reading) {
        gauge!("crashmill_collector_disk_free_bytes", "filesystem" => filesystem)
            .set(reading.room.free as f64);
        gauge!("crashmill_collector_disk_free_inodes", "filesystem" => filesystem)
            .set(reading.room.free_inodes as f64);
        gauge!("crashmill_collector_disk_state", "filesystem" => filesystem).set(reading.state.number());
    }

    /// `crashmill_collector_stage_seconds{stage}`: how long saving and publishing took.
    pub(crate) fn stage(&self, stage: &'static str, started: Instant) {
        histogram!("crashmill_collector_stage_seconds", "stage" => stage).record(started.elapsed());
    }

    /// `crashmill_collector_spooled_total`: crashes that the store did not take, and the spool did.
    pub(crate) fn spooled(&self) {
        counter!("crashmill_collector_spooled_total").increment(1);
    }

    /// `crashmill_collector_moved_total`: crashes that were moved from the spool into the store.
    pub(crate) fn moved(crashes: u64) {
        counter!("crashmill_collector_moved_total").increment(crashes);
    }

    /// `crashmill_collector_spool_crashes`, `crashmill_collector_spool_bytes` and
    /// `crashmill_collector_spool_oldest_seconds`: what waits in the spool of this machine, whoever saved it.
    #[expect(clippy::cast_precision_loss, reason = "a gauge needs no exact number")]
    pub(crate) fn spool(depth: &SpoolDepth, now: Timestamp) {
        let oldest = depth.oldest.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
        gauge!("crashmill_collector_spool_crashes").set(depth.crashes as f64);
        gauge!("crashmill_collector_spool_bytes").set(depth.bytes as f64);
        gauge!("crashmill_collector_spool_oldest_seconds").set(oldest);
    }
}
