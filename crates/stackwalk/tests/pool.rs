//! Worker processes that work, hang, die, grow and cannot be started.
//!
//! The workers are this program itself, started again with [`WORKER`], so that they need no other executable; hence its
//! own `main`. It understands what the usual one does as far as people and tools use it: names to filter by, `--exact`
//! and `--list`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a test runner, and a worker")]

mod synth;

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crash::{SymbolStatus, WalkStatus};
use rustix::process::{Pid, Signal, kill_process};
use stackwalk::{Config, Exit, Pool, WalkFailure, WorkerCommand, worker};

use synth::{Dump, MODULE};

const WORKER: &str = "--serve-as-worker";
const HOLD_POOL: &str = "--hold-pool";

type Test = fn() -> Pin<Box<dyn Future<Output = ()>>>;

macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), || Box::pin($name()))),*] };
}

const TESTS: &[(&str, Test)] = tests![
    a_worker_walks_dump_after_dump,
    a_worker_that_dies_in_a_walk_costs_that_walk_alone,
    a_worker_that_hangs_is_ended_at_the_deadline,
    a_worker_that_dies_while_it_waits_costs_nothing,
    a_worker_that_has_grown_is_replaced,
    a_worker_that_answers_nonsense_is_replaced,
    hostile_stacks_are_walked_in_little_memory,
    a_dump_that_needs_more_memory_than_allowed_kills_its_worker_alone,
    a_program_that_is_no_worker_says_why_it_cannot_start,
    a_worker_that_cannot_set_itself_up_says_why,
    a_caller_that_stops_waiting_leaves_the_pool_working,
    walks_wait_for_a_free_worker,
    a_closed_pool_has_no_workers,
    a_worker_does_not_outlive_its_pool,
    a_worker_sees_no_secrets_of_its_parent,
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == WORKER) {
        return match worker::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some((HOLD_POOL, args)) = arguments.split_first().map(|(first, rest)| (&**first, rest.to_vec())) {
        run(|| Box::pin(hold_pool(args)));
        return ExitCode::FAILURE;
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        TESTS.iter().filter(|_| !has("--ignored")).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters
                .iter()
                .any(|filter| if has("--exact") { name == **filter } else { name.contains(&***filter) })
    };
    let runs: Vec<_> = TESTS
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, test)| (*name, std::thread::spawn(|| run(*test))))
        .collect();
    let mut failed = 0;
    for (name, thread) in runs {
        let passed = thread.join().is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(test: impl FnOnce() -> Pin<Box<dyn Future<Output = ()>>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test()).await.expect("the test takes too long");
    });
}

async fn a_worker_walks_dump_after_dump() {
    let folder = tempfile::tempdir().unwrap();
    synth::write_symbols(folder.path(), &synth::symbols());
    let symbols = symbols::Config { paths: vec![folder.path().to_owned()], ..symbols::Config::default() };
    let pool = Pool::start(WorkerCommand { symbols, ..real_worker() }, &one_worker()).await.unwrap();
    for _ in 0..3 {
        let walked = pool.walk(dump()).await.unwrap();
        assert_eq!(walked.stackwalk.status, WalkStatus::Ok);
        assert_eq!(walked.stackwalk.modules[0].symbols, SymbolStatus::Loaded);
        assert_eq!(walked.stackwalk.threads[0].frames[0].function.as_deref(), Some("crash(int*)"));
    }
    let walked = pool.walk(Bytes::from_static(b"no minidump")).await.unwrap();
    assert_eq!(walked.stackwalk.status, WalkStatus::BadMinidump);
    let walked = pool.walk(Bytes::new()).await.unwrap();
    assert_eq!(walked.stackwalk.status, WalkStatus::EmptyDump);
    pool.close().await;
}

