//! The rules on crashes as clients send them.

use crash::{
    Annotations, CrashId, CrashInfo, Event, Module, ProcessedDump, RAW_FORMAT, RawMetadata, Stackwalk,
    SymbolStatus, SystemInfo, Throttle, ThrottleDigit, WalkStatus,
};
use jiff::Timestamp;
use signature::Generator;

use super::*;
use crate::{Circumstances, transform};

fn received() -> Timestamp {
    "2026-11-23T13:10:27Z".parse().unwrap()
}

fn raw(annotations: &[(&str, &str)]) -> RawCrash {
    RawCrash {
        metadata: RawMetadata {
            format: RAW_FORMAT,
            crash_id: CrashId::new(received(), ThrottleDigit::Accept, 7).unwrap(),
            submitted_at: received(),
            node: "collector-1".to_owned(),
            throttle: Throttle::Accept,
            throttle_rule: None,
            sample_rate: 1.0,
            payload: "multipart".to_owned(),
            encoding: "identity".to_owned(),
            bytes_wire: 1,
            bytes_inflated: 1,
            user_agent: None,
            notes: vec![],
            dumps: vec![],
        },
        annotations: annotations.iter().copied().collect(),
        private: Annotations::default(),
        dumps: vec![],
    }
}

fn dump(name: &str, stackwalk: Stackwalk) -> ProcessedDump {
    ProcessedDump { name: name.to_owned(), bytes: 4, sha256: String::new(), stackwalk }
}

fn walked() -> Stackwalk {
    Stackwalk { error: None, ..Stackwalk::failed(WalkStatus::Ok, "") }
}

fn process(raw: &RawCrash, dumps: Vec<ProcessedDump>) -> ProcessedCrash {
    let circumstances = Circumstances {
        node: "processor-1".to_owned(),
        attempt: 1,
        started_at: received(),
        completed_at: received(),
    };
    transform(raw, dumps, circumstances, &Generator::new(Lists::built_in()))
}

#[test]
fn a_client_names_its_product_version_channel_build_and_process() {
    let annotations = [
        ("ProductName", " Sample "),
        ("Version", "1.2"),
        ("ReleaseChannel", "beta"),
        ("BuildID", "20261101120000"),
        ("ProcessType", "content"),
    ];
    let crash = process(&raw(&annotations), vec![]);
    assert_eq!(
        [crash.product, crash.version, crash.channel, crash.build, crash.process_type],
        ["Sample", "1.2", "beta", "20261101120000", "content"]
    );
}

#[test]
fn a_process_that_is_not_named_is_the_main_one() {
    assert_eq!(process(&raw(&[]), vec![]).process_type, "parent");
}

#[test]
fn the_most_telling_annotation_says_what_happened() {
    for (annotations, event) in [
        (vec![], Event::Crash),
        (vec![("Hang", "1")], Event::Hang),
        (vec![("Hang", "0")], Event::Crash),
        (vec![("OOMAllocationSize", "4096"), ("MozCrashReason", "out of memory")], Event::Oom),
        (vec![("JavaStackTrace", "Exception"), ("Hang", "1")], Event::Java),
    ] {
        assert_eq!(process(&raw(&annotations), vec![]).event, event, "{annotations:?}");
    }
}

#[test]
fn the_main_dump_says_where_and_why_the_process_stopped() {
    let stackwalk = Stackwalk {
        system_info: SystemInfo {
            os: Some("Windows NT".to_owned()),
            os_ver: Some("10.0.22631".to_owned()),
            cpu_arch: Some("amd64".to_owned()),
            cpu_info: Some("family 6".to_owned()),
            cpu_count: Some(8),
        },
        crash_info: Some(CrashInfo {
            reason: Some("EXCEPTION_ACCESS_VIOLATION_READ".to_owned()),
            address: Some(crash::Address(0x10)),
            assertion: None,
        }),
        crashing_thread: Some(3),
        ..walked()
    };
    let crash = process(&raw(&[]), vec![dump(crash::MAIN_DUMP, stackwalk)]);
    assert!(crash.success);
    assert_eq!(
        (crash.os.label.as_str(), crash.cpu.arch.as_str(), crash.cpu.cores),
        ("Windows 11", "amd64", Some(8))
    );
    assert_eq!(crash.reason.as_deref(), Some("EXCEPTION_ACCESS_VIOLATION_READ"));
    assert_eq!((crash.address, crash.crashing_thread), (Some(crash::Address(0x10)), Some(3)));
}

