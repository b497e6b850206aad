//! Waiting for what a processor depends on: the database, the crash store, its workers.
//!
//! While one of them is down, no new crash is taken and no attempt is spent. A wait ends well before the broker would
//! take a crash for forgotten; the crash is then put off, and nothing is taken until a look finds that what was down is
//! back. So however long an outage lasts, it costs a crash neither an attempt nor a return, of which brokers count a few.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use daemon::Dependency;
use queue::Valve;
use tokio_util::sync::CancellationToken;

/// The first pause; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// How long one crash waits. RabbitMQ takes a delivery for forgotten after 30 minutes.
pub(crate) const GIVE_UP_AFTER: Duration = Duration::from_secs(10 * 60);

/// A look whether something is back; else why not.
pub(crate) type Look =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// How a processor waits for one of the things that it depends on.
#[derive(Clone)]
pub(crate) struct Patience {
    /// What it is, which is also why nothing is taken.
    pub(crate) name: &'static str,
    pub(crate) dependency: Dependency,
    /// Lets no new crash in while something is down.
    pub(crate) valve: Valve,
    pub(crate) longest_pause: Duration,
    /// How long one crash waits: [`GIVE_UP_AFTER`].
    pub(crate) give_up_after: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) look: Look,
    /// Whether somebody looks already.
    pub(crate) looking: Arc<AtomicBool>,
}

/// Why a wait ended without a result.
#[derive(Debug)]
pub(crate) enum Ended<E> {
    /// The processor stops.
    Stopping,
    /// It took too long.
    InVain {
        /// What was waited for.
        what: &'static str,
    },
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
        loop {
            let error = match operation().await {
                Ok(value) => {
                    self.is_back();
                    return Ok(value);
                }
                Err(error) if passes(&error) => error,
                Err(error) => {
                    // Whatever it says, it answers.
                    self.is_back();
                    return Err(Ended::Failed(error));
                }
            };
            self.is_down(chain(&error));
            if since.elapsed() > self.give_up_after {
                return Err(Ended::InVain { what: self.name });
            }
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = self.shutdown.cancelled() => return Err(Ended::Stopping),
            }
            pause = (pause * 2).min(self.longest_pause);
        }
    }

    fn is_back(&self) {
        self.dependency.up();
        self.valve.resume(self.name);
    }

    /// Nothing is taken from here on, until some wait or look finds that it is back.
    fn is_down(&self, why: String) {
        self.dependency.down(why);
        self.valve.pause(self.name);
        if !self.looking.swap(true, Ordering::AcqRel) {
            let patience = self.clone();
            tokio::spawn(async move { patience.keep_looking().await });
        }
    }

    async fn keep_looking(&self) {
        loop {
            let pause = tokio::time::sleep(jittered(self.longest_pause));
            if self.shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
            if self.is_awaited() {
                match (self.look)().await {
                    Ok(()) => self.is_back(),
                    Err(why) => self.dependency.down(why),
                }
            }
            if !self.is_awaited() {
                self.looking.store(false, Ordering::Release);
                // It may have gone down again in between, with this look still counted on.
                if !self.is_awaited() || self.looking.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        }
    }

    fn is_awaited(&self) -> bool {
        self.valve.reasons().contains(&self.name)
    }
}

/// Chance takes up to half of a pause away, so that those who wait together do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.0))
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

#[cfg(test)]
mod tests {
    use std::{io, sync::atomic::AtomicUsize};

    use daemon::Need;
    use queue::{Consumer, Prefetch};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A consumer of a broker that is not there, and a wait whose looks find what `is_back` says.
    async fn patience(is_back: Arc<AtomicBool>) -> (Consumer, Patience) {
        let config =
            queue::Config { url: "amqp://127.0.0.1:1/%2f".parse().unwrap(), ..queue::Config::default() };
        let shutdown = CancellationToken::new();
        let prefetch = Prefetch { workers: 1, unsaved: 0 };
        let consumer = Consumer::start(&config, prefetch, shutdown.clone()).await.unwrap();
        let look: Look = Arc::new(move || {
            let is_back = is_back.load(Ordering::Acquire);
            Box::pin(async move { if is_back { Ok(()) } else { Err("still down".to_owned()) } })
        });
        let patience = Patience {
            name: "database",
            dependency: daemon::Context::bare("processor", ()).health.dependency("database", Need::Required),
            valve: consumer.valve(),
            longest_pause: Duration::from_millis(20),
            give_up_after: Duration::from_millis(300),
            shutdown,
            look,
            looking: Arc::default(),
        };
        (consumer, patience)
    }

    fn down() -> io::Error {
        io::Error::from(io::ErrorKind::ConnectionRefused)
    }

    #[tokio::test]
    async fn a_crash_is_put_off_in_a_long_outage_and_none_is_taken_until_a_look_finds_its_end() {
        let is_back = Arc::new(AtomicBool::new(false));
        let (_consumer, patience) = patience(is_back.clone()).await;

        let ended = patience.run(async || Err::<(), _>(down()), |_| true).await;
        assert!(matches!(ended, Err(Ended::InVain { what: "database" })), "{ended:?}");
        assert_eq!(patience.valve.reasons(), ["database"]);

        is_back.store(true, Ordering::Release);
        testing::eventually(SOON, async || patience.valve.reasons().is_empty().then_some(())).await;
        // The next outage is looked into anew.
        is_back.store(false, Ordering::Release);
        let ended = patience.run(async || Err::<(), _>(down()), |_| true).await;
        assert!(matches!(ended, Err(Ended::InVain { .. })), "{ended:?}");
        is_back.store(true, Ordering::Release);
        testing::eventually(SOON, async || patience.valve.reasons().is_empty().then_some(())).await;
    }

    #[tokio::test]
    async fn what_is_back_but_refuses_lets_other_crashes_in_again() {
        let (_consumer, patience) = patience(Arc::default()).await;
        let tries = AtomicUsize::new(0);
        let refused = async || match tries.fetch_add(1, Ordering::AcqRel) {
            0 | 1 => Err::<(), _>(down()),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
        };
        let ended = patience.run(refused, |error| error.kind() == io::ErrorKind::ConnectionRefused).await;
        assert!(matches!(ended, Err(Ended::Failed(_))), "{ended:?}");
        assert!(patience.valve.reasons().is_empty());
    }

    #[tokio::test]
    async fn a_wait_ends_when_the_processor_stops() {
        let (_consumer, patience) = patience(Arc::default()).await;
        let wait = patience.run(async || Err::<(), _>(down()), |_| true);
        patience.shutdown.cancel();
        assert!(matches!(wait.await, Err(Ended::Stopping)));
    }
}
