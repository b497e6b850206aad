use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Health;
use crate::sockets::Sockets;
use crate::systemd;

/// What a role is given to run with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Context<C> {
    /// The role's own configuration.
    pub config: C,
    /// The name of the role.
    pub role: &'static str,
    /// The name of this process among others of the same role.
    pub node: String,
    /// Cancelled when the process is to stop: take nothing new, finish what is in hand, return.
    pub shutdown: CancellationToken,
    /// Where the role reports what it depends on.
    pub health: Health,
    /// Where metrics and health are served, with the port that was really taken.
    pub metrics_address: Option<SocketAddr>,
    /// Where the role listens: what it was started with, or opens itself.
    pub sockets: Sockets,
}

impl<C> Context<C> {
    /// A context without a process around it: for tests, and for a role that runs inside another program.
    pub fn bare(role: &'static str, config: C) -> Self {
        let node = Config::default().node;
        let health = Health::new(role, &node);
        let (shutdown, sockets) = (CancellationToken::new(), Sockets::default());
        Self { config, role, node, shutdown, health, metrics_address: None, sockets }
    }

    /// Says that the role is up: to systemd, and to whoever asks for its health.
    pub fn ready(&self) {
        self.health.ready();
        self.sockets.warn_of_unused();
        systemd::ready();
        tracing::info!(role = self.role, node = self.node, "ready");
    }

    /// Says in one line how the role is getting on: `backlog 1 200, ETA 6 m`.
    pub fn status(&self, text: &str) {
        self.health.status(text);
        systemd::status(text);
    }
}

impl<C> AsRef<Health> for Context<C> {
    fn as_ref(&self) -> &Health {
        &self.health
    }
}
