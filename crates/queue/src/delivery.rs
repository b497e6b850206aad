//! A crash that was taken from a queue, and the verdicts about it.

use std::{fmt, sync::Arc, time::Duration};

use crash::QueueName;
use jiff::Timestamp;
use lapin::{
    Acker, BasicProperties, Channel,
    options::{BasicAckOptions, BasicRejectOptions},
    types::ShortString,
};
use tokio::runtime::Handle;

use crate::{
    config::Checked,
    error::{Error, within},
    lane::Outgoing,
    line::{ANSWER_TIMEOUT, Line},
    message::{self, Message},
    metrics::QueueMetrics,
    wire::{Via, Wire},
};

/// A crash that is ours until a verdict: [`ack`](Self::ack), [`retry`](Self::retry), [`dead`](Self::dead) or
/// [`give_back`](Self::give_back). One that is dropped without is given back.
///
/// It keeps its connection alive, so verdicts can be given after the consumer was told to stop, and is gone with it.
pub struct Delivery {
    /// Which crash, and what is known of earlier attempts.
    pub message: Message,
    /// The queue that it came from.
    pub queue: QueueName,
    /// True when somebody had it before and gave no verdict, or gave it back.
    pub redelivered: bool,
    /// How often that has happened, as far as the broker counts.
    pub returns: u64,
    acker: Option<Acker>,
    source: Arc<Source>,
}

/// What became of a crash that is to be tried again.
#[derive(Debug)]
pub enum Retried {
    /// It comes back to its queue after this time, as the next attempt.
    Later(Duration),
    /// It has had all its attempts. The crash is still the caller's: record it, then call [`Delivery::dead`].
    Exhausted(Delivery),
}

/// Where deliveries come from and where their verdicts go. The fields end in the order in which they stand.
pub(crate) struct Source {
    pub(crate) channel: Channel,
    pub(crate) _line: Arc<Line>,
    pub(crate) wire: Wire,
    pub(crate) settings: Arc<Checked>,
    pub(crate) queue: QueueName,
    pub(crate) metrics: QueueMetrics,
    pub(crate) runtime: Handle,
}

impl Delivery {
    /// `None` for a message that names no crash; it is parked as dead.
    pub(crate) fn new(delivery: lapin::message::Delivery, source: &Arc<Source>) -> Option<Self> {
        let lapin::message::Delivery { data, properties, redelivered, acker, .. } = delivery;
        let Some(message) = Message::read(&data, &properties) else {
            source.runtime.spawn(park(source.clone(), data, acker));
            return None;
        };
        Some(Self {
            message,
            queue: source.queue,
            redelivered,
            returns: message::returns(&properties),
            acker: Some(acker),
            source: source.clone(),
        })
    }

    /// The result is saved, and the queue may forget the crash.
    ///
    /// # Errors
    /// [`Error::Stale`] and others when the broker does not know of it; then it delivers the crash again.
    pub async fn ack(mut self) -> Result<(), Error> {
        let acker = self.acker.take().ok_or(Error::Stale)?;
        self.source.metrics.verdict("ack");
        finish(&acker).await
    }

    /// This attempt failed, and another may not: publishes the crash for later, then acknowledges this delivery.
    ///
    /// # Errors
    /// When it cannot be published, or not be acknowledged. Either way the broker delivers the crash again.
    pub async fn retry(self, reason: &str) -> Result<Retried, Error> {
        if self.message.attempt >= self.source.settings.max_attempts {
            return Ok(Retried::Exhausted(self));
        }
        let Some(retry) = self.source.settings.names.retry_after(self.message.attempt).cloned() else {
            return Ok(Retried::Exhausted(self));
        };
        let again = Message {
            attempt: self.message.attempt + 1,
            reason: Some(message::cut(reason).to_owned()),
            enqueued_at: Timestamp::now() + retry.delay,
            ..self.message.clone()
        };
        // The key is the work queue's name, which leads the message home when its time is over.
        let key = self.source.settings.names.work(self.queue);
        let outgoing = Outgoing {
            exchange: retry.name,
            key,
            body: again.body().into_bytes(),
            properties: again.properties(),
        };
        self.hand_on(outgoing, "retry").await?;
        Ok(Retried::Later(retry.delay))
    }

