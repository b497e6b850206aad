//! Dropping what is past its retention: whole days of the crash store, whole partitions of the database.
//!
//! Every step may be done twice, and a kill between any two leaves what the next pass drops: a day of which some
//! segments are gone, a partition that is detached (see `facts`). What can identify a person goes first.

use anyhow::{Context as _, bail};
use crashstore::CrashStore;
use facts::Facts;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::Serialize;

use crate::{Kept, Retention};

/// A clock that is further from the database's may be years ahead, and everything would be past its retention.
const CLOCKS_AGREE: SignedDuration = SignedDuration::from_hours(1);

/// Something that was dropped as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// What it is a part of.
    pub area: Kept,
    /// The partition; a day of the crash store has no name.
    pub partition: Option<String>,
    /// Its first day.
    pub day: Date,
    /// What it took.
    pub bytes: u64,
}

/// Drops of these areas what is past its retention; `each` hears of everything as it goes.
///
/// # Errors
/// When it was not all done, or the clocks of this machine and of the database disagree. Call it again.
pub async fn expire(
    crashes: &CrashStore,
    facts: &Facts,
    retention: &Retention,
    areas: &[Kept],
    now: Timestamp,
    mut each: impl FnMut(&Dropped) + Send,
) -> anyhow::Result<Vec<Dropped>> {
    let theirs = facts.clock().await.context("asking the database for the time")?;
    if now.duration_since(theirs).abs() > CLOCKS_AGREE {
        bail!(
            "this machine's clock shows {now}, and the database's {theirs}: nothing is dropped until they agree"
        );
    }
    let mut dropped = Vec::new();
    let mut gone = |one: Dropped| {
        each(&one);
        dropped.push(one);
    };
    for area in Kept::ALL.into_iter().filter(|area| areas.contains(area)) {
        let Some(first) = retention.of(area).first_day(now) else { continue };
        drop_days(crashes, area, first, &mut gone).await?;
        if !area.tables().is_empty() {
            let each = |partition: &facts::Partition| {
                let (name, day, bytes) = (partition.name.clone(), partition.first_day, partition.bytes);
                gone(Dropped { area, partition: Some(name), day, bytes });
            };
            facts.drop_partitions(area.tables(), first, each).await.context("dropping old partitions")?;
        }
    }
    Ok(dropped)
}

async fn drop_days(
    crashes: &CrashStore,
    kept: Kept,
    first: Date,
    gone: &mut (impl FnMut(Dropped) + Send),
) -> anyhow::Result<()> {
    let Some(area) = kept.area() else { return Ok(()) };
    for day in crashes.days(area).await?.into_iter().filter(|day| *day < first) {
        let freed = crashes.drop_day(area, day).await?;
        gone(Dropped { area: kept, partition: None, day, bytes: freed.bytes });
    }
    Ok(())
}
