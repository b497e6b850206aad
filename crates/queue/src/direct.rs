//! Publishes ids for a command that waits for each confirm and keeps nothing on disk.

use std::{sync::Arc, time::Duration};

use crash::QueueName;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    config::{Checked, Config},
    error::Error,
    lane::Outgoing,
    message::Message,
    supervisor::BrokerState,
    wire::{Via, Wire},
};

/// How long the broker may take to be there.
const CONNECT: Duration = Duration::from_secs(15);

/// A connection for publishing without a journal: what is not confirmed is the caller's to publish again.
#[derive(Debug)]
pub struct Direct {
    settings: Arc<Checked>,
    wire: Wire,
    _end: DropGuard,
}

impl Direct {
    /// Connects, and declares what is not there yet.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, or takes no messages.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let settings = Arc::new(config.checked()?);
        let end = CancellationToken::new();
        let wire = Wire::start(settings.clone(), "operator", end.clone(), &TaskTracker::new());
        let mut state = wire.state();
        let connected = state.wait_for(|state| *state == BrokerState::Connected);
        if tokio::time::timeout(CONNECT, connected).await.is_err() {
            return Err(Error::unconfirmed(state.borrow().to_string()));
        }
        Ok(Self { settings, wire, _end: end.drop_guard() })
    }

    /// Publishes one id, and returns when the broker has it on its disk.
    ///
    /// # Errors
    /// When it is not known to have it: publish it again.
    pub async fn publish(&self, queue: QueueName, message: &Message) -> Result<(), Error> {
        let outgoing = Outgoing {
            exchange: self.settings.names.exchange(),
            key: self.settings.names.work(queue),
            body: message.body().into_bytes(),
            properties: message.properties(),
        };
        self.wire.send(Via::Live, outgoing).await
    }
}
