//! What the daemons under test do.

#![expect(clippy::panic, reason = "a daemon under test fails as its test does")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use daemon::{Context, Need};
use serde::{Deserialize, Serialize};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    daemon: daemon::Config,
}

#[derive(Serialize)]
struct Tester {
    size: u32,
}

pub(crate) fn run(role: &str) -> ExitCode {
    let file: File = settings::load(Some("/dev/null".as_ref()), settings::environment())
        .expect("the test has set what is known");
    let config = Tester { size: 1 };
    match role {
        "drains" => daemon::run("tester", &file.daemon, config, drains),
        "never_finishes" => daemon::run("tester", &file.daemon, config, never_finishes),
        "hangs" => daemon::run("tester", &file.daemon, config, hangs),
        "floods" => daemon::run("tester", &file.daemon, config, floods),
        "cancels_and_hangs" => daemon::run("tester", &file.daemon, config, cancels_and_hangs),
        "has_lost_its_database" => daemon::run("tester", &file.daemon, config, has_lost_its_database),
        "has_lost_its_broker" => daemon::run("tester", &file.daemon, config, has_lost_its_broker),
        "measures" => daemon::run("tester", &file.daemon, config, measures),
        "fails" => daemon::run("tester", &file.daemon, config, fails),
        "panics" => daemon::run("tester", &file.daemon, config, panics),
        other => panic!("no such daemon under test: {other}"),
    }
}

async fn drains(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.ready();
    ctx.status("backlog 1 200,\nETA 6 m");
    ctx.shutdown.cancelled().await;
    tracing::info!("what was in hand is finished");
    Ok(())
}

async fn never_finishes(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.ready();
    std::future::pending().await
}

/// Blocks every thread of the runtime, as a mistake might.
async fn hangs(ctx: Context<Tester>) -> anyhow::Result<()> {
    for _ in 0..64 {
        tokio::spawn(async { std::thread::sleep(Duration::from_secs(3600)) });
    }
    ctx.ready();
    std::thread::sleep(Duration::from_secs(3600));
    Ok(())
}

async fn floods(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.ready();
    loop {
        tracing::info!("a line that nobody reads");
    }
}

async fn cancels_and_hangs(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.shutdown.cancel();
    std::future::pending().await
}

async fn has_lost_its_database(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.health.dependency("rabbitmq", Need::Required).up();
    ctx.health.dependency("postgresql", Need::Required).down("connection refused");
    never_finishes(ctx).await
}

async fn has_lost_its_broker(ctx: Context<Tester>) -> anyhow::Result<()> {
    ctx.health.dependency("postgresql", Need::Required).up();
    ctx.health.dependency("rabbitmq", Need::Optional).down("connection refused");
    never_finishes(ctx).await
}

async fn measures(ctx: Context<Tester>) -> anyhow::Result<()> {
    metrics::counter!("crashmill_tester_crashes_total", "result" => "saved").increment(3);
    metrics::histogram!("crashmill_tester_request_seconds").record(0.2);
    metrics::histogram!("crashmill_tester_payload_bytes").record(1e6);
    ctx.health.dependency("postgresql", Need::Required).up();
    never_finishes(ctx).await
}

async fn fails(_: Context<Tester>) -> anyhow::Result<()> {
    Err(anyhow!("permission denied"))
        .context("making the folder /srv/crashes")
        .context("opening the crash store")
}

async fn panics(_: Context<Tester>) -> anyhow::Result<()> {
    panic!("the invariant does not hold");
}
