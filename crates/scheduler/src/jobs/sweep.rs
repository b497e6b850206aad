//! Finds crashes that are in the store while nothing else knows of them, and publishes their ids again.
//!
//! A collector that is killed between saving and publishing leaves such a crash, and so does a journal that is full or
//! a broker that loses a message. What has neither fact nor dead letter may as well be on its way, though: so a crash
//! gets some time first, and while others wait in the queues, a long time. Publishing one that was on its way after
//! all costs its processing twice and changes no result.

mod memory;

use std::time::Duration;

use anyhow::Context as _;
use crash::{CrashId, Minute, Place, QueueName, ThrottleDigit};
use crashstore::{Area, CrashStore, Found};
use facts::Facts;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use queue::{Message, Published, Publisher};

use super::blocking;
use crate::{
    Config,
    job::{Job, Pass},
    jobs::sweep::memory::{CompleteMinutes, PublishedAgain},
    metrics::Metrics,
};

/// How many crashes the database is asked about at a time.
const BATCH: usize = 1_000;
/// How many ids are published at a time.
const PUBLISHED_TOGETHER: usize = 100;
/// What messages say that come from here.
const REASON: &str = "sweep";
/// The queue that is left alone by a sweep: what is dead has a dead letter.
const DEAD: &str = "dead";

/// Sweeps the store, minute by minute.
pub(crate) struct Sweep {
    config: Config,
    crashes: CrashStore,
    facts: Facts,
    queue: queue::Config,
    publisher: Publisher,
    complete: CompleteMinutes,
    again: PublishedAgain,
}

impl Job for Sweep {
    const NAME: &'static str = "sweep";
    const DEADLINE: Duration = Duration::from_secs(600);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let begin = before(now, self.config.sweep_window);
        self.complete.forget_before(Minute::of(begin));
        self.again.forget_before(begin);

        // Asked before the store is looked at: an id that was still on its way then is in nobody's queue now only
        // because a processor has it.
        let (patience, pause, is_whole) = match self.waiting().await? {
            0 => (self.config.sweep_after, self.config.sweep_after, true),
            waiting => {
                tracing::debug!(
                    waiting,
                    "the sweep of younger crashes is put off: their ids may be waiting too"
                );
                (self.config.sweep_anyway, self.config.sweep_anyway, false)
            }
        };
        let until = before(now, patience);
        let (mut most, mut published) = (self.config.sweep_most, 0);
        for minute in minutes(begin, until) {
            if self.complete.has(minute) {
                continue;
            }
            let lost = self.unaccounted(minute, until, now).await?;
            let due: Vec<_> =
                lost.into_iter().filter(|(id, _)| self.again.is_due(*id, now, pause)).take(most).collect();
            most -= due.len();
            published += due.len() as u64;
            if !self.publish(due, now).await? || most == 0 {
                tracing::debug!("the sweep goes on in its next pass");
                return Ok(Pass::PutOff);
            }
        }
        Ok(if is_whole || published > 0 { Pass::Done(published) } else { Pass::PutOff })
    }
}

impl Sweep {
    pub(crate) fn new(
        config: Config,
        crashes: CrashStore,
        facts: Facts,
        queue: queue::Config,
        publisher: Publisher,
    ) -> Self {
        let (complete, again) = (CompleteMinutes::default(), PublishedAgain::default());
        Self { config, crashes, facts, queue, publisher, complete, again }
    }

    /// How many ids wait: in the work and retry queues, and in the journals.
    async fn waiting(&self) -> anyhow::Result<u64> {
        let queue = self.queue.clone();
        let journal = blocking("reading the journals of unpublished crash ids", move || {
            Ok(queue::journal_depth(&queue)?)
        })
        .await?;
        let depths = queue::depths(&self.queue).await.context("asking the broker how much waits")?;
        let dead = match self.queue.namespace.as_str() {
            "" => DEAD.to_owned(),
            namespace => format!("{namespace}.{DEAD}"),
        };
        let ready: u64 =
            depths.iter().filter(|depth| depth.name != dead).map(|depth| u64::from(depth.ready)).sum();
        Ok(ready + journal.ids)
    }

