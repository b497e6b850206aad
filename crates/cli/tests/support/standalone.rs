//! A standalone of a test's own.

use std::{
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use testing::{Database, eventually_blocking};

use super::{RunToEnd, client, command, printed, processes, processes::Process, stderr, stdout};

/// How long a standalone may take to be ready, or to be gone.
const START: Duration = Duration::from_secs(90);
/// How long a crash may take to be processed.
const PROCESS: Duration = Duration::from_secs(60);

/// A standalone in a folder of its own.
pub(crate) struct Standalone {
    pub(crate) process: Child,
    pub(crate) data: PathBuf,
    pub(crate) submit_url: String,
    settings: Vec<(String, String)>,
}

impl Standalone {
    /// Starts one on any free port and waits until it takes crashes. `settings` are environment variables.
    pub(crate) fn start(data: &Path, settings: &[(String, String)]) -> Self {
        let mut command = command();
        command.args(["standalone", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        Self::run(command, data, settings)
    }

    /// Starts one by a command, and waits until it takes crashes.
    pub(crate) fn run(command: Command, data: &Path, settings: &[(String, String)]) -> Self {
        let mut standalone = Self::launch(command, data, settings);
        standalone.submit_url = standalone.until_said("ready: submit crashes to ");
        standalone
    }

    /// Starts one by a command, and waits for nothing.
    pub(crate) fn launch(mut command: Command, data: &Path, settings: &[(String, String)]) -> Self {
        fs::create_dir_all(data).expect("the folder can be made");
        let output = File::create(data.join("standalone.log")).expect("the log can be made");
        let process = command
            .envs(settings.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .spawn()
            .expect("the executable runs");
        Self { process, data: data.to_owned(), submit_url: String::new(), settings: settings.to_vec() }
    }

    /// Waits for a line that begins so, and returns the rest of it.
    pub(crate) fn until_said(&mut self, beginning: &str) -> String {
        eventually_blocking(START, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            let said = self.said();
            let found = said.lines().find_map(|line| line.strip_prefix(beginning).map(str::to_owned));
            if let (None, Some(status)) = (&found, ended) {
                panic!("the standalone ended ({status}):\n{said}");
            }
            found
        })
    }

    /// What it has printed so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.data.join("standalone.log")).unwrap_or_default()
    }

    /// The log of a role.
    pub(crate) fn log(&self, role: &str) -> String {
        fs::read_to_string(self.data.join("log").join(format!("{role}.log"))).unwrap_or_default()
    }

    /// Runs a command that finds this standalone by its folder.
    pub(crate) fn crashmill(&self, args: &[&str]) -> Output {
        command().args(args).arg("--data").arg(&self.data).envs(self.settings.iter().cloned()).run_to_end()
    }

    /// Submits a minidump with annotations, and returns the crash id.
    pub(crate) fn submit(&self, dump: &Path, annotations: &[&str]) -> String {
        self.submit_dumps(dump, &[], annotations)
    }

    /// Submits a minidump, and further ones given as `NAME=FILE`.
    pub(crate) fn submit_dumps(&self, dump: &Path, dumps: &[String], annotations: &[&str]) -> String {
        let mut command = command();
        command.arg("submit").arg(dump).args(["--url", &self.submit_url]);
        command.args(dumps.iter().flat_map(|dump| ["--dump", dump]));
        command.args(annotations.iter().flat_map(|annotation| ["--annotation", annotation]));
        stdout(&command.run_to_end()).trim().to_owned()
    }

    /// What `where` says of a crash.
    pub(crate) fn whereabouts(&self, id: &str) -> Value {
        let output = self.crashmill(&["where", id, "--json"]);
        serde_json::from_str(&printed(&output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }

    /// What `where` says of several crashes at once, in their order.
    pub(crate) fn whereabouts_of(&self, ids: &[&str]) -> Vec<Value> {
        let output = self.crashmill(&[&["where", "--json"][..], ids].concat());
        let documents = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        let all: Result<Vec<Value>, _> = documents.collect();
        let all = all.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        assert_eq!(all.len(), ids.len(), "{}", stderr(&output));
        all
    }

    /// The rows that a query of `sql` gives, each with its columns; nothing while the database does not answer.
    pub(crate) fn try_sql(&self, query: &str) -> Option<Vec<Vec<String>>> {
        let mut command = command();
        command.args(["sql", "--data"]).arg(&self.data).envs(self.settings.iter().cloned());
        let output = command.args(["--", "-XAt", "-F", "\t", "-c", query]).run_to_end();
        let columns = |line: &str| line.split('\t').map(str::to_owned).collect();
        output.status.success().then(|| printed(&output).lines().map(columns).collect())
    }

    /// The rows that a query gives, of a database that answers.
    #[track_caller]
    pub(crate) fn sql(&self, query: &str) -> Vec<Vec<String>> {
        self.try_sql(query).unwrap_or_else(|| panic!("the database does not answer {query}"))
    }

    /// Waits until a crash has its fact; returns what `where` says.
    #[track_caller]
    pub(crate) fn until_processed(&self, id: &str) -> Value {
        eventually_blocking(PROCESS, || {
            let known = self.whereabouts(id);
            // The fact alone is sure: the state goes by the crash store while the database is silent.
            (known["state"] == "processed" && known["fact"].is_object()).then_some(known)
        })
    }

    /// The processed crash, as the store has it.
    pub(crate) fn processed(&self, id: &str) -> Value {
        let json = stdout(&self.crashmill(&["store", "get", id, "--json"]));
        serde_json::from_str(&json).expect("a processed crash is JSON")
    }

    /// What `status` says.
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&stdout(&self.crashmill(&["status", "--json"]))).expect("status is JSON")
    }

    /// Everything that it has started.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes::descendants(self.process.id())
    }

    /// Waits for a process of its whose command fits.
    #[track_caller]
    pub(crate) fn until_runs(&mut self, fits: impl Fn(&str) -> bool) -> Process {
        eventually_blocking(START, || {
            let ended = self.process.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the standalone ended ({ended:?}):\n{}", self.said());
            processes::find(self.process.id(), &fits)
        })
    }

    /// The process of a role, once it runs.
    #[track_caller]
    pub(crate) fn role(&self, role: &str) -> Process {
        let ending = format!(" {role}");
        processes::until_there(self.process.id(), |command| {
            // A guard has the same words, behind its own.
            command.split(" --").next().is_some_and(|before_options| before_options.ends_with(&ending))
        })
    }

    /// Waits until somebody listens at the submit address.
    #[track_caller]
    pub(crate) fn until_listening(&self) {
        let address = client::address(&self.submit_url);
        eventually_blocking(START, || TcpStream::connect(address).ok().map(drop));
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        processes::signal(self.process.id(), Signal::TERM);
        self.until_ended()
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("a child can be killed");
        self.until_ended();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn until_ended(&mut self) -> ExitStatus {
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
pub(crate) fn settings(database: &Database, broker: &str, namespace: &str) -> Vec<(String, String)> {
    vec![
        setting("CRASHMILL__FACTS__URL", database.url()),
        setting("CRASHMILL__QUEUE__URL", broker),
        setting("CRASHMILL__QUEUE__NAMESPACE", namespace),
        setting("CRASHMILL__STACKWALK__WORKERS", "1"),
    ]
}

/// An environment variable.
pub(crate) fn setting(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
