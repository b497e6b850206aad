//! Takes crash reports over HTTP: extract, throttle, save, publish, answer.
//!
//! What it promises: a client that was answered 200 has its crash in the store, or in the spool of this machine. The broker, the database and the
//! dump's content have no say in that, so this crate cannot reach `facts` or `stackwalk`, and a broker that is down
//! costs a line in the publisher's journal and nothing else. Start reading at [`run`], then `submit`, which is the
//! flow of one request.

mod answer;
mod body;
mod config;
mod content_type;
mod disks;
mod extra;
mod extract;
mod heavy;
mod kept;
mod memory;
mod metrics;
mod mover;
mod pace;
mod parts;
mod payload;
mod serve;
mod submit;
mod trials;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Router, extract::DefaultBodyLimit, routing::post};
use crashstore::CrashStore;
use daemon::{BoundedListener, Need};
use queue::{BrokerState, Publisher};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::{
    mover::keep_moving,
    serve::{Patience, serve},
    submit::Intake,
    trials::keep_trying,
};

/// How long crashes that are being saved, or moved out of the spool, may take once no client is connected any more.
const SAVES: Duration = Duration::from_secs(8);

/// The sections of the configuration that a collector reads.
#[derive(Debug, Clone, Serialize)]
pub struct Sections {
    /// `[collector]`
    pub collector: Config,
    /// `[crashstore]`
    pub crashstore: crashstore::Config,
    /// `[queue]`
    pub queue: queue::Config,
}

/// Takes crash reports until asked to stop; then finishes the requests that it has begun.
///
/// # Errors
/// When the crash store or the journal cannot be opened, or the address is taken; later, when the crash store says that
/// this process can save nothing any more, so that a supervisor starts another.
pub async fn run(ctx: daemon::Context<Sections>) -> anyhow::Result<()> {
    let config = ctx.config.collector.clone();
    let name = format!("{}-collector", ctx.node);
    let crashes = CrashStore::open(&ctx.config.crashstore).context("opening the crash store")?;
    let writer = crashes
        .spooling_writer(&ctx.config.crashstore, &name)
        .context("opening a writer of the crash store, or the spool")?;
    // The publisher outlives the first signal: requests that are being answered still publish.
    let publisher_shutdown = CancellationToken::new();
    let publisher = Publisher::start(&ctx.config.queue, &name, publisher_shutdown.clone())
        .await
        .context("opening the journal of unpublished crash ids")?;
    // A collector without a broker is healthy all the same.
    let broker = ctx.health.dependency("rabbitmq", Need::Optional);
    broker.follow(publisher.state(), BrokerState::why_down, ctx.shutdown.clone());

    let intake = Arc::new(Intake::new(
        config.clone(),
        ctx.node.clone(),
        writer.clone(),
        publisher.clone(),
        &ctx.health,
        ctx.shutdown.clone(),
    ));
    disks::show_store(&ctx, writer.space(), Arc::clone(&intake));
    disks::show_journal(&ctx, writer.space());
    disks::show_spool(&ctx);
    let moving = writer
        .mover()
        .map(|mover| tokio::spawn(keep_moving(mover, Arc::clone(&intake), ctx.shutdown.clone())));
    let trying = keep_trying(writer.clone(), Arc::clone(&intake), trials::EVERY, ctx.shutdown.clone());
    let trying = tokio::spawn(trying);
    let routes = Router::new()
        .route("/submit", post(submit::submit))
        .with_state(Arc::clone(&intake))
        // The limits are ours: they count what is on the wire and what it inflates to.
        .layer(DefaultBodyLimit::disable())
        .merge(daemon::health_routes(&ctx));

    let listeners = ctx.sockets.listen("submit", config.listen, "collector.listen")?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
    tracing::info!(?addresses, "taking crash reports");
    ctx.ready();
    let listener = BoundedListener::new(listeners, config.max_connections, config.idle_timeout.get());
    let patience = Patience { header: config.header_timeout.get(), drain: config.drain_timeout.get() };
    serve(listener, routes, patience, &ctx.shutdown).await;

    // No request runs any more: what they began comes to its end, and then what that needs.
    let moved = async {
        if let Some(moving) = moving {
            mover::finish(moving, SAVES).await;
        }
    };
    let (.., tried) = tokio::join!(intake.finish(SAVES), moved, trying);
    if let Err(error) = tried {
        tracing::error!(%error, "the task that tries what is down ended early");
    }
    let broken = intake.broken().cloned();
    drop(intake);
    publisher.close(config.close_timeout.into()).await;
    publisher_shutdown.cancel();
    writer.close().await;
    match broken {
        None => Ok(()),
        Some(error) => {
            Err(error).context("this process cannot save crashes any more and has to be restarted")
        }
    }
}
