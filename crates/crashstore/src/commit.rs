//! The writer's thread: group commit.
//!
//! It takes everything that waits, writes it, syncs once a segment, and answers all. There is no delay in it: while
//! one batch is being synced the next one gathers, so that an idle writer answers at once and a busy one shares
//! each sync between many crashes.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use crash::Place;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    Area, Error,
    appender::{Appender, Frame},
    layout::Slot,
    space::Claim,
};

/// A batch is written once it has so many bytes, whatever else waits.
const BATCH_BYTES: u64 = 64 << 20;
/// How often a writer looks for segments to close.
const IDLE_CHECK: Duration = Duration::from_secs(60);

/// One crash to be saved.
pub(crate) struct Job {
    pub(crate) area: Area,
    /// Durable before `frame` is written.
    pub(crate) private: Option<Frame>,
    pub(crate) frame: Frame,
    pub(crate) reply: oneshot::Sender<Result<Place, Error>>,
    /// Its part of the bounded queue.
    pub(crate) _room: [OwnedSemaphorePermit; 2],
    /// Its part of what the disk has left.
    pub(crate) _space: Claim,
}

impl Job {
    fn bytes(&self) -> u64 {
        let private = self.private.as_ref().map_or(0, |frame| frame.encoded.len());
        u64::from(self.frame.encoded.len()) + u64::from(private)
    }
}

/// What the thread is asked to do.
pub(crate) enum Order {
    Save(Box<Job>),
    /// Close everything in order, then say so and end.
    Close(oneshot::Sender<()>),
}

/// The life of the thread: until it is told to close, or every handle of the writer is gone.
pub(crate) fn run(orders: &Receiver<Order>, mut appender: Appender) {
    let mut tidied = Instant::now();
    loop {
        if tidied.elapsed() >= IDLE_CHECK {
            appender.close_idle();
            tidied = Instant::now();
        }
        let mut closing = None;
        let mut batch = Vec::new();
        match orders.recv_timeout(IDLE_CHECK) {
            Ok(Order::Save(job)) => batch.push(*job),
            Ok(Order::Close(done)) => closing = Some(done),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return appender.close(),
        }
        let mut bytes = batch.iter().map(Job::bytes).sum::<u64>();
        while bytes < BATCH_BYTES && closing.is_none() {
            match orders.try_recv() {
                Ok(Order::Save(job)) => {
                    bytes += job.bytes();
                    batch.push(*job);
                }
                Ok(Order::Close(done)) => closing = Some(done),
                Err(_) => break,
            }
        }

        commit(&mut appender, batch);
        if let Some(done) = closing {
            appender.close();
            // Whoever asked may have stopped waiting.
            let _told = done.send(());
            return;
        }
    }
}

/// Saves a batch: the private frames of all its crashes first, then the frames that say that these are whole.
fn commit(appender: &mut Appender, batch: Vec<Job>) {
    let mut first: BTreeMap<Slot, Vec<Job>> = BTreeMap::new();
    let mut then: BTreeMap<Slot, Vec<Job>> = BTreeMap::new();
    for job in batch {
        let minute = job.frame.id.minute();
        if job.private.is_some() {
            first.entry((Area::Private, minute)).or_default().push(job);
        } else {
            then.entry((job.area, minute)).or_default().push(job);
        }
    }
    for (slot, mut jobs) in first {
        let mut frames: Vec<&mut Frame> = jobs.iter_mut().filter_map(|job| job.private.as_mut()).collect();
        match appender.save(slot, &mut frames) {
            Ok(_) => {
                for job in jobs {
                    then.entry((job.area, slot.1)).or_default().push(job);
                }
            }
            Err(error) => refuse(jobs, &error),
        }
    }
    for (slot, mut jobs) in then {
        let mut frames: Vec<&mut Frame> = jobs.iter_mut().map(|job| &mut job.frame).collect();
        match appender.save(slot, &mut frames) {
            Ok(places) => {
                for (job, place) in jobs.into_iter().zip(places) {
                    // A caller that has gone away finds the crash by its id.
                    let _told = job.reply.send(Ok(place));
                }
            }
            Err(error) => refuse(jobs, &error),
        }
    }
}

fn refuse(jobs: Vec<Job>, error: &Error) {
    for job in jobs {
        let _told = job.reply.send(Err(error.clone()));
    }
}
