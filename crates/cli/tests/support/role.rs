//! The roles started one by one on an installation of a test's own, as systemd starts them.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testing::{Database, eventually_blocking, namespace, report};

use super::{RunToEnd, client, command, folder, printed, processes, standalone::setting, stderr, stdout};

/// How long a role may take to be ready, and a crash to get on.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// How long a role may take to end.
const END: Duration = Duration::from_secs(20);

/// A migrated database, names on the broker, and a folder, with the settings that lead to them.
pub(crate) struct Installation {
    pub(crate) dir: TempDir,
    pub(crate) database: Database,
    pub(crate) namespace: String,
    settings: Vec<(String, String)>,
}

impl Installation {
    /// One whose roles reach database and broker by these URLs; the database's own without one.
    pub(crate) fn new(name: &str, database_url: Option<&str>, broker: &str) -> Self {
        let database = Database::create(name);
        Self::with(database, name, database_url, broker)
    }

    pub(crate) fn with(database: Database, name: &str, database_url: Option<&str>, broker: &str) -> Self {
        let (dir, namespace) = (folder(), namespace(name));
        let (key, own) = setting("CRASHMILL__FACTS__URL", database.url());
        stdout(&command().arg("migrate").env(&key, &own).run_to_end());
        let path = |name: &str| dir.path().join(name).to_str().expect("folders of tests are text").to_owned();
        let settings = vec![
            setting(&key, database_url.unwrap_or(&own)),
            setting("CRASHMILL__QUEUE__URL", broker),
            setting("CRASHMILL__QUEUE__NAMESPACE", &namespace),
            setting("CRASHMILL__QUEUE__PUBLISH_TIMEOUT", "1s"),
            setting("CRASHMILL__QUEUE__RECONNECT_DELAY", "500ms"),
            setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
            setting("CRASHMILL__CRASHSTORE__PATH", &path("store")),
            setting("CRASHMILL__SYMBOLS__CACHE", &path("symbols-cache")),
            setting("CRASHMILL__STACKWALK__WORKERS", "1"),
            setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"),
            setting("CRASHMILL__DAEMON__NODE", "node-1"),
            setting("CRASHMILL__DAEMON__LOG__FORMAT", "json"),
        ];
        Self { dir, database, namespace, settings }
    }

    /// Says another setting, for the roles and commands that are started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push(setting(name, value));
    }

    /// Starts a role that serves its metrics and its health here, and waits until it does its work.
    pub(crate) fn start_with_metrics(&mut self, name: &str) -> (Role, SocketAddr) {
        let address = free_address();
        self.set("CRASHMILL__DAEMON__METRICS_LISTEN", &address.to_string());
        let role = self.start(name);
        self.settings.retain(|(known, _)| known != "CRASHMILL__DAEMON__METRICS_LISTEN");
        (role, address)
    }

    /// Starts a role and waits until it does its work.
    pub(crate) fn start(&self, name: &str) -> Role {
        let listen = free_address();
        let log = self.dir.path().join(format!("{name}.log"));
        let output = File::create(&log).expect("the log can be made");
        let process = command()
            .arg(name)
            .envs(self.settings.iter().cloned())
            .env("CRASHMILL__COLLECTOR__LISTEN", listen.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the executable runs");
        let mut role = Role { process, log, url: format!("http://{listen}/submit") };
        role.until_logged("\"ready\"");
        role
    }

    /// Sends a crash by way of a collector that is started for it and ends after it.
    pub(crate) fn submit(&self) -> String {
        let mut collector = self.start("collector");
        // Else the id may stay behind in its journal.
        collector.until_logged("connected to RabbitMQ");
        let id = collector.submit();
        assert!(collector.stop().success());
        id
    }

    /// Runs a command with these settings.
    pub(crate) fn crashmill(&self, args: &[&str]) -> Output {
        command().args(args).envs(self.settings.iter().cloned()).run_to_end()
    }

    /// The JSON that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.crashmill(args);
        serde_json::from_str(&printed(&output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }

    /// What `where` says of a crash.
    pub(crate) fn whereabouts(&self, id: &str) -> Value {
        self.json(&["where", id, "--json"])
    }

    /// Waits until a crash is where it should be; returns what `where` says.
    #[track_caller]
    pub(crate) fn until(&self, id: &str, state: &str) -> Value {
        eventually_blocking(SOON, || {
            let known = self.whereabouts(id);
            (known["state"] == state).then_some(known)
        })
    }

    /// The one segment of the raw crashes.
    pub(crate) fn raw_segment(&self) -> PathBuf {
        let mut below = vec![self.dir.path().join("store/raw")];
        while let Some(path) = below.pop() {
            if path.is_dir() {
                below.extend(fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
            } else if path.to_string_lossy().ends_with(".tar.zst") {
                return path;
            }
        }
        panic!("there is no segment");
    }
}

/// A role's process.
pub(crate) struct Role {
    pub(crate) process: Child,
    log: PathBuf,
    url: String,
}

impl Role {
    /// Sends a crash to this collector; its id.
    pub(crate) fn submit(&self) -> String {
        client::post(&self.url, &[("ProductName", "Game")], &report::minidump()).expect("an answer")
    }

    /// Waits for a line with this text.
    #[track_caller]
    pub(crate) fn until_logged(&mut self, text: &str) {
        eventually_blocking(SOON, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            let log = logged(&self.log);
            let found = log.contains(text);
            assert!(found || ended.is_none(), "it ended ({ended:?}):\n{log}");
            found.then_some(())
        });
    }

    /// Asks it to stop, and waits for its end.
    #[track_caller]
    pub(crate) fn stop(mut self) -> ExitStatus {
        processes::signal(self.process.id(), Signal::TERM);
        let process = &mut self.process;
        eventually_blocking(END, || process.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}

/// What a role answers at its own port.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let asking = || -> io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(END))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asking().expect("a role answers")
}

fn logged(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("there is a free port").local_addr().expect("a listener has one")
}
