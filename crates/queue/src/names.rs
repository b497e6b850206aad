//! What things are called on the broker.

use std::time;

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
    retries: Vec<Retry>,
}

/// A delay, and the name that its queue and its exchange have in common.
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
        let retries = delays
            .iter()
            .map(|delay| Retry {
                // To the millisecond, which is what the broker counts.
                delay: time::Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
                name: format!("{prefix}retry.{}", delay.to_string().replace(' ', "")).into(),
            })
            .collect();
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

    /// All queues that are bound to the exchange by their own names.
    pub(crate) fn bound(&self) -> impl Iterator<Item = ShortString> {
        QueueName::ALL.into_iter().map(|queue| self.work(queue)).chain([self.dead()])
    }

    /// The delays, in the order of the attempts.
    pub(crate) fn retries(&self) -> &[Retry] {
        &self.retries
    }

    /// Where a crash waits after its attempt with this number, from 1, has failed.
    pub(crate) fn retry_after(&self, attempt: u16) -> Option<&Retry> {
        self.retries.get(usize::from(attempt.saturating_sub(1))).or(self.retries.last())
    }

    fn with_prefix(&self, name: &str) -> ShortString {
        format!("{}{name}", self.prefix).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_with_the_attempts_and_the_last_one_stays() {
        let delays = [Duration::from_secs(10), Duration::from_secs(90)];
        let names = Names::new("", &delays).unwrap();
        let after = |attempt| names.retry_after(attempt).unwrap().name.as_str().to_owned();
        assert_eq!([after(1), after(2), after(7)], ["retry.10s", "retry.1m30s", "retry.1m30s"]);
    }

    #[test]
    fn a_namespace_stands_before_every_name() {
        let names = Names::new("eu", &[Duration::from_millis(200)]).unwrap();
        assert_eq!(names.exchange().as_str(), "eu.crashmill");
        assert_eq!(names.work(QueueName::Priority).as_str(), "eu.priority");
        assert_eq!(names.retry_after(1).unwrap().name.as_str(), "eu.retry.200ms");
    }
}
