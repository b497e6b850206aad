//! All sources in their order, and what is known of them.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use reqwest::Client;

use crate::{
    Config, Error,
    cache::Cache,
    download::{Answer, download},
    key::Key,
    server::{self, Server},
};

/// How long a file that could not be had is not tried again by this process.
const HOLD: Duration = Duration::from_secs(5);
/// More files than this are not held back; it bounds the memory that hostile dumps can take.
const MOST_HELD: usize = 10_000;

/// Where the symbols of a debug file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// In this file, in Breakpad's text form. Of a file from a server the first line has been checked, no more.
    Located(PathBuf),
    /// No source has them.
    Missing,
    /// A source that could have them cannot be asked now, for this reason; another try later is worthwhile.
    Unavailable(String),
}

/// The sources of symbols, in one process. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Symbols {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folders: Vec<PathBuf>,
    remote: Option<Remote>,
}

/// The servers and the cache of what they sent.
#[derive(Debug)]
struct Remote {
    cache: Arc<Cache>,
    client: Client,
    servers: Vec<Server>,
    max_file_size: u64,
    running: Mutex<HashMap<Key, Shared<BoxFuture<'static, Found>>>>,
    held: Mutex<HashMap<Key, (Instant, String)>>,
}

impl Symbols {
    /// Prepares the sources. Without servers nothing is written, and the cache is neither needed nor used.
    ///
    /// # Errors
    /// When the cache cannot be written, or a server's address is none.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let remote = if config.servers.is_empty() { None } else { Some(Remote::open(config)?) };
        Ok(Self { inner: Arc::new(Inner { folders: config.paths.clone(), remote }) })
    }

    /// Finds the symbols of a debug file by its name and its id in Breakpad's form.
    ///
    /// Both may come from a hostile dump: of a path only the last part counts, and what cannot be a file name or an id
    /// is [`Found::Missing`] without a look. Folders and cache are looked into at each call. A download, once begun,
    /// goes on when the caller stops waiting, within its own time limit, and callers that want the same file share it.
    pub async fn locate(&self, debug_file: &str, debug_id: &str) -> Found {
        let Some(key) = Key::new(debug_file, debug_id) else { return Found::Missing };
        let local = self.in_folders(&key);
        if let Found::Located(_) = local {
            return local;
        }
        let remote = match &self.inner.remote {
            Some(remote) => remote.in_cache(&key),
            None => Some(Found::Missing),
        };
        let remote = match remote {
            Some(found) => found,
            None => self.on_servers(key).await,
        };
        // A folder that could not be read might have had what the servers do not have.
        if remote == Found::Missing { local } else { remote }
    }

    fn in_folders(&self, key: &Key) -> Found {
        let mut found = Found::Missing;
        for folder in &self.inner.folders {
            let path = key.below(folder);
            match is_file(&path) {
                Ok(true) => return Found::Located(path),
                Ok(false) => {}
                Err(error) => {
                    found = Found::Unavailable(format!("cannot look into {}: {error}", folder.display()));
                }
            }
        }
        found
    }

    async fn on_servers(&self, key: Key) -> Found {
        let download = {
            let Some(remote) = &self.inner.remote else { return Found::Missing };
            let mut running = lock(&remote.running);
            let inner = Arc::clone(&self.inner);
            running.entry(key.clone()).or_insert_with(|| started(inner, key)).clone()
        };
        download.await
    }
}

/// Runs beside its callers, so that a large file arrives although each crash waits for it only so long.
fn started(inner: Arc<Inner>, key: Key) -> Shared<BoxFuture<'static, Found>> {
    let task = tokio::spawn(async move {
        let Some(remote) = &inner.remote else { return Found::Missing };
        let done = Done { remote, key: &key };
        done.remote.ask(done.key).await
    });
    async move {
        task.await.unwrap_or_else(|error| Found::Unavailable(format!("the download was ended: {error}")))
    }
    .boxed()
    .shared()
}

/// Takes a download off the list of those that are running, however it ends.
struct Done<'a> {
    remote: &'a Remote,
    key: &'a Key,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        lock(&self.remote.running).remove(self.key);
    }
}

impl Remote {
    fn open(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            servers: config.servers.iter().map(Server::new).collect::<Result<_, _>>()?,
            cache: Arc::new(Cache::open(&config.cache, config.missing_ttl.get())?),
            client: server::client(config)?,
            max_file_size: config.max_file_size.bytes(),
            running: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// What is known without asking a server.
    fn in_cache(&self, key: &Key) -> Option<Found> {
        let path = self.cache.path(key);
        if matches!(is_file(&path), Ok(true)) {
            return Some(Found::Located(path));
        }
        if self.cache.is_missing(key) {
            return Some(Found::Missing);
        }
        let held = lock(&self.held);
        let (until, why) = held.get(key)?;
        (Instant::now() < *until).then(|| Found::Unavailable(why.clone()))
    }

    /// Asks the servers in their order until one has it.
    async fn ask(&self, key: &Key) -> Found {
        let mut unavailable = None;
        for server in &self.servers {
            if let Some(why) = server.is_paused(Instant::now()) {
                unavailable = Some(format!("{}: {why}", server.name()));
                continue;
            }
            let answer = download(&self.client, server, key, &self.cache, self.max_file_size).await;
            match answer {
                Answer::Failed(ref why) => server.failed(why, Instant::now()),
                _ => server.answered(),
            }
            match answer {
                Answer::Saved(path) => return Found::Located(path),
                Answer::Absent => {}
                Answer::Refused(why) | Answer::Failed(why) => {
                    unavailable = Some(format!("{}: {why}", server.name()));
                }
            }
        }
        match unavailable {
            None => {
                self.cache.note_missing(key);
                Found::Missing
            }
            Some(why) => {
                self.hold(key, &why);
                Found::Unavailable(why)
            }
        }
    }

    /// Keeps the next crashes from waiting for the same file in vain.
    fn hold(&self, key: &Key, why: &str) {
        let now = Instant::now();
        let mut held = lock(&self.held);
        if held.len() >= MOST_HELD {
            held.retain(|_, (until, _)| now < *until);
        }
        if held.len() < MOST_HELD {
            held.insert(key.clone(), (now + HOLD, why.to_owned()));
        }
    }
}

/// Whether there is such a file; an error where that cannot be known.
fn is_file(path: &std::path::Path) -> io::Result<bool> {
    match path.metadata() {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
