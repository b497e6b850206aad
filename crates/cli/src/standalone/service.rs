//! Keeps one process running: starts it again, with growing pauses, whenever it ends.

use std::{
    io,
    process::ExitStatus,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use servers::{Postgres, RabbitMq};

/// The pause before the first restart; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A process that ran for so long has recovered: the next pause is the first again.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);
/// How often an ended process is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A process that can be started again.
pub(super) trait Service: Send {
    fn name(&self) -> &'static str;
    /// Starts the process, after it ended or for the first time.
    fn start(&mut self) -> anyhow::Result<()>;
    /// How it ended, if it did.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>>;
    /// Ends it, and waits.
    fn stop(&mut self) -> io::Result<()>;
    /// The last lines of its log.
    fn log_tail(&self) -> String;
}

impl Service for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn start(&mut self) -> anyhow::Result<()> {
        Ok(self.restart()?)
    }

    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn stop(&mut self) -> io::Result<()> {
        Self::stop(self).map(drop)
    }

    fn log_tail(&self) -> String {
        self.guarded().log_tail()
    }
}

impl Service for RabbitMq {
    fn name(&self) -> &'static str {
        "RabbitMQ"
    }

    fn start(&mut self) -> anyhow::Result<()> {
        Ok(self.restart()?)
    }

    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.try_wait()
    }

    fn stop(&mut self) -> io::Result<()> {
        Self::stop(self).map(drop)
    }

    fn log_tail(&self) -> String {
        self.guarded().log_tail()
    }
}

/// Whether a service is to go on.
#[derive(Debug, Clone, Default)]
pub(super) struct StopOrder(Arc<(Mutex<bool>, Condvar)>);

impl StopOrder {
    fn give(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Waits for the order, at most so long; says whether it was given.
    fn given_within(&self, at_most: Duration) -> bool {
        let given = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (given, _) = self
            .0
            .1
            .wait_timeout_while(given, at_most, |given| !*given)
            .unwrap_or_else(PoisonError::into_inner);
        *given
    }
}

/// A service and the thread that keeps it running.
pub(super) struct Supervised {
    order: StopOrder,
    thread: JoinHandle<()>,
}

impl Supervised {
    /// Starts a service, and keeps it running.
    pub(super) fn start(mut service: Box<dyn Service>, order: StopOrder) -> anyhow::Result<Self> {
        service.start()?;
        Ok(Self::running(service, order))
    }

    /// Keeps a service running that was started already.
    pub(super) fn running(service: Box<dyn Service>, order: StopOrder) -> Self {
        let for_thread = order.clone();
        Self { order, thread: std::thread::spawn(move || keep_running(service, &for_thread)) }
    }
}

/// Ends services, all at the same time, and waits for them.
pub(super) fn stop_all(services: Vec<Supervised>) {
    for service in &services {
        service.order.give();
    }
    for service in services {
        if service.thread.join().is_err() {
            eprintln!("a supervising thread panicked; its guard ends the process");
        }
    }
}

fn keep_running(mut service: Box<dyn Service>, order: &StopOrder) {
    let mut pause = FIRST_PAUSE;
    let mut started = Instant::now();
    loop {
        if order.given_within(LOOK_EVERY) {
            if let Err(error) = service.stop() {
                eprintln!("stopping {}: {error}", service.name());
            }
            return;
        }
        let how = match service.ended() {
            Ok(None) => continue,
            Ok(Some(status)) => format!("ended ({status})"),
            Err(error) => format!("cannot be watched ({error})"),
        };
        if started.elapsed() > RECOVERED_AFTER {
            pause = FIRST_PAUSE;
        }
        eprintln!(
            "{} {how}; it is started again in {} ms\n{}",
            service.name(),
            pause.as_millis(),
            service.log_tail()
        );
        while !order.given_within(pause) {
            pause = (pause * 2).min(LONGEST_PAUSE);
            started = Instant::now();
            match service.start() {
                Ok(()) => break,
                Err(error) => {
                    eprintln!("starting {}: {error:#}; tried again in {} s", service.name(), pause.as_secs());
                }
            }
        }
    }
}
