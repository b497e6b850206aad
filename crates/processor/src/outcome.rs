//! What becomes of a crash that could not be processed, or not in full: the one place that decides it.
//!
//! | stage | failure | outcome | why |
//! |---|---|---|---|
//! | any | the processor is stopping | given back | another processor takes it at once |
//! | any | store or database do not answer, or no worker can be had | wait; after ten minutes put off | attempts are for crashes, not for outages |
//! | any | processors keep dying with it | dead letter | it is the crash |
//! | store, facts | the crash is erased, or is to be | erased again, acknowledged | what this processor saved of it came too late to be found |
//! | store | the raw crash is not there, and has a fact | acknowledged | it is done, and has expired since |
//! | store | the raw crash is not there | dead letter | it was durable before its id was published, so it has expired or is lost |
//! | store | its frame is damaged | dead letter | it will be damaged again; `crashmill store check` says what is left |
//! | store | a later release wrote it | retry | a processor of that release may take it |
//! | store | the processed crash will never be taken | dead letter | it will be refused again |
//! | stackwalk | a worker died or overran its deadline | retry; when that was the last attempt for a dump, degrade: saved without its stacks | it may have been the machine, not the dump |
//! | stackwalk | a dump is none, or over the limits | saved with a status | trying again gives the same |
//! | stackwalk | no source has the symbols | saved without them | that is a result; `missing_symbols` lists them |
//! | stackwalk | a source of symbols does not answer | degrade: saved without them, and processed again later | it is down, and nothing is known of the symbols |
//! | rules | a rule fails | saved, with a note | the next rule runs |
//! | facts | the database refuses the fact | dead letter | it will refuse it again |
//! | verdict | the broker does not confirm a retry or a dead letter | tried again; after ten minutes, or without its connection, given back | whether it arrived is unknown; twice does no harm |
//! | record | the row of a failed attempt cannot be written | the crash goes its way | it only tells people why |
//!
//! *Retry* is as often as `queue.max_attempts` says, after growing delays of which chance takes one of two; then a dead
//! letter. *Degrade* leaves a row in `crash_degraded` with the fact, and a note; the scheduler publishes its id to
//! `reprocessing` when it is due, as often as `queue.degraded_delays` says. *Put off* is a retry that is not counted.
//!
//! A timeout says nothing of what was done. Each step can be done twice: frames in the store and rows in the database
//! are one a crash whatever comes twice, and of two messages with one id both lead to the same rows.

use crash::{ProcessedCrash, ProcessorNote};
use facts::{Lacks, Part};
use jiff::Timestamp;
use stackwalk::WalkFailure;

use crate::patience::{Ended, chain};

/// How often a crash may come back without a verdict before it is taken to kill its processors.
///
/// Every stop of a processor and every long outage sends back what it held, so a few are nothing.
const MOST_RETURNS: u64 = 15;

