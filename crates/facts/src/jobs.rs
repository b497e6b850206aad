//! Timed jobs: how their passes went, and what they remember from one to the next.

use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Row, types::Type};

use crate::{
    Error, Facts, clean,
    statement::{On, Param},
};

const RECORD: &str = "
INSERT INTO job_run (job, day, state, attempt, next_try, started_at, finished_at, rows, error, ok_at, failures)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (job, day) DO UPDATE SET
    state = excluded.state, attempt = excluded.attempt, next_try = excluded.next_try,
    started_at = excluded.started_at, finished_at = excluded.finished_at, error = excluded.error,
    rows = coalesce(job_run.rows, 0) + excluded.rows,
    ok_at = coalesce(excluded.ok_at, job_run.ok_at),
    failures = job_run.failures + excluded.failures
-- For some seconds two may lead: the pass that began last is the one to show.
WHERE job_run.started_at IS NULL OR job_run.started_at <= excluded.started_at";

const LAST: &str = "
SELECT DISTINCT ON (job)
    job, day, state, attempt, next_try, started_at, finished_at, coalesce(rows, 0) AS rows, error, failures,
    max(ok_at) OVER (PARTITION BY job) AS ok_at
FROM job_run ORDER BY job, day DESC";

const FORGET: &str = "DELETE FROM job_run WHERE day < $1 RETURNING job";

const REMEMBER: &str = "
INSERT INTO job_memory (job, memory, at) VALUES ($1, $2, $3)
ON CONFLICT (job) DO UPDATE SET memory = excluded.memory, at = excluded.at";

const MEMORY: &str = "SELECT memory FROM job_memory WHERE job = $1";

/// The most of an error that is kept.
const ERROR_BYTES: usize = 4096;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for its input, or for a better moment.
    Pending,
    /// A pass is under way, or was when its process ended.
    Running,
    /// The latest pass did all that was to do.
    Ok,
    /// The latest pass failed.
    Failed,
    /// It does not apply to this installation.
    Skipped,
}

impl JobState {
    const ALL: [Self; 5] = [Self::Pending, Self::Running, Self::Ok, Self::Failed, Self::Skipped];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// How a job stands on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobRun {
    /// The job.
    pub job: String,
    /// The day that it works on; of jobs that have none, the day of the pass.
    pub day: Date,
    /// Where it stands.
    pub state: JobState,
    /// How often it has failed in a row.
    pub attempt: u32,
    /// When it is tried again, if it failed.
    pub next_try: Option<Timestamp>,
    /// When the latest pass began.
    pub started_at: Option<Timestamp>,
    /// When the latest pass ended.
    pub finished_at: Option<Timestamp>,
    /// How many things it has done on this day; in a record, how many more.
    pub rows: u64,
    /// Why the latest pass failed, or does not apply.
    pub error: Option<String>,
    /// How many passes of this day failed; in a record, how many more.
    pub failures: u32,
    /// When a pass ended well, on whatever day.
    pub ok_at: Option<Timestamp>,
}

impl Facts {
    /// Records how a pass went: what it did and failures are added up, an older success stays in view.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn record_job(&self, run: &JobRun) -> Result<(), Error> {
        let params: [Param<'_>; 11] = [
            (&clean::text(&run.job), Type::TEXT),
            (&run.day, Type::DATE),
            (&run.state.as_str(), Type::TEXT),
            (&i32::try_from(run.attempt).unwrap_or(i32::MAX), Type::INT4),
            (&run.next_try, Type::TIMESTAMPTZ),
            (&run.started_at, Type::TIMESTAMPTZ),
            (&run.finished_at, Type::TIMESTAMPTZ),
            (&i64::try_from(run.rows).unwrap_or(i64::MAX), Type::INT8),
            (&run.error.as_deref().map(|error| clean::beginning(error, ERROR_BYTES)), Type::TEXT),
            (&run.ok_at, Type::TIMESTAMPTZ),
            (&i32::try_from(run.failures).unwrap_or(i32::MAX), Type::INT4),
        ];
        self.ask("recording how a timed job went", RECORD, &params).await?;
        Ok(())
    }

    /// How each job stands: its latest day, in the order of their names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last_jobs(&self) -> Result<Vec<JobRun>, Error> {
        let rows = self.ask("reading how timed jobs went", LAST, &[]).await?;
        Ok(rows.iter().map(job_run).collect())
    }

    /// Forgets how jobs went before a day; returns how many rows that were.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn forget_jobs(&self, before: Date) -> Result<u64, Error> {
        let rows = self.ask("forgetting how timed jobs went", FORGET, &[(&before, Type::DATE)]).await?;
        Ok(rows.len() as u64)
    }

    /// What a job has to know when it goes on; nothing when it begins anew.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn memory_of(&self, job: &str) -> Result<Option<Value>, Error> {
        let rows = self.ask("reading how far a timed job is", MEMORY, &[(&job, Type::TEXT)]).await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    /// Keeps what a job has to know when it goes on.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn remember(&self, job: &str, memory: &Value, at: Timestamp) -> Result<(), Error> {
        let params: [Param<'_>; 3] = [(&job, Type::TEXT), (memory, Type::JSONB), (&at, Type::TIMESTAMPTZ)];
        self.ask("keeping how far a timed job is", REMEMBER, &params).await?;
        Ok(())
    }

    /// One statement on a connection of the pool.
    pub(crate) async fn ask(
        &self,
        doing: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let connection = self.connection().await?;
        On::connection(&connection, self.how).query(doing, sql, params).await
    }
}

fn job_run(row: &Row) -> JobRun {
    let state: &str = row.get("state");
    JobRun {
        job: row.get("job"),
        day: row.get("day"),
        // The column holds nothing else.
        state: JobState::ALL.into_iter().find(|known| known.as_str() == state).unwrap_or(JobState::Pending),
        attempt: row.get::<_, i32>("attempt").unsigned_abs(),
        next_try: row.get("next_try"),
        started_at: row.get("started_at"),
        finished_at: row.get("finished_at"),
        rows: row.get::<_, i64>("rows").unsigned_abs(),
        error: row.get("error"),
        failures: row.get::<_, i32>("failures").unsigned_abs(),
        ok_at: row.get("ok_at"),
    }
}
