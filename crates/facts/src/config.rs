use std::time::Duration as StdDuration;

use serde::{Deserialize, Serialize};
use settings::{Duration, Secret, ServiceUrl};
use tokio_postgres::config::SslMode;

use crate::Error;

/// The section `[facts]`: where the database is and how long we wait for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The database. With a password in it, it comes from the environment or from the file that `url_file` names.
    pub url: ServiceUrl,
    /// The password, where it comes by itself.
    pub password: Secret,
    /// Connections that one process holds at most. A saver needs one; two more are enough for everything else.
    pub pool_size: usize,
    /// How long connecting may take, and waiting for a free connection.
    pub connect_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long a statement may wait for a lock.
    pub lock_timeout: Duration,
    /// The server ends a transaction in which nothing happens for so long.
    pub idle_in_transaction_timeout: Duration,
    /// How long `crashmill migrate` waits for another one to end, and how long one statement of it may run.
    pub migration_timeout: Duration,
    /// Whether connections are encrypted.
    pub tls: Tls,
    /// How much one partition of the facts holds. Changing it concerns new partitions only.
    pub partitions: PartitionStep,
    /// Partitions are made for so many days ahead.
    pub partition_days_ahead: u16,
    /// Whether statements are prepared once a connection. Off for a pooler that does not keep them; it must be in session
    /// mode, for timeouts, durability and locks are the session's.
    pub prepared: bool,
    /// The name under which the server lists our connections, such as `crashmill-processor`.
    pub application_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "postgresql://crashmill@127.0.0.1/crashmill".parse().expect("the default URL is one"),
            password: Secret::default(),
            pool_size: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(30),
            migration_timeout: Duration::from_secs(600),
            tls: Tls::Prefer,
            partitions: PartitionStep::Weekly,
            partition_days_ahead: 14,
            prepared: true,
            application_name: "crashmill".to_owned(),
        }
    }
}

/// Whether connections to the database are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Never.
    Disable,
    /// Where the server offers it; whose certificate it is, is not checked. For loopback and trusted networks.
    Prefer,
    /// Always, with a certificate that the system trusts and that names the server's host.
    Require,
}

/// How much one partition of the facts holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionStep {
    /// A day: for millions of crashes a day.
    Daily,
    /// A week, from Monday.
    Weekly,
}

impl PartitionStep {
    /// The word that the database's partition maker takes.
    pub(crate) fn as_sql(self) -> &'static str {
        match self {
            Self::Daily => "day",
            Self::Weekly => "week",
        }
    }
}

impl Config {
    /// What the clients of the database need to connect, and the kind of TLS that URL and section agree on.
    pub(crate) fn to_postgres(&self) -> Result<(tokio_postgres::Config, Tls), Error> {
        if self.url.is_empty() {
            return Err(Error::Config("no database is configured: set url in [facts]".to_owned()));
        }
        if self.pool_size == 0 {
            return Err(Error::Config("pool_size in [facts] is 0: a process needs a connection".to_owned()));
        }
        let url = self.url.with_password(&self.password);
        let mut postgres: tokio_postgres::Config = url.expose().parse().map_err(|error| {
            // The reason is in the cause; neither repeats the URL.
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Error::Config(format!("url in [facts] is no PostgreSQL URL: {cause}"))
        })?;

        // The stricter of the two, so that neither weakens what the other asks for.
        let tls = match (postgres.get_ssl_mode(), self.tls) {
            (SslMode::Require, _) | (_, Tls::Require) => Tls::Require,
            (SslMode::Disable, _) | (_, Tls::Disable) => Tls::Disable,
            _ => Tls::Prefer,
        };
        postgres
            .ssl_mode(match tls {
                Tls::Disable => SslMode::Disable,
                Tls::Prefer => SslMode::Prefer,
                Tls::Require => SslMode::Require,
            })
            .application_name(&self.application_name)
            .connect_timeout(self.connect_timeout.get())
            .keepalives(true)
            .keepalives_idle(StdDuration::from_secs(30))
            .keepalives_interval(StdDuration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(self.statement_timeout.get());
        Ok((postgres, tls))
    }

    /// What each session is told first.
    ///
    /// As statements and not as options of the connection, which poolers refuse. The search path keeps a schema that is named
    /// after the user from hiding ours. A message is acknowledged once its crash is saved, and numbers of dimensions are
    /// remembered: so no commit may be lost with the server, whatever its default is.
    pub(crate) fn session_sql(&self) -> String {
        format!(
            "SET timezone = 'UTC'; SET search_path = public; SET statement_timeout = {}; SET lock_timeout = {}; \
             SET idle_in_transaction_session_timeout = {}; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            milliseconds(self.statement_timeout),
            milliseconds(self.lock_timeout),
            milliseconds(self.idle_in_transaction_timeout),
        )
    }
}

/// A timeout as the server takes it; 0 would mean none.
pub(crate) fn milliseconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, tls: Tls) -> Config {
        Config { url: url.parse().unwrap(), tls, ..Config::default() }
    }

    #[test]
    fn the_stricter_of_url_and_section_decides_about_tls() {
        for (url, section, both) in [
            ("postgresql://h/d", Tls::Prefer, Tls::Prefer),
            ("postgresql://h/d", Tls::Disable, Tls::Disable),
            ("postgresql://h/d?sslmode=disable", Tls::Prefer, Tls::Disable),
            ("postgresql://h/d?sslmode=disable", Tls::Require, Tls::Require),
            ("postgresql://h/d?sslmode=require", Tls::Prefer, Tls::Require),
        ] {
            assert_eq!(config(url, section).to_postgres().unwrap().1, both, "{url} {section:?}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused_without_its_password() {
        let refused =
            config("postgresql://u:hunter2@h/d?sslmode=sometimes", Tls::Prefer).to_postgres().unwrap_err();
        let text = refused.to_string();
        assert!(text.contains("sslmode") && !text.contains("hunter2"), "{text}");
        assert!(config("", Tls::Prefer).to_postgres().unwrap_err().to_string().contains("no database"));
    }

    #[test]
    fn the_section_reads_back_from_what_it_shows() {
        let shown = serde_json::to_string(&Config::default()).unwrap();
        let back: Config = serde_json::from_str(&shown).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), shown);
        assert!(serde_json::from_str::<Config>(r#"{"pool": 3}"#).is_err());
    }
}
