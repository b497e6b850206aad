//! What a sweep remembers from pass to pass: what it has published. A next leader does without.

use std::collections::HashMap;

use crash::{CrashId, Minute};
use jiff::Timestamp;

/// How many crashes may be published again and still be without a result; some megabytes of memory.
const MOST: usize = 100_000;

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

    /// All crashes of a minute have their result, or are gone.
    pub(super) fn forget_minute(&mut self, minute: Minute) {
        self.0.retain(|id, _| id.minute() != minute);
    }
}

#[cfg(test)]
mod tests {
    use crash::ThrottleDigit;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
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
        again.forget_minute("20261123/1159".parse().unwrap());
        assert!(!again.is_due(id, late, pause));
        again.forget_minute(id.minute());
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
