//! The `[collector]` section.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use settings::{Duration, Size};

/// How crash reports are taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients send their reports.
    pub listen: SocketAddr,
    /// The largest body on the wire; a larger one is answered 413.
    pub max_body: Size,
    /// The largest body once decoded; a larger one is answered 413.
    pub max_inflated_body: Size,
    /// How many annotations of a report are kept; the rest is dropped with a note.
    pub max_annotations: usize,
    /// How much text the annotations of a report may have in all, names included; the rest is cut with a note.
    pub max_annotation_text: Size,
    /// How many dumps of a report are kept; the rest is dropped with a note.
    pub max_dumps: usize,
    /// The largest JSON object of annotations; a larger one is answered 413.
    pub max_extra: Size,
    /// How much of reports is in memory at the same time, from the first byte of a body until its crash is saved. Also
    /// bounds [`max_inflated_body`](Self::max_inflated_body).
    pub max_bytes_in_memory: Size,
    /// How long a body may wait for some of [`max_bytes_in_memory`](Self::max_bytes_in_memory); then its client is
    /// answered 503.
    pub memory_timeout: Duration,
    /// How many connections are open at the same time; further clients wait to be let in.
    pub max_connections: usize,
    /// How long nothing may move on a connection before it is closed.
    pub idle_timeout: Duration,
    /// How long a client has to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client has to send its body.
    pub body_timeout: Duration,
    /// How much of a body has to come in a second, on average over the time that was spent waiting for the client.
    pub min_body_rate: Size,
    /// How long a client is waited for before its rate is looked at.
    pub min_body_rate_after: Duration,
    /// How long clients may go on sending what they have begun when the collector is to stop; then they are hung up on,
    /// and send it again later. Shorter than `daemon.shutdown_timeout`, which ends the process whatever it is doing.
    pub drain_timeout: Duration,
    /// How long publishing may go on after the last request; what is left is in the journal.
    pub close_timeout: Duration,
    /// Annotations that can identify a person: stored apart, and kept for a shorter time.
    pub private_annotations: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body: Size::mib(25),
            max_inflated_body: Size::mib(200),
            max_annotations: 2_000,
            max_annotation_text: Size::mib(1),
            max_dumps: 32,
            max_extra: Size::mib(5),
            max_bytes_in_memory: Size::gib(1),
            memory_timeout: Duration::from_secs(5),
            max_connections: 4_096,
            idle_timeout: Duration::from_secs(60),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(300),
            min_body_rate: Size::from_bytes(1_000),
            min_body_rate_after: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(5),
            private_annotations: [
                "Comments",
                "Email",
                "TelemetryClientId",
                "TelemetryProfileGroupId",
                "TelemetryServerURL",
                "URL",
                "comments",
                "email",
                "guid",
                "url",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}