/// Why a crash could not be processed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The processor was asked to stop before the crash was done.
    #[error("the processor is stopping")]
    Stopping,
    /// What it takes was down for too long.
    #[error("{what} is down")]
    Outage {
        /// What is down.
        what: &'static str,
    },
    /// The store has no such raw crash.
    #[error("the crash store has no raw crash of this id")]
    NotInStore,
    /// The crash was erased while this processor had it.
    #[error("the crash is erased")]
    Erased,
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
        | E::NoRoomFor { .. }
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
        | E::Spool { .. }
        | E::CompressionLevel { .. } => false,
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// To the next processor, without an attempt being spent.
    GiveBack,
    /// Later, without an attempt being spent.
    PutOff,
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
            Self::Outage { .. } => Verdict::PutOff,
            Self::Walk(_) | Self::Store(crashstore::Error::Newer { .. }) => Verdict::Retry,
            // It is disposed of where it is found: what is left of it has to go first.
            Self::Erased => Verdict::GiveBack,
            Self::NotInStore | Self::Store(_) | Self::Refused(_) | Self::TooManyReturns { .. } => {
                Verdict::DeadLetter
            }
        }
    }

    /// The stage that failed, as `crash_attempt` and `dead_letter` name it.
    pub(crate) fn stage(&self) -> &'static str {
        match self {
            Self::Stopping => "stop",
            Self::Outage { .. } => "wait",
            Self::Erased => "erase",
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
            Self::Outage { .. } => "outage",
            Self::Erased => "erased",
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

/// What a crash is saved without, and when it is processed again for it: symbols after the first of the delays, of which
/// chance, in [0, 1), adds or takes a quarter; stacks only when somebody asks for it.
pub(crate) fn lacks(processed: &ProcessedCrash, delays: &[settings::Duration], chance: f64) -> Vec<Lacks> {
    let mut lacks = Lacks::of(processed);
    for symbols in lacks.iter_mut().filter(|lacks| lacks.part == Part::Symbols) {
        symbols.next_try = delays.first().map(|delay| later(processed.completed_at, *delay, chance));
    }
    lacks
}

fn later(at: Timestamp, delay: settings::Duration, chance: f64) -> Timestamp {
    at.checked_add(delay.get().mul_f64(0.75 + chance / 2.0)).unwrap_or(at)
}

/// What the processor wants people to know of a crash that lacks something.
pub(crate) fn note(lacks: &Lacks) -> ProcessorNote {
    let what_next = match (lacks.part, lacks.next_try) {
        // How often it was tried before is in its mark, which is not read here.
        (Part::Symbols, Some(_)) => {
            "; the crash is processed again for them while tries are left, `crashmill where` says when"
        }
        (Part::Symbols, None) => "; reprocess the crash for them",
        (Part::Stacks, _) => "; saved without these stacks",
    };
    ProcessorNote { source: "degraded".to_owned(), text: format!("{}{what_next}", lacks.detail) }
}

impl From<Ended<crashstore::Error>> for Failure {
    fn from(ended: Ended<crashstore::Error>) -> Self {
        match ended {
            Ended::Stopping => Self::Stopping,
            Ended::InVain { what } => Self::Outage { what },
            Ended::Failed(error) => Self::Store(error),
        }
    }
}

impl From<Ended<facts::Error>> for Failure {
    fn from(ended: Ended<facts::Error>) -> Self {
        match ended {
            Ended::Stopping => Self::Stopping,
            Ended::InVain { what } => Self::Outage { what },
            Ended::Failed(error) => Self::Refused(chain(&error)),
        }
    }
}

impl From<Ended<WalkFailure>> for Failure {
    fn from(ended: Ended<WalkFailure>) -> Self {
        match ended {
            Ended::Stopping => Self::Stopping,
            Ended::InVain { what } => Self::Outage { what },
            Ended::Failed(failure) => Self::Walk(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crash::{SymbolStatus, WalkStatus};

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
    fn an_outage_costs_no_attempt_and_no_return_and_a_stop_none_either() {
        let outage = Failure::from(Ended::<facts::Error>::InVain { what: "postgresql" });
        assert_eq!((outage.verdict(), outage.detail().as_str()), (Verdict::PutOff, "postgresql is down"));
        let stopping = Failure::from(Ended::<crashstore::Error>::Stopping);
        assert_eq!(stopping.verdict(), Verdict::GiveBack);
    }

    #[test]
    fn what_a_release_does_not_know_is_tried_again_and_what_is_refused_is_not() {
        let newer = crashstore::Error::Newer { segment: "raw/a".into(), offset: 0, format: 9 };
        assert_eq!(
            (Failure::Store(newer).verdict(), Failure::NotInStore.verdict()),
            (Verdict::Retry, Verdict::DeadLetter)
        );
        let refused = Failure::Refused("an index row".to_owned());
        assert_eq!((refused.verdict(), refused.stage()), (Verdict::DeadLetter, "facts"));
    }

    fn processed(statuses: &[(&str, WalkStatus, SymbolStatus)]) -> ProcessedCrash {
        let at = "2026-11-23T12:00:00Z";
        let mut processed: ProcessedCrash = serde_json::from_value(serde_json::json!({
            "format": 1, "crash_id": "0a8c02a3-5c1f-4c0e-9d5a-2f1b60261123", "submitted_at": at, "started_at": at,
            "completed_at": at, "attempt": 1, "node": "node-1", "ruleset": "", "success": true, "throttle": "accept",
            "sample_rate": 1.0,
        }))
        .unwrap();
        processed.dumps = statuses
            .iter()
            .map(|(name, status, symbols)| {
                let debug_file = format!("{name}.so");
                let module = crash::Module { debug_file, symbols: *symbols, ..crash::Module::default() };
                let stackwalk =
                    crash::Stackwalk { modules: vec![module], ..crash::Stackwalk::failed(*status, "") };
                crash::ProcessedDump { name: (*name).to_owned(), bytes: 1, sha256: String::new(), stackwalk }
            })
            .collect();
        processed
    }

    #[test]
    fn symbols_that_no_source_has_are_a_result_and_a_source_that_is_down_degrades_the_crash() {
        let delays = [settings::Duration::from_secs(600), settings::Duration::from_secs(3600)];
        let missing = processed(&[("a", WalkStatus::Ok, SymbolStatus::Missing)]);
        assert_eq!(lacks(&missing, &delays, 0.5), []);

        let down = processed(&[
            ("a", WalkStatus::Ok, SymbolStatus::Unavailable),
            ("b", WalkStatus::Ok, SymbolStatus::Loaded),
        ]);
        let found = lacks(&down, &delays, 0.5);
        let at = "2026-11-23T12:10:00Z".parse().unwrap();
        assert_eq!((found.len(), found[0].part, found[0].next_try), (1, Part::Symbols, Some(at)));
        assert!(note(&found[0]).text.contains("for a.so; the crash is processed again for them while tries"));
        assert_eq!(lacks(&down, &delays, 0.0)[0].next_try, Some("2026-11-23T12:07:30Z".parse().unwrap()));
        assert_eq!(lacks(&down, &[], 0.0)[0].next_try, None);
    }

    #[test]
    fn a_dump_that_no_worker_could_walk_is_left_to_people() {
        let failed = processed(&[
            ("main", WalkStatus::TimedOut, SymbolStatus::NotNeeded),
            ("browser", WalkStatus::BadMinidump, SymbolStatus::NotNeeded),
        ]);
        let found = lacks(&failed, &[settings::Duration::from_secs(600)], 0.0);
        assert_eq!((found.len(), found[0].part, found[0].next_try), (1, Part::Stacks, None));
        assert_eq!(found[0].detail, "no worker could walk main");
    }

    #[test]
    fn a_walk_that_failed_is_tried_again() {
        let failure = Failure::Walk(WalkFailure::TimedOut { after: Duration::from_secs(30) });
        assert_eq!((failure.verdict(), failure.reason()), (Verdict::Retry, "walk_timed_out"));
    }
}
