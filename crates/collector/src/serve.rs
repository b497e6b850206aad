//! Connections, from the first byte to the last.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, header::CONNECTION},
    serve::Listener as _,
};
use daemon::{BoundedListener, BoundedStream};
use hyper::{
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is read ahead of what a request's handler takes, and the longest head of a request, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long a connection on which nothing is asked is still listened to once the collector is to stop: what is already on
/// its way, from a client that has just connected or that comes back to a connection, arrives in this time.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long clients have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the head of a request.
    pub(crate) header: Duration,
    /// For what they have begun, once the collector is to stop.
    pub(crate) drain: Duration,
}

/// How far the end has come.
#[derive(Debug, Clone)]
struct Stopping {
    /// Nobody is let in any more, and each answer is the last one of its connection.
    begun: CancellationToken,
    /// Connections on which nothing is asked are closed.
    last_call: CancellationToken,
    /// So are all others.
    hang_up: CancellationToken,
}

/// Answers requests until `shutdown`, then those that have been begun, but hangs up on clients that take too long.
///
/// Whoever is let in is heard: a connection that was accepted in the very moment of the shutdown has its request answered,
/// too. When this returns there is no connection any more, and no handler runs. (The server that comes with the router
/// knows neither a deadline for heads nor one for stopping.)
pub(crate) async fn serve(
    mut listener: BoundedListener,
    routes: Router,
    patience: Patience,
    shutdown: &CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.header).max_buf_size(BUFFER);
    let stopping = Stopping {
        begun: shutdown.clone(),
        last_call: CancellationToken::new(),
        hang_up: CancellationToken::new(),
    };
    let connections = TaskTracker::new();
    loop {
        let (stream, _) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        connections.spawn(converse(stream, http.clone(), routes.clone(), stopping.clone()));
    }
    // A socket that was handed over goes on to take clients in, for the next collector.
    drop(listener);
    connections.close();
    let last_call = LAST_CALL.min(patience.drain);
    if timeout(last_call, connections.wait()).await.is_ok() {
        return;
    }
    stopping.last_call.cancel();
    if timeout(patience.drain - last_call, connections.wait()).await.is_err() {
        tracing::info!(
            connections = connections.len(),
            "hanging up on clients that have not sent all that they began"
        );
    }
    stopping.hang_up.cancel();
    connections.wait().await;
}

/// One connection, to its end. How it ends is the client's affair; what became of its report is counted elsewhere.
async fn converse(stream: BoundedStream, http: http1::Builder, routes: Router, stopping: Stopping) {
    let routes = TowerToHyperService::new(routes);
    let answer = service_fn(|request| {
        let answering = routes.call(request);
        let begun = &stopping.begun;
        async move {
            let mut answer = answering.await?;
            if begun.is_cancelled() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
    tokio::select! {
        ended = connection.as_mut() => return drop(ended),
        () = stopping.last_call.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = connection => drop(ended),
        () = stopping.hang_up.cancelled() => {}
    }
}
