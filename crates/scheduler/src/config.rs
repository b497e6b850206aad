//! The `[scheduler]` section.

use serde::{Deserialize, Serialize};
use settings::Duration;

/// When timed jobs run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often a scheduler that does not lead tries to.
    pub lead_every: Duration,
    /// How often the store is swept for crashes that nothing is known of.
    pub sweep_every: Duration,
    /// How often crashes are looked for that came into minutes which the sweep has left behind.
    pub sweep_late_every: Duration,
    /// How far back that is done in an object store, where every object has to be listed for it; on a disk it is done for
    /// all. So far the sweep also goes back when it finds that a clock was wrong.
    pub sweep_window: Duration,
    /// A crash has so long for its way through the queue before the sweep looks at it.
    pub sweep_after: Duration,
    /// While crashes wait in a queue, only those that are older than this are published again, each once in this time.
    pub sweep_anyway: Duration,
    /// How many crashes one sweep publishes at most.
    pub sweep_most: usize,
    /// How often partitions are made ahead; for how many days is `partition_days_ahead` in `[facts]`.
    pub partitions_every: Duration,
    /// How often the broker is asked how much waits, for metrics and `crashmill status`.
    pub backlog_every: Duration,
    /// How often what is parked in the queue `dead` is compared with the dead letters in the database.
    pub letters_every: Duration,
    /// How often crashes that were saved without a part, and are due for another try, are looked for.
    pub degraded_every: Duration,
    /// How often the torn tails of writers that never came back are cut.
    pub tails_every: Duration,
    /// How often what is past its retention is dropped; see `[retention]`.
    pub expire_every: Duration,
    /// How often erasures that were cut short are finished.
    pub erasures_every: Duration,
    /// How often superseded frames of the crash store are taken back.
    pub compact_every: Duration,
    /// A frame that is younger supersedes nothing yet.
    pub compact_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        Self {
            lead_every: Duration::from_secs(15),
            sweep_every: Duration::from_secs(60),
            sweep_late_every: Duration::from_secs(HOUR),
            sweep_window: Duration::from_secs(48 * HOUR),
            sweep_after: Duration::from_secs(5 * 60),
            sweep_anyway: Duration::from_secs(6 * HOUR),
            sweep_most: 10_000,
            partitions_every: Duration::from_secs(6 * HOUR),
            backlog_every: Duration::from_secs(10),
            letters_every: Duration::from_secs(60),
            degraded_every: Duration::from_secs(30),
            tails_every: Duration::from_secs(HOUR),
            expire_every: Duration::from_secs(HOUR),
            erasures_every: Duration::from_secs(60),
            compact_every: Duration::from_secs(HOUR),
            compact_after: Duration::from_secs(15 * 60),
        }
    }
}
