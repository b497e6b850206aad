//! Asks the broker how much waits, and says how far behind the processors are.
//!
//! What it finds is in the metrics of this process, and in its report in the database, from which processors and
//! `crashmill status` know how fast the queues get shorter.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use anyhow::Context as _;
use crash::QueueName;
use facts::{Facts, Fleet, NodeReport, QueueReport};
use jiff::Timestamp;
use queue::{Kind, Pace, forecast};

use crate::{
    job::{Job, Pass},
    metrics::Metrics,
};

/// How fast a queue changes is counted over this time.
const WATCH: Duration = Duration::from_secs(60);

/// Watches the queues.
pub(crate) struct Backlog {
    facts: Facts,
    queue: queue::Config,
    node: String,
    started_at: Timestamp,
    watched: VecDeque<(Timestamp, BTreeMap<QueueName, u32>)>,
    waiting_since: BTreeMap<QueueName, Timestamp>,
}

impl Backlog {
    pub(crate) fn new(facts: Facts, queue: queue::Config, node: String) -> Self {
        let (watched, waiting_since) = Default::default();
        Self { facts, queue, node, started_at: Timestamp::now(), watched, waiting_since }
    }
}

impl Job for Backlog {
    const NAME: &'static str = "backlog";
    const DEADLINE: Duration = Duration::from_secs(30);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let depths = queue::depths(&self.queue).await.context("asking the broker how much waits");
        let depths = depths.inspect_err(|_| Metrics::no_backlog())?;
        let mut work = BTreeMap::new();
        let (mut dead, mut retry) = (0, 0);
        for depth in depths {
            match depth.kind {
                Kind::Work(queue) => drop(work.insert(queue, depth.ready)),
                Kind::Dead => dead += depth.ready,
                Kind::Retry => retry += depth.ready,
            }
        }
        for (queue, ready) in &work {
            Metrics::depth(queue.as_str(), *ready);
        }
        Metrics::depth("dead", dead);
        Metrics::depth("retry", retry);
        self.watch(now, work);

        self.facts.report(&self.report(now)).await.context("reporting how much waits")?;
        let reports = self.facts.reports().await.context("asking how fast the processors are")?;
        for queue in QueueName::ALL {
            let oldest = Fleet::at(&reports, queue.as_str()).oldest;
            let waits = self.latest(queue).is_some_and(|ready| ready > 0);
            Metrics::oldest(queue.as_str(), oldest.filter(|_| waits).map(|since| now.duration_since(since)));
        }
        let Fleet { processors, done_per_s, net_per_s, .. } =
            Fleet::at_all(&reports, QueueName::ALL.map(QueueName::as_str));
        let ready = QueueName::ALL.into_iter().filter_map(|queue| self.latest(queue)).sum();
        let forecast = forecast(ready, &Pace { processors, done_per_s, net_per_s });
        Metrics::backlog(forecast.backlog_seconds);
        Ok(Pass::Done(0))
    }
}

impl Backlog {
    fn watch(&mut self, now: Timestamp, work: BTreeMap<QueueName, u32>) {
        self.waiting_since.retain(|queue, _| work.get(queue).is_some_and(|ready| *ready > 0));
        for (queue, _) in work.iter().filter(|(_, ready)| **ready > 0) {
            self.waiting_since.entry(*queue).or_insert(now);
        }
        self.watched.push_back((now, work));
        // The first one is kept that is as old as the time, to count from.
        while self.watched.get(1).is_some_and(|(at, _)| now.duration_since(*at).unsigned_abs() >= WATCH) {
            self.watched.pop_front();
        }
    }

    fn latest(&self, queue: QueueName) -> Option<u32> {
        self.watched.back().and_then(|(_, work)| work.get(&queue).copied())
    }

    fn report(&self, now: Timestamp) -> NodeReport {
        let first = self.watched.front();
        let window = first.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at).unsigned_abs());
        let queue = |queue: QueueName| QueueReport {
            ready: self.latest(queue),
            ready_before: first.and_then(|(_, work)| work.get(&queue).copied()),
            waiting_since: self.waiting_since.get(&queue).copied(),
            ..QueueReport::default()
        };
        NodeReport {
            role: "scheduler".to_owned(),
            node: self.node.clone(),
            instance: format!("{}-{}", std::process::id(), self.started_at.as_millisecond()),
            pid: std::process::id(),
            started_at: self.started_at,
            at: now,
            version: daemon::VERSION.version.to_owned(),
            workers: 0,
            state: "leading".to_owned(),
            window_s: u32::try_from(window.as_secs()).unwrap_or(u32::MAX),
            queues: QueueName::ALL.map(|name| (name.as_str().to_owned(), queue(name))).into(),
        }
    }
}
