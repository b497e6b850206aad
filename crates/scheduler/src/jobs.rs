//! The jobs, one file each.

mod backlog;
mod compact;
mod degraded;
mod erasures;
mod expire;
mod letters;
mod partitions;
mod sweep;
mod tails;

pub(crate) use backlog::Backlog;
pub(crate) use compact::Compact;
pub(crate) use degraded::Again;
pub(crate) use erasures::Erasures;
pub(crate) use expire::Expire;
pub(crate) use letters::Letters;
pub use letters::{Collected, collect};
pub(crate) use partitions::Partitions;
pub(crate) use sweep::Sweep;
pub(crate) use tails::Tails;

use anyhow::Context as _;

/// Does what blocks on the disk away from async threads. The pass that waits for it has a deadline.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context(doing)?.context(doing)
}
