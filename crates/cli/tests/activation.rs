//! A collector whose socket somebody else holds, as systemd does: while it is restarted, nobody is refused.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::{io::FdFlags, process::Signal};
use serde_json::Value;
use support::{RunToEnd, client, command, folder, processes, standalone::setting, stdout};
use testing::{amqp_url, eventually_blocking, namespace, report};

/// How long a collector may take to start, or to end.
const SOON: Duration = Duration::from_secs(30);
/// How often the collector is restarted.
const RESTARTS: usize = 10;

/// What systemd does for a socket unit: it listens, and starts the collector with the socket as file descriptor 3.
struct Activator<'a> {
    socket: TcpListener,
    dir: &'a Path,
    settings: Vec<(String, String)>,
}

impl<'a> Activator<'a> {
    fn new(dir: &'a Path, name: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        // The shell below inherits it; this process starts nothing else meanwhile.
        rustix::io::fcntl_setfd(&socket, FdFlags::empty()).unwrap();
        let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let settings = vec![
            setting("CRASHMILL__CRASHSTORE__PATH", &path("store")),
            setting("CRASHMILL__QUEUE__JOURNAL", &path("journal")),
            setting("CRASHMILL__QUEUE__URL", &amqp_url()),
            setting("CRASHMILL__QUEUE__NAMESPACE", &namespace(name)),
            // Nobody can listen there: the socket is all that it has.
            setting("CRASHMILL__COLLECTOR__LISTEN", "192.0.2.1:1"),
            setting("CRASHMILL__DAEMON__LOG__FORMAT", "json"),
        ];
        Self { socket, dir, settings }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn url(&self) -> String {
        format!("http://{}/submit", self.address())
    }

    /// Starts a collector as systemd does: only the process itself can say its id, so a shell becomes it.
    fn start(&self, fdname: &str) -> Child {
        let script = format!(
            "exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={fdname} exec {} collector",
            self.socket.as_raw_fd(),
            env!("CARGO_BIN_EXE_crashmill")
        );
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let mut shell = Command::new("sh");
        shell.env_clear().envs(self.settings.iter().cloned()).args(["-c", &script]);
        shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.join("collector.log")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    /// Waits until so many collectors have been ready.
    #[track_caller]
    fn until_ready(&self, collectors: usize) {
        eventually_blocking(SOON, || {
            (self.logged().matches("\"message\":\"ready\"").count() == collectors).then_some(())
        });
    }

    /// Every crash that is stored.
    fn stored(&self) -> BTreeSet<String> {
        let list = stdout(
            &command().args(["store", "list", "--json"]).envs(self.settings.iter().cloned()).run_to_end(),
        );
        let line = |line: &str| {
            serde_json::from_str::<Value>(line).unwrap()["crash_id"].as_str().unwrap().to_owned()
        };
        list.lines().map(line).collect()
    }
}

#[track_caller]
fn stop(collector: &mut Child) -> ExitStatus {
    processes::signal(collector.id(), Signal::TERM);
    eventually_blocking(SOON, || collector.try_wait().unwrap())
}

/// Sends reports until told to end, each over a connection of its own; the answers.
fn send_until(ended: &AtomicBool, url: &str) -> Vec<Option<String>> {
    let mut answers = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        answers.push(client::post(url, &[("ProductName", "Game")], &report::minidump()));
    }
    answers
}

/// Sends reports over one connection for as long as the collector lets it; the answers.
fn send_over_kept_connections(ended: &AtomicBool, address: SocketAddr) -> Vec<Option<String>> {
    let mut answers = Vec::new();
    let mut kept = None;
    while !ended.load(Ordering::Relaxed) {
        let mut connection =
            kept.take().unwrap_or_else(|| BufReader::new(TcpStream::connect(address).unwrap()));
        let (id, goes_on) = ask(&mut connection).unwrap_or_default();
        answers.push(id);
        kept = goes_on.then_some(connection);
    }
    answers
}

/// One report over a connection; the id, and whether the connection goes on.
fn ask(connection: &mut BufReader<TcpStream>) -> std::io::Result<(Option<String>, bool)> {
    let (content_type, body) = report::multipart(&[("ProductName", "Game")], &[]);
    let stream = connection.get_mut();
    stream.set_read_timeout(Some(SOON))?;
    let head = format!(
        "POST /submit HTTP/1.1\r\nHost: crashes\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    let (mut length, mut goes_on) = (0, true);
    loop {
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        goes_on &= line != "connection: close";
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut text = vec![0; length];
    connection.read_exact(&mut text)?;
    let text = String::from_utf8(text).unwrap();
    Ok((text.trim().strip_prefix("CrashID=bp-").map(str::to_owned), goes_on))
}

#[test]
fn a_collector_that_is_restarted_under_load_refuses_no_upload_and_loses_none() {
    let dir = folder();
    let activator = Activator::new(dir.path(), "activation");
    let ended = AtomicBool::new(false);
    let mut collector = activator.start("submit");

    let answers: Vec<Option<String>> = thread::scope(|scope| {
        let mut clients: Vec<_> =
            (0..3).map(|_| scope.spawn(|| send_until(&ended, &activator.url()))).collect();
        clients.push(scope.spawn(|| send_over_kept_connections(&ended, activator.address())));
        for restarts in 1..=RESTARTS {
            activator.until_ready(restarts);
            let (before, after) = (activator.logged(), stop(&mut collector));
            assert!(after.success(), "{after}\n{before}");
            // From here until the next one is ready, clients wait in the kernel's queue.
            collector = activator.start("submit");
        }
        activator.until_ready(RESTARTS + 1);
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });

    assert!(stop(&mut collector).success());
    let refused = answers.iter().filter(|answer| answer.is_none()).count();
    assert_eq!(refused, 0, "of {}\n{}", answers.len(), activator.logged());
    assert!(answers.len() > RESTARTS, "{}", answers.len());
    let answered: BTreeSet<String> = answers.into_iter().flatten().collect();
    assert_eq!(activator.stored(), answered, "what is stored is what was answered");
    println!("{} uploads over {RESTARTS} restarts", answered.len());
}

#[test]
fn a_connection_that_is_kept_is_told_that_its_answer_is_the_last_one() {
    let dir = folder();
    let activator = Activator::new(dir.path(), "activation_close");
    let mut collector = activator.start("submit");
    let mut connection = BufReader::new(TcpStream::connect(activator.address()).unwrap());
    let (first, goes_on) = ask(&mut connection).unwrap();
    assert!(first.is_some() && goes_on);

    processes::signal(collector.id(), Signal::TERM);
    eventually_blocking(SOON, || activator.logged().contains("stopping: finishing").then_some(()));
    // Nobody can know of the shutdown yet, who has sent this already.
    let (second, goes_on) = ask(&mut connection).unwrap();

    assert!(second.is_some() && !goes_on);
    assert_eq!(connection.read(&mut [0]).unwrap(), 0, "and it is closed");
    assert!(eventually_blocking(SOON, || collector.try_wait().unwrap()).success());
}

#[test]
fn a_socket_by_an_unknown_name_is_said_and_the_configured_address_is_used() {
    let dir = folder();
    let mut activator = Activator::new(dir.path(), "activation_name");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    activator.settings.push(setting("CRASHMILL__COLLECTOR__LISTEN", &free.to_string()));
    let mut collector = activator.start("crashmill-collector.socket");
    activator.until_ready(1);

    let answer =
        client::post(&format!("http://{free}/submit"), &[("ProductName", "Game")], &report::minidump());

    assert!(answer.is_some(), "{}", activator.logged());
    assert!(activator.logged().contains("FileDescriptorName="), "{}", activator.logged());
    assert!(stop(&mut collector).success());
}
