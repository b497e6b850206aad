//! Saving crashes in segments.

use std::{
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use crash::{CrashId, Place, ProcessedCrash, RawCrash};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    Area, Error,
    appender::{Appender, Frame, Limits},
    commit::{self, Job, Order},
    content::{Compressed, compress_processed, compress_raw},
    disk::{self, Disk, LocalDisk},
    header,
    layout::is_writer_name,
    local::LocalStore,
    lock::WriterLock,
    space::{Purpose, Watch},
    tail,
};

/// So many crashes wait for the disk at a time, in whatever stage; further ones wait for their turn.
const QUEUE: u32 = 1024;
/// So much waits for the disk compressed, in KiB.
const QUEUE_KIB: u32 = 256 << 10;
/// A disk that has not saved a crash by then is broken; the client is better off with an answer.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);
/// What a trial writes, and how long that may take.
const TRIAL: usize = 4096;
const TRIAL_DEADLINE: Duration = Duration::from_secs(10);
/// Everything accepted has been answered by then, or the disk hangs.
const CLOSE_DEADLINE: Duration = Duration::from_secs(30);

/// Saves crashes in segments of its own. Cheap to clone.
///
/// Its name is free again when [`SegmentWriter::close`] returns, or some moments after the last clone was dropped.
#[derive(Clone)]
pub(crate) struct SegmentWriter {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    level: i32,
    orders: mpsc::Sender<Order>,
    queue: Arc<Semaphore>,
    queue_kib: Arc<Semaphore>,
    /// One core each: more at a time would only be slower.
    compressing: Arc<Semaphore>,
    space: Watch,
    /// What is written to see whether the disk takes anything.
    trial: PathBuf,
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SegmentWriter").field("name", &self.inner.name).finish_non_exhaustive()
    }
}

impl SegmentWriter {
    /// Takes the name, or the first of its successors that is free, and cuts the torn tails that its last holder left.
    pub(crate) fn open(store: &LocalStore, name: &str) -> Result<Self, Error> {
        Self::open_on(store, name, Box::new(LocalDisk), Limits::default())
    }

