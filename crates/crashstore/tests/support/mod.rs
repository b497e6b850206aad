//! Crashes and stores to test with.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use crash::{
    CrashId, Dump, DumpMetadata, MAIN_DUMP, Minute, PROCESSED_FORMAT, ProcessedCrash, RAW_FORMAT, RawCrash,
    RawMetadata, Throttle, ThrottleDigit,
};
use crashstore::{Area, Config, CrashStore};
use jiff::Timestamp;

/// The first second of the minute in which these crashes were received.
pub(crate) const START: &str = "2026-11-23T13:10:00Z";

pub(crate) fn start() -> Timestamp {
    START.parse().unwrap()
}

pub(crate) fn minute() -> Minute {
    Minute::of(start())
}

/// The id of crash `number`, received so many minutes after the start.
pub(crate) fn id(minutes: i64, number: u64) -> CrashId {
    let at = start() + jiff::SignedDuration::from_mins(minutes);
    // Spread over all random bits, so that short ids differ too.
    let random = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    CrashId::new(at, ThrottleDigit::Accept, random).unwrap()
}

/// A raw crash with one dump of so many bytes, a half of which does not compress, and with private annotations.
pub(crate) fn raw(id: CrashId, bytes: usize) -> RawCrash {
    let mut state = id.uuid().as_u64_pair().0 | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let dump: Vec<u8> = (0..bytes).map(|at| if at % 64 < 32 { noise() } else { 0 }).collect();
    let dumps = vec![Dump { name: MAIN_DUMP.to_owned(), bytes: Bytes::from(dump) }];
    RawCrash {
        metadata: RawMetadata {
            format: RAW_FORMAT,
            crash_id: id,
            submitted_at: id.received_at(),
            node: "node-1".to_owned(),
            throttle: Throttle::Accept,
            throttle_rule: None,
            sample_rate: 1.0,
            payload: "multipart".to_owned(),
            encoding: "identity".to_owned(),
            bytes_wire: 1,
            bytes_inflated: 1,
            user_agent: None,
            notes: vec![],
            dumps: vec![DumpMetadata::of(0, &dumps[0], Some("a.dmp".to_owned()))],
        },
        annotations: [("ProductName", "Sample")].into_iter().collect(),
        private: [("Email", format!("{id}@people.example"))].into_iter().collect(),
        dumps,
    }
}

/// A processed crash that says `signature`.
pub(crate) fn processed(id: CrashId, attempt: u16, signature: &str) -> ProcessedCrash {
    let at = id.received_at();
    serde_json::from_value(serde_json::json!({
        "format": PROCESSED_FORMAT, "crash_id": id, "submitted_at": at, "started_at": at, "completed_at": at,
        "attempt": attempt, "node": "node-1", "ruleset": "", "success": true, "throttle": "accept",
        "sample_rate": 1.0, "signature": signature,
    }))
    .unwrap()
}

pub(crate) fn config(folder: &Path) -> Config {
    Config { path: folder.join("store"), ..Config::default() }
}

pub(crate) fn store(folder: &Path) -> CrashStore {
    CrashStore::open(&config(folder)).unwrap()
}

/// The path of a segment in the first minute.
pub(crate) fn segment(folder: &Path, area: Area, name: &str) -> PathBuf {
    let ending = if area == Area::Raw { "tar.zst" } else { "json.zst" };
    config(folder).path.join(area.as_str()).join(minute().to_string()).join(format!("{name}.{ending}"))
}

/// A store in a bucket, by whatever way to the emulator.
pub(crate) fn in_bucket(bucket: &testing::Bucket, endpoint: &str, folder: &Path) -> Config {
    Config {
        url: Some(bucket.url()),
        endpoint: Some(endpoint.trim_end_matches('/').to_owned()),
        region: Some("us-east-1".to_owned()),
        allow_http: true,
        key_id: Some("tests".to_owned()),
        key: settings::Secret::new("secret"),
        spool: Some(folder.join("spool")),
        ..config(folder)
    }
}

/// Every file below a folder, by its path.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut found = vec![];
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
