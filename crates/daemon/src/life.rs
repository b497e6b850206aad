use std::io::Write as _;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::config::Config;
use crate::context::Context;
use crate::health::Health;
use crate::logs::{self, Reader};
use crate::metering::{Metering, config_hash};
use crate::port::PrivatePort;
use crate::shutdown::Watch;
use crate::sockets::Sockets;
use crate::systemd;
use crate::version::VERSION;

/// How long blocking work that the role has left behind may take once the role has returned.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs a role as this process: logs, metrics and health, signals, then `main`, until it returns.
///
/// The exit status is 0 when `main` returns `Ok`, and 1 when it fails, panics or is made to stop; what went
/// wrong is printed as one line on stderr.
pub fn run<C, F, Fut>(role: &'static str, process: &Config, config: C, main: F) -> ExitCode
where
    C: Serialize,
    F: FnOnce(Context<C>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let reader = match logs::init(role, &process.log) {
        Ok(reader) => reader,
        Err(error) => return fail(role, Reader::Person, &error),
    };
    match live(role, process, config, main) {
        Ok(()) => {
            info!(role, "ended");
            ExitCode::SUCCESS
        }
        Err(error) => fail(role, reader, &error),
    }
}

fn live<C, F, Fut>(role: &'static str, process: &Config, config: C, main: F) -> anyhow::Result<()>
where
    C: Serialize,
    F: FnOnce(Context<C>) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let sockets = Sockets::inherited()?;
    raise_open_files();
    let hash = config_hash(&config);
    info!(
        role,
        node = process.node,
        version = VERSION.version,
        commit = VERSION.commit,
        config = hash,
        "starting"
    );
    let metering = Arc::new(Metering::install(role, &process.node, hash)?);
    let runtime = runtime(process.worker_threads)?;
    let health = Health::new(role, &process.node);
    let shutdown = CancellationToken::new();
    let watch = Watch::begin(shutdown.clone(), health.clone(), process.shutdown_timeout.get())?;

    // A panic must not leave the process hanging in the runtime's destructor, which waits without limit.
    let role_ended = panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let port = match process.metrics_listen {
                Some(address) => Some(PrivatePort::open(&sockets, address)?),
                None => None,
            };
            let metrics_address = port.as_ref().map(|port| port.address);
            if let Some(port) = port {
                tokio::spawn(port.serve(health.clone(), Arc::clone(&metering)));
            }
            tokio::spawn(async move { metering.keep_up().await });
            tokio::spawn(systemd::keep_watchdog_calm());
            let node = process.node.clone();
            main(Context { config, role, node, shutdown, health, metrics_address, sockets }).await
        })
    }));
    runtime.shutdown_timeout(LEFTOVERS);
    watch.end();
    role_ended.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked; the log says where")))
}

/// Takes as many files as this process may have. The soft limit is low everywhere for the sake of programs that use
/// select(2); here each connection is a file, and each segment that is being read.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        debug!(%error, "the limit of open files stays as it is");
    }
}

fn runtime(threads: Option<NonZeroUsize>) -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.map_or(cores.max(2), NonZeroUsize::get))
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")
}

/// One line for a person, and a log line where nobody would see that.
fn fail(role: &str, reader: Reader, error: &anyhow::Error) -> ExitCode {
    // Whoever has closed stderr has the exit status.
    writeln!(std::io::stderr(), "crashmill {role}: {error:#}").unwrap_or_default();
    if reader == Reader::Machine {
        error!(role, "{error:#}");
    }
    ExitCode::FAILURE
}
