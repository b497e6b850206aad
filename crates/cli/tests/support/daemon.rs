//! A role's process of a test's own, started by itself, as systemd starts it.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use testing::{Database, eventually_blocking, namespace};

use super::{
    RunToEnd, command, processes,
    standalone::{setting, settings},
    stdout,
};

/// How long a role may take to be ready.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// How long a role that has nothing in hand may take to end.
pub(crate) const END: Duration = Duration::from_secs(10);

/// A role's process, with its store, its journal and its log in a folder.
pub(crate) struct Role {
    pub(crate) process: Child,
    pub(crate) log: PathBuf,
    pub(crate) listen: SocketAddr,
}

impl Role {
    pub(crate) fn start(name: &str, dir: &Path, settings: &[(String, String)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).expect("the log can be made");
        let listen = free_address();
        let process = command()
            .arg(name)
            .envs(places(dir, listen))
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the executable runs");
        Self { process, log, listen }
    }

    /// Starts a role and waits until it does its work.
    pub(crate) fn ready(name: &str, dir: &Path, settings: &[(String, String)]) -> Self {
        let mut role = Self::start(name, dir, settings);
        role.until_logged(&["\"ready\""]);
        role
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/submit", self.listen)
    }

    pub(crate) fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line with all of these texts.
    #[track_caller]
    pub(crate) fn until_logged(&mut self, texts: &[&str]) {
        eventually_blocking(READY, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            let found = self.logged().lines().any(|line| texts.iter().all(|text| line.contains(text)));
            assert!(found || ended.is_none(), "it ended ({ended:?}):\n{}", self.logged());
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

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("there is a free port").local_addr().expect("a listener has one")
}

/// Where a role keeps its files and listens, as environment variables.
pub(crate) fn places(dir: &Path, listen: SocketAddr) -> Vec<(String, String)> {
    let path = |name: &str| dir.join(name).to_str().expect("folders of tests are text").to_owned();
    vec![
        setting("CRASHMILL__CRASHSTORE__PATH", &path("store")),
        setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
        setting("CRASHMILL__SYMBOLS__CACHE", &path("symbols-cache")),
        setting("CRASHMILL__COLLECTOR__LISTEN", &listen.to_string()),
        setting("CRASHMILL__DAEMON__LOG__FORMAT", "json"),
    ]
}

/// The URL of a server that is down: nobody listens there.
pub(crate) fn nowhere(scheme: &str) -> String {
    format!("{scheme}://crashmill:secret@{}/crashmill", free_address())
}

/// The settings of a role with a database that has its schema, a broker's URL and a namespace of its own.
pub(crate) fn migrated(
    database: &Database,
    database_url: &str,
    broker: &str,
    name: &str,
) -> Vec<(String, String)> {
    let (key, url) = setting("CRASHMILL__FACTS__URL", database.url());
    stdout(&command().arg("migrate").env(&key, url).run_to_end());
    let mut settings = settings(database, broker, &namespace(name));
    settings.retain(|(name, _)| *name != key);
    settings.push(setting(&key, database_url));
    settings.push(setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"));
    settings
}

/// The settings of a collector, which knows no database.
pub(crate) fn broker(url: &str, name: &str) -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__QUEUE__URL", url),
        setting("CRASHMILL__QUEUE__NAMESPACE", &namespace(name)),
        setting("CRASHMILL__QUEUE__PUBLISH_TIMEOUT", "1s"),
    ]
}
