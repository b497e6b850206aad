//! The statements that write a batch: columns of arrays in, what was written out.

use std::collections::{BTreeMap, BTreeSet};

use crash::CrashId;
use jiff::{Timestamp, civil::Date};
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::{
    CrashFact, Error,
    degraded::{self, CLEAR_DEGRADED, MARK_DEGRADED, lacking},
    dimensions::Numbers,
    erasure::erased_of,
    statement::{On, Param},
};

const WRITE_CRASHES: &str = include_str!("sql/write_crashes.sql");
const FORGET_DUMPS: &str = include_str!("sql/forget_dumps.sql");
const WRITE_DUMPS: &str = include_str!("sql/write_dumps.sql");
const CLEAR_DEAD_LETTERS: &str = include_str!("sql/clear_dead_letters.sql");
const MARK_DIRTY: &str = include_str!("sql/mark_dirty.sql");
const WIDEN_SEEN: &str = include_str!("sql/widen_seen.sql");
const WIDEN_FIRST: &str = include_str!("sql/widen_first.sql");

/// The arrays of a statement, in the order of its parameters.
#[derive(Default)]
struct Columns(Vec<(Box<dyn ToSql + Sync + Send>, Type)>);

impl Columns {
    fn add<T>(&mut self, array: Type, values: impl Iterator<Item = T>)
    where
        Vec<T>: ToSql + Sync + Send + 'static,
    {
        self.0.push((Box::new(values.collect::<Vec<T>>()), array));
    }

    async fn write(
        &self,
        on: &On<'_>,
        doing: &'static str,
        sql: &str,
    ) -> Result<Vec<tokio_postgres::Row>, Error> {
        let params: Vec<Param<'_>> =
            self.0.iter().map(|(values, array)| (&**values as &(dyn ToSql + Sync), array.clone())).collect();
        on.query(doing, sql, &params).await
    }
}

/// What became of the crashes of a batch; one that is in no list had a newer result already.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) inserted: BTreeSet<Uuid>,
    pub(crate) updated: BTreeSet<Uuid>,
    pub(crate) erased: Vec<CrashId>,
}

impl Written {
    pub(crate) fn has(&self, crash_id: CrashId) -> bool {
        self.inserted.contains(&crash_id.uuid()) || self.updated.contains(&crash_id.uuid())
    }
}

/// Writes the crashes, but for those of which a newer result is there.
pub(crate) async fn crashes(
    on: &On<'_>,
    facts: &[&CrashFact],
    numbers: &Numbers<'_>,
) -> Result<Written, Error> {
    let each = || facts.iter().copied();
    let mut columns = Columns::default();
    columns.add(Type::DATE_ARRAY, each().map(|f| f.crash_id.day()));
    columns.add(Type::UUID_ARRAY, each().map(|f| f.crash_id.uuid()));
    columns.add(Type::TIMESTAMPTZ_ARRAY, each().map(|f| f.received_at));
    columns.add(Type::TIMESTAMPTZ_ARRAY, each().map(|f| f.client_crash_at));
    columns.add(Type::TIMESTAMPTZ_ARRAY, each().map(|f| f.started_at));
    columns.add(Type::TIMESTAMPTZ_ARRAY, each().map(|f| f.completed_at));
    columns.add(Type::INT2_ARRAY, each().map(|f| f.attempt));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.product_version(f)));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.build(f)));
    columns.add(Type::DATE_ARRAY, each().map(|f| f.build_day));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.signature(f)));
    columns.add(Type::INT2_ARRAY, each().map(|f| numbers.kind(f)));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.os(f)));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.cpu(f)));
    columns.add(Type::INT2_ARRAY, each().map(|f| f.cores));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.reason(&f.reason)));
    columns.add(Type::TEXT_ARRAY, each().map(|f| f.address.map(|address| address.0.to_string())));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.device(f)));
    columns.add(Type::INT4_ARRAY, each().map(|f| numbers.gpu(f)));
    columns.add(Type::INT4_ARRAY, each().map(|f| f.uptime_s));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.install_age_s));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.last_crash_s));
    columns.add(Type::BYTEA_ARRAY, each().map(|f| f.install_hash.clone()));
    columns.add(Type::INT2_ARRAY, each().map(|f| f.exploitability));
    columns.add(Type::BOOL_ARRAY, each().map(|f| f.is_startup));
    columns.add(Type::BOOL_ARRAY, each().map(|f| f.is_gc));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.mem_avail_virtual));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.mem_avail_physical));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.mem_total_physical));
    columns.add(Type::INT8_ARRAY, each().map(|f| f.oom_alloc));
    columns.add(Type::FLOAT8_ARRAY, each().map(|f| f.sample_rate));
    columns.add(Type::BOOL_ARRAY, each().map(|f| f.success));
    columns.add(Type::UUID_ARRAY, each().map(|f| f.duplicate_of.map(CrashId::uuid)));
    columns.add(Type::TEXT_ARRAY, each().map(|f| f.hang_id.clone()));
    columns.add(Type::TEXT_ARRAY, each().map(|f| f.proto_signature.clone()));
    columns.add(Type::INT4_ARRAY, numbers.rulesets().iter().copied());
    columns.add(Type::TEXT_ARRAY, each().map(|f| array_text(&f.notes)));
    columns.add(Type::JSONB_ARRAY, each().map(|f| Value::Object(f.attrs.clone())));

    let mut written = Written::default();
    for row in columns.write(on, "writing crashes", WRITE_CRASHES).await? {
        let (crash_id, is_new): (Uuid, bool) = (row.get(0), row.get(1));
        if is_new {
            written.inserted.insert(crash_id)
        } else {
            written.updated.insert(crash_id)
        };
    }
    let others: Vec<CrashId> = each().map(|f| f.crash_id).filter(|id| !written.has(*id)).collect();
    written.erased = erased_of(on, &others).await?;
    Ok(written)
}

