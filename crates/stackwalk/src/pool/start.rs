//! Brings workers up, not too often when that keeps failing.

use std::{
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    process::Command,
    time::{sleep_until, timeout},
};

use crate::{
    Config, WalkFailure, WorkerCommand,
    pool::{process::Process, spawner::Spawner},
    wire::Setup,
};

/// How long a worker may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// CPU time beyond the deadline: the clock on the wall comes first, and this is for a pool that cannot kill any more.
const CPU_GRACE: Duration = Duration::from_secs(5);
/// What a worker gets to see of the environment: where certificates, proxies and programs are. Its input is hostile,
/// and the rest may hold passwords.
const ENVIRONMENT: [&str; 13] = [
    "PATH",
    "TMPDIR",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// Starts worker processes of one kind.
#[derive(Debug)]
pub(crate) struct Starter {
    command: WorkerCommand,
    setup: Vec<u8>,
    spawner: Spawner,
    failures: Mutex<Option<Failures>>,
}

/// Starts that failed, without one that succeeded since.
#[derive(Debug, Clone, Copy)]
struct Failures {
    pause: Duration,
    until: Instant,
}

impl Starter {
    pub(crate) fn new(command: WorkerCommand, config: &Config) -> Result<Self, WalkFailure> {
        let setup = Setup {
            symbols: symbols::Config { servers: vec![], ..command.symbols.clone() },
            servers: command.symbols.servers.iter().map(|server| server.expose().to_owned()).collect(),
            limits: config.limits.clone(),
            memory: config.memory,
            cpu: config.deadline.get().saturating_add(CPU_GRACE).into(),
        };
        let failed = |error: &dyn std::error::Error| WalkFailure::CouldNotStart(error.to_string());
        Ok(Self {
            setup: serde_json::to_vec(&setup).map_err(|error| failed(&error))?,
            spawner: Spawner::start().map_err(|error| failed(&error))?,
            command,
            failures: Mutex::default(),
        })
    }

    /// Starts a worker and waits until it is ready; after failures only once their pause is over.
    pub(crate) async fn start(&self) -> Result<Process, WalkFailure> {
        let pause = self.failures().map(|failures| failures.until);
        if let Some(until) = pause {
            sleep_until(until.into()).await;
        }
        match timeout(READY_WITHIN, self.attempt()).await.unwrap_or_else(|_| Err(not_ready())) {
            Ok(process) => {
                self.set_failures(None);
                Ok(process)
            }
            Err(why) => {
                let pause = self.failures().map_or(FIRST_PAUSE, |before| LONGEST_PAUSE.min(before.pause * 2));
                let until = Instant::now() + pause.mul_f64(rand::random_range(0.75..1.25));
                self.set_failures(Some(Failures { pause, until }));
                Err(WalkFailure::CouldNotStart(format!("{}: {why}", self.command.program.display())))
            }
        }
    }

    async fn attempt(&self) -> Result<Process, String> {
        let mut command = Command::new(&self.command.program);
        command
            .args(&self.command.args)
            .env_clear()
            .envs(ENVIRONMENT.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at a terminal is for the processor, which finishes what its workers have in hand.
            .process_group(0)
            .kill_on_drop(true);
        let child = self.spawner.spawn(command).await.map_err(|error| error.to_string())?;
        Process::set_up(child, &self.setup).await
    }

    fn failures(&self) -> Option<Failures> {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_failures(&self, failures: Option<Failures>) {
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner) = failures;
    }
}

fn not_ready() -> String {
    format!("it was not ready within {} s", READY_WITHIN.as_secs())
}
