//! How a process is told to stop, and made to.
//!
//! All of this runs on a thread with a small runtime of its own, so that it works just as well when the
//! runtime that does the work hangs.

use std::io;
use std::process;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::health::Health;
use crate::systemd;

/// Set by a supervisor that holds the other end of stdin: when it dies, however it dies, stdin ends.
const SUPERVISED: &str = "CRASHMILL_SUPERVISED";

/// How long writing a log line may take before the process goes on without it.
const PATIENT_WITH_LOG: Duration = Duration::from_secs(1);

/// The thread that waits for signals.
pub(crate) struct Watch {
    ended: CancellationToken,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Takes over the signals. From here on `shutdown` is cancelled by the first of them.
    pub(crate) fn begin(
        shutdown: CancellationToken,
        health: Health,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let ended = CancellationToken::new();
        let orphaned = watch_supervisor().context("watching for the end of the supervisor")?;
        let (report, reported) = mpsc::channel();
        let stop = Stop { shutdown, orphaned, ended: ended.clone(), health, patience };
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || stop.watch(&report));
        let thread = thread.context("starting the thread that waits for signals")?;
        reported
            .recv()
            .context("the thread that waits for signals has ended")?
            .context("taking over the signals")?;
        Ok(Self { ended, thread })
    }

    /// Gives the process back: the role has returned and nothing is to be waited for.
    pub(crate) fn end(self) {
        self.ended.cancel();
        if self.thread.join().is_err() {
            error!("the thread that waits for signals has panicked");
        }
    }
}

struct Stop {
    shutdown: CancellationToken,
    orphaned: CancellationToken,
    ended: CancellationToken,
    health: Health,
    patience: Duration,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn watch(self, report: &mpsc::Sender<io::Result<()>>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return tell(report, Err(error)),
        };
        runtime.block_on(async {
            match Signals::take() {
                Ok(signals) => {
                    tell(report, Ok(()));
                    self.stop(signals).await;
                }
                Err(error) => tell(report, Err(error)),
            }
        });
    }

    async fn stop(self, mut signals: Signals) {
        let reason = tokio::select! {
            name = signals.next() => name,
            () = self.orphaned.cancelled() => "the supervisor is gone",
            () = self.shutdown.cancelled() => "the role itself",
            () = self.ended.cancelled() => return,
        };
        self.health.stopping();
        self.shutdown.cancel();
        let patience_seconds = self.patience.as_secs_f64();
        aside(move || {
            systemd::stopping();
            info!(reason, patience_seconds, "stopping: finishing what is in hand");
        });

        tokio::select! {
            name = signals.next() => end_now(&format!("a second signal, {name}")),
            () = tokio::time::sleep(self.patience) => end_now("the time to finish is over (daemon.shutdown_timeout)"),
            () = self.ended.cancelled() => {}
        }
    }
}

impl Signals {
    fn take() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Whoever began the thread waits for this, or has itself died.
fn tell(report: &mpsc::Sender<io::Result<()>>, result: io::Result<()>) {
    report.send(result).unwrap_or_default();
}

/// Ends the process with status 1, whatever it is doing.
fn end_now(reason: &str) {
    let line = format!("ended without finishing: {reason}");
    aside(move || error!("{line}"));
    process::exit(1);
}

/// Does this on a thread of its own and waits a moment for it, but not for ever: whoever reads the log may hang,
/// and that must not keep a process alive.
fn aside(speak: impl FnOnce() + Send + 'static) {
    let (done, hung_up) = mpsc::channel::<()>();
    let speaker = thread::Builder::new().spawn(move || {
        speak();
        drop(done);
    });
    if speaker.is_ok() {
        // Either the other side hangs up or the time is over; both are fine.
        hung_up.recv_timeout(PATIENT_WITH_LOG).unwrap_or_default();
    }
}

/// The token is cancelled when stdin ends, for a process that has a supervisor.
fn watch_supervisor() -> io::Result<CancellationToken> {
    let orphaned = CancellationToken::new();
    if std::env::var_os(SUPERVISED).is_some_and(|set| set == "1") {
        let orphaned = orphaned.clone();
        thread::Builder::new().name("supervisor".to_owned()).spawn(move || {
            // An error is an end like any other.
            io::copy(&mut io::stdin().lock(), &mut io::sink()).unwrap_or_default();
            orphaned.cancel();
        })?;
    }
    Ok(orphaned)
}
