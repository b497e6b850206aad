//! Erased crashes: the audit of who had them erased, and how they stay away.
//!
//! An erasure is written down before anything is erased, and from that commit on no fact of its crashes is taken. A save
//! that began before it may hold such a fact, though, and commit it later: so savers hold a lock that they share, and
//! whoever writes an erasure down waits until it is free. Each save that comes after sees the erasure, each one that came
//! before is seen by the deletion.

use std::collections::{BTreeMap, HashSet};

use crash::CrashId;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use crate::{
    Error, Facts, clean,
    statement::{On, Param},
};

/// Savers share it, and whoever begins an erasure has it alone. The number has no meaning but to be this lock's.
pub(crate) const SHARE_LOCK: &str = "SELECT pg_advisory_xact_lock_shared(4841290315029)";
const LOCK: &str = "SELECT pg_advisory_xact_lock(4841290315029)";

const BEGIN: &str = "
INSERT INTO erasure (requested_at, requested_by, node, reason, installation)
VALUES ($1, $2, $3, $4, $5) RETURNING erasure_id";

const NAME_CRASHES: &str = "
INSERT INTO erased_crash (crash_day, crash_id, erasure_id)
SELECT crash_day, crash_id, $3 FROM unnest($1::date[], $2::uuid[]) AS n (crash_day, crash_id)
ORDER BY crash_day, crash_id
ON CONFLICT DO NOTHING";

/// In the order in which savers take them.
const DELETE: [&str; 8] = [
    "DELETE FROM fact_crash WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM fact_dump WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM crash_addon WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM crash_private WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM crash_reject WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM crash_attempt WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM dead_letter WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
    "DELETE FROM crash_degraded WHERE crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[]) RETURNING crash_id, crash_day",
];

/// The signature was seen first when it was; in which crash is not known any more.
const FORGET_FIRST: &str =
    "UPDATE dim_signature SET first_crash_id = NULL WHERE first_crash_id = ANY ($1::uuid[])";

const MARK_DIRTY: &str = "
INSERT INTO dirty_day (day, why)
SELECT DISTINCT day, 'erased' FROM unnest($1::date[]) AS n (day) ORDER BY day
ON CONFLICT DO NOTHING";

/// What was erased is counted where it was asked for; whatever else asked for the same crash has nothing left to do.
const COMPLETE: &str = "
UPDATE erased_crash e SET
    erased_at = coalesce(e.erased_at, $7),
    frames = CASE WHEN e.erasure_id = $3 THEN greatest(e.frames, n.frames) ELSE e.frames END,
    bytes = CASE WHEN e.erasure_id = $3 THEN greatest(e.bytes, n.bytes) ELSE e.bytes END,
    rows = CASE WHEN e.erasure_id = $3 THEN e.rows + n.rows ELSE e.rows END
FROM unnest($1::date[], $2::uuid[], $4::bigint[], $5::bigint[], $6::bigint[]) AS n (crash_day, crash_id, frames, bytes, rows)
WHERE e.crash_day = n.crash_day AND e.crash_id = n.crash_id";

const ERASED: &str = "
SELECT DISTINCT e.crash_id
FROM unnest($1::date[], $2::uuid[]) AS n (crash_day, crash_id)
JOIN erased_crash e USING (crash_day, crash_id)";

const OF_CRASH: &str = "
SELECT c.crash_id, c.erasure_id, e.requested_at, e.requested_by, e.node, e.reason, c.erased_at, c.frames, c.bytes, c.rows
FROM erased_crash c JOIN erasure e USING (erasure_id)
WHERE c.crash_day = $1 AND c.crash_id = $2 ORDER BY c.erasure_id LIMIT 1";

const UNFINISHED: &str = "
SELECT c.erasure_id, c.crash_id
FROM erased_crash c JOIN erasure e USING (erasure_id)
WHERE c.verified_at IS NULL AND c.erased_at IS NULL AND e.requested_at < $1
ORDER BY c.erasure_id, c.crash_day, c.crash_id LIMIT $2";

