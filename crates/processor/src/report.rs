//! What this processor says of itself, every few seconds: to the database, where `crashmill status` finds it, to systemd,
//! and as a metric.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crash::QueueName;
use facts::{Facts, Fleet, NodeReport, QueueReport};
use jiff::Timestamp;
use queue::{Forecast, Pace, Valve, forecast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Sections, metrics::Metrics};

/// How often. Some seconds more or less, so that processors that started together do not speak together.
const EVERY: Duration = Duration::from_secs(10);
const JITTER: std::ops::Range<f64> = 0.8..1.2;
/// Recent is what happened within this time.
const RECENT: Duration = Duration::from_secs(60);
/// How long a word to the database may take: it must not hold up the next one.
const WORD: Duration = Duration::from_secs(8);

/// What was taken and done, by queue.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<[Count; 3]>);

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    done: u64,
    /// The oldest `enqueued_at` that was taken since it was last asked for.
    oldest: Option<Timestamp>,
}

impl Tally {
    /// A crash was taken that could be taken since then.
    pub(crate) fn taken(&self, queue: QueueName, enqueued_at: Timestamp) {
        let mut counts = self.counts();
        let oldest = &mut of(&mut counts, queue).oldest;
        *oldest = Some(oldest.map_or(enqueued_at, |before| before.min(enqueued_at)));
    }

    /// A crash is off its queue, whatever became of it.
    pub(crate) fn done(&self, queue: QueueName) {
        of(&mut self.counts(), queue).done += 1;
    }

    /// What was counted so far, and what was the oldest since the last call.
    fn read(&self) -> [Count; 3] {
        let mut counts = self.counts();
        let read = *counts;
        counts.iter_mut().for_each(|count| count.oldest = None);
        read
    }

    fn counts(&self) -> MutexGuard<'_, [Count; 3]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(counts: &mut [Count; 3], queue: QueueName) -> &mut Count {
    let [priority, standard, reprocessing] = counts;
    match queue {
        QueueName::Priority => priority,
        QueueName::Standard => standard,
        QueueName::Reprocessing => reprocessing,
    }
}

/// The counts of the last while, one a report.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Instant, [Count; 3])>);

impl Recent {
    /// Adds what is counted now, and says what the queues are like.
    fn add(&mut self, now: Instant, counts: [Count; 3]) -> (u32, BTreeMap<String, QueueReport>) {
        self.0.push_back((now, counts));
        // The first one is kept that is as old as the time, to count from.
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RECENT) {
            self.0.pop_front();
        }
        let (since, mut first) = self.0.front().copied().unwrap_or((now, counts));
        let mut latest = counts;
        let queues = QueueName::ALL.map(|queue| {
            let done = of(&mut latest, queue).done;
            let oldest =
                self.0.iter().skip(1).filter_map(|(_, counts)| of(&mut { *counts }, queue).oldest).min();
            let recent = done.saturating_sub(of(&mut first, queue).done);
            (queue.as_str().to_owned(), QueueReport { done, recent, oldest, ..QueueReport::default() })
        });
        let window = u32::try_from(now.duration_since(since).as_secs()).unwrap_or(u32::MAX);
        (window, queues.into())
    }
}

