//! Crashes that could not be processed: the attempts that failed, and those that were given up.

use crash::CrashId;
use deadpool_postgres::Object;
use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::{Row, types::Type};

use crate::{
    Error, Facts, clean,
    statement::{On, Param},
};

const RECORD_ATTEMPT: &str = "
INSERT INTO crash_attempt (crash_day, crash_id, attempt, at, node, stage, outcome, reason, detail, due_at)
SELECT $1::date, $2::uuid, $3::smallint, $4::timestamptz, $5::text, $6::text, $7::text, $8::text, $9::text, $10::timestamptz
WHERE NOT EXISTS (SELECT FROM erased_crash e WHERE e.crash_day = $1 AND e.crash_id = $2)
ON CONFLICT (crash_day, crash_id, attempt) DO UPDATE SET
    at = excluded.at, node = excluded.node, stage = excluded.stage, outcome = excluded.outcome,
    reason = excluded.reason, detail = excluded.detail, due_at = excluded.due_at
-- The same attempt counted anew, as when a dead letter is tried again, replaces the old one; a late duplicate does not.
WHERE crash_attempt.at <= excluded.at";

const ATTEMPTS: &str = "
SELECT attempt, at, node, stage, outcome, reason, detail, due_at
FROM crash_attempt WHERE crash_day = $1 AND crash_id = $2 ORDER BY attempt";

const RECORD_DEAD_LETTER: &str = "
INSERT INTO dead_letter (crash_day, crash_id, died_at, stage, reason, attempts, detail)
SELECT $1::date, $2::uuid, $3::timestamptz, $4::text, $5::text, $6::smallint, $7::text
WHERE NOT EXISTS (SELECT FROM erased_crash e WHERE e.crash_day = $1 AND e.crash_id = $2)
ON CONFLICT (crash_day, crash_id) DO UPDATE SET
    died_at = excluded.died_at, stage = excluded.stage, reason = excluded.reason,
    attempts = excluded.attempts, detail = excluded.detail,
    -- It has died again, so what was retried has its result. What was dropped stays dropped.
    retried_at = NULL, retried_by = NULL
WHERE dead_letter.died_at <= excluded.died_at";

const DEAD_LETTER: &str = "
SELECT died_at, stage, reason, attempts, detail FROM dead_letter WHERE crash_day = $1 AND crash_id = $2";

const CLEAR_DEAD_LETTER: &str = "
DELETE FROM dead_letter WHERE crash_day = $1 AND crash_id = $2 RETURNING crash_id";

/// The most of a failure's text that is kept.
const DETAIL_BYTES: usize = 8192;

/// An attempt at a crash that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The crash.
    pub crash_id: CrashId,
    /// Which attempt, from 1.
    pub attempt: u16,
    /// When it failed.
    pub at: Timestamp,
    /// On which processor.
    pub node: String,
    /// At which stage.
    pub stage: String,
    /// What became of the crash.
    pub outcome: Outcome,
    /// Why, as one of a small set of words.
    pub reason: String,
    /// Why, in full.
    pub detail: Option<String>,
    /// When the next attempt is due.
    pub due_at: Option<Timestamp>,
}

/// What became of a crash whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is tried again later.
    Retry,
    /// It was given up.
    Dead,
}

/// A crash that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The crash.
    pub crash_id: CrashId,
    /// When it was given up.
    pub died_at: Timestamp,
    /// At which stage it failed last.
    pub stage: String,
    /// Why, as one of a small set of words.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u16,
    /// Why, in full.
    pub detail: Option<String>,
}

