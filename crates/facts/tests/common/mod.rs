//! A migrated database of a test's own, and crashes to put into it.

#![allow(dead_code, reason = "each test file uses its own share")]
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up ends here")]

use crash::{
    Cpu, CrashId, CrashInfo, Event, Memory, Module, Os, PROCESSED_FORMAT, ProcessedCrash, ProcessedDump,
    ProcessorNote, Stackwalk, Throttle, ThrottleDigit, Times, WalkStatus,
};
use facts::{Config, Facts};
use jiff::{SignedDuration, Timestamp};
use testing::Database;

pub(crate) const DAY: &str = "2026-11-23";

/// A database with our schema, connected.
pub(crate) struct Migrated {
    pub(crate) facts: Facts,
    pub(crate) config: Config,
    pub(crate) database: Database,
}

pub(crate) async fn migrated(test: &str) -> Migrated {
    migrated_with(test, Config::default()).await
}

pub(crate) async fn migrated_with(test: &str, config: Config) -> Migrated {
    let database = Database::create(test);
    let config = Config { url: database.url().parse().unwrap(), ..config };
    facts::migrate(&config).unwrap();
    let facts = Facts::connect(&config).await.unwrap();
    Migrated { facts, config, database }
}

impl Migrated {
    /// What a query of one column brings, as text.
    pub(crate) fn ask(&self, sql: &str) -> Vec<String> {
        let (url, sql) = (self.database.url().to_owned(), sql.to_owned());
        std::thread::spawn(move || {
            let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            let rows = client.simple_query(&sql).unwrap();
            rows.iter()
                .filter_map(|message| match message {
                    postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
                    _ => None,
                })
                .collect()
        })
        .join()
        .unwrap()
    }
}

pub(crate) fn noon() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

/// The `number`th crash of a day.
pub(crate) fn crash(number: u32) -> ProcessedCrash {
    crash_at(noon() + SignedDuration::from_secs(i64::from(number % 3600)), number)
}

pub(crate) fn crash_at(at: Timestamp, number: u32) -> ProcessedCrash {
    // A different number must make a different id, and random bits are not all of the number's.
    let random = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let walk = Stackwalk {
        crash_info: Some(CrashInfo {
            reason: Some("SIGSEGV / SEGV_MAPERR".to_owned()),
            ..CrashInfo::default()
        }),
        crashing_thread: Some(0),
        modules: (0..3).map(|module| module_named(&format!("lib{module}.so"))).collect(),
        ..Stackwalk::failed(WalkStatus::Ok, "")
    };
    ProcessedCrash {
        format: PROCESSED_FORMAT,
        crash_id: CrashId::new(at, ThrottleDigit::Accept, random).unwrap(),
        submitted_at: at,
        started_at: at + SignedDuration::from_secs(1),
        completed_at: at + SignedDuration::from_secs(2),
        attempt: 1,
        node: "node-1".to_owned(),
        ruleset: "00ff".to_owned(),
        success: true,
        throttle: Throttle::Accept,
        sample_rate: 0.25,
        product: "Sample".to_owned(),
        version: "1.0b2".to_owned(),
        channel: "beta".to_owned(),
        build: "20261120093000".to_owned(),
        process_type: "parent".to_owned(),
        event: Event::Crash,
        os: Os { family: "Linux".to_owned(), version: "6.1".to_owned(), label: "Debian 12".to_owned() },
        cpu: Cpu { arch: "amd64".to_owned(), model: "family 6".to_owned(), cores: Some(8) },
        reason: Some("SIGSEGV / SEGV_MAPERR".to_owned()),
        address: Some(crash::Address(u64::MAX)),
        crashing_thread: Some(0),
        times: Times {
            crashed_at: Some(at - SignedDuration::from_secs(9)),
            uptime_s: Some(30),
            install_age_s: Some(86_400),
            last_crash_s: None,
        },
        memory: Memory { total_physical_bytes: Some(1 << 34), ..Memory::default() },
        signature: "main | crash_here".to_owned(),
        proto_signature: "crash_here | main".to_owned(),
        signature_explanation: None,
        dumps: vec![ProcessedDump {
            name: "upload_file_minidump".to_owned(),
            bytes: 1234,
            sha256: "ab".repeat(32),
            stackwalk: walk,
        }],
        missing_symbols: vec![],
        notes: vec![ProcessorNote { source: "rule".to_owned(), text: "a \"note\", {braces}".to_owned() }],
        annotations: [("ProductName", "Sample"), ("Theme", "dark")].into_iter().collect(),
    }
}

pub(crate) fn module_named(filename: &str) -> Module {
    Module {
        filename: filename.to_owned(),
        debug_id: "4C4C44D855553144A16B1CB3A7C1F2A20".to_owned(),
        version: Some("1.0".to_owned()),
        ..Module::default()
    }
}

/// The same crash, processed again so much later and with another signature.
pub(crate) fn again(crash: &ProcessedCrash, later_s: i64, signature: &str) -> ProcessedCrash {
    ProcessedCrash {
        completed_at: crash.completed_at + SignedDuration::from_secs(later_s),
        signature: signature.to_owned(),
        ..crash.clone()
    }
}