    /// Nobody shall try this crash again: publishes it to `dead`, then acknowledges this delivery. What the database
    /// has to know was recorded by the caller before.
    ///
    /// # Errors
    /// When it cannot be published, or not be acknowledged. Either way the broker delivers the crash again.
    pub async fn dead(self, reason: &str) -> Result<(), Error> {
        let last = Message { reason: Some(message::cut(reason).to_owned()), ..self.message.clone() };
        let (exchange, key) = (self.source.settings.names.exchange(), self.source.settings.names.dead());
        let properties = last.dead_properties(self.queue);
        let outgoing = Outgoing { exchange, key, body: last.body().into_bytes(), properties };
        self.hand_on(outgoing, "dead").await
    }

    /// Puts the crash back on its queue, where the next that is free takes it.
    ///
    /// # Errors
    /// When the broker cannot be told; it then does the same by itself when the connection is gone.
    pub async fn give_back(mut self) -> Result<(), Error> {
        let acker = self.acker.take().ok_or(Error::Stale)?;
        self.source.metrics.verdict("given_back");
        reject(&acker).await
    }

    /// False when the connection is gone and with it every verdict.
    pub(crate) fn is_ours(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable)
    }

    pub(crate) fn handed_out(&self) {
        self.source.metrics.delivered(self.message.enqueued_at);
    }

    /// Publishes, and acknowledges only what is confirmed. When it returns early, dropping `self` gives the crash back.
    async fn hand_on(mut self, outgoing: Outgoing, verdict: &'static str) -> Result<(), Error> {
        // Also a brake: where the broker takes nothing, the same crash must not be delivered again at once.
        self.source.wire.connected().await?;
        self.source.wire.send(Via::Live, outgoing).await?;
        let acker = self.acker.take().ok_or(Error::Stale)?;
        self.source.metrics.verdict(verdict);
        finish(&acker).await
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take().filter(Acker::usable) else { return };
        let source = self.source.clone();
        source.metrics.verdict("given_back");
        self.source.runtime.spawn(async move {
            if let Err(error) = reject(&acker).await {
                tracing::debug!(%error, "a crash could not be given back; the broker does it with the connection's end");
            }
            drop(source);
        });
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("message", &self.message)
            .field("queue", &self.queue)
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

async fn finish(acker: &Acker) -> Result<(), Error> {
    known(within(ANSWER_TIMEOUT, "acknowledging", acker.ack(BasicAckOptions::default())).await?)
}

/// `basic.reject` and never `basic.nack`: newer brokers count only the first against their delivery limit, and a
/// message that always fails would go round for ever.
async fn reject(acker: &Acker) -> Result<(), Error> {
    known(within(ANSWER_TIMEOUT, "giving back", acker.reject(BasicRejectOptions { requeue: true })).await?)
}

/// lapin answers false when the channel is gone.
fn known(told: bool) -> Result<(), Error> {
    if told { Ok(()) } else { Err(Error::Stale) }
}

/// Moves what nobody can read to the dead, as it is.
async fn park(source: Arc<Source>, body: Vec<u8>, acker: Acker) {
    let properties: BasicProperties = message::unreadable(source.queue);
    let key: ShortString = source.settings.names.dead();
    let outgoing = Outgoing { exchange: source.settings.names.exchange(), key, body, properties };
    let parking = async {
        source.wire.connected().await?;
        source.wire.send(Via::Live, outgoing).await?;
        finish(&acker).await
    };
    match parking.await {
        Ok(()) => tracing::warn!(queue = %source.queue, "a message that is no crash id was parked as dead"),
        Err(error) => {
            tracing::warn!(queue = %source.queue, %error, "a message that is no crash id cannot be parked");
            drop(reject(&acker).await);
        }
    }
}
