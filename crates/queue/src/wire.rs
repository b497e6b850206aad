//! Publishing with confirms over a connection of its own that is kept up.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    config::Checked,
    error::Error,
    lane::{self, BATCH, Outgoing, Request},
    line::{Line, News},
    supervisor::{BrokerState, Next, Session, WhenRefused, supervise},
    topology,
};

/// How many may wait for the next batch of a lane; beyond these a publisher waits to be let in.
const WAITING: usize = 4 * BATCH;

/// Which way a message goes to the broker: each has a channel of its own, so that one does not hold up the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// For what just happened.
    Live,
    /// For what has waited in the journal.
    Journal,
}

/// A handle on the publishing connection; the connection ends with the last handle.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    lanes: watch::Receiver<Option<Lanes>>,
    state: watch::Receiver<BrokerState>,
    timeout: Duration,
    _alive: Arc<DropGuard>,
}

#[derive(Debug, Clone)]
struct Lanes {
    live: mpsc::Sender<Request>,
    journal: mpsc::Sender<Request>,
}

impl Wire {
    /// Starts to connect, and goes on without waiting for it. After `shutdown` a lost connection stays lost.
    pub(crate) fn start(
        settings: Arc<Checked>,
        purpose: &'static str,
        shutdown: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (lanes_in, lanes) = watch::channel(None);
        let (state_in, state) = watch::channel(BrokerState::at_first());
        let end = CancellationToken::new();
        let timeout = settings.publish_timeout;
        let longest_pause = settings.reconnect_delay;
        let session = Publishing { settings, purpose, lanes: lanes_in };
        let until = end.clone();
        tasks.spawn(async move {
            let sessions =
                supervise(purpose, session, state_in, longest_pause, WhenRefused::LookAgain, shutdown);
            until.run_until_cancelled(sessions).await;
        });
        Self { lanes, state, timeout, _alive: Arc::new(end.drop_guard()) }
    }

    pub(crate) fn state(&self) -> watch::Receiver<BrokerState> {
        self.state.clone()
    }

    /// Waits until the broker can be published to, but not longer than a publish may take.
    pub(crate) async fn connected(&self) -> Result<(), Error> {
        let mut state = self.state.clone();
        let waiting = state.wait_for(|state| *state == BrokerState::Connected);
        match tokio::time::timeout(self.timeout, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::unconfirmed(describe(&self.state.borrow()))),
        }
    }

    /// Publishes, and returns when the broker has confirmed. Fails at once when there is no connection, and otherwise
    /// after the configured time; then the message may or may not have arrived.
    pub(crate) async fn send(&self, via: Via, outgoing: Outgoing) -> Result<(), Error> {
        let Some(lanes) = self.lanes.borrow().clone() else {
            return Err(Error::unconfirmed(describe(&self.state.borrow())));
        };
        let lane = match via {
            Via::Live => lanes.live,
            Via::Journal => lanes.journal,
        };
        let (reply, answer) = oneshot::channel();
        let lost = || Error::unconfirmed("the connection was lost while the message was under way");
        let publishing = async {
            lane.send(Request { outgoing, reply }).await.map_err(|_| lost())?;
            answer.await.map_err(|_| lost())?
        };
        tokio::time::timeout(self.timeout, publishing)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { doing: "publishing".to_owned(), after: self.timeout }))
    }
}

fn describe(state: &BrokerState) -> String {
    match state {
        BrokerState::Connected => "the connection has just been lost".to_owned(),
        BrokerState::Blocked { reason, .. } => format!("the broker takes no messages: {reason}"),
        BrokerState::Disconnected { reason, .. } | BrokerState::Refused { reason } => reason.clone(),
    }
}

/// The sessions of a wire.
struct Publishing {
    settings: Arc<Checked>,
    purpose: &'static str,
    lanes: watch::Sender<Option<Lanes>>,
}

impl Session for Publishing {
    async fn run(&self, state: &watch::Sender<BrokerState>) -> Result<Next, Error> {
        let line = self.connect().await?;
        let mut news = line.news();
        let (live, live_requests) = mpsc::channel(WAITING);
        let (journal, journal_requests) = mpsc::channel(WAITING);
        let limit = self.settings.publish_timeout;
        let live_lane = lane::run(lane::open(&line).await?, live_requests, limit);
        let journal_lane = lane::run(lane::open(&line).await?, journal_requests, limit);
        self.lanes.send_replace(Some(Lanes { live, journal }));
        state.send_replace(BrokerState::Connected);
        tracing::info!(purpose = self.purpose, "connected to RabbitMQ");

        let ended = tokio::select! {
            error = live_lane => Ended::Failed(error),
            error = journal_lane => Ended::Failed(error),
            trouble = trouble(&mut news) => trouble,
        };
        // The lanes are gone by now, so that whoever waits in them knows at once.
        self.lanes.send_replace(None);
        match ended {
            Ended::Failed(error) => Err(error),
            Ended::Blocked(reason) => {
                tracing::warn!(purpose = self.purpose, reason, "RabbitMQ takes no messages for now");
                state.send_replace(BrokerState::Blocked { since: Timestamp::now(), reason });
                unblocked(&mut news).await
            }
        }
    }
}

impl Publishing {
    async fn connect(&self) -> Result<Line, Error> {
        let line = Line::open(&self.settings.uri, self.purpose).await?;
        topology::declare_on(&line, &self.settings.names).await?;
        Ok(line)
    }
}

enum Ended {
    Blocked(String),
    Failed(Error),
}

async fn trouble(news: &mut (impl futures_util::Stream<Item = News> + Unpin)) -> Ended {
    loop {
        match news.next().await {
            Some(News::Blocked(reason)) => return Ended::Blocked(reason),
            Some(News::Lost(error)) => return Ended::Failed(error),
            Some(News::Unblocked) => {}
            None => return Ended::Failed(Error::lost("it has ended")),
        }
    }
}

/// A connection that was blocked is made anew: what it still holds of messages is long in the journal.
async fn unblocked(news: &mut (impl futures_util::Stream<Item = News> + Unpin)) -> Result<Next, Error> {
    loop {
        match news.next().await {
            Some(News::Unblocked) => return Ok(Next::Reconnect),
            Some(News::Lost(error)) => return Err(error),
            Some(News::Blocked(_)) => {}
            None => return Err(Error::lost("it has ended")),
        }
    }
}
