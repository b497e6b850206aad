//! Drops what is past its retention.

use std::time::Duration;

use crashstore::CrashStore;
use facts::Facts;
use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::{
    Kept, Retention, expire,
    job::{Job, Pass},
    metrics::Metrics,
};

/// How a job fared on a day is of interest for so long.
const KEEP_JOB_RUNS_DAYS: i64 = 400;

/// Drops whole days and partitions of everything that has a retention.
pub(crate) struct Expire {
    pub(crate) crashes: CrashStore,
    pub(crate) facts: Facts,
    pub(crate) retention: Retention,
}

impl Job for Expire {
    const NAME: &'static str = "expire";
    const DEADLINE: Duration = Duration::from_secs(60 * 60);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let each = |dropped: &expire::Dropped| {
            let expire::Dropped { area, day, bytes, partition } = dropped;
            Metrics::expired(*area, *bytes);
            tracing::info!(%area, %day, bytes, partition, "dropped: it is past its retention");
        };
        let dropped =
            expire::expire(&self.crashes, &self.facts, &self.retention, &Kept::ALL, now, each).await?;
        let today = now.to_zoned(TimeZone::UTC).date();
        self.facts.forget_jobs(today.saturating_sub(KEEP_JOB_RUNS_DAYS.days())).await?;
        Ok(Pass::Done(dropped.len() as u64))
    }
}