#[test]
fn times_are_differences_to_the_client_s_own_crash_time() {
    let annotations = [
        ("CrashTime", "1700000100"),
        ("StartupTime", "1700000000"),
        ("InstallTime", "1699999000"),
        ("SecondsSinceLastCrash", "77"),
    ];
    let times = process(&raw(&annotations), vec![]).times;
    assert_eq!(times.crashed_at.map(Timestamp::as_second), Some(1_700_000_100));
    assert_eq!((times.uptime_s, times.install_age_s, times.last_crash_s), (Some(100), Some(1_100), Some(77)));
}

#[test]
fn an_uptime_with_a_fraction_wins_over_the_dump_s() {
    let stackwalk = Stackwalk { process_uptime: Some(5), ..walked() };
    let crash = process(&raw(&[("UptimeTS", "12.75")]), vec![dump(crash::MAIN_DUMP, stackwalk)]);
    assert_eq!(crash.times.uptime_s, Some(12));
}

#[test]
fn a_size_that_is_not_a_number_names_the_annotation_and_not_its_value() {
    let crash = process(&raw(&[("OOMAllocationSize", "secret"), ("ProductName", "Sample")]), vec![]);
    assert_eq!(crash.product, "Sample");
    let note = crash.notes.iter().find(|note| note.source == "memory").unwrap();
    assert_eq!(note.text, "annotation OOMAllocationSize is not a number of bytes");
}

#[test]
fn an_annotation_that_is_bad_costs_itself_alone() {
    let annotations = [
        ("OOMAllocationSize", "x"),
        ("TotalPhysicalMemory", "4096"),
        ("UptimeTS", "bad"),
        ("CrashTime", "1700000100"),
        ("StartupTime", "1700000000"),
        ("SecondsSinceLastCrash", "77"),
    ];
    let stackwalk = Stackwalk { process_uptime: Some(0), ..walked() };
    let crash = process(&raw(&annotations), vec![dump(crash::MAIN_DUMP, stackwalk)]);
    assert_eq!(crash.memory.total_physical_bytes, Some(4096));
    assert_eq!((crash.times.uptime_s, crash.times.last_crash_s), (Some(100), Some(77)));
    let notes: Vec<_> = crash.notes.iter().map(|note| (note.source.as_str(), note.text.as_str())).collect();
    let [(times, _), (memory, _), no_frames, no_size] = notes[..] else { panic!("{notes:?}") };
    assert_eq!((times, memory), ("times", "memory"));
    // The signature says the same of the size, and that this stackwalk has no frames.
    assert!(no_frames.0 == "signature" && no_frames.1.contains("no frame"), "{no_frames:?}");
    assert!(no_size.0 == "signature" && no_size.1.contains("the size of the allocation"), "{no_size:?}");
}

#[test]
fn a_dump_that_cannot_be_read_leaves_a_crash_that_says_so() {
    let crash = process(
        &raw(&[]),
        vec![dump(crash::MAIN_DUMP, Stackwalk::failed(WalkStatus::BadMinidump, "no header"))],
    );
    assert!(!crash.success);
    assert_eq!(crash.signature, "EMPTY: no frame data available; bad_minidump");
}

#[test]
fn missing_symbols_of_all_dumps_are_listed_once() {
    let module = |symbols| Module {
        debug_file: "game.pdb".to_owned(),
        debug_id: "ABC0".to_owned(),
        symbols,
        ..Module::default()
    };
    let with = |symbols| Stackwalk { modules: vec![module(symbols)], ..walked() };
    let dumps = vec![
        dump(crash::MAIN_DUMP, with(SymbolStatus::Missing)),
        dump("upload_file_minidump_content", with(SymbolStatus::Missing)),
        dump("upload_file_minidump_gpu", with(SymbolStatus::Loaded)),
    ];
    let crash = process(&raw(&[]), dumps);
    assert_eq!(crash.missing_symbols.len(), 1);
    assert_eq!(crash.missing_symbols[0].debug_file, "game.pdb");
}
