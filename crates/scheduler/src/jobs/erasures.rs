//! Finishes erasures that were cut short, and looks after those that are done.

use std::{collections::BTreeMap, time::Duration};

use crash::CrashId;
use crashstore::CrashStore;
use facts::{ErasureOf, Facts};
use jiff::{SignedDuration, Timestamp};

use crate::{
    erase::erase,
    job::{Job, Pass},
    metrics::Metrics,
};

/// Whoever asked has so long to do it.
const CUT_SHORT: SignedDuration = SignedDuration::from_mins(5);
/// A processor that holds a crash gives it back or is done with it well before; the broker takes it back after 30 minutes.
const NOBODY_HAS_IT: SignedDuration = SignedDuration::from_hours(1);
/// So many crashes at a time; the rest is for the next pass.
const MOST: u32 = 1_000;

/// Erases what is written down and still there.
pub(crate) struct Erasures {
    pub(crate) crashes: CrashStore,
    pub(crate) facts: Facts,
}

impl Job for Erasures {
    const NAME: &'static str = "erasures";
    const DEADLINE: Duration = Duration::from_secs(15 * 60);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let unfinished = self.facts.unfinished_erasures(now - CUT_SHORT, MOST).await?;
        let finished = self.erase(&unfinished).await?;
        if finished > 0 {
            tracing::warn!(crashes = finished, "erasures that had been cut short are finished");
        }

        let unverified = self.facts.unverified_erasures(now - NOBODY_HAS_IT, MOST).await?;
        let ids: Vec<CrashId> = unverified.iter().map(|of| of.crash_id).collect();
        let verified = self.erase(&unverified).await?;
        self.facts.verified(&ids, now).await?;
        Ok(Pass::Done(finished + verified))
    }
}

impl Erasures {
    async fn erase(&self, crashes: &[ErasureOf]) -> anyhow::Result<u64> {
        let mut erasures = BTreeMap::<i64, Vec<CrashId>>::new();
        for of in crashes {
            erasures.entry(of.erasure).or_default().push(of.crash_id);
        }
        for (erasure, ids) in &erasures {
            erase(&self.crashes, &self.facts, *erasure, ids, |_, counts| Metrics::erased(counts.rows))
                .await?;
        }
        Ok(crashes.len() as u64)
    }
}
