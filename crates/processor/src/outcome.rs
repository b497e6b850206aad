//! What becomes of a crash that could not be processed: the one place that decides it.
//!
//! | failure | verdict | why |
//! |---|---|---|
//! | the processor is stopping | give back | another processor takes it at once |
//! | the raw crash is not in the store, and has a fact | acknowledge | it is done, and was erased or has expired since |
//! | the raw crash is not in the store | dead letter | it was durable before its id was published, so it was erased or is lost |
//! | the frame in the store is damaged | dead letter | it will be damaged again; `crashmill store check` says what is left |
//! | a later release wrote it | retry | a processor of that release may take it |
//! | a worker died or overran its deadline | retry, then save without the walk | it may have been the machine, not the dump |
//! | the database refuses the fact | dead letter | it will refuse it again |
//! | processors keep dying with it | dead letter | it is the crash |
//! | store or database do not answer, or no worker can be had | wait, then give back | attempts are for crashes, not for outages |

use stackwalk::WalkFailure;

use crate::patience::{Ended, chain};

/// How often a crash may come back without a verdict before it is taken to kill its processors.
///
/// Every stop of a processor and every long outage sends back what it held, so a few are nothing.
const MOST_RETURNS: u64 = 15;

/// Why a crash could not be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The processor was asked to stop before the crash was done, or waited in vain for what it depends on.
    #[error("the processor is stopping, or something that it depends on is down")]
    Stopping,
    /// The store has no such raw crash.
    #[error("the crash store has no raw crash of this id")]
    NotInStore,
    /// The raw crash could not be read, or the processed one not be written.
    #[error("the crash store")]
    Store(#[source] crashstore::Error),
    /// A worker could not finish a dump.
    #[error("walking the stacks of a dump")]
    Walk(#[source] WalkFailure),
    /// The database refused the fact.
    #[error("saving the fact: {0}")]
    Refused(String),
    /// The crash came back without a verdict again and again.
    #[error("the crash came back {returns} times without a verdict: it may make its processors die")]
    TooManyReturns {
        /// How often, as far as the broker counts.
        returns: u64,
    },
}

impl Failure {
    /// Whether a crash has come back too often.
    pub(crate) fn by_returns(returns: u64) -> Option<Self> {
        (returns > MOST_RETURNS).then_some(Self::TooManyReturns { returns })
    }
}

/// Whether a failure of the store passes by itself, or is this crash's own.
pub(crate) fn store_may_recover(error: &crashstore::Error) -> bool {
    use crashstore::Error as E;
    match error {
        E::NoSpace { .. }
        | E::Io { .. }
        | E::ObjectStore { .. }
        | E::SpoolFull { .. }
        | E::UntrustedFolder { .. }
        | E::Closed { .. }
        | E::TimedOut { .. } => true,
        E::Damaged { .. }
        | E::Newer { .. }
        | E::TooLarge { .. }
        | E::Unwritable { .. }
        | E::InvalidName { .. }
        | E::NameTaken { .. }
        | E::Address { .. }
        | E::CompressionLevel { .. } => false,
    }
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
            Self::Walk(_) | Self::Store(crashstore::Error::Newer { .. }) => Verdict::Retry,
            Self::NotInStore | Self::Store(_) | Self::Refused(_) | Self::TooManyReturns { .. } => {
                Verdict::DeadLetter
            }
        }
    }

    /// The stage that failed, as `crash_attempt` and `dead_letter` name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Stopping => "stop",
            Self::NotInStore | Self::Store(_) => "store",
            Self::Walk(_) => "stackwalk",
            Self::Refused(_) => "facts",
            Self::TooManyReturns { .. } => "process",
        }
    }

    /// The reason in one word, by which dead letters are grouped.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::NotInStore => "not_in_store",
            Self::Store(crashstore::Error::Newer { .. }) => "later_format",
            Self::Store(crashstore::Error::Damaged { .. }) => "damaged",
            Self::Store(_) => "store_refused",
            Self::Walk(WalkFailure::TimedOut { .. }) => "walk_timed_out",
            Self::Walk(WalkFailure::WorkerDied { .. }) => "worker_died",
            Self::Walk(WalkFailure::CouldNotStart(_)) => "no_worker",
            Self::Refused(_) => "fact_refused",
            Self::TooManyReturns { .. } => "too_many_returns",
        }
    }

    /// The failure and its causes, for people.
    pub(crate) fn detail(&self) -> String {
        chain(self)
    }
}

impl From<Ended<crashstore::Error>> for Failure {
    fn from(ended: Ended<crashstore::Error>) -> Self {
        match ended {
            Ended::InVain => Self::Stopping,
            Ended::Failed(error) => Self::Store(error),
        }
    }
}

impl From<Ended<facts::Error>> for Failure {
    fn from(ended: Ended<facts::Error>) -> Self {
        match ended {
            Ended::InVain => Self::Stopping,
            Ended::Failed(error) => Self::Refused(chain(&error)),
        }
    }
}

impl From<Ended<WalkFailure>> for Failure {
    fn from(ended: Ended<WalkFailure>) -> Self {
        match ended {
            Ended::InVain => Self::Stopping,
            Ended::Failed(failure) => Self::Walk(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_crash_that_keeps_coming_back_is_given_up_and_one_that_came_back_now_and_then_is_not() {
        assert!(Failure::by_returns(3).is_none());
        let failure = Failure::by_returns(MOST_RETURNS + 1).unwrap();
        assert_eq!((failure.verdict(), failure.reason()), (Verdict::DeadLetter, "too_many_returns"));
    }

    #[test]
    fn an_outage_of_the_store_passes_and_a_damaged_frame_does_not() {
        let timed_out =
            crashstore::Error::TimedOut { doing: "reading".to_owned(), deadline: Duration::from_secs(1) };
        let damaged =
            crashstore::Error::Damaged { segment: "raw/a".into(), offset: 0, what: "checksum".to_owned() };
        assert!(store_may_recover(&timed_out) && !store_may_recover(&damaged));
        assert_eq!(Failure::Store(damaged).verdict(), Verdict::DeadLetter);
    }

    #[test]
    fn a_walk_that_failed_is_tried_again() {
        let failure = Failure::Walk(WalkFailure::TimedOut { after: Duration::from_secs(30) });
        assert_eq!((failure.verdict(), failure.reason()), (Verdict::Retry, "walk_timed_out"));
    }
}
