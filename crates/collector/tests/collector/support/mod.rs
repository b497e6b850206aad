//! A collector of a test's own, in its process, with a real broker behind it.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use collector::{Config, Sections};
use crash::{CrashId, RawCrash};
use crashstore::{Area, CrashStore};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// How long a collector may take for anything here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// The status and the body of an answer.
pub(crate) type Answer = (u16, String);

impl Collector {
    pub(crate) async fn start(test: &str) -> Self {
        Self::with(test, &testing::amqp_url(), |_| ()).await
    }

    /// Starts a collector that differs from the default, or whose broker is behind something.
    pub(crate) async fn with(test: &str, broker: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::with_sections(test, broker, |sections| change(&mut sections.collector)).await
    }

    /// Like [`Collector::with`], for those that also differ elsewhere.
    pub(crate) async fn with_sections(test: &str, broker: &str, change: impl FnOnce(&mut Sections)) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let address = free.local_addr().expect("a listener has an address");
        drop(free);
        let mut sections = Sections {
            collector: Config { listen: address, ..Config::default() },
            crashstore: crashstore::Config { path: folder.path().join("store"), ..Default::default() },
            queue: queue::Config {
                url: broker.parse().expect("the broker's URL is one"),
                namespace: testing::namespace(test),
                journal: folder.path().join("journal"),
                publish_timeout: settings::Duration::from_secs(2),
                ..Default::default()
            },
        };
        change(&mut sections);
        let context = daemon::Context::bare("collector", sections);
        let stop = context.shutdown.clone();
        let running = tokio::spawn(collector::run(context));
        testing::eventually(DEADLINE, async || TcpStream::connect(address).await.ok()).await;
        Self { address, folder, stop, running }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Sends a request as it is, and reads until the collector closes.
    pub(crate) async fn send(&self, request: &[u8]) -> Answer {
        answer(self.begin(request).await).await
    }

    /// Sends a body with these headers, and its length.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let length = body.len().to_string();
        let mut all = vec![("Content-Length", length.as_str())];
        all.extend_from_slice(headers);
        self.send(&[head("POST", &all).as_bytes(), body].concat()).await
    }

    /// The raw crash of an answer that names one.
    pub(crate) async fn stored(&self, (status, body): &Answer) -> RawCrash {
        assert_eq!(*status, 200, "{body}");
        let id: CrashId = body
            .strip_prefix("CrashID=")
            .and_then(|id| id.strip_suffix('\n'))
            .expect(body)
            .parse()
            .expect(body);
        let config = crashstore::Config { path: self.store(), ..Default::default() };
        let crashes = CrashStore::open(&config).expect("the store can be opened");
        crashes.raw(id, None).await.expect("the store can be read").expect("what was answered is there")
    }

    /// How many raw crashes there are.
    pub(crate) async fn count(&self) -> usize {
        self.count_in(&self.store()).await
    }

    /// How many there are in a store that is elsewhere.
    pub(crate) async fn count_in(&self, store: &Path) -> usize {
        let config = crashstore::Config { path: store.to_owned(), ..Default::default() };
        let crashes = CrashStore::open(&config).expect("the store can be opened");
        let mut count = 0;
        for minute in crashes.minutes(Area::Raw).await.expect("the store can be read") {
            count += crashes.list(Area::Raw, minute).await.expect("it can be listed").len();
        }
        count
    }

    /// What `/__heartbeat__` answers.
    pub(crate) async fn health(&self) -> Answer {
        self.send(b"GET /__heartbeat__ HTTP/1.1\r\nHost: collector\r\nConnection: close\r\n\r\n").await
    }

    /// Begins a request of which only so much is sent.
    pub(crate) async fn begin(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("the collector listens");
        stream.write_all(request).await.expect("the collector reads");
        stream
    }

    /// Asks it to stop, and returns when it takes no new connections.
    pub(crate) async fn asked_to_end(&self) {
        self.stop.cancel();
        testing::eventually(DEADLINE, async || TcpStream::connect(self.address).await.err()).await;
    }

    /// Stops it; its folder stays.
    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DEADLINE, &mut self.running).await.expect("it ends in time");
        ended.expect("it does not panic").expect("it ends well");
    }

    pub(crate) async fn stop(mut self) {
        self.end().await;
    }
}

/// Reads until the collector closes.
pub(crate) async fn answer(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it answers in time").ok();
    let answer = String::from_utf8(answer).expect("an answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    (status, body.to_owned())
}

/// The head of a request that asks for the connection to be closed.
pub(crate) fn head(method: &str, headers: &[(&str, &str)]) -> String {
    let mut head = format!("{method} /submit HTTP/1.1\r\nHost: collector\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

/// A body in chunks of these sizes at most.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in body.chunks(size) {
        all.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        all.extend_from_slice(chunk);
        all.extend_from_slice(b"\r\n");
    }
    all.extend_from_slice(b"0\r\n\r\n");
    all
}
