//! Publishes crashes again that were saved without a part, when their next try is due.
//!
//! It is published first and noted then: whoever is killed in between publishes it once more, which costs its processing and
//! changes no result. When the message is lost, the next try comes all the same, for the mark stays until the crash has
//! what it lacked.

use std::time::Duration;

use anyhow::Context as _;
use crash::QueueName;
use facts::{Degraded, Facts};
use jiff::Timestamp;
use queue::{Message, Publisher};

use crate::job::{Job, Pass};

/// How many crashes one pass publishes at most: they are in the queue for a while, and new ones come before them.
const MOST: u32 = 1_000;
/// What messages say that come from here.
const REASON: &str = "degraded";

/// Publishes what is due.
pub(crate) struct Again {
    pub(crate) facts: Facts,
    pub(crate) publisher: Publisher,
    /// How long a crash waits for each of its tries.
    pub(crate) delays: Vec<settings::Duration>,
}

impl Job for Again {
    const NAME: &'static str = "degraded";
    const DEADLINE: Duration = Duration::from_secs(300);

    async fn pass(&mut self, now: Timestamp) -> anyhow::Result<Pass> {
        let due = self.facts.degraded_due(now, MOST).await?;
        let published = due.len() as u64;
        for crash in due {
            self.publish(&crash, now).await?;
        }
        Ok(Pass::Done(published))
    }
}

impl Again {
    async fn publish(&self, crash: &Degraded, now: Timestamp) -> anyhow::Result<()> {
        let tries = usize::from(crash.tries);
        if tries >= self.delays.len() {
            // As when the delays were made fewer.
            self.facts.degraded_tried(crash, None, false).await?;
            return Ok(());
        }
        let message = Message { reason: Some(REASON.to_owned()), ..Message::new(crash.crash_id, now) };
        let publishing = self.publisher.publish(QueueName::Reprocessing, &message);
        publishing.await.context("publishing a crash that lacks a part")?;
        let next =
            self.delays.get(tries + 1).map(|delay| delay.get().mul_f64(rand::random_range(0.75..1.25)));
        let next = next.and_then(|delay| now.checked_add(delay).ok());
        self.facts.degraded_tried(crash, next, true).await?;
        tracing::info!(
            crash_id = %crash.crash_id, part = crash.part.as_str(), tries = tries + 1,
            "a crash that lacks a part was published again"
        );
        Ok(())
    }
}