impl Facts {
    /// Records an attempt that failed, unless the crash is erased. It may be repeated.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn record_attempt(&self, attempt: &Attempt) -> Result<(), Error> {
        let (day, uuid) = (attempt.crash_id.day(), attempt.crash_id.uuid());
        let outcome = match attempt.outcome {
            Outcome::Retry => "retry",
            Outcome::Dead => "dead",
        };
        let params: [Param<'_>; 10] = [
            (&day, Type::DATE),
            (&uuid, Type::UUID),
            (&small(attempt.attempt), Type::INT2),
            (&attempt.at, Type::TIMESTAMPTZ),
            (&clean::text(&attempt.node), Type::TEXT),
            (&clean::text(&attempt.stage), Type::TEXT),
            (&outcome, Type::TEXT),
            (&clean::text(&attempt.reason), Type::TEXT),
            (&detail(attempt.detail.as_deref()), Type::TEXT),
            (&attempt.due_at, Type::TIMESTAMPTZ),
        ];
        self.record(attempt.crash_id, "recording a failed attempt", RECORD_ATTEMPT, &params).await
    }

    /// The failed attempts at a crash, the first one first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn attempts(&self, crash_id: CrashId) -> Result<Vec<Attempt>, Error> {
        let rows = self.rows_of(crash_id, "reading failed attempts", ATTEMPTS).await?;
        let attempt = |row: &Row| Attempt {
            crash_id,
            attempt: row.get::<_, i16>(0).unsigned_abs(),
            at: row.get(1),
            node: row.get(2),
            stage: row.get(3),
            outcome: if row.get::<_, &str>(4) == "dead" { Outcome::Dead } else { Outcome::Retry },
            reason: row.get(5),
            detail: row.get(6),
            due_at: row.get(7),
        };
        Ok(rows.iter().map(attempt).collect())
    }

    /// Records that a crash was given up, unless it is erased. It may be repeated.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn record_dead_letter(&self, letter: &DeadLetter) -> Result<(), Error> {
        let (day, uuid) = (letter.crash_id.day(), letter.crash_id.uuid());
        let params: [Param<'_>; 7] = [
            (&day, Type::DATE),
            (&uuid, Type::UUID),
            (&letter.died_at, Type::TIMESTAMPTZ),
            (&clean::text(&letter.stage), Type::TEXT),
            (&clean::text(&letter.reason), Type::TEXT),
            (&small(letter.attempts), Type::INT2),
            (&detail(letter.detail.as_deref()), Type::TEXT),
        ];
        self.record(letter.crash_id, "recording a dead letter", RECORD_DEAD_LETTER, &params).await
    }

    /// The dead letter of a crash; nothing when it was not given up, or was processed after all.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn dead_letter(&self, crash_id: CrashId) -> Result<Option<DeadLetter>, Error> {
        let rows = self.rows_of(crash_id, "reading a dead letter", DEAD_LETTER).await?;
        Ok(rows.first().map(|row| DeadLetter {
            crash_id,
            died_at: row.get(0),
            stage: row.get(1),
            reason: row.get(2),
            attempts: row.get::<_, i16>(3).unsigned_abs(),
            detail: row.get(4),
        }))
    }

    /// Takes the dead letter of a crash away; true when there was one. [`Facts::save`] does so by itself.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn clear_dead_letter(&self, crash_id: CrashId) -> Result<bool, Error> {
        Ok(!self.rows_of(crash_id, "clearing a dead letter", CLEAR_DEAD_LETTER).await?.is_empty())
    }

    async fn rows_of(&self, crash_id: CrashId, doing: &'static str, sql: &str) -> Result<Vec<Row>, Error> {
        let connection = self.connection().await?;
        let key: [Param<'_>; 2] = [(&crash_id.day(), Type::DATE), (&crash_id.uuid(), Type::UUID)];
        On::connection(&connection, self.how).query(doing, sql, &key).await
    }

    /// Writes one row about a crash, whose day may have no partition yet.
    async fn record(
        &self,
        crash_id: CrashId,
        doing: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<(), Error> {
        let connection: Object = self.connection().await?;
        let on = On::connection(&connection, self.how);
        match on.query(doing, sql, params).await {
            Err(error) if error.is_missing_partition() => {
                self.make_partitions_on(&on, crash_id.day(), crash_id.day()).await?;
                on.query(doing, sql, params).await?;
            }
            other => drop(other?),
        }
        Ok(())
    }
}

fn small(count: u16) -> i16 {
    i16::try_from(count).unwrap_or(i16::MAX)
}

fn detail(detail: Option<&str>) -> Option<String> {
    detail.map(|text| clean::beginning(text, DETAIL_BYTES))
}