/// Writes the dumps of the crashes that were written, in place of those that an earlier result had.
pub(crate) async fn dumps(
    on: &On<'_>,
    facts: &[&CrashFact],
    numbers: &Numbers<'_>,
    written: &Written,
) -> Result<(), Error> {
    let updated = || facts.iter().filter(|fact| written.updated.contains(&fact.crash_id.uuid()));
    if !written.updated.is_empty() {
        let mut columns = Columns::default();
        columns.add(Type::DATE_ARRAY, updated().map(|f| f.crash_id.day()));
        columns.add(Type::UUID_ARRAY, updated().map(|f| f.crash_id.uuid()));
        columns.write(on, "taking back the dumps of an earlier result", FORGET_DUMPS).await?;
    }

    let each = || {
        let crashes = facts.iter().copied().filter(|fact| written.has(fact.crash_id));
        crashes.flat_map(|fact| fact.dumps.iter().enumerate().map(move |(place, dump)| (fact, place, dump)))
    };
    if each().next().is_none() {
        return Ok(());
    }
    let is_main = |place: usize| place == 0;
    let mut columns = Columns::default();
    columns.add(Type::DATE_ARRAY, each().map(|(f, ..)| f.crash_id.day()));
    columns.add(Type::UUID_ARRAY, each().map(|(f, ..)| f.crash_id.uuid()));
    columns.add(Type::TEXT_ARRAY, each().map(|(.., d)| d.name.clone()));
    columns.add(Type::INT2_ARRAY, each().map(|(_, place, _)| i16::try_from(place).unwrap_or(i16::MAX)));
    columns.add(Type::INT8_ARRAY, each().map(|(.., d)| d.bytes));
    columns.add(Type::BYTEA_ARRAY, each().map(|(.., d)| d.sha256.clone()));
    columns.add(Type::TEXT_ARRAY, each().map(|(.., d)| d.walk_status.as_str()));
    // What is known of the crash is known of its main dump; the others have no kind and no signature of their own yet.
    columns.add(Type::INT2_ARRAY, each().map(|(f, place, _)| is_main(place).then(|| numbers.kind(f))));
    columns.add(Type::INT4_ARRAY, each().map(|(f, place, _)| is_main(place).then(|| numbers.signature(f))));
    columns.add(
        Type::INT4_ARRAY,
        each().map(|(.., d)| d.reason.as_deref().map(|reason| numbers.reason(reason))),
    );
    columns.add(Type::INT4_ARRAY, each().map(|(.., d)| d.crashing_thread));
    columns.add(Type::INT2_ARRAY, each().map(|(.., d)| d.exploitability));
    columns.add(Type::TEXT_ARRAY, each().map(|(.., d)| array_text(&numbers.modules(d))));
    columns.write(on, "writing dumps", WRITE_DUMPS).await?;
    Ok(())
}

/// Takes the dead letters of the crashes away: they were processed after all.
pub(crate) async fn no_longer_dead(
    on: &On<'_>,
    facts: &[&CrashFact],
    written: &Written,
) -> Result<(), Error> {
    let each = || facts.iter().filter(|fact| written.has(fact.crash_id));
    let mut columns = Columns::default();
    columns.add(Type::DATE_ARRAY, each().map(|f| f.crash_id.day()));
    columns.add(Type::UUID_ARRAY, each().map(|f| f.crash_id.uuid()));
    columns.write(on, "taking dead letters away", CLEAR_DEAD_LETTERS).await?;
    Ok(())
}

