//! The room on the disks that a collector writes to, for the health page and the metrics.
//!
//! What is done about it is the writer's business, which takes no crash once its disk is nearly full; here it is said.

use std::{io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use crashstore::space::{Reading, State, Watch};
use daemon::{Context, Dependency, Need};

use crate::{Sections, metrics::Metrics, submit::Intake};

/// Shows the disk of the crash store from now on, if it is on one. Once that takes crashes again the store is up again:
/// nobody may send one to a collector that is not ready.
pub(crate) fn show_store(ctx: &Context<Sections>, watch: Option<&Watch>, intake: Arc<Intake>) {
    let Some(watch) = watch else { return };
    show(ctx, "store", watch.clone(), move |before, now| {
        if before >= State::Refuse && now < State::Refuse {
            intake.store_answers();
        }
    });
}

/// Shows the disk of the spool from now on, if there is one.
pub(crate) fn show_spool(ctx: &Context<Sections>) {
    let crashstore = &ctx.config.crashstore;
    let Some(path) = crashstore.spool_folder() else { return };
    match Watch::start(&path, crashstore.watermarks()) {
        Ok(watch) => show(ctx, "spool", watch, |_, _| ()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "how much room the spool has cannot be asked");
        }
    }
}

/// Shows the disk of the journal from now on: it has no mark of its own, and is written for as long as it takes something.
pub(crate) fn show_journal(ctx: &Context<Sections>, store: Option<&Watch>) {
    let Sections { crashstore, queue, .. } = &ctx.config;
    let watch = match store {
        // What is said of a disk is said once.
        Some(store) if is_same_disk(&crashstore.path, &queue.journal).is_ok_and(|same| same) => {
            Ok(store.clone())
        }
        _ => Watch::start(&queue.journal, crashstore.watermarks()),
    };
    match watch {
        Ok(watch) => show(ctx, "journal", watch, |_, _| ()),
        Err(error) => {
            tracing::warn!(path = %queue.journal.display(), %error, "how much room the journal has cannot be asked");
        }
    }
}

fn is_same_disk(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(one.metadata()?.dev() == other.metadata()?.dev())
}

/// Follows a disk until the collector stops. `turned` hears of every change of its state.
fn show(
    ctx: &Context<Sections>,
    filesystem: &'static str,
    watch: Watch,
    turned: impl Fn(State, State) + Send + 'static,
) {
    let dependency = ctx.health.dependency(&format!("{filesystem}_disk"), Need::Optional);
    let shutdown = ctx.shutdown.clone();
    let mut readings = watch.readings();
    let mut before = State::Ok;
    tokio::spawn(async move {
        loop {
            let reading = readings.borrow_and_update().clone();
            say(filesystem, &dependency, &reading);
            turned(before, reading.state);
            before = reading.state;
            let changed = shutdown.run_until_cancelled(readings.changed()).await;
            if !matches!(changed, Some(Ok(()))) {
                // The looking ends with the last who wants to know.
                drop(watch);
                return;
            }
        }
    });
}

fn say(filesystem: &'static str, dependency: &Dependency, reading: &Reading) {
    Metrics::disk(filesystem, reading);
    match reading.why() {
        None => dependency.up(),
        Some(why) => dependency.down(why),
    }
}
