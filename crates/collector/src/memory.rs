//! How much of reports is in memory at the same time.

use std::{sync::Arc, time::Duration};

use settings::Size;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What is taken and given back at once, in bytes.
const UNIT: u64 = 64 * 1024;

/// The memory that all reports share, from the first byte of a body until its crash is saved.
///
/// It is taken as bytes come, not by what a client announces: a body that is sent slowly holds only what it has sent, so
/// many of them do not keep others out. The price is that bodies which are half here may each wait for what the
/// others hold. So nobody waits for long: who has waited for `patience` is sent away, and what it held goes to those
/// behind it. One body alone always fits, because its limit is at most [`Memory::bytes`].
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    units: Arc<Semaphore>,
    total: u32,
    patience: Duration,
}

/// There was no memory within the time that a body may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many reports are in memory")]
pub(crate) struct NoMemory;

/// What one report holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Memory,
    bytes: u64,
    units: Option<OwnedSemaphorePermit>,
}

impl Memory {
    pub(crate) fn new(size: Size, patience: Duration) -> Self {
        let total = u32::try_from(size.bytes() / UNIT).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { units: Arc::new(Semaphore::new(permits)), total, patience }
    }

    /// All that there is.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.total) * UNIT
    }

    /// The share of a new report: nothing yet.
    pub(crate) fn share(&self) -> Held {
        Held { memory: self.clone(), bytes: 0, units: None }
    }
}

impl Held {
    /// How much was taken.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes so much more, and waits for it if it must.
    ///
    /// # Errors
    /// When it did not become free in time.
    pub(crate) async fn grow(&mut self, bytes: u64) -> Result<(), NoMemory> {
        self.bytes = self.bytes.saturating_add(bytes);
        let held = self.units.as_ref().map_or(0, |units| units.num_permits() as u64);
        let missing = u32::try_from(self.bytes.div_ceil(UNIT).saturating_sub(held)).map_err(|_| NoMemory)?;
        if missing == 0 {
            return Ok(());
        }
        if missing > self.memory.total {
            return Err(NoMemory);
        }
        let units = Arc::clone(&self.memory.units).acquire_many_owned(missing);
        let more = timeout(self.memory.patience, units).await.map_err(|_| NoMemory)?.map_err(|_| NoMemory)?;
        match &mut self.units {
            Some(units) => units.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reports_that_wait_for_each_other_are_sent_away_one_by_one() {
        let memory = Memory::new(Size::from_bytes(2 * UNIT), Duration::from_millis(10));
        let (mut first, mut second) = (memory.share(), memory.share());
        first.grow(1).await.unwrap();
        second.grow(UNIT).await.unwrap();
        first.grow(UNIT - 1).await.unwrap();
        assert_eq!(first.grow(1).await, Err(NoMemory), "each has one of two units");
        drop(first);
        second.grow(UNIT).await.unwrap();
    }

    #[tokio::test]
    async fn one_report_may_have_all_that_there_is_and_no_more() {
        let memory = Memory::new(Size::from_bytes(3 * UNIT), Duration::from_secs(3600));
        memory.share().grow(memory.bytes()).await.unwrap();
        assert_eq!(memory.share().grow(memory.bytes() + 1).await, Err(NoMemory), "at once");
    }
}
