//! Reading one crash's facts back, with names in place of numbers.

use crash::{Address, CrashId};
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::{Row, types::Type};

use crate::{Error, Facts, statement::On};

const FACT: &str = include_str!("sql/fact.sql");
const DUMPS: &str = include_str!("sql/dumps.sql");
const IS_ERASED: &str = "SELECT EXISTS (SELECT FROM erased_crash WHERE crash_day = $1 AND crash_id = $2)";
const COUNT: &str = "SELECT count(*) FROM fact_crash WHERE crash_day = $1";

/// The facts of one crash, for people to read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FactRow {
    /// The crash.
    pub crash_id: CrashId,
    /// The UTC day in which it was received.
    pub crash_day: Date,
    /// When the collector had it.
    pub received_at: Timestamp,
    /// When it happened, by the client's clock.
    pub client_crash_at: Option<Timestamp>,
    /// When its processing began.
    pub started_at: Option<Timestamp>,
    /// When its processing ended.
    pub completed_at: Timestamp,
    /// How often it was tried.
    pub attempt: i16,
    /// The product.
    pub product: String,
    /// The channel.
    pub channel: String,
    /// The version.
    pub version: String,
    /// The build id.
    pub build: String,
    /// The day of the build.
    pub build_day: Option<Date>,
    /// The signature.
    pub signature: String,
    /// Which process of the product it was.
    pub process_type: String,
    /// What happened to it.
    pub event: String,
    /// The operating system.
    pub os_family: String,
    /// Its version.
    pub os_version: String,
    /// The two in words.
    pub os: String,
    /// The machine's processor.
    pub cpu_arch: String,
    /// Its model.
    pub cpu_model: String,
    /// Number of logical processors.
    pub cores: Option<i16>,
    /// Why the process stopped.
    pub reason: String,
    /// The address that the crash was about.
    pub address: Option<Address>,
    /// How long the process had run, in seconds.
    pub uptime_s: Option<i32>,
    /// How long the version had been installed, in seconds.
    pub install_age_s: Option<i64>,
    /// How long ago the installation had crashed before, in seconds.
    pub last_crash_s: Option<i64>,
    /// Whether the process had run for less than a minute.
    pub is_startup: bool,
    /// How much the allocation that failed asked for, in bytes.
    pub oom_alloc: Option<i64>,
    /// The share of such crashes that is kept.
    pub sample_rate: f64,
    /// Whether the main dump was walked, or there was none to walk.
    pub success: bool,
    /// All frames that the signature was made from.
    pub proto_signature: Option<String>,
    /// Hash of the rules that were applied, in hexadecimal.
    pub ruleset: String,
    /// What the processor wants a human to know.
    pub notes: Vec<String>,
    /// Public annotations without a column of their own.
    pub attrs: Value,
    /// The dumps, the main one first.
    pub dumps: Vec<DumpRow>,
}

/// The facts of one dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DumpRow {
    /// Name of the form field.
    pub name: String,
    /// Size in bytes.
    pub bytes: Option<i64>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: Option<String>,
    /// How its stackwalk ended.
    pub walk_status: String,
    /// Why the process stopped.
    pub reason: Option<String>,
    /// Index of the thread that crashed.
    pub crashing_thread: Option<i32>,
    /// How many modules were loaded.
    pub modules: i32,
}

impl Facts {
    /// The facts of one crash; nothing when it has none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn fact(&self, crash_id: CrashId) -> Result<Option<FactRow>, Error> {
        let connection = self.connection().await?;
        let on = On::connection(&connection, self.how);
        let (day, uuid) = (crash_id.day(), crash_id.uuid());
        let key = [(&day as _, Type::DATE), (&uuid as _, Type::UUID)];
        let facts = on.query("reading a crash's facts", FACT, &key).await?;
        let Some(fact) = facts.first() else {
            return Ok(None);
        };
        let dumps = on.query("reading a crash's dumps", DUMPS, &key).await?;
        Ok(Some(fact_row(crash_id, fact, dumps.iter().map(dump_row).collect())))
    }

    /// Whether a crash is erased, or is to be.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn is_erased(&self, crash_id: CrashId) -> Result<bool, Error> {
        let key = [(&crash_id.day() as _, Type::DATE), (&crash_id.uuid() as _, Type::UUID)];
        let rows = self.ask("asking whether a crash is erased", IS_ERASED, &key).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// How many crashes of a day have facts.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn count_on(&self, day: Date) -> Result<u64, Error> {
        let connection = self.connection().await?;
        let rows = On::connection(&connection, self.how)
            .query("counting a day's crashes", COUNT, &[(&day, Type::DATE)])
            .await?;
        let count: i64 = rows.first().map_or(0, |row| row.get(0));
        Ok(count.unsigned_abs())
    }
}

fn fact_row(crash_id: CrashId, row: &Row, dumps: Vec<DumpRow>) -> FactRow {
    let address: Option<String> = row.get("address");
    FactRow {
        crash_id,
        crash_day: row.get("crash_day"),
        received_at: row.get("received_at"),
        client_crash_at: row.get("client_crash_at"),
        started_at: row.get("started_at"),
        completed_at: row.get("completed_at"),
        attempt: row.get("attempt"),
        product: row.get("product"),
        channel: row.get("channel"),
        version: row.get("version"),
        build: row.get("build_id"),
        build_day: row.get("build_day"),
        signature: row.get("signature"),
        process_type: row.get("process_type"),
        event: row.get("event"),
        os_family: row.get("os_family"),
        os_version: row.get("os_version"),
        os: row.get("os_label"),
        cpu_arch: row.get("cpu_arch"),
        cpu_model: row.get("cpu_model"),
        cores: row.get("cores"),
        reason: row.get("reason"),
        address: address.and_then(|digits| digits.parse().ok()).map(Address),
        uptime_s: row.get("uptime_s"),
        install_age_s: row.get("install_age_s"),
        last_crash_s: row.get("last_crash_s"),
        is_startup: row.get("is_startup"),
        oom_alloc: row.get("oom_alloc"),
        sample_rate: row.get("sample_rate"),
        success: row.get("success"),
        proto_signature: row.get("proto_signature"),
        ruleset: row.get("ruleset"),
        notes: row.get("notes"),
        attrs: row.get("attrs"),
        dumps,
    }
}

fn dump_row(row: &Row) -> DumpRow {
    DumpRow {
        name: row.get("dump_name"),
        bytes: row.get("bytes"),
        sha256: row.get("sha256"),
        walk_status: row.get("walk_status"),
        reason: row.get("reason"),
        crashing_thread: row.get("crashing_thread"),
        modules: row.get("modules"),
    }
}
