//! What the database knows of timed jobs.

mod common;

use common::{migrated, noon};
use facts::{JobRun, JobState};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

fn run(job: &str, state: JobState, started_at: Timestamp) -> JobRun {
    JobRun {
        job: job.to_owned(),
        day: started_at.to_zoned(TimeZone::UTC).date(),
        state,
        attempt: 0,
        next_try: None,
        started_at: Some(started_at),
        finished_at: Some(started_at),
        rows: 0,
        error: None,
        failures: 0,
        ok_at: (state == JobState::Ok).then_some(started_at),
    }
}

#[tokio::test]
async fn a_job_shows_its_latest_day_and_the_last_success_before_it() {
    let db = migrated("last_jobs").await;
    let (yesterday, today) = (noon() - SignedDuration::from_hours(24), noon());
    db.facts.record_job(&JobRun { rows: 3, ..run("sweep", JobState::Ok, yesterday) }).await.unwrap();
    let failed = JobRun {
        attempt: 1,
        next_try: Some(today + SignedDuration::from_secs(15)),
        error: Some("the broker is gone".to_owned()),
        failures: 1,
        rows: 2,
        ..run("sweep", JobState::Failed, today)
    };
    db.facts.record_job(&failed).await.unwrap();
    let later = today + SignedDuration::from_secs(15);
    let again = JobRun { attempt: 2, started_at: Some(later), ..failed.clone() };
    db.facts.record_job(&again).await.unwrap();
    db.facts.record_job(&run("expire", JobState::Pending, today)).await.unwrap();

    let jobs = db.facts.last_jobs().await.unwrap();
    assert_eq!(
        jobs,
        [
            run("expire", JobState::Pending, today),
            // What was done and what failed adds up over the day.
            JobRun { rows: 4, failures: 2, ok_at: Some(yesterday), ..again },
        ]
    );

    assert_eq!(db.facts.forget_jobs(common::DAY.parse().unwrap()).await.unwrap(), 1);
    assert_eq!(db.facts.last_jobs().await.unwrap()[1].ok_at, None);
}

#[tokio::test]
async fn of_two_passes_the_one_that_began_later_is_shown() {
    let db = migrated("late_job").await;
    let later = noon() + SignedDuration::from_secs(1);
    db.facts.record_job(&run("tails", JobState::Ok, later)).await.unwrap();
    db.facts.record_job(&run("tails", JobState::Failed, noon())).await.unwrap();
    assert_eq!(db.facts.last_jobs().await.unwrap(), [run("tails", JobState::Ok, later)]);
}

#[tokio::test]
async fn what_a_job_remembers_is_what_it_said_last() {
    let db = migrated("job_memory").await;
    assert_eq!(db.facts.memory_of("compact").await.unwrap(), None);
    for minute in ["20261123/1310", "20261123/1311"] {
        db.facts.remember("compact", &minute.into(), noon()).await.unwrap();
    }
    assert_eq!(db.facts.memory_of("compact").await.unwrap(), Some("20261123/1311".into()));
    assert_eq!(db.facts.memory_of("sweep").await.unwrap(), None);
}
