//! Whether the store is to be tried, so that not every crash waits for a store that is down.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::Error;

/// How long the store is left alone after its first failure; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: how long a recovery may go unnoticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pauses are drawn from between this part of them and the whole, so that collectors do not come back together.
const JITTER: std::ops::Range<f64> = 0.5..1.0;

/// Open after a failure, until a try succeeds. While it is open, one try a pause is let through: an upload, or what the
/// mover moves.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Option<Open>>);

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    pause: Duration,
    next_try: Instant,
}

impl Breaker {
    /// Whether the store is to be tried now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &mut *state else { return true };
        let is_time = now >= open.next_try;
        if is_time {
            open.next_try = now + jittered(open.pause);
        }
        is_time
    }

    /// When the next try is let through; nothing while all are.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|open| open.next_try)
    }

    pub(super) fn failed(&self, now: Instant, error: &Error) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, pause) = match *state {
            Some(open) => (open.since, LONGEST_PAUSE.min(open.pause * 2)),
            None => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "the crash store does not take crashes: they are spooled on this machine"
                );
                (now, FIRST_PAUSE)
            }
        };
        *state = Some(Open { since, pause, next_try: now + jittered(pause) });
    }

    pub(super) fn succeeded(&self) {
        if let Some(open) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let after_s = open.since.elapsed().as_secs();
            tracing::info!(after_s, "the crash store takes crashes again");
        }
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(JITTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Error {
        Error::TimedOut { doing: "saving".to_owned(), deadline: FIRST_PAUSE }
    }

    #[test]
    fn after_a_failure_one_try_a_pause_is_let_through_until_one_succeeds() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(breaker.admits(now) && breaker.admits(now));

        breaker.failed(now, &failure());
        assert!(!breaker.admits(now));
        let later = now + FIRST_PAUSE;
        assert!(breaker.admits(later) && !breaker.admits(later), "one, and not two");

        breaker.succeeded();
        assert!(breaker.admits(later) && breaker.admits(later));
    }

    #[test]
    fn however_long_a_store_is_down_its_recovery_is_found_within_seconds() {
        let (breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed(now, &failure());
            let next = breaker.next_try().unwrap();
            assert!(next > now && next <= now + LONGEST_PAUSE);
            now = next;
            assert!(breaker.admits(now));
        }
    }
}
