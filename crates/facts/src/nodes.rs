//! What processes say of themselves: who works, on how much, and how fast.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::{Row, types::Type};

use crate::{Error, Facts, clean, statement::Param};

/// Who has said nothing for so long is not there any more, for whoever asks.
const SILENT_S: f64 = 35.0;

// By the database's clock, by which others judge who is silent. Of the process's own clock only how long it has run counts.
const REPORT: &str = "
INSERT INTO node_report (role, node, instance, pid, started_at, at, version, workers, state, window_s, queues)
VALUES ($1, $2, $3, $4, now() - ($6::timestamptz - $5::timestamptz), now(), $7, $8, $9, $10, $11)
ON CONFLICT (role, node, instance) DO UPDATE SET
    at = excluded.at, workers = excluded.workers, state = excluded.state, window_s = excluded.window_s, queues = excluded.queues";

// By the database's clock, which is one for all, and without waiting for anybody who does the same.
const FORGET_SILENT: &str = "
DELETE FROM node_report WHERE (role, node, instance) IN (
    SELECT role, node, instance FROM node_report WHERE at < now() - interval '10 minutes' FOR UPDATE SKIP LOCKED)";

const REPORTS: &str = "
SELECT role, node, instance, pid, started_at, at, version, workers, state, window_s, queues FROM node_report
WHERE at > now() - make_interval(secs => $1) ORDER BY role, node, instance";

const LEAVE: &str = "DELETE FROM node_report WHERE role = $1 AND node = $2 AND instance = $3";

/// What one process says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// What it is: `processor`, `scheduler`.
    pub role: String,
    /// The node that it is configured to be.
    pub node: String,
    /// Tells apart processes of one node, and one start from the next.
    pub instance: String,
    /// Its process id, on its machine.
    pub pid: u32,
    /// When it started. By its own clock while it says this, and by the database's once that has it.
    pub started_at: Timestamp,
    /// When it said this, by the same clock.
    pub at: Timestamp,
    /// The release that it runs.
    pub version: String,
    /// How many crashes it walks at once.
    pub workers: u32,
    /// What it does: `working`, or waiting and for what.
    pub state: String,
    /// How many seconds the recent counts are about.
    pub window_s: u32,
    /// What it knows of each queue.
    pub queues: BTreeMap<String, QueueReport>,
}

/// What one process knows of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueReport {
    /// Crashes from it that this process has done since its start.
    pub done: u64,
    /// Those of the last [`NodeReport::window_s`] seconds.
    pub recent: u64,
    /// The oldest `enqueued_at` among those that were taken in these seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// How many waited; who has asked the broker knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// How many waited at the beginning of these seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_before: Option<u32>,
    /// Since when there has always been one waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<Timestamp>,
}

impl Facts {
    /// Writes what a process says of itself, in place of what it said before.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn report(&self, report: &NodeReport) -> Result<(), Error> {
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let queues = serde_json::to_value(&report.queues).unwrap_or(Value::Null);
        let params: [Param<'_>; 11] = [
            (&report.role, Type::TEXT),
            (&clean::text(&report.node), Type::TEXT),
            (&clean::text(&report.instance), Type::TEXT),
            (&count(report.pid), Type::INT4),
            (&report.started_at, Type::TIMESTAMPTZ),
            (&report.at, Type::TIMESTAMPTZ),
            (&report.version, Type::TEXT),
            (&count(report.workers), Type::INT4),
            (&clean::text(&report.state), Type::TEXT),
            (&count(report.window_s), Type::INT4),
            (&queues, Type::JSONB),
        ];
        self.ask("reporting how this process gets on", REPORT, &params).await?;
        self.ask("forgetting processes that are gone", FORGET_SILENT, &[]).await?;
        Ok(())
    }

    /// What the processes say of themselves that are there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn reports(&self) -> Result<Vec<NodeReport>, Error> {
        let silent = [(&SILENT_S as _, Type::FLOAT8)];
        let rows = self.ask("asking who works", REPORTS, &silent).await?;
        Ok(rows.iter().map(report).collect())
    }

    /// Takes back what a process has said, since it ends.
    ///
    /// # Errors
    /// When the database does not do it within a few seconds; then the row goes by itself, later.
    pub async fn leave(&self, role: &str, node: &str, instance: &str) -> Result<(), Error> {
        let params: [Param<'_>; 3] = [(&role, Type::TEXT), (&node, Type::TEXT), (&instance, Type::TEXT)];
        let leaving = self.ask("taking leave", LEAVE, &params);
        let limit = Duration::from_secs(2);
        tokio::time::timeout(limit, leaving)
            .await
            .map_err(|_| Error::NoAnswer { doing: "taking leave", seconds: limit.as_secs() })?
            .map(drop)
    }
}

