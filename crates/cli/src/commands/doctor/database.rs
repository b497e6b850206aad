//! The database, and what it tells of the rest: who leads, who is connected, what was given up.

use std::time::Duration;

use facts::{Error, Examination, Facts, JobRun, JobState};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::findings::Findings;
use crate::config::Config;

/// Clocks that differ by less are the same clock.
const SKEW: SignedDuration = SignedDuration::from_secs(2);
/// Partitions of fewer days ahead are about to run out.
const DAYS_AHEAD: i32 = 3;
/// More of the server's connections than this being in use is worth a word.
const CROWDED: f64 = 0.9;

pub(super) async fn look(config: Config) -> Findings {
    let mut findings = Findings::default();
    let began = std::time::Instant::now();
    match facts::examine(&config.facts).await {
        Ok(found) => {
            findings.ok(
                "database.reachable",
                format!("PostgreSQL {} at {}, {}", found.server, config.facts.url, took(found.round_trip)),
            );
            examined(&found, &mut findings);
            if found.schema.check().is_ok() {
                jobs(&config.facts, &mut findings).await;
            }
        }
        Err(error) => unreachable(&error, began.elapsed(), &mut findings),
    }
    findings
}

/// How the scheduler's jobs fare, by what their passes have left.
async fn jobs(config: &facts::Config, findings: &mut Findings) {
    let check = "database.jobs";
    let asked = async { Facts::connect(config).await?.last_jobs().await };
    let jobs = match asked.await {
        Ok(jobs) => jobs,
        Err(error) => {
            return findings.warn(
                check,
                format!("how the jobs fare could not be read: {error}"),
                "ask again; if it stays so, see the database's log",
            );
        }
    };
    let failing: Vec<String> = jobs.iter().filter(|job| job.state == JobState::Failed).map(failure).collect();
    if jobs.is_empty() {
        findings.warn(check, "no job has run yet", "start a scheduler: systemctl start crashmill-scheduler");
    } else if failing.is_empty() {
        findings.ok(check, format!("{} jobs, and the last pass of none has failed", jobs.len()));
    } else {
        findings.warn(
            check,
            failing.join("; "),
            "they are tried again by themselves; the scheduler's log and `crashmill status` say more",
        );
    }
}

fn failure(job: &JobRun) -> String {
    let JobRun { job, attempt, error, .. } = job;
    format!(
        "{job} has failed {attempt} times in a row: {}",
        error.as_deref().unwrap_or("it does not say why")
    )
}

fn took(time: Duration) -> String {
    format!("in {:.1} ms", time.as_secs_f64() * 1000.0)
}

fn unreachable(error: &Error, after: Duration, findings: &mut Findings) {
    let said = error.to_string();
    let advice = if said.contains("28P01") || said.contains("28000") {
        "the user or the password is not the server's: see facts.url and facts.password (password_file, \
         CRASHMILL__FACTS__PASSWORD), and pg_hba.conf there"
    } else if said.contains("3D000") {
        "make the database: createdb --owner=crashmill crashmill; then `crashmill migrate`"
    } else if said.contains("53300") {
        "the server has no connection left: raise max_connections there, or lower facts.pool_size"
    } else if said.contains("recovery") {
        "it is a standby: name the primary in facts.url"
    } else {
        "start PostgreSQL, see to the way to it, or correct facts.url. Crashes wait meanwhile: none is lost"
    };
    findings.fail("database.reachable", format!("{said} (after {:.1} s)", after.as_secs_f64()), advice);
}

fn examined(found: &Examination, findings: &mut Findings) {
    schema(found, findings);
    rights(found, findings);
    durability(found, findings);
    clock(found, findings);
    sessions(found, findings);
    if found.schema.check().is_ok() {
        partitions(found, findings);
        leader(found, findings);
        dead_letters(found, findings);
    }
    versions(found, findings);
}

fn schema(found: &Examination, findings: &mut Findings) {
    let check = "database.schema";
    let schema = &found.schema;
    match schema.check() {
        Err(Error::SchemaLeftBehind { .. }) => findings.fail(
            check,
            format!("it is at version {}, which this release is too old for", schema.version),
            "upgrade this program",
        ),
        Err(_) => findings.fail(
            check,
            match schema.version {
                0 => "the database is empty".to_owned(),
                version => format!("it is at version {version}, and this release needs {}", facts::SCHEMA),
            },
            "run `crashmill migrate`, which is safe while the previous release runs",
        ),
        Ok(()) if !schema.pending.is_empty() => findings.warn(
            check,
            format!("it is at version {}; to be applied: {}", schema.version, schema.pending.join(", ")),
            "run `crashmill migrate`",
        ),
        Ok(()) => findings.ok(check, format!("it is at version {}", schema.version)),
    }
}

