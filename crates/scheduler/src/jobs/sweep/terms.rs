//! What holds for one pass of the sweep: which crashes are old enough for what.

use std::time::{Duration, Instant};

use crash::Minute;
use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::{Config, Keep};

/// A crash may come into the store so long after the minute of its id: a slow body, a slow disk.
pub(super) const STILL_FILLED: SignedDuration = SignedDuration::from_mins(10);
/// A pass ends after so long, and the next one goes on: others wait for the database too.
const LONG_ENOUGH: Duration = Duration::from_secs(240);

/// The terms of a pass.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) now: Timestamp,
    /// How many ids waited when the pass began.
    waiting: u64,
    after: settings::Duration,
    anyway: settings::Duration,
    /// The first day whose facts are kept; nothing when all are.
    kept_from: Option<Date>,
    /// Into minutes before this one crashes come late, or not at all.
    pub(super) settled: Minute,
    /// The last minute to look at.
    pub(super) last: Minute,
    /// How long a crash that was published again is left alone.
    pub(super) pause: settings::Duration,
    /// How many crashes may still be published.
    pub(super) most: usize,
    /// How many were.
    pub(super) published: u64,
    began: Instant,
}

/// What may be done about a crash that nothing is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// It may be published.
    Due,
    /// It may be, once no id waits, or it is very old.
    PutOff,
    /// Whoever saved it may just be publishing it, and a processor have it.
    TooYoung,
}

impl Terms {
    pub(super) fn of(config: &Config, facts: Keep, now: Timestamp, waiting: u64) -> Self {
        let (after, anyway) = (config.sweep_after, config.sweep_anyway);
        let ago = |length: Duration| now.checked_sub(length).unwrap_or(Timestamp::MIN);
        let settled = Minute::of(ago(after.get().max(STILL_FILLED.unsigned_abs())));
        // While ids wait nothing young is published, so that there is no hurry.
        let last = if waiting == 0 { Minute::of(ago(after.get())) } else { settled };
        Self {
            now,
            waiting,
            after,
            anyway,
            kept_from: facts.first_day(now),
            settled,
            last,
            pause: if waiting == 0 { after } else { anyway },
            most: config.sweep_most,
            published: 0,
            began: Instant::now(),
        }
    }

    /// Whether the facts of a minute are still kept.
    pub(super) fn has_facts(&self, minute: Minute) -> bool {
        self.kept_from.is_none_or(|first| minute.day() >= first)
    }

    pub(super) fn none_waits(&self) -> bool {
        self.waiting == 0
    }

    /// Whether the pass has taken long enough.
    pub(super) fn are_over(&self) -> bool {
        self.began.elapsed() >= LONG_ENOUGH
    }

    /// Whether the pass has taken half of its time.
    pub(super) fn are_half_over(&self) -> bool {
        self.began.elapsed() >= LONG_ENOUGH / 2
    }

    /// Takes away half of what may be published, the smaller one, for what comes later in the pass.
    #[must_use]
    pub(super) fn keep_half(&mut self) -> usize {
        let kept = self.most / 2;
        self.most -= kept;
        kept
    }

    /// Gives that half back.
    pub(super) fn give_back(&mut self, kept: usize) {
        self.most += kept;
    }

    /// What may be done about a crash that could have been published since then.
    pub(super) fn age(&self, since: Timestamp) -> Age {
        let age = self.now.duration_since(since);
        let is_older = |than: settings::Duration| !age.is_negative() && age.unsigned_abs() >= than.get();
        match (is_older(self.after), is_older(self.anyway) || self.none_waits()) {
            (false, _) => Age::TooYoung,
            (true, true) => Age::Due,
            (true, false) => Age::PutOff,
        }
    }

    /// When to look at a minute again whose due crashes were published.
    pub(super) fn look_again(&self, put_off: &[Timestamp], too_young: &[Timestamp]) -> Timestamp {
        let after = |since: Timestamp, length: settings::Duration| {
            since.checked_add(length.get()).unwrap_or(Timestamp::MAX)
        };
        let first = |all: &[Timestamp], length| all.iter().map(|since| after(*since, length)).min();
        let times = [first(put_off, self.anyway), first(too_young, self.after)];
        // Not sooner: a minute whose crashes come of age one by one is not looked at for each.
        let soonest = self.now + SignedDuration::from_secs(1);
        times.into_iter().flatten().min().unwrap_or_else(|| after(self.now, self.pause)).max(soonest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn terms(waiting: u64) -> Terms {
        // Five minutes, and six hours while others wait.
        Terms::of(&Config::default(), Keep::Forever, at("2026-11-23T12:00:30Z"), waiting)
    }

    #[test]
    fn a_minute_is_settled_once_no_crash_comes_into_it_any_more() {
        for (waiting, last) in [(0, "20261123/1155"), (1, "20261123/1150")] {
            let terms = terms(waiting);
            assert_eq!(
                (terms.settled.to_string(), terms.last.to_string()),
                ("20261123/1150".to_owned(), last.to_owned())
            );
        }
        let patient = Config { sweep_after: settings::Duration::from_secs(3600), ..Config::default() };
        assert_eq!(
            Terms::of(&patient, Keep::Forever, at("2026-11-23T12:00:30Z"), 0).settled.to_string(),
            "20261123/1100"
        );
    }

    #[test]
    fn a_crash_is_left_alone_for_a_while_and_for_long_while_others_wait() {
        let ages = |waiting| {
            ["2026-11-23T12:30:00Z", "2026-11-23T11:56:00Z", "2026-11-23T11:55:00Z", "2026-11-23T06:00:00Z"]
                .map(|since| terms(waiting).age(at(since)))
        };
        assert_eq!(ages(0), [Age::TooYoung, Age::TooYoung, Age::Due, Age::Due]);
        assert_eq!(ages(1), [Age::TooYoung, Age::TooYoung, Age::PutOff, Age::Due]);
    }

    #[test]
    fn a_minute_is_looked_at_again_when_the_first_of_its_crashes_may_be_published() {
        let [early, late] = ["2026-11-23T11:57:00Z", "2026-11-23T11:59:00Z"].map(at);
        let again =
            |waiting, put_off: &[_], young: &[_]| terms(waiting).look_again(put_off, young).to_string();
        assert_eq!(again(0, &[], &[]), "2026-11-23T12:05:30Z");
        assert_eq!(again(0, &[], &[late, early]), "2026-11-23T12:02:00Z");
        assert_eq!(again(1, &[], &[]), "2026-11-23T18:00:30Z");
        assert_eq!(again(1, &[late, early], &[]), "2026-11-23T17:57:00Z");
        assert_eq!(again(0, &[], &[at("2026-11-23T11:00:00Z")]), "2026-11-23T12:00:31Z");
    }
}
