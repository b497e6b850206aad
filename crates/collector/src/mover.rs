//! Moves what was spooled into the store, and then publishes it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crash::{CrashId, Place};
use crashstore::Mover;
use jiff::Timestamp;
use queue::Message;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Metrics,
    submit::{Intake, chain},
};

/// What messages say that come from here.
const REASON: &str = "spool";
/// How often the spool is measured; every crash in it is looked at.
const MEASURE_EVERY: Duration = Duration::from_secs(15);

/// Moves what is in the spool for as long as the process runs: now, for what was left there, whenever something is
/// spooled, and whenever the store is to be tried again.
pub(crate) async fn keep_moving(mover: Mover, intake: Arc<Intake>, shutdown: CancellationToken) {
    let mut measured = None;
    loop {
        let go_on = || !shutdown.is_cancelled();
        match mover.pass(|id, place| publish(&intake, id, place), go_on).await {
            Ok(passed) if passed.moved > 0 => {
                Metrics::moved(passed.moved);
                tracing::info!(
                    crashes = passed.moved,
                    done = passed.done,
                    "crashes were moved from the spool into the store"
                );
                measured = None;
            }
            Ok(_) => {}
            // The next pass begins where this one ended.
            Err(error) => tracing::warn!(error = %chain(&error), "the spool could not be emptied"),
        }
        if intake.is_down() && mover.store_is_up() {
            intake.store_answers();
        }
        if measured.is_none_or(|at: Instant| at.elapsed() >= MEASURE_EVERY) {
            measure(&mover).await;
            measured = Some(Instant::now());
        }
        if shutdown.run_until_cancelled(mover.wait()).await.is_none() {
            return;
        }
    }
}

/// Waits until what is being moved is in the store. What is not by then waits in the spool.
pub(crate) async fn finish(mut moving: JoinHandle<()>, patience: Duration) {
    match timeout(patience, &mut moving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the task that empties the spool ended early"),
        Err(_) => {
            moving.abort();
            tracing::warn!("what is being moved from the spool is given up: it is moved at the next start");
        }
    }
}

async fn publish(intake: &Intake, id: CrashId, place: Place) {
    intake.store_answers();
    let reason = Some(REASON.to_owned());
    intake.publish(&Message { place: Some(place), reason, ..Message::new(id, Timestamp::now()) }).await;
}

async fn measure(mover: &Mover) {
    match mover.depth().await {
        Ok(depth) => Metrics::spool(&depth, Timestamp::now()),
        Err(error) => tracing::warn!(error = %chain(&error), "the spool could not be measured"),
    }
}
