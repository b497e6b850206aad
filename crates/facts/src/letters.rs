//! Dead letters as operators see them: by stage and reason, and what was decided about them.
//!
//! A letter stays until its crash has a fact. One that is *retried* has had its id published again and waits for the result: the
//! sweep takes it for a crash of which nothing is known, so that a message that is lost then is no end. One that is *dropped*
//! is given up for good, and stays as the record of that.

use crash::CrashId;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{DeadLetter, Error, Facts, clean, statement::Param};

const LETTERS: &str = include_str!("sql/letters.sql");
const GROUPS: &str = include_str!("sql/letter_groups.sql");
const LETTER: &str = "
SELECT crash_id, died_at, stage, reason, attempts, detail, retried_at, retried_by, dropped_at, dropped_by, dropped_why
FROM dead_letter WHERE crash_day = $1 AND crash_id = $2";
const WITH_LETTER: &str = "
SELECT d.crash_id FROM unnest($1::date[], $2::uuid[]) AS asked (crash_day, crash_id)
JOIN dead_letter d ON d.crash_day = asked.crash_day AND d.crash_id = asked.crash_id";

// Only the letter that was read: when the crash has died again since, that is news, and not what was retried. The sweep has
// left the crash's minute behind long ago, so it is listed again, for when the message has had some time.
const MARK_RETRIED: &str = "
WITH marked AS (
    UPDATE dead_letter SET retried_at = $4, retried_by = $5
    WHERE crash_day = $1 AND crash_id = $2 AND died_at = $3 AND dropped_at IS NULL RETURNING crash_id
), listed AS (
    INSERT INTO sweep_minute (minute, due_at, waits) SELECT $6, $4::timestamptz + interval '10 minutes', false FROM marked
    ON CONFLICT (minute) DO UPDATE SET due_at = least(sweep_minute.due_at, excluded.due_at)
)
SELECT crash_id FROM marked";

const DROP: &str = "
UPDATE dead_letter SET dropped_at = $3, dropped_by = $4, dropped_why = $5
WHERE crash_day = $1 AND crash_id = $2 AND dropped_at IS NULL RETURNING crash_id";

/// The most of a person's words that is kept.
const WORDS_BYTES: usize = 1024;

/// A dead letter, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// Its id was published again, and there is no result yet.
    pub retried: Option<Decision>,
    /// It was given up for good.
    pub dropped: Option<Decision>,
}

/// What somebody decided about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why, where a reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Which letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Of this stage.
    pub stage: Option<String>,
    /// With this reason.
    pub reason: Option<String>,
    /// Of crashes that were received on this day.
    pub day: Option<Date>,
    /// How it stands with them.
    pub standing: Standing,
}

/// How it stands with a letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing was decided about it.
    #[default]
    Dead,
    /// It was retried and has no result yet.
    Retried,
    /// It was given up for good.
    Dropped,
}

impl Standing {
    fn as_sql(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Retried => "retried",
            Self::Dropped => "dropped",
        }
    }
}

/// The letters of one stage and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetterGroup {
    /// Where the crashes failed last.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// How many there are.
    pub count: u64,
    /// When the first of them died.
    pub oldest: Timestamp,
    /// When the last of them died.
    pub newest: Timestamp,
    /// Some of them, the newest ones.
    pub examples: Vec<CrashId>,
}

