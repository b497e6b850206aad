//! Work that keeps a core busy: checksums and parsing.

use std::{num::NonZero, sync::Arc, thread};

use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
};

/// Runs such work beside the threads that answer clients, on one core each at most.
#[derive(Debug, Clone)]
pub(crate) struct Heavy(Arc<Semaphore>);

impl Heavy {
    pub(crate) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Semaphore::new(cores)))
    }

    /// Waits for a core and for the work. Work that has begun goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// When the work panicked, or the runtime ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let core = Arc::clone(&self.0).acquire_owned().await.expect("the semaphore is never closed");
        spawn_blocking(move || {
            let done = work();
            drop(core);
            done
        })
        .await
    }
}
