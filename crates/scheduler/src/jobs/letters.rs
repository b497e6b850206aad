//! Takes out of the queue `dead` what the database has as a dead letter, so that the two never drift apart.
//!
//! The table is what is kept, listed, retried and dropped; the queue is the way there.
//!
//! | what is in `dead` | what becomes of it |
//! |---|---|
//! | the crash has a letter or a fact | taken away |
//! | the crash was erased | taken away |
//! | parked by a processor, and there is no letter | its letter is written, then it is taken away |
//! | put there by the broker, and the crash is young | left: the sweep publishes it again, and then it has a letter or a fact |
//! | put there by the broker, and the crash is old | a letter is written, then it is taken away |
//! | it names no crash | left, and counted: a person looks at it |
//!
//! Nothing is taken away before what replaces it is committed, so it may end anywhere and be done twice.

use std::{collections::HashSet, time::Duration};

use anyhow::Context as _;
use crash::CrashId;
use crashstore::{Area, CrashStore};
use facts::{DeadLetter, Facts, Which};
use jiff::{SignedDuration, Timestamp};
use queue::{DeadQueue, Message, Parked, Parker};
use serde::Serialize;

use crate::{
    job::{Job, Pass},
    metrics::Metrics,
};

/// How many messages are looked at together.
const BATCH: usize = 200;
/// How many are left where they are, at most; they are held until the look ends.
const MOST_LEFT: usize = 10_000;
/// A crash that is older may be out of the sweep's sight soon.
const LEFT_TO_THE_SWEEP: SignedDuration = SignedDuration::from_hours(24);

/// Looks through `dead`.
pub(crate) struct Letters {
    pub(crate) facts: Facts,
    pub(crate) crashes: CrashStore,
    pub(crate) queue: queue::Config,
}

impl Job for Letters {
    const NAME: &'static str = "letters";
    const DEADLINE: Duration = Duration::from_secs(300);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let collected = collect(&self.facts, &self.crashes, &self.queue, now).await?;
        if collected.written > 0 {
            tracing::warn!(
                letters = collected.written,
                "crashes were in the queue `dead` and had no dead letter; now they have"
            );
        }
        let groups = self.facts.letter_groups(&Which::default()).await?;
        Metrics::dead_letters(groups.iter().map(|group| group.count).sum(), collected.unreadable);
        Ok(Pass::Done(collected.gone))
    }
}

/// What became of what was in `dead`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Messages that were taken away.
    pub gone: u64,
    /// Letters that were written, of crashes that had none.
    pub written: u64,
    /// Messages that were left to the sweep.
    pub left: u64,
    /// Messages that name no crash.
    pub unreadable: u64,
}

/// Looks through `dead` once, from its beginning to what was its end.
///
/// # Errors
/// When broker, database or store do not answer; what was done until then stays done.
pub async fn collect(
    facts: &Facts,
    crashes: &CrashStore,
    queue: &queue::Config,
    now: Timestamp,
) -> anyhow::Result<Collected> {
    let mut collected = Collected::default();
    let mut left = Vec::new();
    let mut look = DeadQueue::open(queue).await.context("opening the queue of the dead")?;
    while left.len() < MOST_LEFT {
        let parked = look.take(BATCH).await.context("looking into the queue of the dead")?;
        if parked.is_empty() {
            break;
        }
        let unknown = unknown(facts, &parked).await?;
        for parked in parked {
            match fate(&parked, &unknown, crashes, now).await? {
                Fate::Unreadable => {
                    collected.unreadable += 1;
                    left.push(parked);
                }
                Fate::Left => {
                    collected.left += 1;
                    left.push(parked);
                }
                Fate::Gone(letter) => {
                    if let Some(letter) = letter {
                        facts.record_dead_letter(&letter).await.context("recording a dead letter")?;
                        collected.written += 1;
                    }
                    parked.forget().await.context("taking a message out of the queue of the dead")?;
                    collected.gone += 1;
                }
            }
        }
    }
    Ok(collected)
}

enum Fate {
    Gone(Option<DeadLetter>),
    Left,
    Unreadable,
}

/// Those that have neither a fact nor a letter.
async fn unknown(facts: &Facts, parked: &[Parked]) -> anyhow::Result<HashSet<CrashId>> {
    let ids: Vec<CrashId> =
        parked.iter().filter_map(|parked| Some(parked.message.as_ref()?.crash_id)).collect();
    let mut unknown: HashSet<CrashId> = facts.unaccounted(&ids).await?.into_iter().collect();
    for id in facts.with_letter(&ids).await? {
        unknown.remove(&id);
    }
    Ok(unknown)
}

async fn fate(
    parked: &Parked,
    unknown: &HashSet<CrashId>,
    crashes: &CrashStore,
    now: Timestamp,
) -> anyhow::Result<Fate> {
    let Some(message) = &parked.message else { return Ok(Fate::Unreadable) };
    let id = message.crash_id;
    if !unknown.contains(&id) || is_erased(crashes, id).await? {
        return Ok(Fate::Gone(None));
    }
    let letter = |stage: &str, reason: &str, detail: String| {
        let Message { crash_id, attempt, .. } = *message;
        let (stage, reason) = (stage.to_owned(), reason.to_owned());
        Fate::Gone(Some(DeadLetter {
            crash_id,
            died_at: now,
            stage,
            reason,
            attempts: attempt,
            detail: Some(detail),
        }))
    };
    Ok(match &parked.by {
        Parker::Processor(_) => {
            let reason = message.reason.as_deref().unwrap_or("unknown");
            letter(
                "process",
                reason,
                "the letter was lost, and is written from the parked message".to_owned(),
            )
        }
        Parker::Broker(_) if now.duration_since(id.received_at()) < LEFT_TO_THE_SWEEP => Fate::Left,
        Parker::Broker(why) => {
            letter("queue", "given_up_by_broker", format!("the broker took it off its queue: {why}"))
        }
    })
}

async fn is_erased(crashes: &CrashStore, id: CrashId) -> anyhow::Result<bool> {
    let frames = crashes.find(id).await.context("looking for a dead crash in the store")?;
    let raw: Vec<_> = frames.iter().filter(|frame| frame.area == Area::Raw).collect();
    Ok(!raw.is_empty() && raw.iter().all(|frame| frame.erased))
}