    pub(crate) fn open_on(
        store: &LocalStore,
        name: &str,
        mut disk: Box<dyn Disk>,
        limits: Limits,
    ) -> Result<Self, Error> {
        if !is_writer_name(name) {
            return Err(Error::InvalidName { name: name.to_owned() });
        }
        let layout = store.layout().clone();
        store.create_folders()?;
        let lock = WriterLock::take(&layout, name)?;
        let (kept, _) = tail::recover(&mut *disk, &layout, &lock)?;
        let name = lock.name.clone();
        let root = layout.root().to_owned();
        let space = Watch::start_with(&root, store.watermarks(), disk.look()).map_err(|error| {
            Error::io(format!("asking how much room is left at {}", root.display()), error)
        })?;

        let trial = layout.writers().join(format!("{name}.trial"));
        let appender = Appender::new(layout, disk, lock, limits, &kept);
        let (orders, received) = mpsc::channel();
        std::thread::Builder::new()
            .name("crash-writer".to_owned())
            .spawn(move || commit::run(&received, appender))
            .map_err(|error| Error::io("starting the writer's thread", error))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                level: store.compression_level(),
                orders,
                queue: Arc::new(Semaphore::new(QUEUE as usize)),
                queue_kib: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
                compressing: Arc::new(Semaphore::new(cores)),
                space,
                trial,
            }),
        })
    }

    /// The name under which it writes; another than was asked for when that one was held.
    pub(crate) fn name(&self) -> &str {
        &self.inner.name
    }

    /// How much room its filesystem has left.
    pub(crate) fn space(&self) -> &Watch {
        &self.inner.space
    }

    pub(crate) async fn save_raw(&self, crash: &RawCrash) -> Result<Place, Error> {
        let (id, crash, level) = (crash.id(), crash.clone(), self.inner.level);
        self.save(Area::Raw, id, 0, move || compress_raw(&crash, level)).await
    }

    pub(crate) async fn save_processed(&self, crash: &ProcessedCrash) -> Result<Place, Error> {
        let (id, attempt, level) = (crash.crash_id, crash.attempt, self.inner.level);
        let crash = crash.clone();
        self.save(Area::Processed, id, attempt, move || compress_processed(&crash, level)).await
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

    async fn save_unhurried(
        &self,
        area: Area,
        id: CrashId,
        attempt: u16,
        compress: impl FnOnce() -> Result<Compressed, Error> + Send + 'static,
    ) -> Result<Place, Error> {
        let purpose = match area {
            Area::Processed => Purpose::Process,
            Area::Raw | Area::Private => Purpose::Take,
        };
        let claim = |bytes| {
            let space = &self.inner.space;
            space.claim(purpose, bytes).map_err(|reading| {
                let would_others_fit = bytes > 0 && space.claim(purpose, 0).is_ok();
                Error::kept_back(id, reading, would_others_fit)
            })
        };
        // What is sure to be refused need not be compressed.
        drop(claim(0)?);
        let turn = self.permits(&self.inner.queue, 1).await?;
        let core = self.permits(&self.inner.compressing, 1).await?;
        let compressing = tokio::task::spawn_blocking(move || {
            let compressed = compress();
            drop(core);
            // The turn goes along: a caller that goes away now must not make room for another crash in memory.
            (compressed, turn)
        });
        let (compressed, turn) = compressing.await.map_err(|_| self.closed())?;
        let Compressed { private, frame } = compressed?;

        let bytes = u64::from(frame.len()) + private.as_ref().map_or(0, |private| u64::from(private.len()));
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(QUEUE_KIB).min(QUEUE_KIB);
        let room = self.permits(&self.inner.queue_kib, kib).await?;
        let space = claim(bytes)?;

        let flags = if private.is_some() { header::HAS_PRIVATE } else { 0 };
        let framed = |encoded, flags| Frame { id, attempt, flags, encoded };
        let (reply, answer) = oneshot::channel();
        let job = Job {
            area,
            private: private.map(|encoded| framed(encoded, 0)),
            frame: framed(frame, flags),
            reply,
            _room: [turn, room],
            _space: space,
        };
        self.inner.orders.send(Order::Save(Box::new(job))).map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())?
    }

    /// Whether crashes can be saved: the disk has room, and a file that is no crash can be written and synced beside them.
    pub(crate) async fn try_out(&self) -> Result<(), Error> {
        let path = self.inner.trial.clone();
        let failed = move |error| Error::io(format!("trying the disk with {}", path.display()), error);
        if let Err(reading) = self.inner.space.claim(Purpose::Take, 0) {
            return Err(failed(io::Error::new(io::ErrorKind::StorageFull, reading.to_string())));
        }
        let path = self.inner.trial.clone();
        let trying = tokio::task::spawn_blocking(move || {
            let file = disk::options().create(true).truncate(true).open(&path)?;
            file.write_all_at(&[0x2e; TRIAL], 0)?;
            file.sync_all()?;
            std::fs::remove_file(&path)
        });
        match tokio::time::timeout(TRIAL_DEADLINE, trying).await {
            Ok(tried) => tried.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed),
            Err(_) => Err(Error::TimedOut { doing: "trying the disk".to_owned(), deadline: TRIAL_DEADLINE }),
        }
    }

    /// Whether it is a clone of another one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    async fn permits(&self, from: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Error> {
        from.clone().acquire_many_owned(count).await.map_err(|_: AcquireError| self.closed())
    }

    /// How many crashes are compressed and wait for the thread, or for the disk.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        QUEUE_KIB as usize - self.inner.queue_kib.available_permits()
    }

    fn closed(&self) -> Error {
        Error::Closed { name: self.inner.name.clone() }
    }

    /// Waits until everything that was accepted is durable and answered, and gives the name back. Saves that other
    /// clones begin from now on fail. Gives up after 30 s, which a hanging disk alone makes necessary.
    pub(crate) async fn close(self) {
        let closing = async {
            // The queue is fair: with all of its places in hand nobody is on the way, and nobody else gets one.
            let Ok(_all) = self.inner.queue.acquire_many(QUEUE).await else { return };
            self.inner.queue.close();
            let (done, closed) = oneshot::channel();
            if self.inner.orders.send(Order::Close(done)).is_ok() {
                // An error means that the thread has ended already.
                let _closed = closed.await;
            }
        };
        if tokio::time::timeout(CLOSE_DEADLINE, closing).await.is_err() {
            tracing::error!(
                writer = self.inner.name,
                deadline_s = CLOSE_DEADLINE.as_secs(),
                "the disk has not taken everything in time; what was not answered is lost with this process"
            );
        }
    }
}