fn report(row: &Row) -> NodeReport {
    let count = |index: usize| row.get::<_, i32>(index).unsigned_abs();
    NodeReport {
        role: row.get(0),
        node: row.get(1),
        instance: row.get(2),
        pid: count(3),
        started_at: row.get(4),
        at: row.get(5),
        version: row.get(6),
        workers: count(7),
        state: row.get(8),
        window_s: count(9),
        // What a later release says otherwise is left out.
        queues: serde_json::from_value(row.get(10)).unwrap_or_default(),
    }
}

/// What all processes together say of a queue, or of several.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fleet {
    /// How many processors are there.
    pub processors: u32,
    /// How many crashes a second they have done of late.
    pub done_per_s: f64,
    /// How much shorter it has got a second; nothing where no scheduler has watched it for long enough.
    pub net_per_s: Option<f64>,
    /// How many crashes waited when a scheduler asked last.
    pub ready: Option<u32>,
    /// Since when the one has waited that was the oldest of those taken of late; while none is taken, since when there
    /// has always been one.
    pub oldest: Option<Timestamp>,
}

/// A watch that is shorter says little about how fast a queue changes.
const LEAST_WATCH_S: u32 = 15;

impl Fleet {
    /// What is known of one queue.
    #[must_use]
    pub fn at(reports: &[NodeReport], queue: &str) -> Self {
        let of = |role: &'static str| reports.iter().filter(move |report| report.role == role);
        let known = |report: &NodeReport| report.queues.get(queue).cloned().unwrap_or_default();
        let watch =
            of("scheduler").filter(|report| known(report).ready.is_some()).max_by_key(|report| report.at);
        let watched = watch.map(known).unwrap_or_default();
        let net_per_s = match (watch.map(|watch| watch.window_s), watched.ready_before, watched.ready) {
            (Some(window_s), Some(before), Some(now)) if window_s >= LEAST_WATCH_S => {
                Some((f64::from(before) - f64::from(now)) / f64::from(window_s))
            }
            _ => None,
        };
        let rate = |report: &NodeReport| {
            let recent = u32::try_from(known(report).recent).unwrap_or(u32::MAX);
            f64::from(recent) / f64::from(report.window_s.max(1))
        };
        Self {
            processors: u32::try_from(of("processor").count()).unwrap_or(u32::MAX),
            done_per_s: of("processor").map(rate).sum(),
            net_per_s,
            ready: watched.ready,
            oldest: of("processor").filter_map(|report| known(report).oldest).min().or(watched.waiting_since),
        }
    }

    /// What is known of several queues together.
    #[must_use]
    pub fn at_all<'a>(reports: &[NodeReport], queues: impl IntoIterator<Item = &'a str>) -> Self {
        let mut queues = queues.into_iter().map(|queue| Self::at(reports, queue));
        let first = queues.next().unwrap_or_default();
        queues.fold(first, |all, queue| Self {
            processors: all.processors,
            done_per_s: all.done_per_s + queue.done_per_s,
            net_per_s: all.net_per_s.zip(queue.net_per_s).map(|(all, queue)| all + queue),
            ready: all.ready.zip(queue.ready).map(|(all, queue)| all.saturating_add(queue)),
            oldest: [all.oldest, queue.oldest].into_iter().flatten().min(),
        })
    }
}
