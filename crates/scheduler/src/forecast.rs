//! What there is, how it grows, what goes when, and when the disk would be full.

use std::collections::BTreeMap;

use anyhow::Context as _;
use crashstore::{CrashStore, Room};
use facts::Facts;
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use crate::{Keep, Kept, Retention};

/// Growth is the mean of so many whole days.
const MEASURED_DAYS: i64 = 7;
/// A disk that is not full by then is not said to get full.
const HORIZON_DAYS: i64 = 5 * 366;

/// What is kept, and what becomes of it.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// When it was made.
    pub at: Timestamp,
    /// What is kept, area by area.
    pub areas: Vec<AreaForecast>,
    /// The filesystem of the crash store; an object store has no bound.
    pub disk: Option<DiskForecast>,
}

/// One area.
#[derive(Debug, Clone, Serialize)]
pub struct AreaForecast {
    /// Which.
    pub area: Kept,
    /// How long it is kept.
    pub keep: String,
    /// The first day that is there.
    pub oldest: Option<Date>,
    /// What it takes.
    pub bytes: u64,
    /// How much a day came in the last week.
    pub bytes_a_day: u64,
    /// What is past its retention.
    pub due: Due,
    /// What goes next, apart from what is due.
    pub next: Option<Next>,
}

/// What is past its retention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Due {
    /// Days of the crash store, or partitions.
    pub parts: u64,
    /// What they take.
    pub bytes: u64,
}

/// What goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Next {
    /// The day on which it goes.
    pub on: Date,
    /// What that frees.
    pub bytes: u64,
}

/// The filesystem of the crash store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskForecast {
    /// All of its room.
    pub total: u64,
    /// What may still be written.
    pub free: u64,
    /// When it would be full if crashes go on coming as in the last week and retention does its work.
    pub full_on: Option<Date>,
}

/// A day of the crash store, or a partition.
#[derive(Debug, Clone, Copy)]
struct Part {
    first: Date,
    /// The day after its last.
    end: Date,
    bytes: u64,
}

/// Looks at everything that is kept. It may take a while: every segment is measured.
///
/// # Errors
/// When the store or the database cannot be asked.
pub async fn forecast(
    crashes: &CrashStore,
    facts: &Facts,
    retention: &Retention,
    areas: &[Kept],
    now: Timestamp,
) -> anyhow::Result<Forecast> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let mut found = Vec::new();
    for area in Kept::ALL {
        found.push((area, parts(crashes, facts, area).await?));
    }
    let disk = crashes.room().await?.map(|room| DiskForecast {
        total: room.total,
        free: room.free,
        full_on: full_on(&found, retention, room, today),
    });
    let asked = found.iter().filter(|(area, _)| areas.contains(area));
    let areas = asked.map(|(area, parts)| area_forecast(*area, parts, retention, today)).collect();
    Ok(Forecast { at: now, areas, disk })
}

async fn parts(crashes: &CrashStore, facts: &Facts, kept: Kept) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    if let Some(area) = kept.area() {
        let usage = crashes.usage(area).await?;
        parts.extend(usage.into_iter().map(|usage| Part {
            first: usage.day,
            end: later(usage.day, 1),
            bytes: usage.bytes,
        }));
    }
    let partitions = facts.partitions(kept.tables()).await.context("measuring the database")?;
    parts.extend(partitions.into_iter().map(|partition| Part {
        first: partition.first_day,
        end: partition.end_day,
        bytes: partition.bytes,
    }));
    Ok(parts)
}

fn area_forecast(area: Kept, parts: &[Part], retention: &Retention, today: Date) -> AreaForecast {
    let mut due = Due::default();
    let mut going = BTreeMap::<Date, u64>::new();
    for part in parts {
        match retention.goes_on(area, earlier(part.end, 1)) {
            Some(on) if on <= today => {
                due.parts += 1;
                due.bytes += part.bytes;
            }
            Some(on) => *going.entry(on).or_default() += part.bytes,
            None => {}
        }
    }
    // Partitions are made ahead, and those that are empty say nothing of the past.
    let oldest = parts.iter().filter(|part| part.first <= today).map(|part| part.first).min();
    AreaForecast {
        area,
        keep: retention.of(area).to_string(),
        oldest,
        bytes: parts.iter().map(|part| part.bytes).sum(),
        bytes_a_day: bytes_a_day(parts, today),
        due,
        next: going.first_key_value().map(|(on, bytes)| Next { on: *on, bytes: *bytes }),
    }
}

/// The mean of the last whole days; of today, where there are none.
fn bytes_a_day(parts: &[Part], today: Date) -> u64 {
    let past = || parts.iter().filter(|part| part.first <= today);
    let Some(oldest) = past().map(|part| part.first).min() else { return 0 };
    let from = oldest.max(earlier(today, MEASURED_DAYS)).min(earlier(today, 1).max(oldest));
    let until = today.max(later(from, 1));
    let mut bytes = 0;
    for part in past() {
        let elapsed = days(part.first, part.end.min(later(today, 1))).max(1);
        let measured = days(part.first.max(from), part.end.min(until)).max(0);
        bytes += part.bytes.saturating_mul(measured.unsigned_abs()) / elapsed.unsigned_abs();
    }
    bytes / days(from, until).max(1).unsigned_abs()
}

