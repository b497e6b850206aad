//! Finds crashes that are in the store while nothing else knows of them, and publishes their ids again.
//!
//! A collector that is killed between saving and publishing leaves such a crash, and so does a journal that is full or
//! a broker that loses a message. What has neither fact nor dead letter may as well be on its way, though: so a crash
//! gets some time first, and while others wait in the queues, a long time. Publishing one that was on its way after
//! all costs its processing twice and changes no result.
//!
//! # How far it has come
//!
//! Crashes come into the minute of their id, so the sweep goes from minute to minute, and the database has its mark:
//! of every minute before it all crashes have a result, or the minute is listed with the time at which to look again.
//! So a pass costs the minutes that are new and those that are due, whatever the store holds; the next leader goes on
//! where the last one was; and nothing is forgotten, however long it was put off. The list is bounded: when it is full
//! the mark stands still. What is listed is looked at first, with half of a pass's time and half of what it may publish,
//! so that the list gets shorter however much is new, and what is new has the other half.
//!
//! A crash may also come into a minute that was left behind: from a collector whose clock was wrong, or out of a spool.
//! Then something was written there long after its time, which is looked for now and then.
//!
//! Days before the retention of facts are left alone: there a crash without a fact is none that was lost.
//!
//! A pass may end anywhere. A minute is listed before the mark goes beyond it; what was published and not noted is
//! published once more.

mod memory;
mod terms;

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use crash::{CrashId, Minute, Place, QueueName, ThrottleDigit};
use crashstore::{Area, CrashStore, Found};
use facts::{Facts, SweepMark};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use queue::{Message, Published, Publisher};

use super::blocking;
use crate::{
    Config, Keep,
    job::{Job, Pass},
    jobs::sweep::{
        memory::PublishedAgain,
        terms::{Age, STILL_FILLED, Terms},
    },
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
/// So many minutes may be listed, two weeks of them.
const MOST_LISTED: usize = 20_000;
/// So many listed minutes are looked at in one pass.
const LISTED_TOGETHER: u32 = 1_000;
/// The mark is noted after so many minutes.
const NOTED_EVERY: usize = 100;
/// Clocks of machines that share a store may differ by so much.
const SKEW: SignedDuration = SignedDuration::from_mins(2);

/// Sweeps the store, minute by minute.
pub(crate) struct Sweep {
    config: Config,
    /// How long facts are kept.
    keep: Keep,
    crashes: CrashStore,
    facts: Facts,
    queue: queue::Config,
    publisher: Publisher,
    again: PublishedAgain,
}

/// A raw crash in the store that is to be processed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    id: CrashId,
    place: Place,
    /// When it was received, or came here, whichever is later: from then on it could be published.
    since: Timestamp,
}

/// What a look at a minute has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All that it has by now has a result.
    Complete,
    /// It is listed, to be looked at again.
    Listed,
    /// So is it, and the pass had better end here.
    Stuck,
}

impl Job for Sweep {
    const NAME: &'static str = "sweep";
    const DEADLINE: Duration = Duration::from_secs(600);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        // Asked before the store is looked at: an id that was still on its way then is in nobody's queue now only
        // because a processor has it.
        let waiting = self.waiting().await?;
        let mut terms = Terms::of(&self.config, self.keep, now, waiting);
        // First, and whatever becomes of the rest: this alone makes the list shorter, and a full list holds up the rest.
        let kept = terms.keep_half();
        let listed = self.sweep_listed(&mut terms).await;
        terms.give_back(kept);
        let mut mark = self.mark(&terms).await?;
        self.list_late(&mut mark, &terms).await?;
        let new = self.sweep_new(&mut mark, &mut terms).await;
        self.tell_age(&mark, &terms).await?;
        let is_through = listed? & new?;
        if !is_through {
            tracing::debug!("the sweep goes on in its next pass");
        } else if waiting > 0 {
            tracing::debug!(waiting, "the sweep of younger crashes is put off: their ids may be waiting too");
        }
        let is_done = is_through && waiting == 0;
        Ok(if is_done || terms.published > 0 { Pass::Done(terms.published) } else { Pass::PutOff })
    }
}

