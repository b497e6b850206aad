//! Finishes erasures that were cut short, and looks after those that are done.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use crash::CrashId;
use crashstore::CrashStore;
use facts::{ErasedCounts, ErasureOf, Facts};
use jiff::{SignedDuration, Timestamp};

use crate::{
    erase::{Failed, erase},
    job::{Job, Pass},
    metrics::Metrics,
};

/// Whoever asked has so long to do it.
const CUT_SHORT: SignedDuration = SignedDuration::from_mins(5);
/// A processor that holds a crash gives it back or is done with it well before; the broker takes it back after 30 minutes.
const NOBODY_HAS_IT: SignedDuration = SignedDuration::from_hours(1);
/// So many crashes at a time; the rest is for the next pass.
const MOST: u32 = 1_000;
/// Of what fails, so much is told.
const TOLD: usize = 3;

/// Erases what is written down and still there.
pub(crate) struct Erasures {
    pub(crate) crashes: CrashStore,
    pub(crate) facts: Facts,
}

impl Job for Erasures {
    const NAME: &'static str = "erasures";
    const DEADLINE: Duration = Duration::from_secs(15 * 60);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let mut failures = Failures::default();
        let unfinished = self.facts.unfinished_erasures(now - CUT_SHORT, MOST).await?;
        let finished = self.erase(&unfinished, &mut failures).await.len();
        if finished > 0 {
            tracing::warn!(crashes = finished, "erasures that had been cut short are finished");
        }

        let unverified = self.facts.unverified_erasures(now - NOBODY_HAS_IT, MOST).await?;
        let verified = self.erase(&unverified, &mut failures).await;
        self.facts.verified(&verified, now).await?;
        failures.told()?;
        Ok(Pass::Done((finished + verified.len()) as u64))
    }
}

impl Erasures {
    /// Erases what can be erased, and returns that.
    async fn erase(&self, crashes: &[ErasureOf], failures: &mut Failures) -> Vec<CrashId> {
        let mut erasures = BTreeMap::<i64, Vec<CrashId>>::new();
        for of in crashes {
            erasures.entry(of.erasure).or_default().push(of.crash_id);
        }
        let mut done = Vec::new();
        for (erasure, ids) in &erasures {
            let each = |id, counts: ErasedCounts| {
                Metrics::erased(counts.rows);
                done.push(id);
            };
            match erase(&self.crashes, &self.facts, *erasure, ids, each).await {
                Ok(failed) => {
                    for Failed { crash_id, error } in failed {
                        failures.add(&format!("crash {crash_id}: {error:#}"));
                    }
                }
                Err(error) => failures.add(&format!("erasure {erasure}: {error:#}")),
            }
        }
        done
    }
}

/// What could not be erased: none of it keeps the rest.
#[derive(Debug, Default)]
struct Failures {
    count: usize,
    first: Vec<String>,
}

impl Failures {
    fn add(&mut self, what: &str) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(what.to_owned());
        }
    }

    fn told(self) -> anyhow::Result<()> {
        ensure!(self.count == 0, "{} erasures failed; the first: {}", self.count, self.first.join("; "));
        Ok(())
    }
}
