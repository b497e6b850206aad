//! Keeps something connected: session after session, with growing pauses between them.
//!
//! lapin can recover a connection by itself. We do not ask it to: a session that has any trouble is dropped whole, and
//! the next one begins with a new connection and declares everything anew. There is one way into the connected state,
//! and it is the one that is taken at every start.

use std::{
    fmt,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// The pause after the first failure; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A session that lasted this long was a good one, and the pauses begin small again.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// How often to look whether somebody has removed what stands in our way on the broker.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// How it stands between us and the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerState {
    /// Connected, and everything is declared.
    Connected,
    /// Connected, but the broker takes no messages: it is short of memory or disk.
    Blocked {
        /// Since when.
        since: Timestamp,
        /// What the broker says.
        reason: String,
    },
    /// Not connected; it is tried again and again.
    Disconnected {
        /// Since when.
        since: Timestamp,
        /// Why the last attempt failed, or the connection was lost.
        reason: String,
    },
    /// The broker has queues of our names that are not ours. A person has to decide; see the reason.
    Refused {
        /// What is different, and what can be done.
        reason: String,
    },
}

impl BrokerState {
    pub(crate) fn at_first() -> Self {
        Self::Disconnected { since: Timestamp::now(), reason: "not connected yet".to_owned() }
    }

    /// Nothing while ids can be published and taken; else why not, for a health page.
    #[must_use]
    pub fn why_down(&self) -> Option<String> {
        (*self != Self::Connected).then(|| self.to_string())
    }

    fn disconnected(&mut self, error: &Error) {
        let since = match self {
            // Only the reason is news.
            Self::Disconnected { since, .. } => *since,
            _ => Timestamp::now(),
        };
        *self = Self::Disconnected { since, reason: error.to_string() };
    }
}

impl fmt::Display for BrokerState {
    /// A short phrase: how it stands, since when and why.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => formatter.write_str("connected"),
            Self::Blocked { since, reason } => {
                write!(formatter, "takes no messages since {since:.0}: {reason}")
            }
            Self::Disconnected { since, reason } => {
                write!(formatter, "not connected since {since:.0}: {reason}")
            }
            Self::Refused { reason } => write!(formatter, "cannot be used: {reason}"),
        }
    }
}

/// What to do after a session has ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Begin another at once.
    Reconnect,
    /// Nothing.
    Stop,
}

/// What to do about a broker that has something else under our names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenRefused {
    /// End, so that the process can say so and exit.
    End,
    /// Say so once, and look from time to time whether it was put right.
    LookAgain,
}

/// One connection from its beginning to its end.
pub(crate) trait Session: Send + Sync {
    /// Connects, tells `state`, works until something ends it.
    fn run(&self, state: &watch::Sender<BrokerState>) -> impl Future<Output = Result<Next, Error>> + Send;
}

/// Runs sessions until one says [`Next::Stop`] or `shutdown` finds none running.
pub(crate) async fn supervise(
    purpose: &'static str,
    session: impl Session,
    state: watch::Sender<BrokerState>,
    longest_pause: Duration,
    when_refused: WhenRefused,
    shutdown: CancellationToken,
) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let pause = match session.run(&state).await {
            Ok(Next::Stop) => return,
            Ok(Next::Reconnect) => Duration::ZERO,
            Err(error) if error.is_final() => {
                let reason = error.to_string();
                let refused = BrokerState::Refused { reason: reason.clone() };
                if state.send_replace(refused.clone()) != refused {
                    tracing::error!(purpose, reason, "the queue cannot be used");
                }
                if when_refused == WhenRefused::End {
                    return;
                }
                REFUSED_PAUSE
            }
            Err(error) => {
                failures = if began.elapsed() > GOOD_SESSION { 0 } else { failures + 1 };
                let was_connected = *state.borrow() == BrokerState::Connected;
                state.send_modify(|state| state.disconnected(&error));
                if was_connected {
                    tracing::warn!(purpose, reason = %error, "the connection to RabbitMQ is lost");
                } else if failures <= 1 {
                    tracing::warn!(purpose, reason = %error, "RabbitMQ cannot be reached; trying again");
                } else {
                    tracing::debug!(purpose, failures, reason = %error, "RabbitMQ still cannot be reached");
                }
                backoff(failures, longest_pause, rand::random())
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Doubles with each failure up to a limit; chance, in [0, 1), takes up to half of it away, so that a broker that
/// comes back does not meet everybody at once.
pub(crate) fn backoff(failures: u32, longest: Duration, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(1.0 - chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_and_chance_shortens_them_by_up_to_half() {
        let longest = Duration::from_secs(10);
        assert_eq!(backoff(1, longest, 0.0), Duration::from_millis(200));
        assert_eq!(backoff(3, longest, 0.0), Duration::from_millis(800));
        assert_eq!(backoff(1_000, longest, 0.0), longest);
        assert_eq!(backoff(1_000, longest, 0.5), Duration::from_millis(7_500));
    }

    #[test]
    fn a_state_reads_as_a_phrase_with_its_time_and_its_reason() {
        let since = "2026-11-23T10:00:00.123456Z".parse().unwrap();
        let reason = "low on memory".to_owned();
        assert_eq!(BrokerState::Connected.to_string(), "connected");
        assert_eq!(
            BrokerState::Blocked { since, reason: reason.clone() }.to_string(),
            "takes no messages since 2026-11-23T10:00:00Z: low on memory"
        );
        assert_eq!(
            BrokerState::Disconnected { since, reason: reason.clone() }.to_string(),
            "not connected since 2026-11-23T10:00:00Z: low on memory"
        );
        assert_eq!(BrokerState::Refused { reason }.to_string(), "cannot be used: low on memory");
    }

    #[test]
    fn while_it_stays_disconnected_only_the_reason_changes() {
        let mut state = BrokerState::Connected;
        state.disconnected(&Error::lost("first"));
        let BrokerState::Disconnected { since: first, .. } = state.clone() else { panic!("{state:?}") };
        state.disconnected(&Error::lost("second"));
        let BrokerState::Disconnected { since, reason } = state else { panic!("{state:?}") };
        assert_eq!(since, first);
        assert!(reason.contains("second"), "{reason}");
    }
}
