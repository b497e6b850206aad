//! The signatures of real minidumps of many writers. They are not part of the repository; without them this test says so
//! and skips.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{fmt::Write as _, path::Path};

use crash::{
    Annotations, CrashId, MAIN_DUMP, ProcessedDump, RAW_FORMAT, RawCrash, RawMetadata, Stackwalk, Throttle,
    ThrottleDigit,
};
use processor::Circumstances;
use signature::{Generator, Lists};
use stackwalk::{Limits, walk};
use symbols::Symbols;

const TESTDATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/testdata");

/// The crash that a collector would have made of a dump.
fn raw() -> RawCrash {
    let at = "2026-11-23T13:10:27Z".parse().unwrap();
    let metadata = RawMetadata {
        format: RAW_FORMAT,
        crash_id: CrashId::new(at, ThrottleDigit::Accept, 7).unwrap(),
        submitted_at: at,
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
    };
    RawCrash { metadata, annotations: Annotations::default(), private: Annotations::default(), dumps: vec![] }
}

fn signature(stackwalk: Stackwalk, signatures: &Generator) -> String {
    let raw = raw();
    let dump = ProcessedDump { name: MAIN_DUMP.to_owned(), bytes: 1, sha256: String::new(), stackwalk };
    let circumstances = Circumstances {
        node: "processor-1".to_owned(),
        attempt: 1,
        started_at: raw.metadata.submitted_at,
        completed_at: raw.metadata.submitted_at,
    };
    processor::transform(&raw, vec![dump], circumstances, signatures).signature
}

#[tokio::test]
async fn every_real_dump_has_a_signature_that_starts_in_the_program_s_own_code() {
    let testdata = Path::new(TESTDATA);
    if !testdata.exists() {
        println!("skipped: there are no real dumps at {TESTDATA}");
        return;
    }
    let signatures = Generator::new(Lists::built_in());
    let mut lines = String::new();
    for (how, folder) in [("with symbols", "symbols"), ("without symbols", "no-symbols")] {
        let config = symbols::Config { paths: vec![testdata.join(folder)], ..symbols::Config::default() };
        let symbols = Symbols::open(&config).unwrap();
        let dumps = std::fs::read_dir(testdata.join("minidumps")).unwrap();
        let mut names: Vec<_> =
            dumps.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        for name in names {
            let dump = std::fs::read(testdata.join("minidumps").join(&name)).unwrap();
            let walked = walk(&dump, &symbols, &Limits::default()).await;
            writeln!(lines, "{name} {how}: {}", signature(walked, &signatures)).unwrap();
        }
    }
    insta::assert_snapshot!(lines);
}
