//! The built executable, driven as an operator drives it.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use testing::eventually_blocking;

/// How long a standalone may take to be ready, or to be gone.
const START: Duration = Duration::from_secs(90);
/// How long a crash may take to be processed.
const PROCESS: Duration = Duration::from_secs(60);

/// The public minidumps and symbols beside the checkout, where they are.
pub fn testdata() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata");
    if path.exists() {
        return Some(path);
    }
    println!("skipped: the public minidumps are not beside this checkout");
    None
}

/// Runs `crashmill` to its end.
pub fn crashmill(args: &[&str]) -> Output {
    command().args(args).output().expect("the executable runs")
}

/// The executable, without any setting of the developer's own.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crashmill"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRASHMILL") {
            command.env_remove(name);
        }
    }
    command
}

/// What a successful command printed.
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

/// A standalone in a folder of its own.
pub struct Standalone {
    pub process: Child,
    pub data: PathBuf,
    pub submit_url: String,
    settings: Vec<(String, String)>,
}

impl Standalone {
    /// Starts one and waits until it takes crashes. `settings` are environment variables.
    pub fn start(data: &Path, settings: &[(String, String)]) -> Self {
        let log = data.join("standalone.log");
        fs::create_dir_all(data).expect("the folder can be made");
        let output = File::create(&log).expect("the log can be made");
        let process = command()
            .args(["standalone", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("the executable runs");
        let mut standalone =
            Self { process, data: data.to_owned(), submit_url: String::new(), settings: settings.to_vec() };
        standalone.submit_url = eventually_blocking(START, || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = standalone.process.try_wait().expect("a child can be asked") {
                panic!("the standalone ended ({status}):\n{said}");
            }
            said.lines().find_map(|line| line.strip_prefix("ready: submit crashes to ").map(str::to_owned))
        });
        standalone
    }

    /// Runs a command that finds this standalone by its folder.
    pub fn crashmill(&self, args: &[&str]) -> Output {
        command()
            .args(args)
            .arg("--data")
            .arg(&self.data)
            .envs(self.settings.iter().cloned())
            .output()
            .expect("it runs")
    }

    /// Submits a minidump with annotations, and returns the crash id.
    pub fn submit(&self, dump: &Path, annotations: &[&str]) -> String {
        let mut command = command();
        command.arg("submit").arg(dump).args(["--url", &self.submit_url]);
        for annotation in annotations {
            command.args(["--annotation", annotation]);
        }
        stdout(&command.output().expect("it runs")).trim().to_owned()
    }

    /// What `where` says of a crash.
    pub fn whereabouts(&self, id: &str) -> Value {
        let output = self.crashmill(&["where", id, "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Waits until a crash has its fact; returns what `where` says.
    pub fn until_processed(&self, id: &str) -> Value {
        eventually_blocking(PROCESS, || {
            Some(self.whereabouts(id)).filter(|known| known["state"] == "processed")
        })
    }

    /// The processed crash, as the store has it.
    pub fn processed(&self, id: &str) -> Value {
        let json = stdout(&self.crashmill(&["store", "get", id, "--json"]));
        serde_json::from_str(&json).expect("a processed crash is JSON")
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.until_ended()
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.process.kill().expect("a child can be killed");
        self.until_ended();
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    fn until_ended(&mut self) -> std::process::ExitStatus {
        let process = &mut self.process;
        eventually_blocking(START, || process.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            // A failed test: the guards end what this one started.
            drop(self.process.kill());
            drop(self.process.wait());
        }
    }
}

/// The settings of a standalone that uses the test servers: a database and a namespace of its own.
pub fn settings(database: &testing::Database, broker: &str, namespace: &str) -> Vec<(String, String)> {
    [
        ("CRASHMILL__FACTS__URL", database.url()),
        ("CRASHMILL__QUEUE__URL", broker),
        ("CRASHMILL__QUEUE__NAMESPACE", namespace),
        ("CRASHMILL__STACKWALK__WORKERS", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
