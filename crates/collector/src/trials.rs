//! Tries what is down, so that it comes up again without a client: a load balancer sends none to a collector that is not
//! ready.

use std::{sync::Arc, time::Duration};

use crashstore::{SpoolingWriter, Takes};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::submit::{Intake, chain};

/// How often what is down is tried.
pub(crate) const EVERY: Duration = Duration::from_secs(3);
/// Pauses are so much shorter or longer, so that collectors do not come back together.
const JITTER: std::ops::Range<f64> = 0.75..1.25;

/// Tries until it is time to stop, about so often, and only while something is down. What is under way then is left.
pub(crate) async fn keep_trying(
    writer: SpoolingWriter,
    intake: Arc<Intake>,
    every: Duration,
    shutdown: CancellationToken,
) {
    let trying = async {
        loop {
            sleep(every.mul_f64(rand::random_range(JITTER))).await;
            if intake.is_down() {
                try_once(&writer, &intake).await;
            }
        }
    };
    shutdown.run_until_cancelled(trying).await;
}

async fn try_once(writer: &SpoolingWriter, intake: &Intake) {
    match writer.try_out().await {
        Ok(Takes::Store) => intake.store_answers(),
        Ok(Takes::Spool) => intake.spool_answers(),
        Err(error) => tracing::debug!(error = %chain(&error), "nothing takes crashes yet"),
    }
}