    /// The crashes of a minute, received until then, of which nothing is known; where each of them is in the store.
    async fn unaccounted(
        &mut self,
        minute: Minute,
        until: Timestamp,
        now: Timestamp,
    ) -> anyhow::Result<Vec<(CrashId, Place)>> {
        let frames = self.crashes.list(Area::Raw, minute).await.context("listing a minute of the store")?;
        let accepted = accepted(frames);
        let (old, young): (Vec<_>, Vec<_>) =
            accepted.into_iter().partition(|(id, _)| id.received_at() <= until);

        let mut lost = Vec::new();
        for batch in old.chunks(BATCH) {
            let ids: Vec<CrashId> = batch.iter().map(|(id, _)| *id).collect();
            let unaccounted = self.facts.unaccounted(&ids).await?;
            for found in batch {
                // Both are in the order of the ids.
                if unaccounted.binary_search(&found.0).is_ok() {
                    lost.push(found.clone());
                } else {
                    self.again.forget(found.0);
                }
            }
        }
        if lost.is_empty() && young.is_empty() {
            self.complete.note(minute, now);
        }
        Ok(lost)
    }

    /// Publishes ids; false when it is better to go on later.
    async fn publish(&mut self, lost: Vec<(CrashId, Place)>, now: Timestamp) -> anyhow::Result<bool> {
        for together in lost.chunks(PUBLISHED_TOGETHER) {
            if !self.again.has_room_for(together.len()) {
                return Ok(false);
            }
            let publisher = &self.publisher;
            let publishing = together.iter().map(|(id, place)| async move {
                let place = Some(place.clone());
                let message = Message { reason: Some(REASON.to_owned()), place, ..Message::new(*id, now) };
                (*id, publisher.publish(QueueName::Standard, &message).await)
            });
            let mut go_on = true;
            let mut failed = None;
            for (id, published) in join_all(publishing).await {
                match published {
                    Ok(published) => {
                        // From the journal it goes to the broker by itself; no need to fill it.
                        go_on &= published == Published::Confirmed;
                        self.found(id, now);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error).context("publishing ids of crashes that nothing is known of");
            }
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn found(&mut self, crash_id: CrashId, now: Timestamp) {
        if self.again.note(crash_id, now) {
            Metrics::found();
            tracing::warn!(%crash_id, "was stored, but nothing had its result; published again");
        } else {
            tracing::debug!(%crash_id, "still nothing has its result; published once more");
        }
    }
}

/// The crashes that are to be processed, each with its latest place, in the order of their ids; not the erased ones.
fn accepted(mut frames: Vec<Found>) -> Vec<(CrashId, Place)> {
    frames.retain(|frame| frame.id.throttle_digit() == ThrottleDigit::Accept);
    frames.sort_by_key(|frame| (frame.id, std::cmp::Reverse(frame.saved_at)));
    frames.dedup_by_key(|frame| frame.id);
    frames.into_iter().filter(|frame| !frame.erased).map(|frame| (frame.id, frame.place)).collect()
}

/// All minutes from one moment to another, the oldest first.
fn minutes(from: Timestamp, until: Timestamp) -> impl Iterator<Item = Minute> {
    let next = |minute: &Minute| Some(Minute::of(minute.start().saturating_add(MINUTE).ok()?));
    std::iter::successors(Some(Minute::of(from)), next).take_while(move |minute| minute.start() <= until)
}

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

fn before(now: Timestamp, length: settings::Duration) -> Timestamp {
    now.checked_sub(length.get()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn frame(id: CrashId, saved_at: &str, segment: &str, erased: bool) -> Found {
        let place = Place { segment: segment.to_owned(), offset: 0 };
        Found { id, area: Area::Raw, place, saved_at: at(saved_at), attempt: 0, bytes: 1, erased }
    }

    #[test]
    fn a_sweep_goes_through_every_minute_of_its_time_and_over_midnight() {
        let swept: Vec<String> = minutes(at("2026-11-23T23:58:30Z"), at("2026-11-24T00:01:00Z"))
            .map(|minute| minute.to_string())
            .collect();
        assert_eq!(swept, ["20261123/2358", "20261123/2359", "20261124/0000", "20261124/0001"]);
    }

    #[test]
    fn of_several_frames_the_latest_one_says_where_a_crash_is_and_whether_it_is_erased() {
        let id = |throttle, random: u128| {
            CrashId::new(at("2026-11-23T12:00:00Z"), throttle, random << 32).unwrap()
        };
        let [whole, gone] = [1, 2].map(|number| id(ThrottleDigit::Accept, number));
        let deferred = id(ThrottleDigit::Defer, 3);
        let [early, late] = ["2026-11-23T12:00:01Z", "2026-11-23T12:00:02Z"];
        let frames = vec![
            frame(deferred, early, "deferred", false),
            frame(gone, late, "late", true),
            frame(whole, early, "early", true),
            frame(whole, late, "late", false),
            frame(gone, early, "early", false),
        ];
        let found: Vec<_> = accepted(frames).into_iter().map(|(id, place)| (id, place.segment)).collect();
        assert_eq!(found, [(whole, "late".to_owned())]);
    }
}
