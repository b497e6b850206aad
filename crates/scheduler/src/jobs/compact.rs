//! Takes superseded frames back, where processing a crash again has left any.

use std::time::Duration;

use crash::Minute;
use crashstore::{Area, CompactionOrder, CrashStore};
use facts::Facts;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    job::{Job, Pass},
    metrics::Metrics,
};

/// Where most of it is comes first.
const AREAS: [Area; 3] = [Area::Processed, Area::Raw, Area::Private];
/// No further minute is begun after so long; the next pass goes on.
const BUDGET: Duration = Duration::from_secs(20);
/// A frame that was just saved, or whose writer has not closed its segment, is looked at in the next round. Clocks may
/// differ by the rest.
const LOOKED_AT_AGAIN: SignedDuration = SignedDuration::from_hours(3);
const NO_HOLES: &str = "the filesystem of the crash store does not take back the middle of a file: what is superseded \
                        goes with its day";
const OBJECTS: &str = "a crash that is saved again replaces its object";

/// Compacts what has changed since the last round.
pub(crate) struct Compact {
    pub(crate) crashes: CrashStore,
    pub(crate) facts: Facts,
    /// A frame that is younger supersedes nothing yet.
    pub(crate) after: Duration,
}

/// How far it is, in a round through all areas and minutes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Round {
    /// When this round began.
    began: Option<Timestamp>,
    /// When the one before began that was done.
    before: Option<Timestamp>,
    /// Where this one goes on: the area's name, and the minute; nothing when it is done.
    next: Option<(String, Option<String>)>,
}

impl Job for Compact {
    const NAME: &'static str = "compact";
    const DEADLINE: Duration = Duration::from_secs(15 * 60);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        match self.crashes.can_compact().await? {
            Some(true) => {}
            Some(false) => return Ok(Pass::Skipped(NO_HOLES)),
            None => return Ok(Pass::Skipped(OBJECTS)),
        }
        let memory = self.facts.memory_of(Self::NAME).await?;
        // What cannot be read was written by another release: everything is looked at once.
        let known = memory.and_then(|memory| serde_json::from_value(memory).ok()).unwrap_or_default();
        let mut round = begin_or_go_on(known, now);
        let mut frames = 0;
        let began = std::time::Instant::now();
        while let Some((area, from)) = place_of(&round) {
            let left = BUDGET.saturating_sub(began.elapsed());
            let order = CompactionOrder {
                area,
                from,
                changed_since: round.before.map(|before| changed_since(before, self.after)),
                saved_before: now.checked_sub(self.after)?,
                budget: left,
            };
            let done = self.crashes.compact(order).await?;
            frames += done.frames;
            Metrics::compacted(area, done.frames, done.bytes);
            if done.frames > 0 {
                tracing::info!(%area, frames = done.frames, bytes = done.bytes, "superseded frames were taken back");
            }
            round.next = next_place(area, done.next);
            self.facts.remember(Self::NAME, &serde_json::to_value(&round)?, now).await?;
            if done.next.is_some() {
                break;
            }
        }
        Ok(Pass::Done(frames))
    }
}

/// From when on changes are looked at, after a round that began then: it left what was younger than `after`, however long
/// that is, and what [`LOOKED_AT_AGAIN`] is for.
fn changed_since(before: Timestamp, after: Duration) -> Timestamp {
    let since = before.checked_sub(after).and_then(|since| since.checked_sub(LOOKED_AT_AGAIN));
    since.unwrap_or(Timestamp::MIN)
}

fn begin_or_go_on(known: Round, now: Timestamp) -> Round {
    match known {
        Round { next: Some(_), .. } => known,
        Round { began, .. } => Round { began: Some(now), before: began, next: next_area(None) },
    }
}

/// Where the round is; a place that is none ends it.
fn place_of(round: &Round) -> Option<(Area, Option<Minute>)> {
    let (area, minute) = round.next.as_ref()?;
    Some((area.parse().ok()?, minute.as_ref().and_then(|minute| minute.parse().ok())))
}

fn next_place(area: Area, minute: Option<Minute>) -> Option<(String, Option<String>)> {
    match minute {
        Some(minute) => Some((area.to_string(), Some(minute.to_string()))),
        None => next_area(Some(area)),
    }
}

fn next_area(after: Option<Area>) -> Option<(String, Option<String>)> {
    let mut areas = AREAS.into_iter();
    if let Some(after) = after {
        areas.find(|area| *area == after);
    }
    areas.next().map(|area| (area.to_string(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_too_young_in_one_round_is_looked_at_in_the_next_however_long_that_takes() {
        let (saved, before) = (at("2026-11-23T12:00:00Z"), at("2026-11-24T11:59:00Z"));
        let day = Duration::from_secs(24 * 60 * 60);
        assert!(before.duration_since(saved) < day.try_into().unwrap(), "it was too young");
        assert!(changed_since(before, day) <= saved);
        assert_eq!(changed_since(before, Duration::MAX), Timestamp::MIN);
    }

    #[test]
    fn a_round_goes_through_all_areas_and_the_next_one_looks_at_what_changed_since() {
        let (first, second) = (at("2026-11-23T12:00:00Z"), at("2026-11-23T13:00:00Z"));
        let minute: Minute = "20261123/1310".parse().unwrap();
        let mut round = begin_or_go_on(Round::default(), first);
        assert_eq!((place_of(&round), round.before), (Some((Area::Processed, None)), None));
        round.next = next_place(Area::Processed, Some(minute));
        let text = serde_json::to_value(&round).unwrap();
        let mut round = begin_or_go_on(serde_json::from_value(text).unwrap(), second);
        assert_eq!(place_of(&round), Some((Area::Processed, Some(minute))), "it goes on, whoever leads");
        assert_eq!(round.began, Some(first));
        for area in [Area::Processed, Area::Raw, Area::Private] {
            round.next = next_place(area, None);
        }
        assert_eq!(place_of(&round), None);
        assert_eq!(begin_or_go_on(round, second).before, Some(first));
    }
}
