//! What becomes of a crash that could not be processed: the one place that decides it.
//!
//! | failure | verdict | why |
//! |---|---|---|
//! | the processor is stopping | give back | another processor takes it at once |
//! | the raw crash is not in the store | dead letter | it was durable before its id was published, so it was erased or is lost |
//! | the store cannot be read or written | retry | disks come back |
//! | a worker died or overran its deadline | retry, then save without the walk | it may have been the machine, not the dump |
//! | no worker can be started | retry | it says nothing about the dump |
//! | the database refuses the fact | dead letter | it will refuse it again |
//! | the database does not answer | (none) | the saver waits for it: attempts are for crashes, not for outages |

use stackwalk::WalkFailure;

/// Why a crash could not be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The processor was asked to stop before the crash was done.
    #[error("the processor is stopping")]
    Stopping,
    /// The store has no such raw crash.
    #[error("the crash store has no raw crash of this id")]
    NotInStore,
    /// The raw crash could not be read.
    #[error("reading the raw crash")]
    Fetch(#[source] crashstore::Error),
    /// A worker could not finish a dump.
    #[error("walking the stacks of a dump")]
    Walk(#[source] WalkFailure),
    /// The processed crash could not be stored.
    #[error("storing the processed crash")]
    Save(#[source] crashstore::Error),
    /// The database refused the fact.
    #[error("saving the fact: {0}")]
    Refused(String),
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the next processor, without an attempt being spent.
    GiveBack,
    /// Later, until the attempts are spent; then to the dead letters.
    Retry,
    /// To the dead letters.
    DeadLetter,
}

impl Failure {
    /// What becomes of the message of a crash that failed like this.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Stopping => Verdict::GiveBack,
            Self::Fetch(_) | Self::Walk(_) | Self::Save(_) => Verdict::Retry,
            Self::NotInStore | Self::Refused(_) => Verdict::DeadLetter,
        }
    }

    /// The stage that failed, as `crash_attempt` and `dead_letter` name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Stopping => "stop",
            Self::NotInStore | Self::Fetch(_) => "fetch",
            Self::Walk(_) => "stackwalk",
            Self::Save(_) => "save",
            Self::Refused(_) => "facts",
        }
    }

    /// The reason in one word, by which dead letters are grouped.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NotInStore => "not_in_store",
            Self::Fetch(_) => "store_unreadable",
            Self::Walk(WalkFailure::TimedOut { .. }) => "walk_timed_out",
            Self::Walk(WalkFailure::WorkerDied { .. }) => "worker_died",
            Self::Walk(WalkFailure::CouldNotStart(_)) => "no_worker",
            Self::Save(_) => "store_unwritable",
            Self::Refused(_) => "fact_refused",
        }
    }

    /// The failure and its causes, for people.
    pub(crate) fn detail(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}
