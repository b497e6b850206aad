//! The `[queue]` section of the configuration.

use std::{fmt, path::PathBuf, time};

use lapin::uri::AMQPUri;
use serde::{Deserialize, Serialize};
use settings::{Duration, Secret, ServiceUrl, Size};

use crate::{error::Error, names::Names};

/// Frames of this many bytes hold our messages with room to spare; lapin keeps two buffers of 32 frames a connection,
/// which at the protocol's usual size would be 8 MiB.
const FRAME_BYTES: u32 = 16 * 1024;
/// The longest delay that RabbitMQ takes as a message's time to live, in milliseconds.
const LONGEST_DELAY: time::Duration = time::Duration::from_millis(u32::MAX as u64);

/// How crash ids go through RabbitMQ.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The broker: `amqp://user@host:5672/vhost`, or `amqps://` for TLS. The vhost `/` is written `%2f`.
    pub url: ServiceUrl,
    /// The password of the URL's user, when it is not part of the URL.
    pub password: Secret,
    /// Stands before the name of every queue and exchange, with a dot, so that several installations share a broker.
    pub namespace: String,
    /// How long a publish may wait for the broker's confirm before its id goes to the journal.
    pub publish_timeout: Duration,
    /// How long to wait before the second attempt, the third, and so on; the last one also for all that follow. Chance makes
    /// half of them half as long again.
    pub retry_delays: Vec<Duration>,
    /// How often a crash is tried before it is dead.
    pub max_attempts: u16,
    /// How long a crash that was saved without its symbols, because a source of them was down, waits until it is processed
    /// again: the first time, the second, and so on. After the last it is left to people.
    pub degraded_delays: Vec<Duration>,
    /// Of so many ids taken while others wait too, one is from `reprocessing`.
    pub reprocessing_every: u32,
    /// How often both sides say that they are there; a connection that is silent for twice as long is given up.
    pub heartbeat: Duration,
    /// The longest wait between two attempts to reach the broker.
    pub reconnect_delay: Duration,
    /// Where ids wait on disk while the broker cannot take them: a folder a writer below this one.
    pub journal: PathBuf,
    /// The most that one writer's journal may hold.
    pub journal_limit: Size,
    /// How many ids a second go from the journal to the broker at most, so that new crashes are not held up.
    pub journal_rate: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "amqp://127.0.0.1:5672/%2f".parse().expect("the default is a URL"),
            password: Secret::default(),
            namespace: String::new(),
            publish_timeout: Duration::from_secs(5),
            retry_delays: vec![Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)],
            max_attempts: 5,
            degraded_delays: [600, 3_600, 6 * 3_600, 24 * 3_600].map(Duration::from_secs).to_vec(),
            reprocessing_every: 10,
            heartbeat: Duration::from_secs(10),
            reconnect_delay: Duration::from_secs(10),
            journal: PathBuf::from("/var/lib/crashmill/journal"),
            journal_limit: Size::gib(1),
            journal_rate: 5_000,
        }
    }
}

impl Config {
    /// Finds out whether the section makes sense, without asking the broker or touching the disk.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key whose value cannot work.
    pub fn check(&self) -> Result<(), Error> {
        self.checked().map(drop)
    }

    /// The section as the rest of this crate wants it.
    pub(crate) fn checked(&self) -> Result<Checked, Error> {
        let nothing = [
            ("max_attempts", self.max_attempts == 0),
            ("reprocessing_every", self.reprocessing_every == 0),
            ("journal_rate", self.journal_rate == 0),
            ("journal_limit", self.journal_limit.bytes() == 0),
            ("publish_timeout", self.publish_timeout.is_zero()),
            ("reconnect_delay", self.reconnect_delay.is_zero()),
        ];
        if let Some((key, _)) = nothing.into_iter().find(|(_, is_nothing)| *is_nothing) {
            return Err(Error::config(key, "it is more than 0"));
        }
        if self.journal.as_os_str().is_empty() {
            return Err(Error::config("journal", "name a folder"));
        }
        if self.retry_delays.is_empty() {
            return Err(Error::config("retry_delays", "give at least one delay"));
        }
        for delay in &self.retry_delays {
            if delay.as_millis() == 0 || **delay > LONGEST_DELAY {
                return Err(Error::config("retry_delays", "a delay is between 1ms and 49 days"));
            }
        }
        Ok(Checked {
            uri: self.uri()?,
            names: Names::new(&self.namespace, &self.retry_delays)?,
            publish_timeout: self.publish_timeout.get(),
            max_attempts: self.max_attempts,
            reprocessing_every: self.reprocessing_every,
            reconnect_delay: self.reconnect_delay.get(),
        })
    }

