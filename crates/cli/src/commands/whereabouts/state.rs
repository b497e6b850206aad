//! From what is known of a crash to one word for where it is, and one sentence for what comes next.

use crash::{CrashId, ThrottleDigit};
use crashstore::Area;
use facts::{Attempt, Degraded, Fleet, Letter, SweepAhead};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::Known;
use crate::{config::Config, print};

/// In one word, where a crash is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Spooled,
    Stored,
    Queued,
    Retrying,
    Processed,
    Dead,
    Deferred,
    Expired,
    Erased,
    Unknown,
}

/// The state, and what can be said about it.
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) next: String,
    pub(super) uncertain: Option<&'static str>,
}

const NOT_BY_ID: &str =
    "the broker cannot be asked for one id: it is on a queue, or a processor has it in hand";
const LOST_OR_IN_HAND: &str =
    "nothing waits on the broker: a processor has it in hand, or its id never got there or was lost";
const BROKER_SILENT: &str = "the broker does not answer, so nothing is known of its queues";
const DATABASE_SILENT: &str = "the database does not answer: it may have its result, or be dead";
const STORE_SILENT: &str = "the crash store does not answer: it may not have the crash at all";
const BY_STORE: &str = "the database does not answer: the crash store has its processed crash";

impl State {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Spooled => "spooled",
            Self::Stored => "stored",
            Self::Queued => "queued",
            Self::Retrying => "retrying",
            Self::Processed => "processed",
            Self::Dead => "dead",
            Self::Deferred => "deferred",
            Self::Expired => "expired",
            Self::Erased => "erased",
            Self::Unknown => "unknown",
        }
    }

    /// The state, by what is known: results first, then what is under way.
    ///
    /// A fact goes before a dead letter: a crash that was processed once stays so, whatever became of a second try. While
    /// the database is silent, the processed crash in the store stands for its fact.
    pub(super) fn of(id: CrashId, known: &Known, config: &Config, now: Timestamp) -> Standing {
        let certain = |state, next: String| Standing { state, next, uncertain: None };
        if known.erased {
            return certain(
                Self::Erased,
                "nothing: it was erased; what is left of it is on its way out".to_owned(),
            );
        }
        if known.fact.is_some() {
            return certain(Self::Processed, after_its_fact(&known.degraded, known, now));
        }
        if known.database_is_silent && known.is_there(Area::Processed) {
            let next = "nothing: it is done".to_owned();
            return Standing { uncertain: Some(BY_STORE), ..certain(Self::Processed, next) };
        }
        let is_dead = |letter: &&Letter| letter.retried.is_none() || letter.dropped.is_some();
        if let Some(letter) = known.dead_letter.as_ref().filter(is_dead) {
            return certain(Self::Dead, of_the_dead(id, letter));
        }
        if known.spooled && known.frames(Area::Raw).next().is_none() {
            let next = format!(
                "it waits in the spool of {} for the object store, is moved when that takes it, and its id published then",
                config.daemon.node
            );
            return certain(Self::Spooled, next);
        }
        if known.store_is_silent {
            let standing = under_way(id, known, config, now);
            return Standing { uncertain: Some(STORE_SILENT), ..standing };
        }
        if known.frames(Area::Raw).next().is_none() {
            let uncertain = known.database_is_silent.then_some(DATABASE_SILENT);
            return Standing { uncertain, ..without_a_trace(id, config, now) };
        }
        if !known.is_there(Area::Raw) {
            return certain(Self::Erased, "nothing: it was erased".to_owned());
        }
        let uncertain = known.database_is_silent.then_some(DATABASE_SILENT);
        let standing = under_way(id, known, config, now);
        Standing { uncertain: standing.uncertain.or(uncertain), ..standing }
    }
}

/// Of a crash that is nowhere.
fn without_a_trace(id: CrashId, config: &Config, now: Timestamp) -> Standing {
    let (state, next) = if config.retention.is_expired(Area::Raw, id, now) {
        let kept = config.retention.raw;
        let next = format!(
            "nothing: crashes of its day have expired, they are kept for {kept}; nothing shows whether it was ever here"
        );
        (State::Expired, next)
    } else {
        (
            State::Unknown,
            "nothing: no place has a trace of it, so it was never answered, or not here".to_owned(),
        )
    };
    Standing { state, next, uncertain: None }
}

