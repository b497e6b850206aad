//! Saving crashes as objects.

use std::{sync::Arc, time::Duration};

use crash::{CrashId, Place, ProcessedCrash, RawCrash};
use jiff::Timestamp;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::{Objects, place};
use crate::{
    Area, Error,
    content::{Compressed, Encoded, compress_processed, compress_raw},
    header::{self, Header},
};

/// So many crashes are on their way to the object store at a time; further ones wait for their turn.
const UPLOADS: u32 = 64;
/// How long a crash may take from here until it is there. A collector gives it less before it turns to its spool.
const SAVE_DEADLINE: Duration = Duration::from_secs(120);
/// Everything accepted has been answered by then, or the object store hangs.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Saves crashes as objects. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct ObjectWriter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    objects: Objects,
    uploads: Arc<Semaphore>,
    /// One core each: more at a time would only be slower.
    compressing: Arc<Semaphore>,
}

impl ObjectWriter {
    pub(crate) fn new(name: &str, objects: Objects) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let inner = Inner {
            name: name.to_owned(),
            objects,
            uploads: Arc::new(Semaphore::new(UPLOADS as usize)),
            compressing: Arc::new(Semaphore::new(cores)),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.inner.name
    }

    pub(crate) async fn save_raw(&self, crash: &RawCrash) -> Result<Place, Error> {
        let (id, crash, level) = (crash.id(), crash.clone(), self.level());
        self.save(Area::Raw, id, 0, move || compress_raw(&crash, level)).await
    }

    pub(crate) async fn save_processed(&self, crash: &ProcessedCrash) -> Result<Place, Error> {
        let (id, attempt, crash, level) = (crash.crash_id, crash.attempt, crash.clone(), self.level());
        self.save(Area::Processed, id, attempt, move || compress_processed(&crash, level)).await
    }

    pub(crate) async fn try_out(&self) -> Result<(), Error> {
        self.inner.objects.try_writing(&self.inner.name).await
    }

    async fn save(
        &self,
        area: Area,
        id: CrashId,
        attempt: u16,
        compress: impl FnOnce() -> Result<Compressed, Error> + Send + 'static,
    ) -> Result<Place, Error> {
        tokio::time::timeout(SAVE_DEADLINE, self.save_unhurried(area, id, attempt, compress))
            .await
            .unwrap_or_else(|_| {
                Err(Error::TimedOut { doing: format!("saving crash {id}"), deadline: SAVE_DEADLINE })
            })
    }

    /// The private annotations first: where the raw object is, the crash is whole.
    async fn save_unhurried(
        &self,
        area: Area,
        id: CrashId,
        attempt: u16,
        compress: impl FnOnce() -> Result<Compressed, Error> + Send + 'static,
    ) -> Result<Place, Error> {
        let _turn = self.permit(&self.inner.uploads).await?;
        let core = self.permit(&self.inner.compressing).await?;
        let compressing = tokio::task::spawn_blocking(move || {
            let compressed = compress();
            drop(core);
            compressed
        });
        let Compressed { private, frame } = compressing.await.map_err(|_| self.closed())??;

        let mut flags = 0;
        if let Some(private) = private {
            self.inner.objects.put(Area::Private, id, object(private, id, 0, 0)).await?;
            flags = header::HAS_PRIVATE;
        }
        self.inner.objects.put(area, id, object(frame, id, attempt, flags)).await?;
        Ok(place(id))
    }

    /// Waits until everything that was accepted is answered. Saves that other clones begin from now on fail.
    pub(crate) async fn close(self) {
        let closing = async {
            // The semaphore is fair: with all of its places in hand nobody is on the way, and nobody else gets one.
            if let Ok(_all) = self.inner.uploads.acquire_many(UPLOADS).await {
                self.inner.uploads.close();
            }
        };
        if tokio::time::timeout(CLOSE_DEADLINE, closing).await.is_err() {
            tracing::error!(
                deadline_s = CLOSE_DEADLINE.as_secs(),
                "the object store has not taken everything in time; what was not answered is lost with this process"
            );
        }
    }

    async fn permit(&self, from: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
        from.clone().acquire_owned().await.map_err(|_: AcquireError| self.closed())
    }

    fn closed(&self) -> Error {
        Error::Closed { name: self.inner.name.clone() }
    }

    fn level(&self) -> i32 {
        self.inner.objects.inner.compression_level
    }
}

/// Header and frame in one piece.
fn object(encoded: Encoded, id: CrashId, attempt: u16, flags: u32) -> bytes::Bytes {
    let header = Header {
        version: header::VERSION,
        attempt,
        id,
        saved_at: Timestamp::now(),
        offset: 0,
        batch: 0,
        flags,
        frame_len: encoded.len(),
        frame_crc: encoded.crc(),
        len: header::len_at(0),
    };
    encoded.into_bytes(&header)
}
