//! Takes out of the queue `dead` what the database has as a dead letter, so that the two never drift apart.
//!
//! The table is what is kept, listed, retried and dropped; the queue is the way there.
//!
//! | what is in `dead` | what becomes of it |
//! |---|---|
//! | the crash has a letter or a fact | taken away |
//! | the crash was erased | taken away |
//! | parked by a processor, and there is no letter | its letter is written, then it is taken away |
//! | put there by the broker, and there is no letter | a letter is written, then it is taken away |
//! | it names no crash | logged with its length and hash and counted, then taken away |
//!
//! Nothing stays there: a broker counts how often a message was taken and came back, and drops it after 20 times without a
//! word. So a store that does not answer keeps no letter from being written; a database that does not answer ends the
//! look, and also the scheduler's lead. A crash whose message is lost all the same has no result, and the sweep finds it.
//!
//! Nothing is taken away before what replaces it is committed, so it may end anywhere and be done twice.

use std::{collections::HashSet, time::Duration};

use anyhow::Context as _;
use crash::CrashId;
use crashstore::{Area, CrashStore};
use facts::{DeadLetter, Facts, Which};
use jiff::Timestamp;
use queue::{Content, DeadQueue, Message, Parked, Parker};
use serde::Serialize;

use crate::{
    job::{Job, Pass},
    metrics::Metrics,
};

/// How many messages are looked at together.
const BATCH: usize = 200;
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
        Metrics::dead_letters(groups.iter().map(|group| group.count).sum());
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
    /// Those of them that named no crash.
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
    let mut look = DeadQueue::open(queue).await.context("opening the queue of the dead")?;
    loop {
        let parked = look.take(BATCH).await.context("looking into the queue of the dead")?;
        if parked.is_empty() {
            return Ok(collected);
        }
        let unknown = unknown(facts, &parked).await?;
        for parked in parked {
            match &parked.content {
                Content::Message(message) => {
                    if let Some(letter) = letter(message, &parked.by, &unknown, crashes, now).await {
                        facts.record_dead_letter(&letter).await.context("recording a dead letter")?;
                        collected.written += 1;
                    }
                }
                Content::Unreadable { bytes, sha256 } => {
                    tracing::error!(
                        bytes,
                        sha256,
                        "a message in the queue `dead` names no crash; it is taken away, so find out who publishes such"
                    );
                    Metrics::dead_unreadable();
                    collected.unreadable += 1;
                }
            }
            parked.forget().await.context("taking a message out of the queue of the dead")?;
            collected.gone += 1;
        }
    }
}

/// Those that have neither a fact nor a letter.
async fn unknown(facts: &Facts, parked: &[Parked]) -> anyhow::Result<HashSet<CrashId>> {
    let ids: Vec<CrashId> =
        parked.iter().filter_map(|parked| Some(parked.content.message()?.crash_id)).collect();
    let mut unknown: HashSet<CrashId> = facts.unaccounted(&ids).await?.into_iter().collect();
    for id in facts.with_letter(&ids).await? {
        unknown.remove(&id);
    }
    Ok(unknown)
}

/// The letter that a crash is to have; nothing when it has one or a fact, or was erased.
async fn letter(
    message: &Message,
    by: &Parker,
    unknown: &HashSet<CrashId>,
    crashes: &CrashStore,
    now: Timestamp,
) -> Option<DeadLetter> {
    let Message { crash_id, attempt, .. } = *message;
    if !unknown.contains(&crash_id) || is_erased(crashes, crash_id).await {
        return None;
    }
    let (stage, reason, detail) = match by {
        Parker::Processor(_) => {
            let reason = message.reason.as_deref().unwrap_or("unknown");
            ("process", reason, "the letter was lost, and is written from the parked message".to_owned())
        }
        Parker::Broker(why) => {
            ("queue", "given_up_by_broker", format!("the broker took it off its queue: {why}"))
        }
    };
    Some(DeadLetter {
        crash_id,
        died_at: now,
        stage: stage.to_owned(),
        reason: reason.to_owned(),
        attempts: attempt,
        detail: Some(detail),
    })
}

/// Whether the store says so. The database says so too and then takes no letter, so that a store that does not answer need
/// not keep the message where it is.
async fn is_erased(crashes: &CrashStore, id: CrashId) -> bool {
    match crashes.find(id).await {
        Ok(frames) => {
            let raw: Vec<_> = frames.iter().filter(|frame| frame.area == Area::Raw).collect();
            !raw.is_empty() && raw.iter().all(|frame| frame.erased)
        }
        Err(error) => {
            tracing::warn!(crash_id = %id, %error, "a dead crash cannot be looked for in the store");
            false
        }
    }
}
