//! The roles with the crash store in an object store, which is cut off, slow, and back again.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use support::{
    RunToEnd, client, command, folder, processes,
    standalone::{setting, settings},
    stdout,
};
use testing::{Bucket, Database, FaultyHttp, Proxy, amqp_url, eventually_blocking, namespace, report};

/// How long a role may take to be ready, or a crash to become a fact.
const SOON: Duration = Duration::from_secs(60);

/// Roles that share a bucket, a database and a broker.
struct Installation {
    dir: PathBuf,
    listen: SocketAddr,
    settings: Vec<(String, String)>,
}

impl Installation {
    fn new(dir: &Path, database: &Database, bucket: &Bucket, endpoint: &str, name: &str) -> Self {
        stdout(&command().arg("migrate").env("CRASHMILL__FACTS__URL", database.url()).run_to_end());
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut settings = settings(database, &amqp_url(), &namespace(name));
        settings.extend([
            setting("CRASHMILL__CRASHSTORE__URL", &bucket.url()),
            setting("CRASHMILL__CRASHSTORE__ENDPOINT", endpoint.trim_end_matches('/')),
            setting("CRASHMILL__CRASHSTORE__ALLOW_HTTP", "true"),
            setting("CRASHMILL__CRASHSTORE__KEY_ID", "tests"),
            setting("CRASHMILL__CRASHSTORE__KEY", "secret"),
            setting("CRASHMILL__CRASHSTORE__TIMEOUT", "500ms"),
            setting("CRASHMILL__CRASHSTORE__RETRIES", "1"),
            setting("CRASHMILL__CRASHSTORE__SPOOL", &path("spool")),
            setting("CRASHMILL__CRASHSTORE__PATH", &path("nothing")),
            setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
            setting("CRASHMILL__SYMBOLS__CACHE", &path("symbols-cache")),
            setting("CRASHMILL__COLLECTOR__LISTEN", &listen.to_string()),
            setting("CRASHMILL__PROCESSOR__LONGEST_PAUSE", "500ms"),
            setting("CRASHMILL__DAEMON__LOG__FORMAT", "json"),
        ]);
        Self { dir: dir.to_owned(), listen, settings }
    }

    /// Starts a role and waits until it is ready.
    fn start(&self, role: &str) -> Role {
        let log = self.dir.join(format!("{role}.log"));
        let output = File::create(&log).unwrap();
        let process = command()
            .arg(role)
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut role = Role { process, log };
        eventually_blocking(SOON, || {
            let ended = role.process.try_wait().unwrap();
            assert!(ended.is_none(), "it ended ({ended:?}):\n{}", role.logged());
            role.logged().contains("\"ready\"").then_some(())
        });
        role
    }

    fn post(&self, number: usize) -> Option<String> {
        let url = format!("http://{}/submit", self.listen);
        let version = number.to_string();
        client::post(&url, &[("ProductName", "Game"), ("Version", &version)], &report::minidump())
    }

    fn run(&self, args: &[&str]) -> String {
        stdout(&command().args(args).envs(self.settings.iter().cloned()).run_to_end())
    }

    /// The segments in the spool: locks and records are not counted.
    fn spooled(&self) -> usize {
        let is_segment = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "zst");
        files(&self.dir.join("spool")).iter().filter(|path| is_segment(path)).count()
    }
}

struct Role {
    process: Child,
    log: PathBuf,
}

impl Role {
    fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn stop(mut self) {
        processes::signal(self.process.id(), Signal::TERM);
        let ended = eventually_blocking(SOON, || self.process.try_wait().unwrap());
        assert!(ended.success(), "{}", self.logged());
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
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

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn facts(database: &Database) -> usize {
    usize::try_from(database.number("SELECT count(*) FROM fact_crash")).unwrap()
}

fn raw_objects(bucket: &Bucket) -> Vec<String> {
    bucket.keys().into_iter().filter(|key| key.starts_with("crashes/raw/")).collect()
}

#[test]
fn a_crash_that_comes_while_the_object_store_is_cut_off_is_answered_and_becomes_a_fact_when_it_is_back() {
    let (dir, database, bucket) = (folder(), Database::create("objects_cut"), Bucket::create("objects_cut"));
    let way = Proxy::to_url(bucket.endpoint());
    let installation = Installation::new(dir.path(), &database, &bucket, &way.url(), "objects_cut");
    let collector = installation.start("collector");
    let processor = installation.start("processor");
    let first = installation.post(0).expect("an answer");
    eventually_blocking(SOON, || (facts(&database) == 1).then_some(()));
    assert_eq!(installation.spooled(), 0);

    way.cut();
    let mut ids: Vec<String> = (1..=5).map(|number| installation.post(number).expect("an answer")).collect();
    assert!(installation.spooled() > 0, "{}", collector.logged());
    assert_eq!(facts(&database), 1);

    way.restore();
    eventually_blocking(SOON, || (facts(&database) == 6).then_some(()));
    eventually_blocking(SOON, || (installation.spooled() == 0).then_some(()));
    ids.push(first);
    let listed = installation.run(&["store", "list", "--json"]);
    for id in &ids {
        assert_eq!(listed.lines().filter(|line| line.contains(id.as_str())).count(), 1, "{listed}");
        assert!(installation.run(&["store", "get", id]).contains("game"));
    }
    assert_eq!(installation.run(&["store", "check"]).trim(), "every frame is whole");
    assert!(!dir.path().join("nothing").exists(), "a store in an object store needs no folder");
    collector.stop();
    processor.stop();
}

#[test]
fn a_collector_that_is_killed_while_it_moves_crashes_loses_none_and_doubles_none() {
    const CRASHES: usize = 30;
    let (dir, database, bucket) =
        (folder(), Database::create("objects_kill"), Bucket::create("objects_kill"));
    let way = FaultyHttp::to_url(bucket.endpoint(), 3);
    let installation = Installation::new(dir.path(), &database, &bucket, &way.url(), "objects_kill");
    way.delay(Duration::from_secs(5));
    let collector = installation.start("collector");
    for number in 0..CRASHES {
        installation.post(number).expect("an answer");
    }
    assert!(installation.spooled() > 0, "{}", collector.logged());

    way.delay(Duration::from_millis(300));
    // Some requests of before may have arrived; what is moved now comes on top of them.
    let before = bucket.keys().len();
    eventually_blocking(SOON, || (bucket.keys().len() > before + 8).then_some(()));
    collector.kill();
    assert!(installation.spooled() > 0, "it was killed too late to have anything left");

    way.delay(Duration::ZERO);
    let collector = installation.start("collector");
    let processor = installation.start("processor");
    eventually_blocking(SOON, || (facts(&database) == CRASHES).then_some(()));
    eventually_blocking(SOON, || (installation.spooled() == 0).then_some(()));
    assert_eq!(raw_objects(&bucket).len(), CRASHES);
    assert_eq!(facts(&database), CRASHES);
    collector.stop();
    processor.stop();
}