/// Goes through the coming days: what comes, and what goes.
fn full_on(found: &[(Kept, Vec<Part>)], retention: &Retention, room: Room, today: Date) -> Option<Date> {
    let mut going = BTreeMap::<Date, u64>::new();
    let mut growth = Vec::new();
    for (kept, parts) in found.iter().filter(|(kept, _)| kept.area().is_some()) {
        // The tables of an area may be on another disk.
        let parts: Vec<Part> = parts.iter().copied().filter(|part| days(part.first, part.end) == 1).collect();
        for part in &parts {
            if let Some(on) = retention.goes_on(*kept, part.first) {
                *going.entry(on.max(today)).or_default() += part.bytes;
            }
        }
        let stays = match retention.of(*kept) {
            Keep::For(_) => retention.goes_on(*kept, today).map(|on| days(today, on)),
            Keep::Forever => None,
        };
        growth.push((i128::from(bytes_a_day(&parts, today)), stays));
    }
    let mut free = i128::from(room.free);
    (0..HORIZON_DAYS).map(|ahead| (ahead, later(today, ahead))).find_map(|(ahead, day)| {
        free += i128::from(going.get(&day).copied().unwrap_or(0));
        for (bytes, stays) in &growth {
            // What comes today is gone after so many days, and from then on as much goes as comes.
            if stays.is_none_or(|stays| ahead <= stays) {
                free -= bytes;
            }
        }
        (free < 0).then_some(day)
    })
}

fn days(from: Date, until: Date) -> i64 {
    from.until(until).map_or(0, |span| i64::from(span.get_days()))
}

fn later(day: Date, days: i64) -> Date {
    Span::new().try_days(days).map_or(day, |span| day.saturating_add(span))
}

fn earlier(day: Date, days: i64) -> Date {
    later(day, -days)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 11, 26);

    fn day(day: Date, bytes: u64) -> Part {
        Part { first: day, end: later(day, 1), bytes }
    }

    #[test]
    fn growth_is_the_mean_of_the_last_whole_days() {
        assert_eq!(bytes_a_day(&[], TODAY), 0);
        // Nothing but today, and something older than a week.
        assert_eq!(bytes_a_day(&[day(TODAY, 50)], TODAY), 50);
        let parts = [day(earlier(TODAY, 1), 100), day(earlier(TODAY, 2), 200), day(TODAY, 7)];
        assert_eq!(bytes_a_day(&parts, TODAY), 150);
        let old = [day(earlier(TODAY, 1), 700), day(earlier(TODAY, 30), 9_999)];
        assert_eq!(bytes_a_day(&old, TODAY), 100);
        // A week that began three days ago has four days so far, of which three are whole.
        let week = Part { first: date(2026, 11, 23), end: date(2026, 11, 30), bytes: 400 };
        assert_eq!(bytes_a_day(&[week], TODAY), 100);
    }

    #[test]
    fn a_forecast_tells_what_is_due_and_what_goes_next() {
        let retention = Retention::default();
        let parts = [
            day(earlier(TODAY, 40), 1),
            day(earlier(TODAY, 29), 2),
            day(earlier(TODAY, 28), 4),
            day(earlier(TODAY, 1), 8),
        ];
        let forecast = area_forecast(Kept::Private, &parts, &retention, TODAY);
        assert_eq!(forecast.due, Due { parts: 2, bytes: 3 });
        assert_eq!(forecast.next, Some(Next { on: later(TODAY, 1), bytes: 4 }));
        assert_eq!((forecast.bytes, forecast.oldest), (15, Some(earlier(TODAY, 40))));
    }

    #[test]
    fn a_disk_is_full_when_more_comes_than_goes_and_never_when_retention_holds_it() {
        let retention =
            Retention { raw: "10d".parse().unwrap(), processed: Keep::Forever, ..Retention::default() };
        let room = |free| Room { total: 10_000, free };
        let week = |bytes| (1..8).map(|ago| day(earlier(TODAY, ago), bytes)).collect::<Vec<_>>();
        // At most 11 days of 100 are there at a time, and 7 of them are there already.
        let raw = vec![(Kept::Raw, week(100))];
        assert_eq!(full_on(&raw, &retention, room(2_000), TODAY), None);
        assert_eq!(full_on(&raw, &retention, room(250), TODAY), Some(later(TODAY, 2)));
        let processed = vec![(Kept::Processed, week(100))];
        assert_eq!(full_on(&processed, &retention, room(2_000), TODAY), Some(later(TODAY, 20)));
        assert_eq!(full_on(&[(Kept::Facts, week(100))], &retention, room(1), TODAY), None);
    }
}
