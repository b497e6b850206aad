//! What one dump may cost, and what it has cost so far.

use std::{
    future, pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    task::Poll,
};

use crate::Limits;

/// Questions to symbols for each frame that a dump may have. A scan for return addresses asks many for one frame.
const LOOKUPS_PER_FRAME: usize = 10;

/// Counts frames and questions to symbols, and ends the walk of a thread that has used up its share.
///
/// The unwinder has no limits of its own and cannot be stopped from outside. But it asks for symbols at each step, and
/// it asks by `async` calls: one that is never answered suspends the walk for good, and then it is dropped. Steps
/// along frame pointers through memory of no module ask nothing; these are bounded by the stack memory that the
/// unwinder gets to see.
#[derive(Debug)]
pub(crate) struct Budget {
    per_thread: usize,
    frames: AtomicUsize,
    lookups: AtomicUsize,
    /// Frames that the thread being walked may still have.
    here: AtomicUsize,
    stopped: AtomicBool,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            per_thread: limits.max_frames_per_thread,
            frames: AtomicUsize::new(limits.max_frames_total),
            lookups: AtomicUsize::new(limits.max_frames_total.saturating_mul(LOOKUPS_PER_FRAME)),
            here: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Frames that the next thread may have.
    pub(crate) fn share(&self) -> usize {
        if self.lookups.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.per_thread.min(self.frames.load(Ordering::Relaxed))
    }

    /// Runs the walk of one thread, up to one frame more than its share, which tells a stack that is longer from one
    /// that just fits; true if the walk ended by itself.
    pub(crate) async fn spend(&self, walk: impl Future<Output = ()>) -> bool {
        self.here.store(self.share().saturating_add(1), Ordering::Relaxed);
        self.stopped.store(false, Ordering::Relaxed);
        let mut walk = pin::pin!(walk);
        future::poll_fn(|context| match walk.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending if self.stopped.load(Ordering::Relaxed) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Counts a frame of the thread being walked.
    pub(crate) fn frame(&self) {
        take_one(&self.here);
    }

    /// Takes the frames that a thread keeps from what is left for the others.
    pub(crate) fn keep(&self, frames: usize) {
        let left = self.frames.load(Ordering::Relaxed);
        self.frames.store(left.saturating_sub(frames), Ordering::Relaxed);
    }

    /// To be awaited before the caller of a frame is looked for: returns only where the thread may have one more frame.
    pub(crate) async fn another_frame(&self) {
        if self.here.load(Ordering::Relaxed) == 0 {
            self.stop().await;
        }
    }

    /// To be awaited before symbols are asked: returns only where another question is allowed.
    pub(crate) async fn another_lookup(&self) {
        if !take_one(&self.lookups) {
            self.stop().await;
        }
    }

    async fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        future::pending::<()>().await;
    }
}

/// Counts down; false if there was nothing left.
fn take_one(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}
