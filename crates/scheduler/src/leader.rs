//! One scheduler of an installation leads; the others wait until it is gone.

use std::time::Duration;

use facts::{Facts, Leadership};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How often a leader asks whether it still is one.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Tries are this much sooner or later, so that those who wait do not stay in step.
const JITTER: std::ops::Range<f64> = 0.8..1.2;

/// How it stood at the last try, so that only changes are logged.
#[derive(PartialEq, Eq)]
enum Standing {
    Starting,
    Leading,
    Waiting,
    Cut,
}

/// Tries to lead until asked to stop, and does the jobs that `begin` starts for as long as it leads.
pub(crate) async fn lead<C>(
    ctx: &daemon::Context<C>,
    facts: &Facts,
    every: Duration,
    begin: impl Fn(&CancellationToken) -> JoinSet<()>,
) {
    let mut before = Standing::Starting;
    loop {
        let Some(tried) = ctx.shutdown.run_until_cancelled(facts.lead()).await else { return };
        before = match tried {
            Ok(Some(leadership)) => {
                tracing::info!("this scheduler leads: its jobs run");
                ctx.status("leading");
                term(&leadership, &ctx.shutdown, &begin).await;
                Standing::Leading
            }
            Ok(None) => {
                if before != Standing::Waiting {
                    tracing::info!("another scheduler leads; this one waits until it is gone");
                }
                ctx.status("waiting: another scheduler leads");
                Standing::Waiting
            }
            Err(error) => {
                if before != Standing::Cut {
                    tracing::warn!(%error, "no scheduler can lead without the database; it is tried again and again");
                }
                ctx.status("waiting for the database");
                Standing::Cut
            }
        };
        let pause = tokio::time::sleep(every.mul_f64(rand::random_range(JITTER)));
        if ctx.shutdown.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// Runs the jobs until asked to stop, or until the leadership is lost.
///
/// For some seconds two may lead, of which one does not know yet that it lost its session: a pass that is done twice
/// does no harm.
async fn term(
    leadership: &Leadership,
    shutdown: &CancellationToken,
    begin: impl Fn(&CancellationToken) -> JoinSet<()>,
) {
    let stop = shutdown.child_token();
    let mut jobs = begin(&stop);
    Metrics::leading(true);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = lost(leadership) => {}
        // Jobs go on until they are stopped, so this one has panicked.
        _ = jobs.join_next() => tracing::error!("a timed job has panicked; all of them begin anew"),
    }
    Metrics::leading(false);
    stop.cancel();
    while jobs.join_next().await.is_some() {}
}

/// Returns when this is no leader any more.
async fn lost(leadership: &Leadership) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        match leadership.holds().await {
            Ok(true) => {}
            Ok(false) => {
                return tracing::error!(
                    "the leader's lock is not held by this session: connect the scheduler to the database itself, \
                     or through a pooler in session mode (url in [facts])"
                );
            }
            Err(error) => {
                return tracing::warn!(%error, "this scheduler does not lead any more: its session is lost");
            }
        }
    }
}
