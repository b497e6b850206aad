//! What this crate counts.

use std::time::Duration;

use crash::QueueName;
use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::journal::JournalDepth;

/// All metrics of this crate.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// `crashmill_publish_total{result}`: ids that the broker has confirmed.
    confirmed: Counter,
    /// ... ids that went to the journal instead.
    journaled: Counter,
    /// ... ids that found no place; the sweep brings them back.
    failed: Counter,
    /// `crashmill_publish_seconds`: from the call to the confirm or the journal.
    publish_seconds: Histogram,
    /// `crashmill_journal_ids`: ids that wait on disk.
    journal_ids: Gauge,
    /// `crashmill_journal_oldest_seconds`: how long the first of them has waited.
    journal_oldest: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            confirmed: counter!("crashmill_publish_total", "result" => "confirmed"),
            journaled: counter!("crashmill_publish_total", "result" => "journaled"),
            failed: counter!("crashmill_publish_total", "result" => "failed"),
            publish_seconds: histogram!("crashmill_publish_seconds"),
            journal_ids: gauge!("crashmill_journal_ids"),
            journal_oldest: gauge!("crashmill_journal_oldest_seconds"),
        }
    }

    pub(crate) fn confirmed(&self, took: Duration) {
        self.confirmed.increment(1);
        self.publish_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn journaled(&self, took: Duration) {
        self.journaled.increment(1);
        self.publish_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, took: Duration) {
        self.failed.increment(1);
        self.publish_seconds.record(took.as_secs_f64());
    }

    pub(crate) fn journal(&self, depth: JournalDepth) {
        #[expect(clippy::cast_precision_loss, reason = "no journal holds 2^53 ids")]
        self.journal_ids.set(depth.ids as f64);
        self.journal_oldest.set(depth.oldest.map_or(0.0, age));
    }
}

/// What a consumer counts of one queue.
#[derive(Debug, Clone)]
pub(crate) struct QueueMetrics {
    /// `crashmill_queue_deliveries_total{queue}`: ids that were handed out.
    deliveries: Counter,
    /// `crashmill_queue_oldest_seconds{queue}`: how long what was handed out last had waited; 0 when nothing waits.
    oldest: Gauge,
    /// `crashmill_queue_verdicts_total{queue,verdict}`: what became of them.
    queue: QueueName,
}

impl QueueMetrics {
    pub(crate) fn new(queue: QueueName) -> Self {
        Self {
            deliveries: counter!("crashmill_queue_deliveries_total", "queue" => queue.as_str()),
            oldest: gauge!("crashmill_queue_oldest_seconds", "queue" => queue.as_str()),
            queue,
        }
    }

    pub(crate) fn delivered(&self, enqueued_at: Timestamp) {
        self.deliveries.increment(1);
        self.oldest.set(age(enqueued_at));
    }

    pub(crate) fn idle(&self) {
        self.oldest.set(0.0);
    }

    pub(crate) fn verdict(&self, verdict: &'static str) {
        counter!("crashmill_queue_verdicts_total", "queue" => self.queue.as_str(), "verdict" => verdict)
            .increment(1);
    }
}

fn age(since: Timestamp) -> f64 {
    Timestamp::now().duration_since(since).as_secs_f64().max(0.0)
}
