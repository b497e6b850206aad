//! What can be seen of the database, for whoever looks for what is wrong. Nothing is changed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::Object;
use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::Serialize;
use tokio_postgres::{Row, types::Type};

use crate::{
    Config, Error, SchemaState,
    connect::{GRACE, connect, pool},
    dimensions::Dimensions,
    leadership::LOCK,
    migrate::SCHEMA_STATE,
    statement::How,
};

const LOOKING: &str = "looking at the database";
const SERVER: &str = include_str!("sql/examine.sql");
const TABLES: &str = include_str!("sql/examine_tables.sql");
const CLOCK: &str = "SELECT clock_timestamp()";
/// A setting of the session's own, which another session must not see.
const MARK: &str = "SELECT set_config('crashmill.doctor', $1, false)";
const SEEN: &str = "SELECT current_setting('crashmill.doctor', true)";

/// What can be seen of the database.
#[derive(Debug, Clone, Serialize)]
pub struct Examination {
    /// The server's version, as it writes it.
    pub server: String,
    /// What schema there is.
    pub schema: SchemaState,
    /// It follows another server, and nothing can be written.
    pub is_standby: bool,
    /// Transactions may only read.
    pub is_read_only: bool,
    /// Whether the server waits for the disk at all.
    pub fsync: bool,
    /// Whether a page that was half written when the power failed can be restored.
    pub full_page_writes: bool,
    /// What a commit waits for where nobody says otherwise; our sessions never take `off`.
    pub synchronous_commit: String,
    /// How many connections the server has, of everybody.
    pub connections: u32,
    /// How many it takes at most.
    pub connections_at_most: u32,
    /// Whether tables can be made, which migrations and partitions need.
    pub may_create: bool,
    /// Tables which our user may not read and write.
    pub closed_tables: Vec<String>,
    /// The scheduler that leads: its program and its address.
    pub leader: Option<String>,
    /// Our programs that are connected, with their versions.
    pub programs: Vec<String>,
    /// How much the server's clock is ahead of ours, give or take half of `round_trip`.
    pub clock_ahead: SignedDuration,
    /// How long a question and its answer took.
    pub round_trip: Duration,
    /// A pooler hands one session to several clients, so that timeouts and locks are not the session's.
    pub sessions_are_shared: bool,
    /// The day after the last one that facts can be saved for; nothing without a schema.
    pub partitions_end: Option<Date>,
    /// Crashes that were given up, and that nobody has tried again or dropped since.
    pub dead_letters: u64,
}

/// Looks at the database, whatever schema it has.
///
/// # Errors
/// When it cannot be reached, or does not answer.
pub async fn examine(config: &Config) -> Result<Examination, Error> {
    let how = How { prepared: false, deadline: config.statement_timeout.get().saturating_add(GRACE) };
    // Two pools, since one may have room for a single connection.
    let (one, other) = tokio::try_join!(session(config), session(config))?;

    let schema = SchemaState::of(one.query_opt(SCHEMA_STATE, &[]).await)?;
    let server = how.within(LOOKING, one.query_typed_one(SERVER, &[(&LOCK, Type::INT8)])).await?;
    // What they are called and hold is only known of a schema that this release can use.
    let tables = if schema.check().is_err() {
        None
    } else {
        Some(how.within(LOOKING, one.query_typed_one(TABLES, &[])).await?)
    };
    let (clock_ahead, round_trip) = clock(&one, how).await?;
    let sessions_are_shared = shared(&one, &other, how).await?;
    let dead_letters: i64 = tables.as_ref().map_or(0, |row: &Row| row.get("dead_letters"));
    Ok(Examination {
        server: server.get("server"),
        schema,
        is_standby: server.get("is_standby"),
        is_read_only: server.get("is_read_only"),
        fsync: server.get("fsync"),
        full_page_writes: server.get("full_page_writes"),
        synchronous_commit: server.get("synchronous_commit"),
        connections: number(&server, "connections"),
        connections_at_most: number(&server, "connections_at_most"),
        may_create: server.get("may_create"),
        closed_tables: server.get("closed_tables"),
        leader: server.get("leader"),
        programs: server.get("programs"),
        clock_ahead,
        round_trip,
        sessions_are_shared,
        partitions_end: tables.and_then(|row| row.get("partitions_end")),
        dead_letters: dead_letters.unsigned_abs(),
    })
}

async fn session(config: &Config) -> Result<Object, Error> {
    connect(&pool(config, Arc::new(Dimensions::default()))?, config).await
}

fn number(row: &Row, column: &str) -> u32 {
    row.get::<_, i32>(column).unsigned_abs()
}

/// The server read its clock about half-way between the question and the answer.
async fn clock(session: &Object, how: How) -> Result<(SignedDuration, Duration), Error> {
    let (asked_at, asked) = (Timestamp::now(), Instant::now());
    let row = how.within(LOOKING, session.query_typed_one(CLOCK, &[])).await?;
    let round_trip = asked.elapsed();
    let theirs: Timestamp = row.get(0);
    let ahead = theirs.duration_since(asked_at);
    Ok((ahead - SignedDuration::try_from(round_trip / 2).unwrap_or_default(), round_trip))
}

async fn shared(one: &Object, other: &Object, how: How) -> Result<bool, Error> {
    // Like no other at this moment, and an earlier one's may still be there.
    let mark = format!("{} {}", std::process::id(), Timestamp::now());
    how.within(LOOKING, one.query_typed(MARK, &[(&mark, Type::TEXT)])).await?;
    let row = how.within(LOOKING, other.query_typed_one(SEEN, &[])).await?;
    Ok(row.get::<_, Option<String>>(0).as_deref() == Some(mark.as_str()))
}
