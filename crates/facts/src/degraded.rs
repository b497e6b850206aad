//! Crashes that were saved without a part of them, and when they are processed again for it.
//!
//! The mark is written with the fact, in its transaction, so that there is never one without the other. When the next try is due
//! stands in the mark and not in a queue: it survives the broker, may be hours away, and is spread by chance.

use std::collections::BTreeSet;

use crash::{CrashId, ProcessedCrash, SymbolStatus, WalkStatus};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{CrashFact, Error, Facts, clean, statement::Param, write::Written};

pub(crate) const MARK_DEGRADED: &str = include_str!("sql/mark_degraded.sql");
pub(crate) const CLEAR_DEGRADED: &str = include_str!("sql/clear_degraded.sql");

const DEGRADED: &str = "
SELECT crash_id, part, since, at, tries, next_try, detail FROM crash_degraded
WHERE crash_day = $1 AND crash_id = $2 ORDER BY part";

const DUE: &str = "
SELECT crash_id, part, since, at, tries, next_try, detail FROM crash_degraded
WHERE next_try <= $1 ORDER BY next_try LIMIT $2";

// Of the try that was read alone: another scheduler may have been quicker.
const TRIED: &str = "
UPDATE crash_degraded SET tries = tries + $5, next_try = $4
WHERE crash_day = $1 AND crash_id = $2 AND next_try = $3 RETURNING crash_id";

/// The most of a failure's text that is kept.
const DETAIL_BYTES: usize = 2048;

/// A part of a crash that its fact lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Symbols that a source could not give just then.
    Symbols,
    /// The stacks of a dump that no worker could walk.
    Stacks,
}

impl Part {
    /// The word in columns and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::Stacks => "stacks",
        }
    }
}

/// What a crash is saved without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacks {
    /// Which part.
    pub part: Part,
    /// Why, for people.
    pub detail: String,
    /// When it is to be tried again first; never by itself without. A mark that is there already keeps its own.
    pub next_try: Option<Timestamp>,
}

/// The most names that a text lists.
const MOST_NAMED: usize = 5;

impl Lacks {
    /// What a processed crash says itself that it is without. When that is tried again first is not said there.
    #[must_use]
    pub fn of(processed: &ProcessedCrash) -> Vec<Self> {
        let lacks = |part| move |detail| Self { part, detail, next_try: None };
        let symbols = without_symbols(processed).map(lacks(Part::Symbols));
        let stacks = without_stacks(processed).map(lacks(Part::Stacks));
        symbols.into_iter().chain(stacks).collect()
    }
}

fn without_symbols(processed: &ProcessedCrash) -> Option<String> {
    let modules = processed.dumps.iter().flat_map(|dump| &dump.stackwalk.modules);
    let names: BTreeSet<&str> = modules
        .filter(|module| module.symbols == SymbolStatus::Unavailable)
        .map(|module| module.debug_file.as_str())
        .collect();
    (!names.is_empty()).then(|| format!("a source of symbols did not answer for {}", listed(&names)))
}

fn without_stacks(processed: &ProcessedCrash) -> Option<String> {
    let failed = |status| matches!(status, WalkStatus::TimedOut | WalkStatus::WorkerDied);
    let dumps = processed.dumps.iter().filter(|dump| failed(dump.stackwalk.status));
    let names: BTreeSet<&str> = dumps.map(|dump| dump.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("no worker could walk {}", listed(&names)))
}

fn listed(names: &BTreeSet<&str>) -> String {
    let mut text = names.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > MOST_NAMED {
        text.push_str(&format!(" and {} more", names.len() - MOST_NAMED));
    }
    text
}

/// The mark of a crash that was saved without a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Degraded {
    /// The crash.
    #[serde(skip)]
    pub crash_id: CrashId,
    /// Which part.
    pub part: Part,
    /// When it was first saved like that.
    pub since: Timestamp,
    /// When it was last saved like that.
    pub at: Timestamp,
    /// How often it was published for reprocessing.
    pub tries: u16,
    /// When that is done next; it is left to people without.
    pub next_try: Option<Timestamp>,
    /// Why, for people.
    pub detail: Option<String>,
}

impl Facts {
    /// What a crash was saved without; nothing when it lacks nothing, or has no fact.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn degraded(&self, crash_id: CrashId) -> Result<Vec<Degraded>, Error> {
        let key: [Param<'_>; 2] = [(&crash_id.day(), Type::DATE), (&crash_id.uuid(), Type::UUID)];
        let rows = self.ask("reading what a crash lacks", DEGRADED, &key).await?;
        Ok(rows.iter().filter_map(degraded).collect())
    }

    /// Marks whose next try is due, the longest due first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn degraded_due(&self, now: Timestamp, limit: u32) -> Result<Vec<Degraded>, Error> {
        let limit = i64::from(limit);
        let params: [Param<'_>; 2] = [(&now, Type::TIMESTAMPTZ), (&limit, Type::INT8)];
        let rows = self.ask("asking which crashes are due for another try", DUE, &params).await?;
        Ok(rows.iter().filter_map(degraded).collect())
    }

    /// Sets when the next try is, after a mark that was due was published, or given up (`published` false).
    ///
    /// All marks of a crash that were due at the same time move together.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn degraded_tried(
        &self,
        due: &Degraded,
        next_try: Option<Timestamp>,
        published: bool,
    ) -> Result<bool, Error> {
        let (day, uuid): (Date, Uuid) = (due.crash_id.day(), due.crash_id.uuid());
        let tries = i16::from(published);
        let params: [Param<'_>; 5] = [
            (&day, Type::DATE),
            (&uuid, Type::UUID),
            (&due.next_try, Type::TIMESTAMPTZ),
            (&next_try, Type::TIMESTAMPTZ),
            (&tries, Type::INT2),
        ];
        Ok(!self.ask("noting another try", TRIED, &params).await?.is_empty())
    }
}

/// The arrays of [`MARK_DEGRADED`]: what the crashes lack that were written.
pub(crate) fn lacking<'a>(
    facts: &'a [&CrashFact],
    written: &'a Written,
) -> impl Iterator<Item = (&'a CrashFact, &'a Lacks)> {
    let written = facts.iter().copied().filter(|fact| written.has(fact.crash_id));
    written.flat_map(|fact| fact.lacks.iter().map(move |lacks| (fact, lacks)))
}

/// The text of a mark, as its column takes it.
pub(crate) fn detail(lacks: &Lacks) -> String {
    clean::beginning(&lacks.detail, DETAIL_BYTES)
}

fn degraded(row: &Row) -> Option<Degraded> {
    Some(Degraded {
        crash_id: CrashId::from_uuid(row.get(0)).ok()?,
        part: if row.get::<_, &str>(1) == "symbols" { Part::Symbols } else { Part::Stacks },
        since: row.get(2),
        at: row.get(3),
        tries: row.get::<_, i16>(4).unsigned_abs(),
        next_try: row.get(5),
        detail: row.get(6),
    })
}
