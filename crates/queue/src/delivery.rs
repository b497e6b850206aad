//! A crash that was taken from a queue, and the verdicts about it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
    feed::Held,
    lane::Outgoing,
    line::{ANSWER_TIMEOUT, Line},
    message::{self, Message},
    metrics::QueueMetrics,
    wire::{Via, Wire},
};

/// A crash that is ours until a verdict: [`ack`](Self::ack), [`retry`](Self::retry), [`dead`](Self::dead),
/// [`put_off`](Self::put_off) or [`give_back`](Self::give_back). One that is dropped without is given back.
///
/// The verdicts that publish do so first, and acknowledge once that is confirmed. Where the confirm does not come, it is
/// unknown whether the message arrived, the crash is still ours, and the verdict may be given again: then it may be on two
/// queues, and is processed twice with one result.
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
    acker: Acker,
    /// Whether the broker was told a verdict.
    settled: AtomicBool,
    source: Arc<Source>,
    _held: Held,
}

/// When a crash comes back to its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// After this time.
    pub delay: Duration,
    exchange: ShortString,
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
    pub(crate) fn new(delivery: lapin::message::Delivery, source: &Arc<Source>, held: Held) -> Option<Self> {
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
            acker,
            settled: AtomicBool::new(false),
            source: source.clone(),
            _held: held,
        })
    }

    /// The result is saved, and the queue may forget the crash.
    ///
    /// # Errors
    /// [`Error::Stale`] and others when the broker does not know of it; then it delivers the crash again.
    pub async fn ack(self) -> Result<(), Error> {
        self.finish("ack").await
    }

    /// When the next attempt is to be, should this one fail; chance decides between two delays. Nothing when the crash has
    /// had all its attempts: record that, then call [`Delivery::dead`].
    #[must_use]
    pub fn later(&self) -> Option<Later> {
        let attempt = self.message.attempt;
        if attempt >= self.source.settings.max_attempts {
            return None;
        }
        let retry = self.source.settings.names.retry_after(attempt, rand::random())?;
        Some(Later { delay: retry.delay, exchange: retry.name.clone() })
    }

    /// This attempt failed, and another may not: publishes the crash for later, then acknowledges this delivery.
    ///
    /// # Errors
    /// When it cannot be published, which may be tried again, or not be acknowledged. When nothing helps, the broker
    /// delivers the crash again.
    pub async fn retry(&self, later: &Later, reason: &str) -> Result<(), Error> {
        let again = Message {
            attempt: self.message.attempt.saturating_add(1),
            reason: Some(message::cut(reason).to_owned()),
            ..self.message.clone()
        };
        self.come_back(later, again, "retry").await
    }

    /// This attempt could not be made, for no fault of the crash: publishes it as it is for later, then acknowledges this
    /// delivery. Returns how much later.
    ///
    /// Unlike giving it back, this counts as no return: a broker forgets a crash that was returned too often.
    ///
    /// # Errors
    /// As those of [`Delivery::retry`].
    pub async fn put_off(&self) -> Result<Duration, Error> {
        let longest = self.source.settings.names.longest().ok_or(Error::Stale)?;
        let later = Later { delay: longest.delay, exchange: longest.name.clone() };
        self.come_back(&later, self.message.clone(), "put_off").await?;
        Ok(later.delay)
    }

    /// Nobody shall try this crash again: publishes it to `dead`, then acknowledges this delivery. What the database
    /// has to know was recorded by the caller before.
    ///
    /// # Errors
    /// As those of [`Delivery::retry`].
    pub async fn dead(&self, reason: &str) -> Result<(), Error> {
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
    pub async fn give_back(self) -> Result<(), Error> {
        self.settle("given_back")?;
        reject(&self.acker).await
    }

    /// False when the connection is gone and with it every verdict.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.acker.usable() && !self.settled.load(Ordering::Acquire)
    }

    pub(crate) fn handed_out(&self) {
        self.source.metrics.delivered(self.message.enqueued_at);
    }

    async fn come_back(&self, later: &Later, message: Message, verdict: &'static str) -> Result<(), Error> {
        let message = Message { enqueued_at: Timestamp::now() + later.delay, ..message };
        let outgoing = Outgoing {
            exchange: later.exchange.clone(),
            // The key is the work queue's name, which leads the message home when its time is over.
            key: self.source.settings.names.work(self.queue),
            body: message.body().into_bytes(),
            properties: message.properties(),
        };
        self.hand_on(outgoing, verdict).await
    }

    /// Publishes, and acknowledges only what is confirmed. When it fails before, dropping `self` gives the crash back.
    async fn hand_on(&self, outgoing: Outgoing, verdict: &'static str) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Stale);
        }
        // Also a brake: where the broker takes nothing, the same crash must not be delivered again at once.
        self.source.wire.connected().await?;
        self.source.wire.send(Via::Live, outgoing).await?;
        self.finish(verdict).await
    }

    async fn finish(&self, verdict: &'static str) -> Result<(), Error> {
        self.settle(verdict)?;
        finish(&self.acker).await
    }

    /// From here on the broker is told, and nobody else may tell it.
    fn settle(&self, verdict: &'static str) -> Result<(), Error> {
        if self.settled.swap(true, Ordering::AcqRel) {
            return Err(Error::Stale);
        }
        self.source.metrics.verdict(verdict);
        Ok(())
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.is_ours() || self.settle("given_back").is_err() {
            return;
        }
        let (acker, source) = (self.acker.clone(), self.source.clone());
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

pub(crate) async fn finish(acker: &Acker) -> Result<(), Error> {
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