const UNVERIFIED: &str = "
SELECT erasure_id, crash_id FROM erased_crash
WHERE verified_at IS NULL AND erased_at < $1
ORDER BY erased_at, crash_day, crash_id LIMIT $2";

const VERIFIED: &str = "
UPDATE erased_crash SET verified_at = $3
WHERE verified_at IS NULL AND erased_at IS NOT NULL AND crash_day = ANY ($1::date[]) AND crash_id = ANY ($2::uuid[])";

const COUNT: &str = "
SELECT (SELECT count(*) FROM fact_crash WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM fact_dump WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM crash_addon WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM crash_private WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM crash_reject WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM crash_attempt WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM dead_letter WHERE crash_day = $1 AND crash_id = $2)
    + (SELECT count(*) FROM crash_degraded WHERE crash_day = $1 AND crash_id = $2)";

const OF_INSTALLATION: &str = "
SELECT crash_id FROM fact_crash
WHERE crash_day >= $2 AND crash_day < $3 AND install_hash = $1 ORDER BY crash_day, crash_id";

/// A look at a whole partition takes its time.
const PATIENCE: &str = "SET LOCAL statement_timeout = '10min'";
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(11 * 60);

/// Who wants something erased, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRequest {
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// The user of the operating system who asked.
    pub requested_by: String,
    /// The machine on which it was asked for.
    pub node: String,
    /// Why, in their words.
    pub reason: String,
    /// What an installation was named by, if all of its crashes are to go; its hash alone is kept.
    pub installation: Option<String>,
}

/// What was erased of a crash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ErasedCounts {
    /// Frames in the crash store.
    pub frames: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Rows in the database.
    pub rows: u64,
}

/// A crash of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasureOf {
    /// The erasure.
    pub erasure: i64,
    /// The crash.
    pub crash_id: CrashId,
}

/// How a crash came to be erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasedCrash {
    /// The crash.
    pub crash_id: CrashId,
    /// The number of the request.
    pub erasure: i64,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Who asked.
    pub requested_by: String,
    /// On which machine.
    pub node: String,
    /// Why.
    pub reason: String,
    /// When all of it was gone; nothing while there is something left to do.
    pub erased_at: Option<Timestamp>,
    /// What was erased.
    pub counts: ErasedCounts,
}

impl Facts {
    /// Writes down that these crashes are to be erased. From now on no fact of them is taken.
    ///
    /// # Errors
    /// When the database does not take it; nothing is written down then.
    pub async fn begin_erasure(&self, request: &ErasureRequest, crash_ids: &[CrashId]) -> Result<i64, Error> {
        let installation = request.installation.as_deref().map(hash_of);
        let params: [Param<'_>; 5] = [
            (&request.requested_at, Type::TIMESTAMPTZ),
            (&clean::name(&request.requested_by, 256), Type::TEXT),
            (&clean::name(&request.node, 256), Type::TEXT),
            (&clean::beginning(&request.reason, 2000), Type::TEXT),
            (&installation, Type::BYTEA),
        ];
        let mut connection = self.connection().await?;
        let transaction = self.how.within("beginning an erasure", connection.transaction()).await?;
        let on = On::transaction(&transaction, self.how);
        on.query("waiting for saves that are under way", LOCK, &[]).await?;
        let begun = on.query("writing an erasure down", BEGIN, &params).await?;
        let erasure: i64 = begun.first().map_or(0, |row| row.get(0));
        let (days, ids) = keys(crash_ids);
        let named: [Param<'_>; 3] =
            [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY), (&erasure, Type::INT8)];
        on.query("writing down what is erased", NAME_CRASHES, &named).await?;
        self.how.within("committing an erasure", transaction.commit()).await?;
        Ok(erasure)
    }

