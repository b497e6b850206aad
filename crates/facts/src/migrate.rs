//! Bringing the schema up to date, and telling whether this release may use it.
//!
//! Migrations go forward only and are never edited once released. Each ends by writing into `schema_compatibility` its own
//! number and the oldest release that may still run on the schema; a release is named there by its newest migration.

use std::{sync::mpsc, thread, time::Duration};

use postgres::Client;
use refinery::{Migration, Runner};
use serde::Serialize;
use tokio_postgres::{Row, error::SqlState};

use crate::{
    Config, Error,
    config::milliseconds,
    connect::READING,
    error::{describe, is_passing},
    tls,
};

/// All migrations, by name and text. A test compares the list with the folder.
const MIGRATIONS: [(&str, &str); 8] = [
    ("V1__dimensions", include_str!("../../../migrations/V1__dimensions.sql")),
    ("V2__facts", include_str!("../../../migrations/V2__facts.sql")),
    ("V3__aggregates", include_str!("../../../migrations/V3__aggregates.sql")),
    ("V4__control", include_str!("../../../migrations/V4__control.sql")),
    ("V5__partitions", include_str!("../../../migrations/V5__partitions.sql")),
    ("V6__upkeep", include_str!("../../../migrations/V6__upkeep.sql")),
    ("V7__whereabouts", include_str!("../../../migrations/V7__whereabouts.sql")),
    ("V8__sweep", include_str!("../../../migrations/V8__sweep.sql")),
];

/// This release: the number of its newest migration.
pub const SCHEMA: u32 = 8;

/// The oldest schema on which this release can run; below [`SCHEMA`] where a newer column can be done without.
const NEEDED: u32 = 8;

/// Says what the schema is; fails where there is none.
pub(crate) const SCHEMA_STATE: &str =
    "SELECT version, oldest_release FROM schema_compatibility ORDER BY version DESC LIMIT 1";

/// Two migrations at once would collide. The number has no meaning but to be this lock's.
const LOCK: &str = "SELECT pg_advisory_lock(4841290315026)";

const MAKE_PARTITIONS: &str = "SELECT make_partitions(current_date - 1, current_date + $1::int, $2)";

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Migrated {
    /// The schema before; 0 was an empty database.
    pub from: u32,
    /// The schema now.
    pub to: u32,
    /// Names of the migrations that were applied, in order.
    pub applied: Vec<String>,
    /// How many partitions were made.
    pub partitions: u32,
}

/// What schema the database has, and what this release makes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SchemaState {
    /// The database's schema; 0 is an empty database.
    pub version: u32,
    /// The oldest release that may use it, by its newest migration.
    pub oldest_release: u32,
    /// Names of this release's migrations that are still to be applied.
    pub pending: Vec<String>,
}

impl SchemaState {
    /// Whether this release may use the database.
    ///
    /// # Errors
    /// [`Error::SchemaTooOld`] or [`Error::SchemaLeftBehind`].
    pub fn check(&self) -> Result<(), Error> {
        if self.oldest_release > SCHEMA {
            return Err(Error::SchemaLeftBehind {
                found: self.version,
                oldest: self.oldest_release,
                ours: SCHEMA,
            });
        }
        if self.version < NEEDED {
            return Err(Error::SchemaTooOld { found: self.version, needed: NEEDED });
        }
        Ok(())
    }

    /// Takes what [`SCHEMA_STATE`] brought.
    pub(crate) fn of(read: Result<Option<Row>, tokio_postgres::Error>) -> Result<Self, Error> {
        let (version, oldest_release): (i32, i32) = match read {
            Ok(row) => row.map_or((0, 0), |row| (row.get(0), row.get(1))),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => (0, 0),
            Err(source) => return Err(Error::Statement { doing: READING, source }),
        };
        let version = version.unsigned_abs();
        let pending = MIGRATIONS.iter().map(|(name, _)| *name).filter(|name| number(name) > version);
        Ok(Self {
            version,
            oldest_release: oldest_release.unsigned_abs(),
            pending: pending.map(str::to_owned).collect(),
        })
    }
}

