//! A daemon as its supervisor sees it, and a systemd as the daemon sees it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of tests fails as they do")]

use std::cell::{OnceCell, RefCell};
use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Set in a process that is to be a daemon under test; says which.
pub(crate) const ROLE: &str = "DAEMON_UNDER_TEST";

/// How long anything may take before the test fails. Generous, for a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running daemon, which is killed when the test is over.
pub(crate) struct Daemon {
    child: Child,
    log: Receiver<String>,
    seen: RefCell<Vec<String>>,
    address: OnceCell<String>,
}

impl Daemon {
    pub(crate) fn start(role: &str, variables: &[(&str, &str)]) -> Self {
        let mut daemon = Self::start_unread(role, variables);
        let stderr = BufReader::new(daemon.child.stderr.take().unwrap());
        let (lines, log) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line)));
        daemon.log = log;
        daemon
    }

    /// A daemon whose stderr nobody reads.
    pub(crate) fn start_unread(role: &str, variables: &[(&str, &str)]) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_daemon_under_test", "--nocapture"])
            .env_clear()
            .env(ROLE, role)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, log: channel().1, seen: RefCell::default(), address: OnceCell::new() }
    }

    /// The next line of the log with that text in it.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.borrow_mut().push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    panic!("no {text:?} in the log ({error}), which is\n{}", self.seen.borrow().join("\n"))
                }
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// The exit status, once the log has ended.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.borrow_mut().push(line),
                Err(RecvTimeoutError::Disconnected) => return self.exit_code_polled(),
                Err(RecvTimeoutError::Timeout) => panic!("it still runs\n{}", self.seen.borrow().join("\n")),
            }
        }
    }

    /// The exit status, where the log is no sign.
    pub(crate) fn exit_code_polled(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            thread::sleep(Duration::from_millis(2));
        }
        panic!("it still runs");
    }

    /// Everything that it has logged, once it has ended.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Asks its private port; the status and the body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address.get_or_init(|| self.logged_address())).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn logged_address(&self) -> String {
        let is_it = |line: &String| line.contains("metrics and health are served");
        let seen = self.seen.borrow().iter().find(|line| is_it(line)).cloned();
        let line = seen.unwrap_or_else(|| self.wait_for("metrics and health are served"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line.get("address").unwrap().as_str().unwrap().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// The socket on which systemd would listen.
pub(crate) struct Systemd {
    socket: UnixDatagram,
    path: String,
    _folder: TempDir,
}

impl Systemd {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    pub(crate) fn variable(&self) -> (&'static str, &str) {
        ("NOTIFY_SOCKET", &self.path)
    }

    pub(crate) fn wait_for(&self, line: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.receive(deadline.saturating_duration_since(Instant::now())).unwrap().trim_end() != line {}
    }

    /// Nothing for ten times as long as lies between two pings.
    pub(crate) fn wait_for_silence(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.receive(Duration::from_millis(200)).is_some() {
            assert!(Instant::now() < deadline, "it goes on");
        }
    }

    fn receive(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(buffer.get(..length)?).into_owned())
    }
}