    /// Deletes every row of these crashes, and notes that they are gone: of each with what was erased from the crash
    /// store before. Returns the same with the rows. It may be repeated.
    ///
    /// # Errors
    /// When the database does not do it; nothing is deleted then.
    pub async fn erase(
        &self,
        erasure: i64,
        crashes: &BTreeMap<CrashId, ErasedCounts>,
        now: Timestamp,
    ) -> Result<BTreeMap<CrashId, ErasedCounts>, Error> {
        let mut counts = crashes.clone();
        let crash_ids: Vec<CrashId> = crashes.keys().copied().collect();
        let (days, ids) = keys(&crash_ids);
        let key: [Param<'_>; 2] = [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY)];

        let mut connection = self.connection().await?;
        let transaction = self.how.within("beginning to erase", connection.transaction()).await?;
        let on = On::transaction(&transaction, self.how);
        let mut dirty = Vec::<Date>::new();
        for statement in DELETE {
            for row in on.query("erasing the rows of crashes", statement, &key).await? {
                dirty.push(row.get(1));
                if let Some(counts) = crash_of(&row).and_then(|id| counts.get_mut(&id)) {
                    counts.rows += 1;
                }
            }
        }
        on.query("forgetting first crashes of signatures", FORGET_FIRST, &[(&ids, Type::UUID_ARRAY)]).await?;
        let marked = [(&dirty as _, Type::DATE_ARRAY)];
        on.query("marking days whose rollups are out of date", MARK_DIRTY, &marked).await?;
        let column = |of: fn(&ErasedCounts) -> u64| {
            counts.values().map(|counts| i64::try_from(of(counts)).unwrap_or(i64::MAX)).collect::<Vec<_>>()
        };
        let (frames, bytes, rows) = (column(|c| c.frames), column(|c| c.bytes), column(|c| c.rows));
        let completed: [Param<'_>; 7] = [
            (&days, Type::DATE_ARRAY),
            (&ids, Type::UUID_ARRAY),
            (&erasure, Type::INT8),
            (&frames, Type::INT8_ARRAY),
            (&bytes, Type::INT8_ARRAY),
            (&rows, Type::INT8_ARRAY),
            (&now, Type::TIMESTAMPTZ),
        ];
        on.query("noting what is erased", COMPLETE, &completed).await?;
        self.how.within("committing what is erased", transaction.commit()).await?;
        Ok(counts)
    }

    /// Those of these crashes that are erased, or are to be.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn erased(&self, crash_ids: &[CrashId]) -> Result<Vec<CrashId>, Error> {
        let connection = self.connection().await?;
        erased_of(&On::connection(&connection, self.how), crash_ids).await
    }

    /// How a crash came to be erased; nothing when it was not.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn erasure_of(&self, crash_id: CrashId) -> Result<Option<ErasedCrash>, Error> {
        let key: [Param<'_>; 2] = [(&crash_id.day(), Type::DATE), (&crash_id.uuid(), Type::UUID)];
        let rows = self.ask("reading how a crash was erased", OF_CRASH, &key).await?;
        Ok(rows.first().map(|row| ErasedCrash {
            crash_id,
            erasure: row.get("erasure_id"),
            requested_at: row.get("requested_at"),
            requested_by: row.get("requested_by"),
            node: row.get("node"),
            reason: row.get("reason"),
            erased_at: row.get("erased_at"),
            counts: ErasedCounts {
                frames: row.get::<_, i64>("frames").unsigned_abs(),
                bytes: row.get::<_, i64>("bytes").unsigned_abs(),
                rows: row.get::<_, i64>("rows").unsigned_abs(),
            },
        }))
    }

