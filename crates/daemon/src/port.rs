//! The health endpoints, and the private port on which a daemon also shows its metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::health::{Audience, Health};
use crate::listener::BoundedListener;
use crate::metering::Metering;
use crate::sockets::Sockets;
use crate::version::VERSION;

/// Scrapers, a load balancer and some curious people.
const CONNECTIONS: usize = 64;

/// Longer than the pause between two scrapes over one connection.
const IDLE: Duration = Duration::from_secs(120);

/// The health endpoints, for a role to put on its public port too.
///
/// `/__lbheartbeat__` answers 200 while the process answers at all; `/__heartbeat__` 200 or 503, whether it can
/// do its work, with the state of each dependency; `/__version__` says which program it is.
pub fn health_routes(health: &impl AsRef<Health>) -> Router {
    routes(health.as_ref(), Audience::Public)
}

fn routes(health: &Health, audience: Audience) -> Router {
    let health = health.clone();
    let heartbeat = move || {
        let beat = health.heartbeat(audience);
        let status = if beat.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        std::future::ready((status, json(&beat)))
    };
    Router::new()
        .route("/__lbheartbeat__", get(|| std::future::ready(StatusCode::OK)))
        .route("/__heartbeat__", get(heartbeat))
        .route("/__version__", get(|| std::future::ready(json(&VERSION))))
}

/// A port for operators: health with reasons, and metrics.
pub(crate) struct PrivatePort {
    listeners: Vec<TcpListener>,
    pub(crate) address: SocketAddr,
}

impl PrivatePort {
    pub(crate) fn open(sockets: &Sockets, address: SocketAddr) -> anyhow::Result<Self> {
        let listeners = sockets.listen("metrics", address, "daemon.metrics_listen")?;
        let address = listeners.first().map_or(Ok(address), TcpListener::local_addr);
        let address = address.context("asking for the port that was taken")?;
        info!(%address, "metrics and health are served");
        Ok(Self { listeners, address })
    }

    /// Answers until the process ends, through its draining too: an operator watches that as well.
    pub(crate) async fn serve(self, health: Health, metering: Arc<Metering>) {
        let metrics = move || {
            let text = metering.render();
            std::future::ready(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
        };
        let router = routes(&health, Audience::Operators).route("/metrics", get(metrics));
        if let Err(error) = axum::serve(BoundedListener::new(self.listeners, CONNECTIONS, IDLE), router).await
        {
            error!(%error, "metrics and health are no longer served");
        }
    }
}

fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
