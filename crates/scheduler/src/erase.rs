//! Erasing crashes: from the crash store, then from the database.
//!
//! It is written down before anything is erased (`facts`), so that a kill leaves an erasure that is unfinished, which the
//! same command or the job `erasures` finishes, and so that no processor brings a crash back: its fact is refused, and
//! it then erases what it saved to the store. A processor may be killed in between, and its message be lost with the
//! broker; so each crash is looked after once more when nobody can be processing it any longer.

use std::collections::BTreeMap;

use anyhow::Context as _;
use crash::CrashId;
use crashstore::{CrashStore, Erased};
use facts::{ErasedCounts, Facts};
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;

/// So many crashes are erased from the store at a time; each waits for the disk some times.
const TOGETHER: usize = 8;
/// So many crashes are erased from the database in one transaction.
const BATCH: usize = 200;

/// A crash that could not be erased, and why. It stays written down.
#[derive(Debug)]
pub struct Failed {
    /// The crash.
    pub crash_id: CrashId,
    /// Why.
    pub error: anyhow::Error,
}

/// Erases crashes of an erasure that is written down, and tells what was erased of each. One that cannot be erased from the
/// store keeps no other: those that could not are returned. It may be repeated, also in part.
///
/// # Errors
/// When the database does not take it. What is erased stays erased.
pub async fn erase(
    crashes: &CrashStore,
    facts: &Facts,
    erasure: i64,
    ids: &[CrashId],
    mut each: impl FnMut(CrashId, ErasedCounts) + Send,
) -> anyhow::Result<Vec<Failed>> {
    let mut failed = Vec::new();
    for batch in ids.chunks(BATCH) {
        let mut stored = BTreeMap::<CrashId, ErasedCounts>::new();
        let mut erasing = stream::iter(batch.iter().copied())
            .map(|id| async move { (id, crashes.erase(id).await) })
            .buffer_unordered(TOGETHER);
        while let Some((crash_id, erased)) = erasing.next().await {
            match erased {
                Ok(Erased { frames, bytes }) => {
                    stored.insert(crash_id, ErasedCounts { frames, bytes, rows: 0 });
                }
                Err(error) => failed.push(Failed {
                    crash_id,
                    error: anyhow::Error::new(error).context("erasing it from the crash store"),
                }),
            }
        }
        let erased = facts
            .erase(erasure, &stored, Timestamp::now())
            .await
            .context("erasing crashes from the database")?;
        for (id, counts) in erased {
            each(id, counts);
        }
    }
    Ok(failed)
}