    /// Crashes that were to be erased and are not, though it was asked for before this time: at most so many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unfinished_erasures(&self, before: Timestamp, most: u32) -> Result<Vec<ErasureOf>, Error> {
        self.erasures("looking for unfinished erasures", UNFINISHED, before, most).await
    }

    /// Crashes that were erased before this time and have not been looked after since: at most so many.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn unverified_erasures(&self, before: Timestamp, most: u32) -> Result<Vec<ErasureOf>, Error> {
        self.erasures("looking for erasures to verify", UNVERIFIED, before, most).await
    }

    async fn erasures(
        &self,
        doing: &'static str,
        sql: &str,
        before: Timestamp,
        most: u32,
    ) -> Result<Vec<ErasureOf>, Error> {
        let params: [Param<'_>; 2] = [(&before, Type::TIMESTAMPTZ), (&i64::from(most), Type::INT8)];
        let rows = self.ask(doing, sql, &params).await?;
        let of = |row: &Row| Some(ErasureOf { erasure: row.get("erasure_id"), crash_id: crash_of(row)? });
        Ok(rows.iter().filter_map(of).collect())
    }

    /// How many rows there are of a crash, in all tables that an erasure empties.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_rows(&self, crash_id: CrashId) -> Result<u64, Error> {
        let key: [Param<'_>; 2] = [(&crash_id.day(), Type::DATE), (&crash_id.uuid(), Type::UUID)];
        let rows = self.ask("counting the rows of a crash", COUNT, &key).await?;
        Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
    }

    /// Notes that these erased crashes were looked after once more.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn verified(&self, crash_ids: &[CrashId], now: Timestamp) -> Result<(), Error> {
        let (days, ids) = keys(crash_ids);
        let params: [Param<'_>; 3] =
            [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY), (&now, Type::TIMESTAMPTZ)];
        self.ask("noting which erasures were verified", VERIFIED, &params).await?;
        Ok(())
    }

    /// The crashes of an installation within these days, by [`crate::CrashFact::install_hash`]. It reads whole partitions: there is
    /// no index for what is asked so rarely.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn crashes_of_installation(
        &self,
        install_hash: &[u8],
        first: Date,
        last: Date,
    ) -> Result<Vec<CrashId>, Error> {
        let how = crate::statement::How { deadline: DEADLINE, ..self.how };
        let mut found = Vec::new();
        for partition in self.partitions(&["fact_crash"]).await? {
            let from = partition.first_day.max(first);
            let until = partition.end_day.min(last.tomorrow().unwrap_or(last));
            if from >= until {
                continue;
            }
            let params: [Param<'_>; 3] =
                [(&install_hash, Type::BYTEA), (&from, Type::DATE), (&until, Type::DATE)];
            let mut connection = self.connection().await?;
            let transaction = how.within("beginning to search", connection.transaction()).await?;
            let on = On::transaction(&transaction, how);
            on.query("preparing to search", PATIENCE, &[]).await?;
            let rows = on.query("searching an installation's crashes", OF_INSTALLATION, &params).await?;
            found.extend(rows.iter().filter_map(crash_of));
        }
        Ok(found)
    }
}

/// Those of these crashes that are erased, or are to be.
pub(crate) async fn erased_of(on: &On<'_>, crash_ids: &[CrashId]) -> Result<Vec<CrashId>, Error> {
    if crash_ids.is_empty() {
        return Ok(Vec::new());
    }
    let (days, ids) = keys(crash_ids);
    let key: [Param<'_>; 2] = [(&days, Type::DATE_ARRAY), (&ids, Type::UUID_ARRAY)];
    let rows = on.query("asking which crashes are erased", ERASED, &key).await?;
    let erased: HashSet<Uuid> = rows.iter().map(|row| row.get("crash_id")).collect();
    Ok(crash_ids.iter().copied().filter(|id| erased.contains(&id.uuid())).collect())
}

fn keys(crash_ids: &[CrashId]) -> (Vec<Date>, Vec<Uuid>) {
    crash_ids.iter().map(|id| (id.day(), id.uuid())).unzip()
}

/// Only crash ids are written into these tables.
fn crash_of(row: &Row) -> Option<CrashId> {
    CrashId::from_uuid(row.get("crash_id")).ok()
}

fn hash_of(installation: &str) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(installation).to_vec()
}
