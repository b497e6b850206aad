//! Makes the partitions of the coming days, so that no save has to.

use std::time::Duration;

use facts::Facts;
use jiff::{Timestamp, ToSpan, tz::TimeZone};

use crate::job::{Job, Pass};

/// Makes partitions from yesterday to so many days ahead.
pub(crate) struct Partitions {
    pub(crate) facts: Facts,
    pub(crate) days_ahead: u16,
}

impl Job for Partitions {
    const NAME: &'static str = "partitions";
    const DEADLINE: Duration = Duration::from_secs(120);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let today = now.to_zoned(TimeZone::UTC).date();
        let (first, last) =
            (today.saturating_sub(1.day()), today.saturating_add(i64::from(self.days_ahead).days()));
        let made = self.facts.make_partitions(first, last).await?;
        if made > 0 {
            tracing::info!(made, until = %last, "partitions have been made ahead");
        }
        Ok(Pass::Done(made.into()))
    }
}
