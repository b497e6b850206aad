//! From one queue on the broker into our hands, as much as the workers can use.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crash::QueueName;
use futures_util::StreamExt;
use lapin::{
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    delivery::{Delivery, Source},
    error::{Error, within},
    line::ANSWER_TIMEOUT,
    turns::Turns,
};

/// A pause that is shorter keeps what is in our hands; a longer one gives it back, for others to take.
const PAUSE_GRACE: Duration = Duration::from_secs(30);

/// What the feeds of all queues have brought and nobody has taken.
#[derive(Debug)]
pub(crate) struct Hands {
    waiting: Mutex<[VecDeque<Delivery>; 3]>,
    changed: Notify,
    pub(crate) paused: watch::Sender<bool>,
    /// Why; it goes on when there is no reason left.
    reasons: Mutex<BTreeSet<&'static str>>,
}

impl Hands {
    pub(crate) fn new() -> Self {
        let paused = watch::Sender::new(false);
        Self { waiting: Mutex::default(), changed: Notify::new(), paused, reasons: Mutex::default() }
    }

    /// The delivery whose turn it is, without those whose connection is gone.
    pub(crate) fn take(&self, turns: &mut Turns) -> Option<Delivery> {
        let order = turns.order();
        let mut waiting = self.waiting();
        for queue in order {
            while let Some(delivery) = of(&mut waiting, queue).pop_front() {
                if delivery.is_ours() {
                    turns.taken(queue);
                    return Some(delivery);
                }
            }
        }
        None
    }

    /// Returns when something has come or changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn pause(&self, reason: &'static str) {
        self.change_reasons(|reasons| reasons.insert(reason));
    }

    pub(crate) fn resume(&self, reason: &'static str) {
        self.change_reasons(|reasons| reasons.remove(reason));
    }

    pub(crate) fn reasons(&self) -> Vec<&'static str> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn change_reasons(&self, change: impl FnOnce(&mut BTreeSet<&'static str>) -> bool) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut reasons) {
            // Still under the lock, so that two changes are seen in their order.
            self.paused.send_replace(!reasons.is_empty());
            self.changed.notify_one();
        }
    }

    fn put(&self, delivery: Delivery) {
        of(&mut self.waiting(), delivery.queue).push_back(delivery);
        self.changed.notify_one();
    }

    fn give_back(&self, queue: QueueName) {
        let deliveries = std::mem::take(of(&mut self.waiting(), queue));
        // Whoever is dropped without a verdict is given back.
        drop(deliveries);
    }

    fn waiting(&self) -> MutexGuard<'_, [VecDeque<Delivery>; 3]> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of(waiting: &mut [VecDeque<Delivery>; 3], queue: QueueName) -> &mut VecDeque<Delivery> {
    let [priority, standard, reprocessing] = waiting;
    match queue {
        QueueName::Priority => priority,
        QueueName::Standard => standard,
        QueueName::Reprocessing => reprocessing,
    }
}

/// One queue's consumer on a channel of its own.
pub(crate) struct Feed {
    source: Arc<Source>,
    hands: Arc<Hands>,
}

impl Feed {
    /// Prepares a channel that never has more than `prefetch` crashes without a verdict.
    pub(crate) async fn open(source: Source, prefetch: u16, hands: Arc<Hands>) -> Result<Self, Error> {
        let setting = source.channel.basic_qos(prefetch, BasicQosOptions::default());
        within(ANSWER_TIMEOUT, "setting the prefetch", setting).await?;
        Ok(Self { source: Arc::new(source), hands })
    }

    /// Brings what comes, and gives everything back at `end` or in a long pause.
    pub(crate) async fn run(self, end: CancellationToken) -> Result<(), Error> {
        let mut paused = self.hands.paused.subscribe();
        loop {
            tokio::select! {
                () = end.cancelled() => return Ok(()),
                resumed = paused.wait_for(|paused| !paused) => drop(resumed),
            }
            self.consume(&end).await?;
        }
    }

    async fn consume(&self, end: &CancellationToken) -> Result<(), Error> {
        let queue = self.source.settings.names.work(self.source.queue);
        let doing = format!("consuming the queue {queue}");
        let consuming = self.source.channel.basic_consume(
            queue,
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let mut deliveries = within(ANSWER_TIMEOUT, &*doing, consuming).await?;
        let mut long_pause = std::pin::pin!(long_pause(self.hands.paused.subscribe()));
        loop {
            tokio::select! {
                () = end.cancelled() => break,
                () = &mut long_pause => break,
                delivery = deliveries.next() => match delivery {
                    Some(Ok(delivery)) => self.bring(delivery),
                    Some(Err(error)) => return Err(Error::broker(doing, &error)),
                    None => return Err(Error::lost("the broker has cancelled a consumer: its queue is gone or moves")),
                },
            }
        }
        let cancelling = self.source.channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
        within(ANSWER_TIMEOUT, "ending a consumer", cancelling).await?;
        // What was on its way is in the stream, before its end.
        while let Some(Ok(delivery)) = deliveries.next().await {
            self.bring(delivery);
        }
        self.hands.give_back(self.source.queue);
        Ok(())
    }

    fn bring(&self, delivery: lapin::message::Delivery) {
        if let Some(delivery) = Delivery::new(delivery, &self.source) {
            self.hands.put(delivery);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hands.give_back(self.source.queue);
    }
}

/// Returns when a pause has lasted for a while.
async fn long_pause(mut paused: watch::Receiver<bool>) {
    loop {
        // It fails with the end of the consumer, which ends the feed by itself.
        if paused.wait_for(|paused| *paused).await.is_err() {
            return std::future::pending().await;
        }
        let resumed = paused.wait_for(|paused| !paused);
        if tokio::time::timeout(PAUSE_GRACE, resumed).await.is_err() {
            return;
        }
    }
}
