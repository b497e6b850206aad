//! Partitions that are past their retention: which there are, what they take, and dropping them.
//!
//! A partition is detached first, which waits for whoever reads it and holds up nobody, and is dropped then; no row is
//! deleted one by one. These are statements that no transaction can hold, so a process may be killed between any two of
//! them. What was decided is therefore written down first (`partition_drop`), and whoever comes next goes on: a detach
//! that is pending is finalized, a table that is detached is dropped. A partition that an operator detached to keep it
//! was never written down, and is left alone; where detaching failed, what was written down is taken back. Between the
//! row and our own detach a kill may leave a row, though, so whoever archives a partition detaches *and renames* it: a
//! table by another name is never dropped, whatever is written down of its number.

use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use tokio_postgres::{Row, types::Type};

use crate::{
    Error, Facts,
    statement::{How, Param},
};

const PARTITIONS: &str = "
SELECT c.relname::text AS parent, r.partition::text AS name, r.first_day, r.end_day,
    coalesce(pg_total_relation_size(r.partition), 0) AS bytes
FROM unnest($1::text[]) AS asked (name)
JOIN pg_class c ON c.relname = asked.name AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'p'
CROSS JOIN LATERAL partition_range(c.oid::regclass) AS r
ORDER BY r.first_day, asked.name";

/// That of `make_partitions`: a partition is not made while one beside it goes.
const LOCK: &str = "SELECT pg_advisory_lock(4841290315027)";

/// Detaching waits for the longest query on the table, and dropping for nobody.
const PATIENCE: &str = "SET lock_timeout = '1min'; SET statement_timeout = '5min'";
const DEADLINE: Duration = Duration::from_secs(6 * 60);

const DECIDE: &str = "
INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
SELECT r.partition, r.partition::text, c.oid::regclass::text, r.first_day, r.end_day,
    coalesce(pg_total_relation_size(r.partition), 0)
FROM pg_class c
CROSS JOIN LATERAL partition_range(c.oid::regclass) AS r
WHERE c.relname = ANY ($1::text[]) AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'p' AND r.end_day <= $2
ON CONFLICT DO NOTHING";

/// What is decided, and how far it is. One that is whole and not due (any more) is not touched.
const DECIDED: &str = "
SELECT d.partition, d.name, d.parent, d.first_day, d.end_day, d.bytes,
    c.oid IS NOT NULL AS is_there, i.inhrelid IS NOT NULL AS is_attached, coalesce(i.inhdetachpending, false) AS is_pending
FROM partition_drop d
LEFT JOIN pg_class c ON c.oid = d.partition AND c.oid::regclass::text = d.name
LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE i.inhrelid IS NULL OR i.inhdetachpending OR (d.parent = ANY ($1::text[]) AND d.end_day <= $2)
ORDER BY d.first_day, array_position($1::text[], d.parent)";

const FORGET_UNDUE: &str = "
DELETE FROM partition_drop d USING pg_inherits i
WHERE i.inhrelid = d.partition AND NOT i.inhdetachpending";

const CLOCK: &str = "SELECT now()";

/// A partition of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// The table that it is a part of.
    pub table: String,
    /// Its own name.
    pub name: String,
    /// Its first day.
    pub first_day: Date,
    /// The day after its last.
    pub end_day: Date,
    /// What it takes, indexes included.
    pub bytes: u64,
}

impl Facts {
    /// The partitions of these tables, the oldest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn partitions(&self, tables: &[&str]) -> Result<Vec<Partition>, Error> {
        let rows = self.ask("listing partitions", PARTITIONS, &[(&tables, Type::TEXT_ARRAY)]).await?;
        Ok(rows.iter().map(partition).collect())
    }

    /// What the database's clock shows.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn clock(&self) -> Result<Timestamp, Error> {
        let rows = self.ask("asking the database for the time", CLOCK, &[]).await?;
        Ok(rows.first().map_or(Timestamp::UNIX_EPOCH, |row| row.get(0)))
    }

    /// Drops the partitions of these tables whose whole range is before a day, and whatever an earlier call left half
    /// dropped; returns what is gone. `each` hears of every one as it goes.
    ///
    /// # Errors
    /// When it was not all done, as while a long query reads a partition. Call it again.
    pub async fn drop_partitions(
        &self,
        tables: &[&str],
        before: Date,
        mut each: impl FnMut(&Partition) + Send,
    ) -> Result<Vec<Partition>, Error> {
        // Out of the pool: its lock and its timeouts go with it, whatever becomes of this.
        let client = Object::take(self.connection().await?);
        let session = Session { client, how: How { deadline: DEADLINE, ..self.how } };
        session.say("preparing to drop partitions", PATIENCE).await?;
        session.ask("waiting for whoever makes or drops partitions", LOCK, &[]).await?;

        let due: [Param<'_>; 2] = [(&tables, Type::TEXT_ARRAY), (&before, Type::DATE)];
        session.say("forgetting what was decided and not begun", FORGET_UNDUE).await?;
        session.ask("deciding which partitions are dropped", DECIDE, &due).await?;
        let mut gone = Vec::new();
        for row in session.ask("reading which partitions are dropped", DECIDED, &due).await? {
            let partition = partition(&row);
            session.drop(&row, &partition).await?;
            each(&partition);
            gone.push(partition);
        }
        Ok(gone)
    }
}

/// A connection of its own.
struct Session {
    client: ClientWrapper,
    how: How,
}

impl Session {
    async fn say(&self, doing: &'static str, sql: &str) -> Result<(), Error> {
        self.how.within(doing, self.client.batch_execute(sql)).await
    }

    async fn ask(&self, doing: &'static str, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        self.how.within(doing, self.client.query_typed(sql, params)).await
    }

    /// Goes on with one partition where it stands. Names come from the database, quoted as they must be.
    async fn drop(&self, row: &Row, partition: &Partition) -> Result<(), Error> {
        let Partition { table, name, .. } = partition;
        let (is_there, is_attached, is_pending): (bool, bool, bool) =
            (row.get("is_there"), row.get("is_attached"), row.get("is_pending"));
        if is_attached {
            // Only one partition of a table can be on its way at a time; the lock sees to it.
            let how = if is_pending { "FINALIZE" } else { "CONCURRENTLY" };
            let detach = format!("ALTER TABLE {table} DETACH PARTITION {name} {how}");
            if let Err(error) = self.say("detaching a partition", &detach).await {
                // Whoever detaches it next may do so to keep it. Where this fails too, the next call does it.
                self.say("forgetting what was decided and not begun", FORGET_UNDUE).await.ok();
                return Err(error);
            }
        }
        let number: u32 = row.get("partition");
        let dropping = if is_there { format!("DROP TABLE IF EXISTS {name}; ") } else { String::new() };
        // Both or neither: several statements at once are one transaction.
        let forgetting = format!("DELETE FROM partition_drop WHERE partition = {number}");
        self.say("dropping a partition", &format!("{dropping}{forgetting}")).await
    }
}

fn partition(row: &Row) -> Partition {
    Partition {
        table: row.get("parent"),
        name: row.get("name"),
        first_day: row.get("first_day"),
        end_day: row.get("end_day"),
        bytes: row.get::<_, i64>("bytes").unsigned_abs(),
    }
}