/// Of a crash that is stored and has no result.
fn under_way(id: CrashId, known: &Known, config: &Config, now: Timestamp) -> Standing {
    let standing = |state, next: String, uncertain| Standing { state, next, uncertain };
    let retried_at = known.dead_letter.as_ref().and_then(|letter| Some(letter.retried.as_ref()?.at));
    // Attempts before it was retried by hand are those of its first life.
    let attempts = known.attempts.iter().filter(|attempt| retried_at.is_none_or(|at| attempt.at > at));
    if let Some(last) = attempts.max_by_key(|attempt| attempt.at) {
        return standing(State::Retrying, another_attempt(last, known, now), None);
    }
    if id.throttle_digit() == ThrottleDigit::Defer && known.journal.is_none() {
        let next =
            "nothing: it was deferred, and is kept until somebody asks for it or it expires".to_owned();
        return standing(State::Deferred, next, None);
    }
    if let Some(journal) = &known.journal {
        let next = format!(
            "its id waits for the broker in the journal of {}, and is published when the broker takes messages",
            journal.writer
        );
        return standing(State::Stored, next, None);
    }
    let patience = config.scheduler.sweep_after;
    let since = retried_at.unwrap_or(known.received_at);
    let is_old = now.duration_since(since).unsigned_abs() >= patience.get();
    match known.waiting {
        Some(waiting) if waiting.is_empty() && is_old => {
            standing(State::Stored, by_the_sweep(known, config, now), Some(LOST_OR_IN_HAND))
        }
        Some(waiting) => standing(State::Queued, by_a_processor(waiting.work, known), Some(NOT_BY_ID)),
        None => standing(State::Queued, by_a_processor(0, known), Some(BROKER_SILENT)),
    }
}

fn after_its_fact(degraded: &[Degraded], known: &Known, now: Timestamp) -> String {
    let Some(due) =
        degraded.iter().filter(|lacks| lacks.next_try.is_some()).min_by_key(|lacks| lacks.next_try)
    else {
        return match degraded.first() {
            Some(lacks) => format!(
                "nothing by itself: it lacks its {}, and is processed again for them when somebody asks",
                lacks.part.as_str()
            ),
            None => "nothing: it is done".to_owned(),
        };
    };
    let at = due.next_try.unwrap_or(now);
    let idle = if known.running("scheduler") == 0 { ", once a scheduler runs: none does" } else { "" };
    format!("it is processed again for its {} at about {at:.0}{idle}", due.part.as_str())
}

fn of_the_dead(id: CrashId, letter: &Letter) -> String {
    match &letter.dropped {
        Some(dropped) => format!("nothing: it was given up for good by {}", dropped.by),
        None => {
            format!("nothing until somebody decides: crashmill dead retry {id}, or crashmill dead drop {id}")
        }
    }
}

fn another_attempt(last: &Attempt, known: &Known, now: Timestamp) -> String {
    let number = last.attempt.saturating_add(1);
    match last.due_at {
        Some(due) if due > now => format!("attempt {number} is due at {due:.0}"),
        Some(due) => format!(
            "attempt {number} has been due since {due:.0}: {}",
            if known.running("processor") == 0 {
                "no processor is there to make it"
            } else {
                "it waits its turn, or is being made"
            }
        ),
        None => format!("attempt {number} follows"),
    }
}

/// When the sweep finds it, or why it does not.
fn by_the_sweep(known: &Known, config: &Config, now: Timestamp) -> String {
    let scheduler = &config.scheduler;
    let kept = config.retention.facts;
    let received_on = known.received_at.to_zoned(TimeZone::UTC).date();
    if kept.first_day(now).is_some_and(|first| received_on < first) {
        return format!(
            "nothing: facts are kept for {kept} (facts in [retention]), so it needs none any more"
        );
    }
    let is_behind = known.sweep == Some(SweepAhead::Behind);
    let age = now.duration_since(known.received_at).unsigned_abs();
    // On a disk what came late is looked for in every minute.
    if is_behind && config.crashstore.url.is_some() && age > scheduler.sweep_window.get() {
        return format!(
            "nothing by itself: the sweep has left its minute behind, and looks for what came late among crashes of the \
             last {} (sweep_window in [scheduler]); crashmill store check --publish publishes its id",
            scheduler.sweep_window
        );
    }
    if known.running("scheduler") == 0 {
        return "the sweep publishes its id once a scheduler runs: none does".to_owned();
    }
    let every = if is_behind { scheduler.sweep_late_every } else { scheduler.sweep_every };
    let next = now.checked_add(every.get()).unwrap_or(now);
    let at = match known.sweep {
        Some(SweepAhead::Listed(due_at)) => next.max(due_at),
        _ => next,
    };
    format!("if no processor has it, the sweep publishes its id at about {at:.0}")
}

fn by_a_processor(waiting: u32, known: &Known) -> String {
    let processors = known.running("processor");
    let queues = crash::QueueName::ALL.map(crash::QueueName::as_str);
    let done_per_s = Fleet::at_all(&known.reports, queues).done_per_s;
    match (processors, waiting) {
        (0, _) if known.database_is_silent => "a processor takes it from its queue".to_owned(),
        (0, _) => "it waits for a processor: none is there".to_owned(),
        (_, 0) => "a processor takes it at once, or has it in hand".to_owned(),
        (_, waiting) if done_per_s > 0.0 => {
            let seconds = f64::from(waiting) / done_per_s;
            format!("a processor takes it within about {}: {waiting} wait", print::rough(seconds))
        }
        (_, waiting) => {
            format!("it waits with others, {waiting} in all, for processors that do nothing just now")
        }
    }
}