/// Marks what the crashes were saved without, and takes the marks away of what they lack no more.
pub(crate) async fn degraded(on: &On<'_>, facts: &[&CrashFact], written: &Written) -> Result<(), Error> {
    let lacking = || lacking(facts, written);
    // A crash that is new can have no mark.
    if !written.updated.is_empty() {
        let updated = || facts.iter().filter(|fact| written.updated.contains(&fact.crash_id.uuid()));
        let mut columns = Columns::default();
        columns.add(Type::DATE_ARRAY, updated().map(|f| f.crash_id.day()));
        columns.add(Type::UUID_ARRAY, updated().map(|f| f.crash_id.uuid()));
        columns.add(Type::UUID_ARRAY, lacking().map(|(f, _)| f.crash_id.uuid()));
        columns.add(Type::TEXT_ARRAY, lacking().map(|(_, lacks)| lacks.part.as_str()));
        columns.write(on, "taking marks away of what crashes lacked", CLEAR_DEGRADED).await?;
    }
    if lacking().next().is_some() {
        let mut columns = Columns::default();
        columns.add(Type::DATE_ARRAY, lacking().map(|(f, _)| f.crash_id.day()));
        columns.add(Type::UUID_ARRAY, lacking().map(|(f, _)| f.crash_id.uuid()));
        columns.add(Type::TEXT_ARRAY, lacking().map(|(_, lacks)| lacks.part.as_str()));
        columns.add(Type::TIMESTAMPTZ_ARRAY, lacking().map(|(f, _)| f.completed_at));
        columns.add(Type::TIMESTAMPTZ_ARRAY, lacking().map(|(_, lacks)| lacks.next_try));
        columns.add(Type::TEXT_ARRAY, lacking().map(|(_, lacks)| degraded::detail(lacks)));
        columns.write(on, "marking what crashes lack", MARK_DEGRADED).await?;
    }
    Ok(())
}

/// Widens from when to when signatures were seen, by the crashes that were written.
pub(crate) async fn seen(
    on: &On<'_>,
    facts: &[&CrashFact],
    numbers: &Numbers<'_>,
    written: &Written,
) -> Result<(), Error> {
    let mut spans = BTreeMap::<(i32, i32), (Timestamp, Timestamp)>::new();
    let mut firsts = BTreeMap::<i32, &CrashFact>::new();
    for fact in facts.iter().filter(|fact| written.has(fact.crash_id)) {
        let (at, signature) = (fact.received_at, numbers.signature(fact));
        let span = spans.entry((signature, numbers.product_version(fact))).or_insert((at, at));
        *span = (span.0.min(at), span.1.max(at));
        let first = firsts.entry(signature).or_insert(fact);
        if at < first.received_at {
            *first = fact;
        }
    }
    if spans.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    columns.add(Type::INT4_ARRAY, spans.keys().map(|(signature, _)| *signature));
    columns.add(Type::INT4_ARRAY, spans.keys().map(|(_, version)| *version));
    columns.add(Type::TIMESTAMPTZ_ARRAY, spans.values().map(|(first, _)| *first));
    columns.add(Type::TIMESTAMPTZ_ARRAY, spans.values().map(|(_, last)| *last));
    columns.write(on, "writing when signatures were seen", WIDEN_SEEN).await?;

    let mut columns = Columns::default();
    columns.add(Type::INT4_ARRAY, firsts.keys().copied());
    columns.add(Type::TIMESTAMPTZ_ARRAY, firsts.values().map(|fact| fact.received_at));
    columns.add(Type::TEXT_ARRAY, firsts.values().map(|fact| fact.build.clone()));
    columns.add(Type::UUID_ARRAY, firsts.values().map(|fact| fact.crash_id.uuid()));
    columns.write(on, "writing when signatures were first seen", WIDEN_FIRST).await?;
    Ok(())
}

/// Marks the days whose rollups do not hold any more.
pub(crate) async fn marks(on: &On<'_>, facts: &[&CrashFact], written: &Written) -> Result<(), Error> {
    let marks: BTreeSet<(Date, &str)> = facts
        .iter()
        .filter(|fact| written.has(fact.crash_id))
        .map(|fact| {
            let is_new = written.inserted.contains(&fact.crash_id.uuid());
            (fact.crash_id.day(), if is_new { "saved" } else { "reprocessed" })
        })
        .collect();
    if marks.is_empty() {
        return Ok(());
    }
    let mut columns = Columns::default();
    columns.add(Type::DATE_ARRAY, marks.iter().map(|(day, _)| *day));
    columns.add(Type::TEXT_ARRAY, marks.iter().map(|(_, why)| (*why).to_owned()));
    columns.write(on, "marking days whose rollups are out of date", MARK_DIRTY).await?;
    Ok(())
}

/// An array within an array of arrays, as PostgreSQL reads it from text: `unnest` would take nested arrays apart.
fn array_text(items: &[impl ToString]) -> String {
    let mut text = String::from("{");
    for (place, item) in items.iter().enumerate() {
        text.push_str(if place == 0 { "\"" } else { ",\"" });
        for c in item.to_string().chars() {
            if matches!(c, '"' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push('"');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_as_text_keep_quotes_and_braces() {
        assert_eq!(array_text(&["a", r#"b"\c"#, "NULL,{}"]), r#"{"a","b\"\\c","NULL,{}"}"#);
        assert_eq!(array_text(&[1, 2]), r#"{"1","2"}"#);
        assert_eq!(array_text(&[""; 0]), "{}");
    }
}
