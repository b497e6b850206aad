//! Gives up on clients that send their bodies too slowly.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep};

use crate::body::{BodyError, Decoded};

/// The longest wait that is told from a longer one: every body has had its time by then.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The slowest that a client may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Bytes a second on average; 0 for any.
    pub(crate) rate: u64,
    /// How long a client is waited for before that counts.
    pub(crate) after: Duration,
}

impl Pace {
    /// How long a client may be waited for in all when so much has come.
    fn patience(self, bytes: u64) -> Duration {
        let earned = bytes.checked_div(self.rate).map_or(LONGEST, Duration::from_secs);
        earned.max(self.after).min(LONGEST)
    }
}

/// A body's bytes as they come. Only the time spent waiting for the client counts: while we wait for memory or parse,
/// it cannot send.
pub(crate) struct Paced {
    stream: Decoded,
    received: Arc<AtomicU64>,
    pace: Pace,
    waited: Duration,
    waiting_since: Option<Instant>,
    alarm: Pin<Box<Sleep>>,
}

impl Paced {
    /// `received` is how many bytes of the stream have come so far; whoever gives the stream counts them.
    pub(crate) fn new(stream: Decoded, received: Arc<AtomicU64>, pace: Pace) -> Self {
        let alarm = Box::pin(sleep(LONGEST));
        Self { stream, received, pace, waited: Duration::ZERO, waiting_since: None, alarm }
    }
}

impl Stream for Paced {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.stream.as_mut().poll_next(context);
        let now = Instant::now();
        if next.is_ready() {
            let since = self.waiting_since.take();
            self.waited += since.map_or(Duration::ZERO, |since| now - since);
            return next;
        }
        if self.waiting_since.is_none() {
            self.waiting_since = Some(now);
            let patience = self.pace.patience(self.received.load(Ordering::Relaxed));
            let deadline = now + patience.saturating_sub(self.waited);
            self.alarm.as_mut().reset(deadline);
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(Some(Err(BodyError::TooSlow)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_the_time_that_its_bytes_earn_and_never_less_than_the_first_seconds() {
        let pace = Pace { rate: 1_000, after: Duration::from_secs(10) };
        assert_eq!(pace.patience(0), Duration::from_secs(10));
        assert_eq!(pace.patience(9_000), Duration::from_secs(10));
        assert_eq!(pace.patience(60_000), Duration::from_secs(60));
        assert_eq!(pace.patience(u64::MAX), LONGEST);
        assert_eq!(Pace { rate: 0, ..pace }.patience(0), LONGEST);
    }
}