/// The task that reports.
pub(crate) struct Reporter {
    facts: Facts,
    node: String,
    instance: String,
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Reporter {
    pub(crate) fn start(
        ctx: &daemon::Context<Sections>,
        facts: Facts,
        tally: Arc<Tally>,
        valve: Valve,
    ) -> Self {
        let end = CancellationToken::new();
        let started_at = Timestamp::now();
        let instance = format!("{}-{}", std::process::id(), started_at.as_millisecond());
        let speaking = Speaking {
            ctx: ctx.clone(),
            facts: facts.clone(),
            tally,
            valve,
            started_at,
            instance: instance.clone(),
        };
        let task = tokio::spawn(speaking.keep_on(end.clone()));
        Self { facts, node: ctx.node.clone(), instance, end, task }
    }

    /// Says that this process is not there any more.
    pub(crate) async fn leave(self) {
        self.end.cancel();
        if self.task.await.is_ok()
            && let Err(error) = self.facts.leave("processor", &self.node, &self.instance).await
        {
            tracing::debug!(%error, "the database was not told that this processor ends; it finds out");
        }
    }
}

struct Speaking {
    ctx: daemon::Context<Sections>,
    facts: Facts,
    tally: Arc<Tally>,
    valve: Valve,
    started_at: Timestamp,
    instance: String,
}

impl Speaking {
    async fn keep_on(self, end: CancellationToken) {
        let mut recent = Recent::default();
        loop {
            let (window_s, queues) = recent.add(Instant::now(), self.tally.read());
            let speaking = self.speak(window_s, queues);
            match end.run_until_cancelled(tokio::time::timeout(WORD, speaking)).await {
                None => return,
                Some(Ok(Ok(()))) => {}
                Some(told) => {
                    Metrics::backlog(None);
                    self.ctx.status(&self.state());
                    tracing::debug!(?told, "the database was not told how this processor gets on");
                }
            }
            let pause = tokio::time::sleep(EVERY.mul_f64(rand::random_range(JITTER)));
            if end.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn speak(&self, window_s: u32, queues: BTreeMap<String, QueueReport>) -> Result<(), facts::Error> {
        let state = self.state();
        let report = NodeReport {
            role: "processor".to_owned(),
            node: self.ctx.node.clone(),
            instance: self.instance.clone(),
            pid: std::process::id(),
            started_at: self.started_at,
            at: Timestamp::now(),
            version: daemon::VERSION.version.to_owned(),
            workers: u32::try_from(self.ctx.config.stackwalk.workers).unwrap_or(u32::MAX),
            state: state.clone(),
            window_s,
            queues,
        };
        self.facts.report(&report).await?;
        let all = backlog(&self.facts.reports().await?);
        Metrics::backlog(all.as_ref().and_then(|(_, forecast)| forecast.backlog_seconds));
        self.ctx.status(&match all {
            Some((ready, forecast)) if state == WORKING => told(ready, &forecast),
            _ => state,
        });
        Ok(())
    }

    fn state(&self) -> String {
        let reasons = self.valve.reasons();
        if self.ctx.shutdown.is_cancelled() {
            "stopping".to_owned()
        } else if reasons.is_empty() {
            WORKING.to_owned()
        } else {
            format!("waiting for {}", reasons.join(", "))
        }
    }
}

const WORKING: &str = "working";

/// How much waits in all work queues and what is to be expected of it, where a scheduler has asked the broker.
fn backlog(reports: &[NodeReport]) -> Option<(u32, Forecast)> {
    let Fleet { ready, processors, done_per_s, net_per_s, .. } =
        Fleet::at_all(reports, QueueName::ALL.map(QueueName::as_str));
    let ready = ready?;
    Some((ready, forecast(ready, &Pace { processors, done_per_s, net_per_s })))
}

/// One line for systemd: `backlog 1 200, ETA 6 m`.
fn told(ready: u32, forecast: &Forecast) -> String {
    let count = grouped(ready);
    match (ready, forecast.eta_seconds, forecast.because) {
        (0, ..) => "no backlog".to_owned(),
        (_, Some(seconds), _) => format!("backlog {count}, ETA {}", rough(seconds)),
        (_, None, Some(because)) => format!("backlog {count}, no ETA: {because}"),
        (_, None, None) => format!("backlog {count}"),
    }
}

/// A number in groups of three digits.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == first {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time as people say it: one unit is enough.
fn rough(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 90.0 * 60.0 => format!("{:.0} m", s / 60.0),
        s if s < 48.0 * 3600.0 => format!("{:.0} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_systemd_is_short_and_says_when_there_is_no_forecast() {
        let forecast = |eta_seconds, because| Forecast { backlog_seconds: None, eta_seconds, because };
        assert_eq!(told(1_200, &forecast(Some(361.0), None)), "backlog 1 200, ETA 6 m");
        assert_eq!(told(750_000, &forecast(None, Some("it grows"))), "backlog 750 000, no ETA: it grows");
        assert_eq!(told(0, &forecast(Some(0.0), None)), "no backlog");
        assert_eq!(grouped(999), "999");
    }

    #[test]
    fn recent_is_what_was_done_within_a_minute() {
        let tally = Tally::default();
        let mut recent = Recent::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let old = "2026-11-23T12:00:00Z".parse().unwrap();
        recent.add(start, tally.read());
        tally.taken(QueueName::Standard, old);
        tally.done(QueueName::Standard);
        let (window, queues) = recent.add(at(10), tally.read());
        let standard = &queues["standard"];
        assert_eq!((window, standard.done, standard.recent, standard.oldest), (10, 1, 1, Some(old)));

        recent.add(at(50), tally.read());
        let (window, queues) = recent.add(at(75), tally.read());
        let standard = &queues["standard"];
        // From ten seconds on: a minute and a bit.
        assert_eq!((window, standard.done, standard.recent, standard.oldest), (65, 1, 0, None));
    }
}
