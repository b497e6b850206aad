//! Erasing crashes: from the crash store, then from the database.
//!
//! It is written down before anything is erased (`facts`), so that a kill leaves an erasure that is unfinished, which the
//! same command or the job `erasures` finishes, and so that no processor brings a crash back: its fact is refused, and
//! it then erases what it saved to the store. A processor may be killed in between, and its message be lost with the
//! broker; so each crash is looked after once more when nobody can be processing it any longer.

use std::collections::BTreeMap;

use anyhow::Context as _;
use crash::CrashId;
use crashstore::CrashStore;
use facts::{ErasedCounts, Facts};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

/// So many crashes are erased from the store at a time; each waits for the disk some times.
const TOGETHER: usize = 8;
/// So many crashes are erased from the database in one transaction.
const BATCH: usize = 200;

/// Erases crashes of an erasure that is written down; returns what was erased of each. It may be repeated, also in part.
///
/// # Errors
/// When it was not all done. What is erased stays erased.
pub async fn erase(
    crashes: &CrashStore,
    facts: &Facts,
    erasure: i64,
    ids: &[CrashId],
    mut each: impl FnMut(CrashId, ErasedCounts) + Send,
) -> anyhow::Result<()> {
    for batch in ids.chunks(BATCH) {
        let stored: BTreeMap<CrashId, ErasedCounts> = stream::iter(batch.iter().copied())
            .map(|id| async move {
                let erased = crashes
                    .erase(id)
                    .await
                    .with_context(|| format!("erasing crash {id} from the crash store"))?;
                anyhow::Ok((id, ErasedCounts { frames: erased.frames, bytes: erased.bytes, rows: 0 }))
            })
            .buffer_unordered(TOGETHER)
            .try_collect()
            .await?;
        let erased = facts
            .erase(erasure, &stored, Timestamp::now())
            .await
            .context("erasing crashes from the database")?;
        for (id, counts) in erased {
            each(id, counts);
        }
    }
    Ok(())
}
