//! From one queue on the broker into our hands, as much as the workers can use.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
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

/// For how long a queue counts as one that presses after its window was nearly full: much longer than the broker takes to
/// send more.
pub(crate) const PRESSING: Duration = Duration::from_millis(250);

/// How much of one queue this process may hold without a verdict, and holds.
///
/// While it is nearly full the broker keeps more back: that nothing of a queue is in our hands does not mean that nothing
/// waits.
#[derive(Debug)]
pub(crate) struct Window {
    size: usize,
    held: AtomicUsize,
    nearly_full_at: Mutex<Option<Instant>>,
}

impl Window {
    fn new(size: u16) -> Self {
        Self { size: size.into(), held: AtomicUsize::new(0), nearly_full_at: Mutex::default() }
    }

    /// One more is held, until this is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
        if held * 4 >= self.size * 3 {
            *self.nearly_full_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Held(self.clone())
    }

    /// Whether more may wait on the broker.
    fn presses(&self) -> bool {
        let nearly_full_at = *self.nearly_full_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.held.load(Ordering::Relaxed) >= self.size
            || nearly_full_at.is_some_and(|at| at.elapsed() < PRESSING)
    }
}

/// A delivery's place in its queue's window.
#[derive(Debug)]
pub(crate) struct Held(Arc<Window>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the feeds of all queues have brought and nobody has taken.
#[derive(Debug)]
pub(crate) struct Hands {
    waiting: Mutex<[VecDeque<Delivery>; 3]>,
    /// Of `priority` and `standard`, in the session that there is.
    windows: Mutex<[Option<Arc<Window>>; 2]>,
    changed: Notify,
    pub(crate) paused: watch::Sender<bool>,
    /// Why; it goes on when there is no reason left.
    reasons: Mutex<BTreeSet<&'static str>>,
}

impl Hands {
    pub(crate) fn new() -> Self {
        let paused = watch::Sender::new(false);
        Self {
            waiting: Mutex::default(),
            windows: Mutex::default(),
            changed: Notify::new(),
            paused,
            reasons: Mutex::default(),
        }
    }

    /// The delivery whose turn it is, without those whose connection is gone.
    pub(crate) fn take(&self, turns: &mut Turns) -> Option<Delivery> {
        let order = turns.order();
        let is_turn_of_reprocessing = order.first() == Some(&QueueName::Reprocessing);
        let mut waiting = self.waiting();
        for queue in order {
            // Out of its turn it is for when nothing else waits, in our hands or on the broker.
            if queue == QueueName::Reprocessing && !is_turn_of_reprocessing && self.others_press() {
                continue;
            }
            while let Some(delivery) = of(&mut waiting, queue).pop_front() {
                if delivery.is_ours() {
                    turns.taken(queue);
                    return Some(delivery);
                }
            }
        }
        None
    }

    /// Whether more may wait on the broker than it lets us hold, of `priority` or `standard`.
    pub(crate) fn others_press(&self) -> bool {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.iter().flatten().any(|window| window.presses())
    }

    /// Begins to count what is held of a queue in a new session.
    fn open(&self, queue: QueueName, window: &Arc<Window>) {
        let [priority, standard] = &mut *self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        match queue {
            QueueName::Priority => *priority = Some(window.clone()),
            QueueName::Standard => *standard = Some(window.clone()),
            QueueName::Reprocessing => {}
        }
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
    window: Arc<Window>,
    hands: Arc<Hands>,
}

impl Feed {
    /// Prepares a channel that never has more than `prefetch` crashes without a verdict.
    pub(crate) async fn open(source: Source, prefetch: u16, hands: Arc<Hands>) -> Result<Self, Error> {
        let setting = source.channel.basic_qos(prefetch, BasicQosOptions::default());
        within(ANSWER_TIMEOUT, "setting the prefetch", setting).await?;
        let window = Arc::new(Window::new(prefetch));
        hands.open(source.queue, &window);
        Ok(Self { source: Arc::new(source), window, hands })
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
        if let Some(delivery) = Delivery::new(delivery, &self.source, self.window.hold()) {
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
