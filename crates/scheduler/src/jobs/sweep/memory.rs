//! What a sweep remembers from pass to pass: where nothing is left to find, and what it has published.

use std::collections::{BTreeSet, HashMap};

use crash::{CrashId, Minute};
use jiff::{SignedDuration, Timestamp};

/// A crash may come into the store so long after the minute of its id: a slow body, a slow disk.
const STILL_FILLED: SignedDuration = SignedDuration::from_mins(10);
/// How many crashes may be published again and still be without a result; some megabytes of memory.
const MOST: usize = 100_000;

/// Minutes in which every crash has its result, and into which no crash comes any more.
#[derive(Debug, Default)]
pub(super) struct CompleteMinutes(BTreeSet<Minute>);

impl CompleteMinutes {
    /// Every crash that the minute had at `now` has its result.
    pub(super) fn note(&mut self, minute: Minute, now: Timestamp) {
        let end = minute.start() + SignedDuration::from_secs(60);
        if now.duration_since(end) >= STILL_FILLED {
            self.0.insert(minute);
        }
    }

    pub(super) fn has(&self, minute: Minute) -> bool {
        self.0.contains(&minute)
    }

    /// Bounds what is remembered to what is swept.
    pub(super) fn forget_before(&mut self, first: Minute) {
        self.0 = self.0.split_off(&first);
    }
}

/// Crashes that were published again and have no result yet, and when that was.
#[derive(Debug, Default)]
pub(super) struct PublishedAgain(HashMap<CrashId, Timestamp>);

impl PublishedAgain {
    /// Whether the crash was not published within this time.
    pub(super) fn is_due(&self, id: CrashId, now: Timestamp, pause: settings::Duration) -> bool {
        self.0.get(&id).is_none_or(|at| now.duration_since(*at).unsigned_abs() >= pause.get())
    }

    pub(super) fn has_room_for(&self, more: usize) -> bool {
        self.0.len() + more <= MOST
    }

    /// The crash was published; true when that was the first time.
    pub(super) fn note(&mut self, id: CrashId, now: Timestamp) -> bool {
        self.0.insert(id, now).is_none()
    }

    /// The crash has its result.
    pub(super) fn forget(&mut self, id: CrashId) {
        self.0.remove(&id);
    }

    /// Bounds what is remembered to what is swept.
    pub(super) fn forget_before(&mut self, begin: Timestamp) {
        self.0.retain(|id, _| id.received_at() >= begin);
    }
}

#[cfg(test)]
mod tests {
    use crash::ThrottleDigit;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn minute(text: &str) -> Minute {
        text.parse().unwrap()
    }

    #[test]
    fn a_minute_into_which_crashes_may_still_come_is_never_complete() {
        let mut complete = CompleteMinutes::default();
        complete.note(minute("20261123/1200"), at("2026-11-23T12:10:59Z"));
        assert!(!complete.has(minute("20261123/1200")));
        complete.note(minute("20261123/1200"), at("2026-11-23T12:11:00Z"));
        assert!(complete.has(minute("20261123/1200")));
        // A clock that was set back.
        complete.note(minute("20261123/1300"), at("2026-11-23T12:11:00Z"));
        assert!(!complete.has(minute("20261123/1300")));
    }

    #[test]
    fn minutes_that_are_not_swept_any_more_are_forgotten() {
        let mut complete = CompleteMinutes::default();
        let [old, first] = ["20261122/2359", "20261123/0000"].map(minute);
        for minute in [old, first] {
            complete.note(minute, at("2026-11-23T12:00:00Z"));
        }
        complete.forget_before(first);
        assert!(!complete.has(old) && complete.has(first));
    }

    #[test]
    fn a_crash_is_due_again_after_the_pause_and_new_only_once_until_it_has_its_result() {
        let pause = settings::Duration::from_secs(300);
        let received = at("2026-11-23T12:00:00Z");
        let id = CrashId::new(received, ThrottleDigit::Accept, 1 << 40).unwrap();
        let mut again = PublishedAgain::default();
        let (first, early, late) =
            (at("2026-11-23T12:05:00Z"), at("2026-11-23T12:09:59Z"), at("2026-11-23T12:10:00Z"));

        assert!(again.is_due(id, first, pause));
        assert!(again.note(id, first));
        assert!(!again.is_due(id, early, pause) && again.is_due(id, late, pause));
        assert!(!again.note(id, late));
        again.forget(id);
        assert!(again.note(id, late));
        again.forget_before(at("2026-11-23T12:00:01Z"));
        assert!(again.is_due(id, late, pause));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut again = PublishedAgain::default();
        let received = at("2026-11-23T12:00:00Z");
        for number in 0..MOST {
            let random = u128::try_from(number).unwrap() << 80;
            again.note(CrashId::new(received, ThrottleDigit::Accept, random).unwrap(), received);
        }
        assert!(!again.has_room_for(1));
        again.forget(CrashId::new(received, ThrottleDigit::Accept, 0).unwrap());
        assert!(again.has_room_for(1));
    }
}
