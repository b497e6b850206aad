//! Cuts what writers left unfinished that never came back.

use std::time::Duration;

use anyhow::Context as _;
use crashstore::CrashStore;
use jiff::Timestamp;

use crate::job::{Job, Pass};

/// Cuts the torn tails of all writers that do not run. A writer that comes back cuts its own.
pub(crate) struct Tails {
    pub(crate) crashes: CrashStore,
}

impl Job for Tails {
    const NAME: &'static str = "tails";
    const DEADLINE: Duration = Duration::from_secs(600);

    async fn pass(&mut self, _: Timestamp) -> anyhow::Result<Pass> {
        // The store logs each segment.
        let cuts = self.crashes.cut_tails().await.context("cutting torn tails")?;
        if !cuts.is_empty() {
            let bytes: u64 = cuts.iter().map(|cut| cut.bytes).sum();
            tracing::info!(segments = cuts.len(), bytes, "torn tails of writers that are gone have been cut");
        }
        Ok(Pass::Done(cuts.len() as u64))
    }
}