impl Facts {
    /// Letters in the order of their crashes' days and ids, after one of them where that is given.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn letters(
        &self,
        which: &Which,
        after: Option<CrashId>,
        limit: u32,
    ) -> Result<Vec<Letter>, Error> {
        let (after_day, after_id) = after.map_or((None, None), |id| (Some(id.day()), Some(id.uuid())));
        let limit = i64::from(limit);
        let standing = which.standing.as_sql();
        let params: [Param<'_>; 7] = [
            (&which.stage, Type::TEXT),
            (&which.reason, Type::TEXT),
            (&which.day, Type::DATE),
            (&standing, Type::TEXT),
            (&after_day, Type::DATE),
            (&after_id, Type::UUID),
            (&limit, Type::INT8),
        ];
        let rows = self.ask("listing dead letters", LETTERS, &params).await?;
        Ok(rows.iter().filter_map(letter).collect())
    }

    /// Letters by stage and reason, the largest group first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn letter_groups(&self, which: &Which) -> Result<Vec<LetterGroup>, Error> {
        let standing = which.standing.as_sql();
        let params: [Param<'_>; 4] = [
            (&which.stage, Type::TEXT),
            (&which.reason, Type::TEXT),
            (&which.day, Type::DATE),
            (&standing, Type::TEXT),
        ];
        let rows = self.ask("counting dead letters", GROUPS, &params).await?;
        let group = |row: &Row| LetterGroup {
            stage: row.get(0),
            reason: row.get(1),
            count: row.get::<_, i64>(2).unsigned_abs(),
            oldest: row.get(3),
            newest: row.get(4),
            examples: row
                .get::<_, Vec<Uuid>>(5)
                .into_iter()
                .filter_map(|id| CrashId::from_uuid(id).ok())
                .collect(),
        };
        Ok(rows.iter().map(group).collect())
    }

    /// The letter of a crash, whatever was decided about it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn letter(&self, crash_id: CrashId) -> Result<Option<Letter>, Error> {
        let key: [Param<'_>; 2] = [(&crash_id.day(), Type::DATE), (&crash_id.uuid(), Type::UUID)];
        let rows = self.ask("reading a dead letter", LETTER, &key).await?;
        Ok(rows.first().and_then(letter))
    }

    /// Those of these crashes that have a letter, whatever was decided about it.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn with_letter(&self, crash_ids: &[CrashId]) -> Result<Vec<CrashId>, Error> {
        let days: Vec<Date> = crash_ids.iter().map(|id| id.day()).collect();
        let ids: Vec<Uuid> = crash_ids.iter().map(|id| id.uuid()).collect();
        let params: [Param<'_>; 2] = [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY)];
        let rows = self.ask("asking which crashes are dead", WITH_LETTER, &params).await?;
        Ok(rows.iter().filter_map(|row| CrashId::from_uuid(row.get(0)).ok()).collect())
    }

    /// Notes that a letter's id was published again; false when the letter is gone, was dropped, or is another by now.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn mark_retried(&self, letter: &DeadLetter, at: Timestamp, by: &str) -> Result<bool, Error> {
        let (day, uuid) = (letter.crash_id.day(), letter.crash_id.uuid());
        let params: [Param<'_>; 6] = [
            (&day, Type::DATE),
            (&uuid, Type::UUID),
            (&letter.died_at, Type::TIMESTAMPTZ),
            (&at, Type::TIMESTAMPTZ),
            (&clean::beginning(by, WORDS_BYTES), Type::TEXT),
            (&letter.crash_id.minute().start(), Type::TIMESTAMPTZ),
        ];
        Ok(!self.ask("marking a dead letter as retried", MARK_RETRIED, &params).await?.is_empty())
    }

    /// Gives a dead crash up for good; false when it has no letter, or was dropped before.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn drop_letter(
        &self,
        crash_id: CrashId,
        at: Timestamp,
        by: &str,
        why: Option<&str>,
    ) -> Result<bool, Error> {
        let why = why.map(|why| clean::beginning(why, WORDS_BYTES));
        let params: [Param<'_>; 5] = [
            (&crash_id.day(), Type::DATE),
            (&crash_id.uuid(), Type::UUID),
            (&at, Type::TIMESTAMPTZ),
            (&clean::beginning(by, WORDS_BYTES), Type::TEXT),
            (&why, Type::TEXT),
        ];
        Ok(!self.ask("dropping a dead letter", DROP, &params).await?.is_empty())
    }
}

/// A row of [`LETTER`] or [`LETTERS`]; nothing where the id is none of ours.
fn letter(row: &Row) -> Option<Letter> {
    let decision = |at: usize, by: usize, why: Option<String>| {
        let at: Option<Timestamp> = row.get(at);
        at.map(|at| Decision { at, by: row.get::<_, Option<String>>(by).unwrap_or_default(), why })
    };
    Some(Letter {
        letter: DeadLetter {
            crash_id: CrashId::from_uuid(row.get(0)).ok()?,
            died_at: row.get(1),
            stage: row.get(2),
            reason: row.get(3),
            attempts: row.get::<_, i16>(4).unsigned_abs(),
            detail: row.get(5),
        },
        retried: decision(6, 7, None),
        dropped: decision(8, 9, row.get(10)),
    })
}
