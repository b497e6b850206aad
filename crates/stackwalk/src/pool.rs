//! The processes that walk dumps: kept ready, replaced when they die, hang or grow.

mod process;
mod spawner;
mod start;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    Config, Walked,
    pool::{process::Process, start::Starter},
    walker::too_large,
};

/// How many deadlines a dump waits for a worker. Callers are expected not to bring many more dumps than there are
/// workers, so that this is reached only where something is wrong.
const PATIENCE: u32 = 4;

/// How a worker process is started.
#[derive(Debug, Clone, Default)]
pub struct WorkerCommand {
    /// The executable; `crashmill` itself, normally.
    pub program: PathBuf,
    /// Its arguments, of which the process ends up in [`worker::serve`](crate::worker::serve).
    pub args: Vec<String>,
    /// Where its symbols come from.
    pub symbols: symbols::Config,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By this signal: 9 where the system or a limit killed it, 6 where it ran out of memory, 24 where out of CPU time.
    Signal(i32),
    /// With this status.
    Code(i32),
    /// The pool killed it, because it did not answer as a worker does.
    Killed,
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(formatter, "by signal {signal}"),
            Self::Code(code) => write!(formatter, "with status {code}"),
            Self::Killed => write!(formatter, "by its pool"),
            Self::Unknown => write!(formatter, "in an unknown way"),
        }
    }
}

/// Why a dump was not walked. Another try may go better: a walk that finds its symbols already there is quicker.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalkFailure {
    /// The walk took longer than the deadline, and its worker was killed.
    #[error("the stackwalk took longer than {}, the deadline", settings::Duration::from(*.after))]
    TimedOut {
        /// The deadline.
        after: Duration,
    },
    /// The worker died during the walk.
    #[error("the stackwalk's worker ended {exit}{}{stderr}", if .stderr.is_empty() { "" } else { ": " })]
    WorkerDied {
        /// How.
        exit: Exit,
        /// The last that it said on standard error.
        stderr: String,
    },
    /// No worker could be had. This says nothing about the dump.
    #[error("no stackwalk worker can be had: {0}")]
    CouldNotStart(String),
}

/// Worker processes that walk dumps. Clones are the same pool; the last one takes the workers down with it.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    starter: Starter,
    /// One for each worker that may be there; held while it walks or is being started.
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Process>>,
}

impl Pool {
    /// Starts the workers and waits until they are ready. Needs to be called within a tokio runtime.
    ///
    /// # Errors
    /// [`WalkFailure::CouldNotStart`] when a worker cannot be started.
    pub async fn start(command: WorkerCommand, config: &Config) -> Result<Self, WalkFailure> {
        let workers = config.workers.max(1);
        let pool = Self {
            inner: Arc::new(Inner {
                config: config.clone(),
                starter: Starter::new(command, config)?,
                places: Arc::new(Semaphore::new(workers)),
                idle: Mutex::default(),
            }),
        };
        for _ in 0..workers {
            let process = pool.inner.starter.start().await?;
            pool.inner.idle().push(process);
        }
        Ok(pool)
    }

    /// Walks a dump in a worker. A caller that stops waiting costs a worker, nothing else.
    ///
    /// # Errors
    /// When the worker died or took too long, which may be the dump's fault, or none could be had, which is not.
    pub async fn walk(&self, dump: Bytes) -> Result<Walked, WalkFailure> {
        let Config { deadline, limits, recycle_rss, .. } = &self.inner.config;
        if dump.len() > limits.max_dump_bytes.as_usize() {
            return Ok(too_large(dump.len(), limits));
        }
        let place = self.place().await?;
        let mut process = match self.inner.ready() {
            Some(process) => process,
            None => self.inner.starter.start().await?,
        };
        match process.walk(&dump, deadline.get()).await {
            Ok(walked) if process.memory().is_some_and(|held| held > recycle_rss.bytes()) => {
                tracing::debug!(pid = process.id(), "a stackwalk worker has grown and is replaced");
                self.replace(place, Some(process));
                Ok(walked)
            }
            Ok(walked) => {
                self.inner.idle().push(process);
                Ok(walked)
            }
            Err(failure) => {
                self.replace(place, None);
                Err(failure)
            }
        }
    }

    /// Waits for the walks that are going on, as long as they may take, and ends the workers.
    pub async fn close(&self) {
        let all = u32::try_from(self.inner.config.workers.max(1)).unwrap_or(u32::MAX);
        let finished = timeout(self.inner.config.deadline.get(), self.inner.places.acquire_many(all)).await;
        self.inner.places.close();
        drop(finished);
        let idle = std::mem::take(&mut *self.inner.idle());
        futures_util::future::join_all(idle.into_iter().map(Process::end)).await;
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, WalkFailure> {
        let patience = self.inner.config.deadline.get().saturating_mul(PATIENCE);
        match timeout(patience, Arc::clone(&self.inner.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(WalkFailure::CouldNotStart("the pool is closed".to_owned())),
            Err(_) => Err(WalkFailure::CouldNotStart(format!(
                "all were busy for {}: there are more dumps than stackwalk.workers can walk",
                settings::Duration::from(patience)
            ))),
        }
    }

    /// Starts another worker in the place of one that is gone, so that the next dump need not wait for it.
    fn replace(&self, place: OwnedSemaphorePermit, grown: Option<Process>) {
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            if let Some(process) = grown {
                process.end().await;
            }
            match inner.starter.start().await {
                Ok(process) => inner.idle().push(process),
                Err(failure) => tracing::warn!(%failure, "a stackwalk worker cannot be replaced"),
            }
            drop(place);
        });
    }
}

impl Inner {
    /// A worker that waits for a dump. Those that ended meanwhile are none: nothing was lost with them.
    fn ready(&self) -> Option<Process> {
        let mut idle = self.idle();
        while let Some(mut process) = idle.pop() {
            if process.is_running() {
                return Some(process);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
