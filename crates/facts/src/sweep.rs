//! How far the sweep of the crash store has come. What the numbers mean is the sweep's business.

use crash::Minute;
use jiff::Timestamp;
use tokio_postgres::{Row, types::Type};

use crate::{
    Error, Facts,
    statement::{On, Param},
};

const MARK: &str = "SELECT swept_until, late_until FROM sweep_mark";

const SET_MARK: &str = "
INSERT INTO sweep_mark (swept_until, late_until) VALUES ($1, $2)
ON CONFLICT (the_only_one) DO UPDATE SET swept_until = excluded.swept_until, late_until = excluded.late_until";

const LIST: &str = "
INSERT INTO sweep_minute (minute, due_at, waits) SELECT unnest($1::timestamptz[]), $2, $3
ON CONFLICT (minute) DO UPDATE SET due_at = excluded.due_at, waits = excluded.waits";

const UNLIST: &str = "DELETE FROM sweep_minute WHERE minute = $1";

const DUE: &str = "
SELECT minute FROM sweep_minute WHERE due_at <= $1 OR (waits AND $2) ORDER BY minute LIMIT $3";

const LISTED_FROM: &str = "SELECT minute FROM sweep_minute WHERE minute >= $1 ORDER BY minute";

const AHEAD: &str = "
SELECT swept_until,
    (SELECT CASE WHEN waits THEN least(due_at, now()) ELSE due_at END FROM sweep_minute WHERE minute = $1)
FROM (SELECT max(swept_until) AS swept_until FROM sweep_mark) AS mark";

const BACKLOG: &str = "SELECT count(*), min(minute) FROM sweep_minute";

/// How far the sweep has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepMark {
    /// Of every minute before this one all crashes have a result, or it is listed.
    pub swept_until: Minute,
    /// Crashes that came into minutes before `swept_until` by this time have been looked for.
    pub late_until: Timestamp,
}

/// The minutes that are listed because some crash of theirs has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepBacklog {
    /// How many.
    pub minutes: usize,
    /// The first of them.
    pub oldest: Option<Minute>,
}

/// When the sweep looks at a minute of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepAhead {
    /// In its next pass: it has not come so far yet.
    Next,
    /// In the first pass from then on: the minute is listed.
    Listed(Timestamp),
    /// It has left the minute behind, and looks there only for crashes that came late.
    Behind,
}

impl Facts {
    /// When the sweep looks at a minute, provided that no id waits in the queues.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sweep_ahead(&self, minute: Minute) -> Result<SweepAhead, Error> {
        let params: [Param<'_>; 1] = [(&minute.start(), Type::TIMESTAMPTZ)];
        let rows = self.swept("asking when the sweep looks at a minute", AHEAD, &params).await?;
        let (mark, due_at): (Option<Timestamp>, Option<Timestamp>) =
            rows.first().map_or((None, None), |row| (row.get(0), row.get(1)));
        Ok(match (due_at, mark) {
            (Some(due_at), _) => SweepAhead::Listed(due_at),
            (None, Some(mark)) if minute < Minute::of(mark) => SweepAhead::Behind,
            (None, _) => SweepAhead::Next,
        })
    }

    /// How far the sweep has come; nothing before the first one.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sweep_mark(&self) -> Result<Option<SweepMark>, Error> {
        let rows = self.swept("reading how far the sweep has come", MARK, &[]).await?;
        Ok(rows.first().map(|row| SweepMark { swept_until: Minute::of(row.get(0)), late_until: row.get(1) }))
    }

    /// Notes how far the sweep has come.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn set_sweep_mark(&self, mark: &SweepMark) -> Result<(), Error> {
        let params: [Param<'_>; 2] =
            [(&mark.swept_until.start(), Type::TIMESTAMPTZ), (&mark.late_until, Type::TIMESTAMPTZ)];
        self.swept("noting how far the sweep has come", SET_MARK, &params).await.map(drop)
    }

    /// Lists minutes, or lists them anew, to be looked at from a time on, or once no id waits.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn list_minutes(
        &self,
        minutes: &[Minute],
        due_at: Timestamp,
        waits: bool,
    ) -> Result<(), Error> {
        let minutes: Vec<Timestamp> = minutes.iter().map(|minute| minute.start()).collect();
        let params: [Param<'_>; 3] =
            [(&minutes, Type::TIMESTAMPTZ_ARRAY), (&due_at, Type::TIMESTAMPTZ), (&waits, Type::BOOL)];
        self.swept("listing minutes for the sweep", LIST, &params).await.map(drop)
    }

    /// Takes a minute off the list.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn unlist_minute(&self, minute: Minute) -> Result<(), Error> {
        let params: [Param<'_>; 1] = [(&minute.start(), Type::TIMESTAMPTZ)];
        self.swept("taking a minute off the sweep's list", UNLIST, &params).await.map(drop)
    }

    /// The first listed minutes that are due; those that wait too, if no id waits any more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn due_minutes(
        &self,
        now: Timestamp,
        none_waits: bool,
        limit: u32,
    ) -> Result<Vec<Minute>, Error> {
        let params: [Param<'_>; 3] =
            [(&now, Type::TIMESTAMPTZ), (&none_waits, Type::BOOL), (&i64::from(limit), Type::INT8)];
        Ok(minutes(&self.swept("reading the sweep's list", DUE, &params).await?))
    }

    /// The listed minutes from one on.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn listed_minutes(&self, from: Minute) -> Result<Vec<Minute>, Error> {
        let params: [Param<'_>; 1] = [(&from.start(), Type::TIMESTAMPTZ)];
        Ok(minutes(&self.swept("reading the sweep's list", LISTED_FROM, &params).await?))
    }

    /// How many minutes are listed, and the first of them.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sweep_backlog(&self) -> Result<SweepBacklog, Error> {
        let rows = self.swept("reading the sweep's list", BACKLOG, &[]).await?;
        let nothing = SweepBacklog { minutes: 0, oldest: None };
        Ok(rows.first().map_or(nothing, |row| SweepBacklog {
            minutes: usize::try_from(row.get::<_, i64>(0)).unwrap_or(0),
            oldest: row.get::<_, Option<Timestamp>>(1).map(Minute::of),
        }))
    }

    async fn swept(&self, doing: &'static str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let connection = self.connection().await?;
        On::connection(&connection, self.how).query(doing, sql, params).await
    }
}

fn minutes(rows: &[Row]) -> Vec<Minute> {
    rows.iter().map(|row| Minute::of(row.get(0))).collect()
}
