//! What things are called on the broker.

use std::{collections::HashSet, time};

use crash::QueueName;
use lapin::types::ShortString;
use settings::Duration;

use crate::error::Error;

/// The longest namespace; the protocol ends names at 255 bytes.
const LONGEST_NAMESPACE: usize = 127;

/// The names of all queues and exchanges of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    prefix: String,
    retries: Vec<[Retry; 2]>,
}

/// A delay, and the name that its queue and its exchange have in common.
///
/// Each configured delay makes two of them, the second half as long again, and chance decides for each crash. A queue has one
/// time to live, and a message's own would hold only at the head of its queue, behind all that came before it: so this is
/// what jitter can be here. Crashes that failed together come back in two parts and, after another failure, in four; and
/// those that come back are not at work yet but on their queue, from which processors take them as they have room.
///
/// The name tells the delay, so that other delays make other queues; the old ones send home what they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) delay: time::Duration,
    pub(crate) name: ShortString,
}

impl Names {
    pub(crate) fn new(namespace: &str, delays: &[Duration]) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if namespace.len() > LONGEST_NAMESPACE || !namespace.chars().all(plain) {
            return Err(Error::config("namespace", "up to 127 letters, digits and . - _ : make a namespace"));
        }
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}.") };
        let retry = |delay: Duration| Retry {
            // To the millisecond, which is what the broker counts.
            delay: time::Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            name: format!("{prefix}retry.{}", delay.to_string().replace(' ', "")).into(),
        };
        let retries = delays.iter().map(|delay| [retry(*delay), retry(longer(*delay))]).collect();
        Ok(Self { prefix, retries })
    }

    /// The exchange to which everything is published that goes to a queue by name.
    pub(crate) fn exchange(&self) -> ShortString {
        self.with_prefix("crashmill")
    }

    /// A work queue, which is also the routing key that leads there.
    pub(crate) fn work(&self, queue: QueueName) -> ShortString {
        self.with_prefix(queue.as_str())
    }

    /// Where crashes are parked that nobody tries any more.
    pub(crate) fn dead(&self) -> ShortString {
        self.with_prefix("dead")
    }

    /// All delays, in the order of the attempts, each once.
    pub(crate) fn retries(&self) -> impl Iterator<Item = &Retry> {
        let mut seen = HashSet::new();
        self.retries.iter().flatten().filter(move |retry| seen.insert(retry.name.as_str()))
    }

    /// Where a crash waits after its attempt with this number, from 1, has failed; `chance` is in [0, 1).
    pub(crate) fn retry_after(&self, attempt: u16, chance: f64) -> Option<&Retry> {
        let [short, long] =
            self.retries.get(usize::from(attempt.saturating_sub(1))).or(self.retries.last())?;
        Some(if chance < 0.5 { short } else { long })
    }

    /// The longest delay.
    pub(crate) fn longest(&self) -> Option<&Retry> {
        self.retries.iter().flatten().max_by_key(|retry| retry.delay)
    }

    fn with_prefix(&self, name: &str) -> ShortString {
        format!("{}{name}", self.prefix).into()
    }
}

/// Half as long again, or as long as the broker counts.
fn longer(delay: Duration) -> Duration {
    let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis((milliseconds + milliseconds.div_ceil(2)).min(u32::MAX.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_with_the_attempts_and_the_last_one_stays() {
        let delays = [Duration::from_secs(10), Duration::from_secs(90)];
        let names = Names::new("", &delays).unwrap();
        let after = |attempt, chance| names.retry_after(attempt, chance).unwrap().name.as_str().to_owned();
        assert_eq!(
            [after(1, 0.0), after(2, 0.4), after(7, 0.4)],
            ["retry.10s", "retry.1m30s", "retry.1m30s"]
        );
        assert_eq!(
            [after(1, 0.5), after(2, 0.9), after(7, 0.9)],
            ["retry.15s", "retry.2m15s", "retry.2m15s"]
        );
    }

    #[test]
    fn a_delay_that_two_have_in_common_is_one_queue() {
        let delays = [Duration::from_secs(10), Duration::from_secs(15)];
        let names = Names::new("", &delays).unwrap();
        let all: Vec<&str> = names.retries().map(|retry| retry.name.as_str()).collect();
        assert_eq!(all, ["retry.10s", "retry.15s", "retry.22s500ms"]);
        assert_eq!(names.longest().unwrap().delay, time::Duration::from_millis(22_500));
    }

    #[test]
    fn a_namespace_stands_before_every_name() {
        let names = Names::new("eu", &[Duration::from_millis(200)]).unwrap();
        assert_eq!(names.exchange().as_str(), "eu.crashmill");
        assert_eq!(names.work(QueueName::Priority).as_str(), "eu.priority");
        assert_eq!(names.retry_after(1, 0.0).unwrap().name.as_str(), "eu.retry.200ms");
    }
}