async fn a_worker_that_dies_in_a_walk_costs_that_walk_alone() {
    let script = Script::new(r#"ready; head -c 100 >&3; echo "out of luck" >&2; kill -9 $$"#);
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    match pool.walk(dump()).await {
        Err(WalkFailure::WorkerDied { exit: Exit::Signal(9), stderr }) => assert_eq!(stderr, "out of luck"),
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.walk(dump()).await.unwrap().stackwalk.status, WalkStatus::Ok);
}

async fn a_worker_that_hangs_is_ended_at_the_deadline() {
    let script = Script::new(r#"ready; echo $$ >"$1/pid"; cat >&3"#);
    let config = Config { deadline: settings::Duration::from_millis(300), ..one_worker() };
    let pool = Pool::start(script.first_then_real(), &config).await.unwrap();
    let begun = Instant::now();
    match pool.walk(dump()).await {
        Err(WalkFailure::TimedOut { after }) => assert_eq!(after, config.deadline.get()),
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(!is_running(&script.pid()), "it was killed");
    eventually(async || pool.walk(dump()).await.is_ok()).await;
}

async fn a_worker_that_dies_while_it_waits_costs_nothing() {
    let script = Script::new(r#"echo $$ >"$1/pid"; exec "$2" --serve-as-worker"#);
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    signal(&script.pid(), Signal::KILL);
    eventually(async || !is_running(&script.pid())).await;
    assert_eq!(pool.walk(dump()).await.unwrap().stackwalk.status, WalkStatus::Ok);
}

async fn a_worker_that_has_grown_is_replaced() {
    let script = Script::new(r#"echo $$ >"$1/pid"; exec "$2" --serve-as-worker"#);
    let config = Config { recycle_rss: settings::Size::from_bytes(1), ..one_worker() };
    let pool = Pool::start(script.first_then_real(), &config).await.unwrap();
    assert!(pool.walk(dump()).await.is_ok());
    assert!(pool.walk(dump()).await.is_ok());
    assert!(!is_running(&script.pid()));
}

async fn a_worker_that_answers_nonsense_is_replaced() {
    let script = Script::new(r"ready; head -c 100 >&3; printf '\377\377\377\177'; cat >&3");
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    match pool.walk(dump()).await {
        Err(WalkFailure::WorkerDied { exit: Exit::Killed, stderr }) => {
            assert!(stderr.contains("too long"), "{stderr}");
        }
        other => panic!("{other:?}"),
    }
    assert!(pool.walk(dump()).await.is_ok());
}

async fn hostile_stacks_are_walked_in_little_memory() {
    // Without limits the first of these dumps takes more memory than any machine has, and the others 250 MB.
    let shared = Dump { crashing: Some(1000), ..Dump::sharing_a_stack(1000, 8192) };
    let deep = Dump { crashing: Some(1), ..Dump::sharing_a_stack(1, 1 << 17) };
    let chained = Dump::chained_outside_modules(1 << 17);
    let mut config = Config { memory: settings::Size::mib(160), ..one_worker() };
    config.limits.max_stack_bytes_per_thread = settings::Size::kib(512);
    let pool = Pool::start(real_worker(), &config).await.unwrap();
    for dump in [shared, deep, chained] {
        let walked = pool.walk(dump.bytes().into()).await.unwrap();
        assert_eq!(walked.stackwalk.status, WalkStatus::Ok);
        assert_eq!(walked.stackwalk.crashing().unwrap().frames.len(), 2000);
    }
}

async fn a_dump_that_needs_more_memory_than_allowed_kills_its_worker_alone() {
    let config = Config { memory: settings::Size::mib(64), ..one_worker() };
    let pool = Pool::start(real_worker(), &config).await.unwrap();
    match pool.walk(vec![0; 100 << 20].into()).await {
        Err(WalkFailure::WorkerDied { exit: Exit::Signal(6), stderr }) => {
            assert!(stderr.contains("memory allocation"), "{stderr}");
        }
        other => panic!("{other:?}"),
    }
    assert!(pool.walk(dump()).await.is_ok());
}

async fn a_program_that_is_no_worker_says_why_it_cannot_start() {
    let absent = WorkerCommand { program: "/nowhere/crashmill".into(), ..real_worker() };
    let error = Pool::start(absent, &one_worker()).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/crashmill") && error.contains("No such file"), "{error}");
    let other = WorkerCommand { program: "/bin/true".into(), ..real_worker() };
    let error = Pool::start(other, &one_worker()).await.unwrap_err().to_string();
    assert!(error.contains("it ended with status 0"), "{error}");
}

async fn a_worker_that_cannot_set_itself_up_says_why() {
    let symbols = symbols::Config {
        servers: vec!["http://127.0.0.1:9/".parse().unwrap()],
        cache: "/proc/no-folder-here".into(),
        ..symbols::Config::default()
    };
    let command = WorkerCommand { symbols, ..real_worker() };
    let error = Pool::start(command, &one_worker()).await.unwrap_err().to_string();
    assert!(error.contains("symbols.cache"), "{error}");
}

async fn a_caller_that_stops_waiting_leaves_the_pool_working() {
    let script = Script::new("ready; cat >&3");
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), pool.walk(dump())).await.is_err());
    assert!(pool.walk(dump()).await.is_ok());
}

async fn walks_wait_for_a_free_worker() {
    let pool = Pool::start(real_worker(), &Config { workers: 2, ..one_worker() }).await.unwrap();
    let walks = (0..20).map(|_| pool.walk(dump()));
    for walked in futures_util::future::join_all(walks).await {
        assert_eq!(walked.unwrap().stackwalk.status, WalkStatus::Ok);
    }
}

async fn a_closed_pool_has_no_workers() {
    let script = Script::new(r#"echo $$ >"$1/pid"; exec "$2" --serve-as-worker"#);
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    pool.close().await;
    assert!(!is_running(&script.pid()));
    let refused = pool.walk(dump()).await.unwrap_err();
    assert!(refused.to_string().contains("closed"), "{refused}");
}

/// The worker is stopped, so that it cannot notice by itself that its pipes are closed.
async fn a_worker_does_not_outlive_its_pool() {
    let script = Script::new(r#"echo $$ >"$1/pid"; exec "$2" --serve-as-worker"#);
    let mut holder = tokio::process::Command::new(std::env::current_exe().unwrap())
        .arg(HOLD_POOL)
        .args(script.first_then_real().args)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut ready = [0];
    tokio::io::AsyncReadExt::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).await.unwrap();
    signal(&script.pid(), Signal::STOP);
    holder.kill().await.unwrap();
    eventually(async || !is_running(&script.pid())).await;
}

/// Starts a pool, says so, and keeps it.
async fn hold_pool(args: Vec<String>) {
    let command = WorkerCommand { program: "/bin/sh".into(), args, symbols: symbols::Config::default() };
    let _pool = Pool::start(command, &one_worker()).await.unwrap();
    println!("ready");
    std::future::pending::<()>().await;
}

async fn a_worker_sees_no_secrets_of_its_parent() {
    let script = Script::new(r#"env >"$1/env"; exec "$2" --serve-as-worker"#);
    let pool = Pool::start(script.first_then_real(), &one_worker()).await.unwrap();
    pool.close().await;
    let seen = fs::read_to_string(script.folder.path().join("env")).unwrap();
    assert!(seen.contains("PATH="), "{seen}");
    assert!(
        std::env::var_os("CARGO_MANIFEST_DIR").is_some() && !seen.contains("CARGO_MANIFEST_DIR"),
        "{seen}"
    );
}

fn dump() -> Bytes {
    Dump::called_from(&[MODULE + 0x1004, MODULE + 0x2010]).bytes().into()
}

fn one_worker() -> Config {
    Config { workers: 1, ..Config::default() }
}

fn real_worker() -> WorkerCommand {
    WorkerCommand {
        program: std::env::current_exe().unwrap(),
        args: vec![WORKER.to_owned()],
        symbols: symbols::Config::default(),
    }
}

/// A worker as a shell script. Its `$1` is a folder of its own and `$2` this program; `ready` takes the setup and says
/// that it is ready.
struct Script {
    folder: tempfile::TempDir,
    text: String,
}

impl Script {
    fn new(text: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), text: text.to_owned() }
    }

    /// The script the first time, and from then on a worker that works.
    fn first_then_real(&self) -> WorkerCommand {
        let text = format!(
            r#"exec 3>/dev/null
               ready() {{ head -c $(head -c 4 | od -An -tu4) >&3; printf '\0\0\0\0'; }}
               if mkdir "$1/used" 2>/dev/null; then {}; else exec "$2" {WORKER}; fi"#,
            self.text
        );
        let program = std::env::current_exe().unwrap();
        let args = ["-c", &text, "sh", path(self.folder.path()), path(&program)];
        WorkerCommand {
            program: PathBuf::from("/bin/sh"),
            args: args.map(str::to_owned).to_vec(),
            symbols: symbols::Config::default(),
        }
    }

    fn pid(&self) -> String {
        fs::read_to_string(self.folder.path().join("pid")).unwrap().trim().to_owned()
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_running(pid: &str) -> bool {
    // A process that ended but was not waited for is still listed, as a zombie.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn signal(pid: &str, signal: Signal) {
    kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), signal).unwrap();
}

async fn eventually(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