    fn uri(&self) -> Result<AMQPUri, Error> {
        let url = self.url.with_password(&self.password);
        let mut uri: AMQPUri =
            url.expose().parse().map_err(|reason: String| Error::config("url", &reason))?;
        // The URI parser sees only names and IPv4 addresses and would fall back to localhost.
        if let Ok(parsed) = url::Url::parse(url.expose())
            && let Some(url::Host::Ipv6(address)) = parsed.host()
        {
            uri.authority.host = address.to_string();
        }
        let heartbeat = u16::try_from(self.heartbeat.as_secs()).unwrap_or(0);
        if heartbeat == 0 {
            return Err(Error::config("heartbeat", "it is between 1s and 18h"));
        }
        uri.query.heartbeat = Some(heartbeat);
        uri.query.frame_max = Some(uri.query.frame_max.unwrap_or(FRAME_BYTES));
        Ok(uri)
    }
}

/// The section after it was found to make sense.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) uri: AMQPUri,
    pub(crate) names: Names,
    pub(crate) publish_timeout: time::Duration,
    pub(crate) max_attempts: u16,
    pub(crate) reprocessing_every: u32,
    pub(crate) reconnect_delay: time::Duration,
}

impl fmt::Debug for Checked {
    /// Without the URI, which holds the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broker = (&self.uri.authority.host, self.uri.authority.port);
        formatter
            .debug_struct("Checked")
            .field("broker", &broker)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static str, fn(&mut Config));

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        let cases: [Case; 12] = [
            ("url", |config| config.url = "https://127.0.0.1/".parse().unwrap()),
            ("namespace", |config| config.namespace = "a b".to_owned()),
            ("publish_timeout", |config| config.publish_timeout = Duration::from_millis(0)),
            ("retry_delays", |config| config.retry_delays.clear()),
            ("retry_delays", |config| config.retry_delays.push(Duration::from_millis(0))),
            ("max_attempts", |config| config.max_attempts = 0),
            ("reprocessing_every", |config| config.reprocessing_every = 0),
            ("heartbeat", |config| config.heartbeat = Duration::from_millis(999)),
            ("reconnect_delay", |config| config.reconnect_delay = Duration::from_millis(0)),
            ("journal", |config| config.journal = PathBuf::new()),
            ("journal_limit", |config| config.journal_limit = Size::from_bytes(0)),
            ("journal_rate", |config| config.journal_rate = 0),
        ];
        Config::default().check().unwrap();
        for (key, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            let refused = config.check().expect_err(key).to_string();
            assert!(refused.starts_with(&format!("queue.{key} in")), "{key}: {refused}");
        }
    }

    #[test]
    fn an_ipv6_address_is_not_taken_for_localhost() {
        let config = Config { url: "amqp://[::1]:5673/%2f".parse().unwrap(), ..Config::default() };
        let uri = config.checked().unwrap().uri;
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("::1", 5673));
    }

    #[test]
    fn a_password_of_its_own_joins_the_url() {
        let config = Config {
            url: "amqp://crashmill@broker/%2f".parse().unwrap(),
            password: Secret::new("s/e@c"),
            ..Config::default()
        };
        assert_eq!(config.checked().unwrap().uri.authority.userinfo.password, "s/e@c");
    }
}
