use std::net::SocketAddr;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use settings::Duration;

/// The section `[daemon]`: what every role has.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// By which name this process is told apart in metrics; the host's name unless given.
    pub node: String,
    /// Where metrics and health are served; port 0 takes any free one, which is logged. Nowhere unless given.
    pub metrics_listen: Option<SocketAddr>,
    /// How long a process may take to finish what it has in hand when it is told to stop.
    pub shutdown_timeout: Duration,
    /// Threads that run the asynchronous work; one a core, and at least two, unless given.
    pub worker_threads: Option<NonZeroUsize>,
    /// What is logged, and how.
    pub log: Log,
}

/// The section `[daemon.log]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How a log line looks.
    pub format: LogFormat,
    /// What is logged, as `tracing` writes it: `info`, `warn,collector=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, in the journal's own fields under systemd, JSON everywhere else.
    Auto,
    /// For people, on stderr.
    Human,
    /// A JSON object a line, on stderr.
    Json,
    /// The journal's own protocol, with a field for each field.
    Journald,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: host_name(),
            metrics_listen: None,
            shutdown_timeout: Duration::from_secs(30),
            worker_threads: None,
            log: Log::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        // lapin calls the end of any channel an error; what matters of it is said by those who use it.
        Self { format: LogFormat::Auto, filter: "info,lapin=off,object_store=warn".to_owned() }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_the_host_unless_it_is_named() {
        assert_eq!(Config::default().node, host_name());
        assert_eq!(toml::from_str::<Config>("node = 'east-1'").unwrap().node, "east-1");
    }

    #[test]
    fn every_key_can_be_given() {
        let text = "node = 'n'\nmetrics_listen = '[::1]:0'\nshutdown_timeout = '2m'\nworker_threads = 3\n\
                    [log]\nformat = 'journald'\nfilter = 'warn'\n";
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(config.shutdown_timeout, Duration::from_secs(120));
        assert_eq!(config.log.format, LogFormat::Journald);
        toml::from_str::<Config>("worker_threads = 0").unwrap_err();
    }
}