/// Brings the schema up to date and makes the partitions of the coming days.
///
/// Two at once are safe: the second waits and finds nothing to do. A schema that a later release made is left as it is. This
/// blocks; the work is done on a thread of its own, so that it may be called within a runtime.
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Migration`], after which nothing has been applied, or [`Error::SchemaLeftBehind`].
pub fn migrate(config: &Config) -> Result<Migrated, Error> {
    // Waiting for the other one, the migrations, and the partitions.
    let deadline = config.migration_timeout.get().saturating_mul(3);
    apart("migrating the database", deadline, config, migrate_on)
}

/// Says what schema the database has, and changes nothing. It blocks, like [`migrate`].
///
/// # Errors
/// [`Error::Unreachable`].
pub fn schema_state(config: &Config) -> Result<SchemaState, Error> {
    apart(READING, config.statement_timeout.get(), config, |_, client| state(client))
}

fn migrate_on(config: &Config, client: &mut Client) -> Result<Migrated, Error> {
    let patience = milliseconds(config.migration_timeout);
    let say = |client: &mut Client, sql: &str| client.batch_execute(sql).map_err(failed);
    say(client, &format!("SET statement_timeout = {patience}; SET lock_timeout = {patience}"))?;
    say(client, LOCK)?;
    // A migration that waited long for a table would hold up everybody who comes after it.
    say(client, &format!("SET lock_timeout = {}", milliseconds(config.lock_timeout)))?;

    let before = state(client)?;
    if before.oldest_release > SCHEMA {
        before.check()?;
    }
    if !before.pending.is_empty() {
        runner()?.run(client).map_err(|error| not_applied(&error))?;
    }
    let days = i32::from(config.partition_days_ahead);
    let made = client.query_one(MAKE_PARTITIONS, &[&days, &config.partitions.as_sql()]).map_err(failed)?;
    let made: i32 = made.get(0);
    Ok(Migrated {
        from: before.version,
        to: state(client)?.version,
        applied: before.pending,
        partitions: made.unsigned_abs(),
    })
}

/// A migration's number; they grow, and some may have been given to nothing.
fn number(name: &str) -> u32 {
    let digits = name.trim_start_matches('V').split("__").next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// All or nothing: by default a migration and the note that it was applied are two transactions.
fn runner() -> Result<Runner, Error> {
    let migrations: Result<Vec<_>, _> =
        MIGRATIONS.iter().map(|(name, sql)| Migration::unapplied(name, sql)).collect();
    Ok(Runner::new(&migrations.map_err(|error| not_applied(&error))?).set_grouped(true))
}

fn state(client: &mut Client) -> Result<SchemaState, Error> {
    SchemaState::of(client.query_opt(SCHEMA_STATE, &[]))
}

fn failed(source: postgres::Error) -> Error {
    Error::Statement { doing: "migrating the database", source }
}

fn not_applied(error: &refinery::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut transient = false;
    while let Some(error) = cause {
        transient |= error.downcast_ref::<postgres::Error>().is_some_and(is_passing);
        cause = error.source();
    }
    Error::Migration { reason: describe(error), transient }
}

/// Runs blocking work with a connection, on a thread of its own: the blocking client has a runtime inside, and panics within
/// another.
fn apart<T: Send + 'static>(
    doing: &'static str,
    deadline: Duration,
    config: &Config,
    work: impl FnOnce(&Config, &mut Client) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (done, outcome) = mpsc::sync_channel(1);
    let config = config.clone();
    let deadline = deadline.saturating_add(config.connect_timeout.get());
    thread::Builder::new()
        .name("crashmill-migrate".to_owned())
        .spawn(move || {
            let worked = connect(&config).and_then(|mut client| work(&config, &mut client));
            // After the deadline nobody listens any more.
            drop(done.send(worked));
        })
        .map_err(|error| Error::Config(format!("starting a thread: {error}")))?;
    outcome.recv_timeout(deadline).map_err(|_| Error::NoAnswer { doing, seconds: deadline.as_secs() })?
}

fn connect(config: &Config) -> Result<Client, Error> {
    let (postgres, tls) = config.to_postgres()?;
    let mut client = postgres::Config::from(postgres)
        .connect(tls::connector(tls)?)
        .map_err(|error| Error::unreachable(&config.url, &error))?;
    client.batch_execute(&config.session_sql()).map_err(failed)?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_holds_the_migrations_that_are_built_in_and_no_other() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
            .collect();
        files.sort_by_key(|name| name[1..name.find("__").unwrap()].parse::<u32>().unwrap());
        assert_eq!(files, MIGRATIONS.map(|(name, _)| name));
    }

    #[test]
    fn every_migration_marks_the_schema_with_its_own_number() {
        for (name, sql) in MIGRATIONS {
            let number = number(name);
            let mark =
                format!("INSERT INTO schema_compatibility (version, oldest_release) VALUES ({number}, ");
            assert_eq!(sql.matches(&mark).count(), 1, "{name} lacks: {mark}");
        }
        let numbers: Vec<u32> = MIGRATIONS.iter().map(|(name, _)| number(name)).collect();
        assert!(numbers.is_sorted_by(|first, second| first < second) && numbers[0] == 1, "{numbers:?}");
        assert_eq!(numbers.last(), Some(&SCHEMA));
    }

    #[test]
    fn a_release_refuses_only_what_is_too_old_or_has_left_it_behind() {
        let state = |version, oldest_release| SchemaState { version, oldest_release, pending: vec![] };
        assert!(state(SCHEMA, SCHEMA).check().is_ok());
        assert!(state(SCHEMA + 3, SCHEMA).check().is_ok());
        assert!(matches!(state(NEEDED - 1, 1).check(), Err(Error::SchemaTooOld { .. })));
        assert!(matches!(state(SCHEMA + 3, SCHEMA + 1).check(), Err(Error::SchemaLeftBehind { .. })));
    }
}
