//! What the database is told of a job: `job_run`, a row a job and day.

use std::time::{Duration, Instant};

use facts::{Facts, JobRun, JobState};
use jiff::{Timestamp, tz::TimeZone};

use crate::job::Pass;

/// A job that does the same again and again is written so often, whatever its period.
const WRITE_EVERY: Duration = Duration::from_secs(60);
/// A record may take so long. Jobs do not depend on it.
const DEADLINE: Duration = Duration::from_secs(3);
/// Passes that failed are tried again out of turn so often a day; from then on once a period.
const EARLY_TRIES: u32 = 50;
/// The first try after a failure comes so soon, or after a period where that is shorter.
const FIRST_DELAY: Duration = Duration::from_secs(15);
/// Delays grow up to the period, within these bounds.
const LONGEST_DELAY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(30 * 60));

/// How a job fares, and what of that is not written yet.
pub(crate) struct Record {
    facts: Facts,
    job: &'static str,
    every: Duration,
    /// How often it has failed in a row.
    attempt: u32,
    /// How often it has failed on its latest day.
    failed_today: (Option<jiff::civil::Date>, u32),
    unwritten: Unwritten,
    written: Option<Written>,
}

#[derive(Default)]
struct Unwritten {
    rows: u64,
    failures: u32,
}

struct Written {
    state: JobState,
    error: Option<String>,
    at: Instant,
}

impl Record {
    /// Goes on with what is known of the job; also returns how long its next try is still to wait.
    pub(crate) async fn open(
        facts: Facts,
        job: &'static str,
        every: Duration,
        now: Timestamp,
    ) -> (Self, Duration) {
        let known = tokio::time::timeout(DEADLINE, facts.last_jobs()).await;
        let known = known.ok().and_then(Result::ok).unwrap_or_default();
        let failed = known.into_iter().find(|run| run.job == job && run.state == JobState::Failed);
        let mut record = Self {
            facts,
            job,
            every,
            attempt: 0,
            failed_today: (None, 0),
            unwritten: Unwritten::default(),
            written: None,
        };
        let Some(failed) = failed else { return (record, Duration::ZERO) };
        record.attempt = failed.attempt;
        record.failed_today = (Some(failed.day), failed.failures);
        let wait = failed.next_try.map_or(Duration::ZERO, |at| at.duration_since(now).unsigned_abs());
        let is_due = failed.next_try.is_none_or(|at| at <= now);
        (record, if is_due { Duration::ZERO } else { wait.min(every).min(LONGEST_DELAY.1) })
    }

    /// Says that a pass takes its time.
    pub(crate) async fn running(&mut self, started: Timestamp) {
        self.write(JobState::Running, started, None, None, None).await;
    }

    /// Notes how a pass ended; returns how long the next one is to wait, before chance makes it longer or shorter.
    pub(crate) async fn ended(&mut self, started: Timestamp, passed: &anyhow::Result<Pass>) -> Duration {
        let now = Timestamp::now();
        let (state, error) = match passed {
            Ok(Pass::Done(rows)) => {
                self.unwritten.rows += rows;
                (JobState::Ok, None)
            }
            Ok(Pass::PutOff) => (JobState::Pending, None),
            Ok(Pass::Skipped(why)) => (JobState::Skipped, Some((*why).to_owned())),
            Err(error) => (JobState::Failed, Some(format!("{error:#}"))),
        };
        let pause = if state == JobState::Failed { self.failed(started) } else { self.every };
        if state != JobState::Failed {
            self.attempt = 0;
        }
        // Failures come ever more rarely.
        let is_news = state == JobState::Failed
            || self.unwritten.rows > 0
            || self.written.as_ref().is_none_or(|written| {
                written.state != state || written.error != error || written.at.elapsed() >= WRITE_EVERY
            });
        if is_news {
            let next_try = (state == JobState::Failed).then(|| now.checked_add(pause).unwrap_or(now));
            self.write(state, started, Some(now), next_try, error).await;
        }
        pause
    }

    /// Counts a failure; how long until the next try.
    fn failed(&mut self, started: Timestamp) -> Duration {
        let today = started.to_zoned(TimeZone::UTC).date();
        if self.failed_today.0 != Some(today) {
            self.failed_today = (Some(today), 0);
        }
        self.failed_today.1 += 1;
        self.unwritten.failures += 1;
        self.attempt += 1;
        if self.failed_today.1 > EARLY_TRIES { self.every } else { delay(self.every, self.attempt) }
    }

    async fn write(
        &mut self,
        state: JobState,
        started_at: Timestamp,
        finished_at: Option<Timestamp>,
        next_try: Option<Timestamp>,
        error: Option<String>,
    ) {
        let run = JobRun {
            job: self.job.to_owned(),
            day: started_at.to_zoned(TimeZone::UTC).date(),
            state,
            attempt: self.attempt,
            next_try,
            started_at: Some(started_at),
            finished_at,
            rows: self.unwritten.rows,
            error: error.clone(),
            failures: self.unwritten.failures,
            ok_at: finished_at.filter(|_| state == JobState::Ok),
        };
        match tokio::time::timeout(DEADLINE, self.facts.record_job(&run)).await {
            Ok(Ok(())) => {
                self.unwritten = Unwritten::default();
                self.written = Some(Written { state, error, at: Instant::now() });
            }
            // Whatever is wrong with the database is said by the job itself, or by the health page.
            Ok(Err(error)) => tracing::debug!(job = self.job, %error, "how a job went could not be recorded"),
            Err(_) => tracing::debug!(job = self.job, "how a job went could not be recorded in time"),
        }
    }
}

/// How long to wait after so many failures in a row: each time twice as long.
fn delay(every: Duration, attempt: u32) -> Duration {
    let longest = every.clamp(LONGEST_DELAY.0, LONGEST_DELAY.1);
    let doubled = 1_u32 << attempt.saturating_sub(1).min(16);
    every.min(FIRST_DELAY).saturating_mul(doubled).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_after_failures_come_soon_and_then_ever_later() {
        let delays = |every| (1..9).map(move |attempt| delay(Duration::from_secs(every), attempt).as_secs());
        assert!(delays(60).eq([15, 30, 60, 60, 60, 60, 60, 60]));
        assert!(delays(6 * 3600).eq([15, 30, 60, 120, 240, 480, 960, 1800]));
        assert_eq!(delay(Duration::from_millis(200), 2), Duration::from_millis(400));
        assert_eq!(delay(Duration::from_millis(200), u32::MAX), LONGEST_DELAY.0);
    }
}