impl Sweep {
    pub(crate) fn new(
        config: Config,
        keep: Keep,
        crashes: CrashStore,
        facts: Facts,
        queue: queue::Config,
        publisher: Publisher,
    ) -> Self {
        Self { config, keep, crashes, facts, queue, publisher, again: PublishedAgain::default() }
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

    /// How far the sweep has come. The first one begins with the oldest crash.
    async fn mark(&self, terms: &Terms) -> anyhow::Result<SweepMark> {
        // By the clock of another machine, perhaps.
        let now = terms.now + SKEW;
        match self.facts.sweep_mark().await? {
            Some(mark) if mark.swept_until <= Minute::of(now) && mark.late_until <= now => Ok(mark),
            Some(mark) => {
                let back = before(terms.now, self.config.sweep_window);
                tracing::warn!(
                    mark = %mark.swept_until, from = %back,
                    "the sweep's mark is in the future, so a clock was wrong; it sweeps its window again"
                );
                let mark = SweepMark { swept_until: Minute::of(back), late_until: back };
                self.facts.set_sweep_mark(&mark).await?;
                Ok(mark)
            }
            None => {
                let minutes =
                    self.crashes.minutes(Area::Raw).await.context("looking for the oldest crash")?;
                let oldest = minutes.first().copied().unwrap_or(terms.settled);
                Ok(SweepMark { swept_until: oldest.min(terms.settled), late_until: terms.now })
            }
        }
    }

    /// Lists the minutes before the mark into which something was written after their time.
    async fn list_late(&self, mark: &mut SweepMark, terms: &Terms) -> anyhow::Result<()> {
        let elapsed = terms.now.duration_since(mark.late_until);
        if elapsed.unsigned_abs() < self.config.sweep_late_every.get() {
            return Ok(());
        }
        let reach = Minute::of(before(terms.now, self.config.sweep_window));
        let since = mark.late_until.saturating_sub(SKEW).unwrap_or(Timestamp::MIN);
        let written = self
            .crashes
            .written_since(Area::Raw, reach, mark.swept_until, since)
            .await
            .context("looking for crashes that came late")?;
        let is_late = |(minute, at): &(Minute, Timestamp)| *at >= end(*minute) + STILL_FILLED - SKEW;
        let mut late: Vec<Minute> = written.into_iter().filter(is_late).map(|(minute, _)| minute).collect();
        let room = MOST_LISTED.saturating_sub(self.facts.sweep_backlog().await?.minutes);
        if late.len() <= room {
            mark.late_until = terms.now;
        }
        // Those that there is no room for are found again.
        late.truncate(room);
        if !late.is_empty() {
            tracing::debug!(minutes = late.len(), "crashes may have come into minutes long after their time");
            self.facts.list_minutes(&late, terms.now, false).await?;
        }
        self.facts.set_sweep_mark(mark).await?;
        Ok(())
    }

    /// Goes through the minutes from the mark on, and moves it. False when it did not come to the end.
    async fn sweep_new(&mut self, mark: &mut SweepMark, terms: &mut Terms) -> anyhow::Result<bool> {
        let minutes = self
            .crashes
            .minutes_between(Area::Raw, mark.swept_until, terms.last)
            .await
            .context("listing the store's minutes")?;
        let listed: BTreeSet<Minute> =
            self.facts.listed_minutes(mark.swept_until).await?.into_iter().collect();
        let mut room = MOST_LISTED.saturating_sub(self.facts.sweep_backlog().await?.minutes);
        for (number, minute) in (1..).zip(minutes) {
            if room == 0 || terms.are_over() {
                self.facts.set_sweep_mark(mark).await?;
                return Ok(false);
            }
            // A listed one has its time.
            let seen =
                if listed.contains(&minute) { Seen::Complete } else { self.look(minute, terms).await? };
            room -= usize::from(seen != Seen::Complete);
            if minute < terms.settled {
                mark.swept_until = Minute::of(end(minute));
            }
            if seen == Seen::Stuck || number % NOTED_EVERY == 0 {
                self.facts.set_sweep_mark(mark).await?;
            }
            if seen == Seen::Stuck {
                return Ok(false);
            }
        }
        mark.swept_until = mark.swept_until.max(terms.settled);
        self.facts.set_sweep_mark(mark).await?;
        Ok(true)
    }

    /// Goes through the listed minutes that are due. False when it did not come to the end.
    async fn sweep_listed(&mut self, terms: &mut Terms) -> anyhow::Result<bool> {
        let due = self.facts.due_minutes(terms.now, terms.none_waits(), LISTED_TOGETHER).await?;
        let is_all = due.len() < LISTED_TOGETHER as usize;
        for minute in due {
            if terms.are_half_over() {
                return Ok(false);
            }
            match self.look(minute, terms).await? {
                Seen::Complete => self.facts.unlist_minute(minute).await?,
                Seen::Listed => {}
                Seen::Stuck => return Ok(false),
            }
        }
        Ok(is_all)
    }

    /// Publishes what is due in a minute, and lists it unless everything has its result.
    async fn look(&mut self, minute: Minute, terms: &mut Terms) -> anyhow::Result<Seen> {
        let lost = if terms.has_facts(minute) { self.lost(minute).await? } else { Vec::new() };
        if lost.is_empty() {
            self.again.forget_minute(minute);
            return Ok(Seen::Complete);
        }
        let is_settled = minute < terms.settled;
        let (mut due, mut put_off, mut too_young) = (Vec::new(), Vec::new(), Vec::new());
        for stored in lost {
            match terms.age(stored.since) {
                Age::Due if self.again.is_due(stored.id, terms.now, terms.pause) => due.push(stored),
                Age::Due => {}
                Age::PutOff => put_off.push(stored.since),
                Age::TooYoung => too_young.push(stored.since),
            }
        }
        // Those of the last minutes are looked at in every pass anyway.
        if due.is_empty() && put_off.is_empty() && !too_young.is_empty() && !is_settled {
            return Ok(Seen::Complete);
        }
        let is_cut = due.len() > terms.most;
        due.truncate(terms.most);
        terms.most -= due.len();
        terms.published += due.len() as u64;
        let goes_on = self.publish(due, terms.now).await? && !is_cut;
        let due_at = if goes_on { terms.look_again(&put_off, &too_young) } else { terms.now };
        self.facts.list_minutes(&[minute], due_at, !terms.none_waits()).await?;
        Ok(if goes_on { Seen::Listed } else { Seen::Stuck })
    }

    /// Those crashes of a minute of which nothing is known.
    async fn lost(&mut self, minute: Minute) -> anyhow::Result<Vec<Stored>> {
        let frames = self.crashes.list(Area::Raw, minute).await.context("listing a minute of the store")?;
        self.unaccounted(accepted(frames)).await
    }

    /// Those of these crashes of which nothing is known.
    async fn unaccounted(&mut self, stored: Vec<Stored>) -> anyhow::Result<Vec<Stored>> {
        let mut lost = Vec::new();
        for batch in stored.chunks(BATCH) {
            let ids: Vec<CrashId> = batch.iter().map(|stored| stored.id).collect();
            let unaccounted = self.facts.unaccounted(&ids).await?;
            for stored in batch {
                // Both are in the order of the ids.
                if unaccounted.binary_search(&stored.id).is_ok() {
                    lost.push(stored.clone());
                } else {
                    self.again.forget(stored.id);
                }
            }
        }
        Ok(lost)
    }

    /// Publishes ids; false when it is better to go on later.
    async fn publish(&mut self, lost: Vec<Stored>, now: Timestamp) -> anyhow::Result<bool> {
        for together in lost.chunks(PUBLISHED_TOGETHER) {
            if !self.again.has_room_for(together.len()) {
                return Ok(false);
            }
            let publisher = &self.publisher;
            let publishing = together.iter().map(|stored| async move {
                let place = Some(stored.place.clone());
                let message =
                    Message { reason: Some(REASON.to_owned()), place, ..Message::new(stored.id, now) };
                (stored.id, publisher.publish(QueueName::Standard, &message).await)
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

    /// Shows since when crashes may be without a result.
    async fn tell_age(&self, mark: &SweepMark, terms: &Terms) -> anyhow::Result<()> {
        let oldest = self.facts.sweep_backlog().await?.oldest;
        let open = oldest.map_or(mark.swept_until, |oldest| oldest.min(mark.swept_until));
        let is_behind = open < terms.settled;
        let age = if is_behind { terms.now.duration_since(open.start()) } else { SignedDuration::ZERO };
        Metrics::behind(age.unsigned_abs());
        Ok(())
    }
}

/// The crashes that are to be processed, each with its latest place, in the order of their ids; not the erased ones.
fn accepted(mut frames: Vec<Found>) -> Vec<Stored> {
    frames.retain(|frame| frame.id.throttle_digit() == ThrottleDigit::Accept);
    frames.sort_by_key(|frame| (frame.id, std::cmp::Reverse(frame.saved_at)));
    frames.dedup_by_key(|frame| frame.id);
    let stored = |frame: Found| Stored {
        id: frame.id,
        place: frame.place,
        since: frame.id.received_at().max(frame.saved_at),
    };
    frames.into_iter().filter(|frame| !frame.erased).map(stored).collect()
}

/// The end of a minute.
fn end(minute: Minute) -> Timestamp {
    minute.start() + SignedDuration::from_secs(60)
}

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
        let place = Place { segment: "late".to_owned(), offset: 0 };
        assert_eq!(accepted(frames), [Stored { id: whole, place, since: at(late) }]);
    }
}