fn rights(found: &Examination, findings: &mut Findings) {
    let check = "database.rights";
    if found.is_standby || found.is_read_only {
        return findings.fail(
            check,
            "nothing can be written: it is a standby, or read-only by default",
            "name the primary in facts.url, or see default_transaction_read_only of the user and the database",
        );
    }
    if let [first, ..] = found.closed_tables.as_slice() {
        return findings.fail(
            check,
            format!("{} tables cannot be read and written, {first} among them", found.closed_tables.len()),
            "run migrations and roles as one user, or grant theirs: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL \
             TABLES IN SCHEMA public TO ...",
        );
    }
    if !found.may_create {
        return findings.warn(
            check,
            "everything can be read and written, and no table can be made",
            "GRANT CREATE ON SCHEMA public TO ...: partitions are tables, and the scheduler makes them ahead",
        );
    }
    findings.ok(check, "everything can be read and written, and partitions can be made");
}

fn durability(found: &Examination, findings: &mut Findings) {
    let check = "database.durability";
    if !found.fsync || !found.full_page_writes {
        let off = if found.fsync { "full_page_writes" } else { "fsync" };
        return findings.fail(
            check,
            format!("{off} is off: a power cut can leave the database damaged"),
            format!("set {off} = on in postgresql.conf, and reload"),
        );
    }
    if found.synchronous_commit == "off" {
        return findings
            .ok(check, "fsync is on; synchronous_commit is off, which our own sessions do not follow");
    }
    findings.ok(check, format!("fsync is on, synchronous_commit is {}", found.synchronous_commit));
}

fn clock(found: &Examination, findings: &mut Findings) {
    let uncertain = SignedDuration::try_from(found.round_trip / 2).unwrap_or_default();
    let ahead = found.clock_ahead;
    let said = format!("the server's clock is {:+.3} s from this machine's", ahead.as_secs_f64());
    if ahead.abs() > SKEW + uncertain {
        findings.warn(
            "database.clock",
            said,
            "have time servers keep both clocks: ages and the sweep compare times of both machines",
        );
    } else {
        findings.ok("database.clock", said);
    }
}

fn sessions(found: &Examination, findings: &mut Findings) {
    let check = "database.sessions";
    if found.sessions_are_shared {
        return findings.fail(
            check,
            "a pooler hands sessions from one client to another: no scheduler can lead, and timeouts do not hold",
            "connect to the database itself, or use the pooler in session mode (pool_mode = session)",
        );
    }
    let used = f64::from(found.connections) / f64::from(found.connections_at_most.max(1));
    let said = format!("{} of {} connections are in use", found.connections, found.connections_at_most);
    if used > CROWDED {
        findings.warn(check, said, "raise max_connections there, or lower facts.pool_size");
    } else {
        findings.ok(check, said);
    }
}

fn partitions(found: &Examination, findings: &mut Findings) {
    let check = "database.partitions";
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let advice = "start a scheduler, which makes them ahead; `crashmill migrate` makes them at once";
    let Some(end) = found.partitions_end else {
        return findings.fail(check, "there are no partitions for facts", advice);
    };
    let days = today.until(end).map_or(0, |span| span.get_days());
    let said = format!("facts have partitions for {days} days, until {end}");
    match days {
        ..=0 => findings.fail(check, format!("the partitions for facts have ended on {end}"), advice),
        1..DAYS_AHEAD => findings.warn(check, said, advice),
        _ => findings.ok(check, said),
    }
}

fn leader(found: &Examination, findings: &mut Findings) {
    match &found.leader {
        Some(leader) => findings.ok("database.scheduler", format!("{leader} leads")),
        None => findings.warn(
            "database.scheduler",
            "no scheduler leads: nothing that was lost is published again, and no partitions are made",
            "start one: systemctl start crashmill-scheduler",
        ),
    }
}

fn dead_letters(found: &Examination, findings: &mut Findings) {
    match found.dead_letters {
        0 => findings.ok("database.dead_letters", "no crash was given up"),
        count => findings.warn(
            "database.dead_letters",
            format!("{count} crashes were given up"),
            "`crashmill dead list` says why; `crashmill dead retry` tries them again",
        ),
    }
}

/// Each role tells the server its version by the name of its connections.
fn versions(found: &Examination, findings: &mut Findings) {
    let mut versions: Vec<&str> = found
        .programs
        .iter()
        .filter_map(|program| program.split_once(' '))
        .map(|(_, version)| version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    let check = "database.versions";
    match versions.as_slice() {
        [] => findings.skip(check, "no role of this release is connected to the database"),
        [one] => findings.ok(check, format!("every role that is connected to the database is {one}")),
        several => findings.warn(
            check,
            format!("several releases are connected to the database: {}", several.join(", ")),
            "well during an upgrade, and not for long: restart the roles that were left behind",
        ),
    }
}
