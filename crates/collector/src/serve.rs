//! Connections, from the first byte to the last.

use std::time::Duration;

use axum::{Router, serve::Listener as _};
use daemon::BoundedListener;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is read ahead of what a request's handler takes, and the longest head of a request, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long clients have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request.
    pub(crate) header: Duration,
    /// For what they have begun, once the collector is to stop.
    pub(crate) drain: Duration,
}

/// Answers requests until `shutdown`, then those that have been begun, but hangs up on clients that take too long.
///
/// When it returns there is no connection any more, and no handler runs. (The server that comes with the router knows
/// neither a deadline for heads nor one for stopping.)
pub(crate) async fn serve(
    mut listener: BoundedListener,
    routes: Router,
    patience: Patience,
    shutdown: &CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.header).max_buf_size(BUFFER);
    let graceful = GracefulShutdown::new();
    let hang_up = CancellationToken::new();
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let service = TowerToHyperService::new(routes.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        let hang_up = hang_up.clone();
        connections.spawn(async move {
            tokio::select! {
                // How a connection ends is the client's affair; what became of its report is counted elsewhere.
                ended = connection => drop(ended),
                () = hang_up.cancelled() => {}
            }
        });
    }
    drop(listener);
    if timeout(patience.drain, graceful.shutdown()).await.is_err() {
        tracing::info!(
            connections = connections.len(),
            "hanging up on clients that have not sent all that they began"
        );
    }
    hang_up.cancel();
    connections.close();
    connections.wait().await;
}
