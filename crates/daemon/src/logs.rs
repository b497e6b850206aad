//! Where log lines go, and how they look.

use std::env;
use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use tracing::{error, warn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::{Log, LogFormat};

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Person,
    Machine,
}

/// Makes `tracing` (and `log`, by which libraries speak) write, and panics be logged like everything else.
pub(crate) fn init(role: &str, config: &Log) -> anyhow::Result<Reader> {
    let filter = EnvFilter::try_new(&config.filter)
        .with_context(|| format!("reading the log filter {:?} (daemon.log.filter)", config.filter))?;
    let mut lost_journal = None;
    let (reader, layer) = match (config.format, looks_like()) {
        (LogFormat::Human, _) | (LogFormat::Auto, Stderr::Terminal) => (Reader::Person, human()),
        (LogFormat::Json, _) | (LogFormat::Auto, Stderr::Other) => (Reader::Machine, json()),
        (LogFormat::Journald, _) => {
            (Reader::Machine, journald(role).context("opening the journal's socket")?)
        }
        (LogFormat::Auto, Stderr::Journal) => match journald(role) {
            Ok(layer) => (Reader::Machine, layer),
            Err(error) => {
                lost_journal = Some(error);
                (Reader::Machine, json())
            }
        },
    };
    Registry::default().with(layer.with_filter(filter)).try_init().context("starting the log")?;
    if let Some(error) = lost_journal {
        warn!(%error, "the journal takes no fields from this process; logging JSON to stderr");
    }
    log_panics();
    Ok(reader)
}

fn human() -> AnyLayer {
    let colours = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    fmt::layer().with_writer(io::stderr).with_ansi(colours).boxed()
}

fn json() -> AnyLayer {
    fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(io::stderr).boxed()
}

/// The prefix keeps our fields apart from the journal's own, such as `PRIORITY`.
fn journald(role: &str) -> io::Result<AnyLayer> {
    let layer = tracing_journald::layer()?;
    let layer = layer.with_field_prefix(Some("CRASHMILL".to_owned()));
    Ok(layer.with_syslog_identifier(format!("crashmill-{role}")).boxed())
}

enum Stderr {
    Terminal,
    Journal,
    Other,
}

fn looks_like() -> Stderr {
    let inherited = env::var("JOURNAL_STREAM").unwrap_or_default();
    match rustix::fs::fstat(io::stderr()) {
        _ if io::stderr().is_terminal() => Stderr::Terminal,
        Ok(stat) if is_journal(&inherited, stat.st_dev, stat.st_ino) => Stderr::Journal,
        _ => Stderr::Other,
    }
}

/// `JOURNAL_STREAM` is `device:inode` of the journal's socket. It is inherited by children whose stderr goes
/// elsewhere, hence the comparison (systemd.exec(5)).
fn is_journal(journal_stream: &str, device: u64, inode: u64) -> bool {
    journal_stream
        .split_once(':')
        .is_some_and(|(dev, ino)| dev.parse() == Ok(device) && ino.parse() == Ok(inode))
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        let reason = panic.payload_as_str().unwrap_or("no reason given");
        error!(location, reason, "a thread panicked; this is a mistake in the program");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_recognised_by_device_and_inode_together() {
        assert!(is_journal("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", ":", "8:1234:1", "a:b"] {
            assert!(!is_journal(other, 8, 1234), "{other}");
        }
    }
}
