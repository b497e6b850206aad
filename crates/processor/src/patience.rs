//! Waiting for what a processor depends on: the database, the crash store, its workers.
//!
//! While one of them is down, no new crash is taken and no attempt is spent. A wait ends well before the broker would
//! take a crash for forgotten; the crash then goes back to its queue, and the next wait begins.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use daemon::Dependency;
use queue::Valve;
use tokio_util::sync::CancellationToken;

/// The first pause; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long one crash waits. RabbitMQ takes a delivery for forgotten after 30 minutes.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 60);

/// How a processor waits for one of the things that it depends on.
#[derive(Clone)]
pub(crate) struct Patience {
    pub(crate) dependency: Dependency,
    /// Lets no new crash in while something is down.
    pub(crate) valve: Valve,
    pub(crate) longest_pause: Duration,
    pub(crate) shutdown: CancellationToken,
}

/// Why a wait ended without a result.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    /// The processor stops, or it took too long: the crash goes back.
    InVain,
    /// Another try cannot help.
    Failed(E),
}

impl Patience {
    /// Does something as often as it takes, while its failure is one that passes.
    ///
    /// # Errors
    /// [`Ended`]
    pub(crate) async fn run<T, E, F>(
        &self,
        mut operation: impl FnMut() -> F,
        passes: impl Fn(&E) -> bool,
    ) -> Result<T, Ended<E>>
    where
        F: Future<Output = Result<T, E>>,
        E: std::error::Error,
    {
        let since = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut has_waited = false;
        loop {
            let error = match operation().await {
                Ok(value) => {
                    self.dependency.up();
                    if has_waited {
                        self.valve.resume();
                    }
                    return Ok(value);
                }
                Err(error) if passes(&error) => error,
                Err(error) => return Err(Ended::Failed(error)),
            };
            has_waited = true;
            self.dependency.down(chain(&error));
            if since.elapsed() > GIVE_UP_AFTER {
                self.valve.resume();
                return Err(Ended::InVain);
            }
            self.valve.pause();
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.shutdown.cancelled() => return Err(Ended::InVain),
            }
            pause = (pause * 2).min(self.longest_pause);
        }
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
