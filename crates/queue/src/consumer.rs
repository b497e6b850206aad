//! Takes crash ids from the queues, the urgent ones first.

use std::sync::Arc;

use crash::QueueName;
use futures_util::{Stream, StreamExt, future::try_join_all};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    config::{Checked, Config},
    delivery::{Delivery, Source},
    error::Error,
    feed::{Feed, Hands, PRESSING},
    line::{Line, News},
    metrics::QueueMetrics,
    supervisor::{BrokerState, Next, Session, WhenRefused, supervise},
    topology,
    turns::Turns,
    wire::Wire,
};

/// How many crashes this process may hold without a verdict.
///
/// For each queue as many as the workers hold, as many again that wait for a worker, and those whose results wait to
/// be saved together. Of `priority` none wait for a worker: another process might have one that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefetch {
    /// How many crashes are processed at once.
    pub workers: usize,
    /// How many that are done may wait to be saved together with others.
    pub unsaved: usize,
}

impl Prefetch {
    fn of(self, queue: QueueName) -> u16 {
        let ahead = if queue == QueueName::Priority { 0 } else { self.workers };
        let all = self.workers.saturating_add(ahead).saturating_add(self.unsaved);
        // 0 would mean without a limit.
        u16::try_from(all).unwrap_or(u16::MAX).max(1)
    }
}

/// Takes crashes from the three work queues. One a process.
#[derive(Debug)]
pub struct Consumer {
    hands: Arc<Hands>,
    turns: Turns,
    metrics: [QueueMetrics; 3],
    state: watch::Receiver<BrokerState>,
    end: CancellationToken,
    finished: CancellationToken,
    _on_drop: DropGuard,
}

/// Stops and resumes a [`Consumer`] from elsewhere.
#[derive(Debug, Clone)]
pub struct Valve(Arc<Hands>);

impl Consumer {
    /// Begins to connect, and goes on without waiting for it.
    ///
    /// After `shutdown` nothing is handed out any more and what nobody has taken is given back; deliveries that were
    /// handed out can still have their verdicts, for their connection lives as long as they do.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub async fn start(
        config: &Config,
        prefetch: Prefetch,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let settings = Arc::new(config.checked()?);
        let hands = Arc::new(Hands::new());
        let tasks = TaskTracker::new();
        let wire = Wire::start(settings.clone(), "verdicts", shutdown.clone(), &tasks);
        let end = shutdown.child_token();
        let (state_in, state) = watch::channel(BrokerState::at_first());
        let turns = Turns::new(settings.reprocessing_every);
        let longest_pause = settings.reconnect_delay;
        let session = Consuming { settings, prefetch, hands: hands.clone(), wire, end: end.clone() };
        let finished = CancellationToken::new();
        let (until, done) = (end.clone(), finished.clone().drop_guard());
        tasks.spawn(async move {
            supervise("consumer", session, state_in, longest_pause, WhenRefused::End, until).await;
            drop(done);
        });
        let metrics = QueueName::ALL.map(QueueMetrics::new);
        Ok(Self { hands, turns, metrics, state, end: end.clone(), finished, _on_drop: end.drop_guard() })
    }

    /// The next crash: of `priority` before those of `standard`, and one in so many of `reprocessing`.
    ///
    /// `None` after the shutdown, and when the state is [`BrokerState::Refused`]. Can be dropped and called again
    /// without losing anything.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            if self.finished.is_cancelled() || self.end.is_cancelled() {
                return None;
            }
            if !*self.hands.paused.borrow() {
                if let Some(delivery) = self.hands.take(&mut self.turns) {
                    delivery.handed_out();
                    return Some(delivery);
                }
                self.metrics.iter().for_each(QueueMetrics::idle);
            }
            tokio::select! {
                () = self.end.cancelled() => return None,
                () = self.finished.cancelled() => return None,
                () = self.hands.changed() => {}
                // Reprocessing may wait for others that are not coming.
                () = tokio::time::sleep(PRESSING), if self.hands.others_press() => {}
            }
        }
    }

    /// How it stands with the broker, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Stops it from elsewhere.
    #[must_use]
    pub fn valve(&self) -> Valve {
        Valve(self.hands.clone())
    }
}

impl Valve {
    /// Hands out nothing until this reason and all others are gone: for while what it takes to process a crash is not
    /// there. After a while, what is in our hands is given back for other processes to take.
    pub fn pause(&self, reason: &'static str) {
        self.0.pause(reason);
    }

    /// This is no reason any more.
    pub fn resume(&self, reason: &'static str) {
        self.0.resume(reason);
    }

    /// Why nothing is handed out; no reasons while something is.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        self.0.reasons()
    }
}

/// The sessions of a consumer.
struct Consuming {
    settings: Arc<Checked>,
    prefetch: Prefetch,
    hands: Arc<Hands>,
    wire: Wire,
    end: CancellationToken,
}

impl Session for Consuming {
    async fn run(&self, state: &watch::Sender<BrokerState>) -> Result<Next, Error> {
        let Some(connected) = self.end.run_until_cancelled(self.connect()).await else {
            return Ok(Next::Stop);
        };
        let (line, feeds) = connected?;
        let news = line.news();
        state.send_replace(BrokerState::Connected);
        tracing::info!(purpose = "consumer", "connected to RabbitMQ");

        let feeding = try_join_all(feeds.into_iter().map(|feed| feed.run(self.end.clone())));
        tokio::select! {
            fed = feeding => fed.map(|_| Next::Stop),
            error = lost(news) => Err(error),
        }
    }
}

impl Consuming {
    async fn connect(&self) -> Result<(Arc<Line>, Vec<Feed>), Error> {
        let line = Arc::new(Line::open(&self.settings.uri, "consumer").await?);
        topology::declare_on(&line, &self.settings.names).await?;
        let mut feeds = Vec::new();
        for queue in QueueName::ALL {
            let source = Source {
                channel: line.channel().await?,
                _line: line.clone(),
                wire: self.wire.clone(),
                settings: self.settings.clone(),
                queue,
                metrics: QueueMetrics::new(queue),
                runtime: Handle::current(),
            };
            feeds.push(Feed::open(source, self.prefetch.of(queue), self.hands.clone()).await?);
        }
        Ok((line, feeds))
    }
}

/// A connection that publishes nothing is not blocked, so its end is all the news there is.
async fn lost(mut news: impl Stream<Item = News> + Unpin) -> Error {
    loop {
        match news.next().await {
            Some(News::Lost(error)) => return error,
            Some(News::Blocked(_) | News::Unblocked) => {}
            None => return Error::lost("it has ended"),
        }
    }
}
