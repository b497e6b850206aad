//! Crashes that mean harm, or know no better: none of them costs another its row.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may fail like tests")]

mod common;

use common::{crash, migrated, module_named};
use crash::{AnnotationValue, Annotations, ProcessedCrash, ProcessedDump, ProcessorNote};
use facts::{Config, CrashFact};

/// Incompressible, so that no index is spared its length.
fn long(seed: u32, bytes: usize) -> String {
    let mut state = u64::from(seed) + 1;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'!' + u8::try_from(state >> 33 & 0x3f).unwrap()));
    }
    text
}

fn hostile(number: u32, text: &str) -> ProcessedCrash {
    let mut crash = crash(number);
    for field in [
        &mut crash.product,
        &mut crash.version,
        &mut crash.channel,
        &mut crash.build,
        &mut crash.process_type,
        &mut crash.signature,
        &mut crash.proto_signature,
        &mut crash.ruleset,
        &mut crash.os.family,
        &mut crash.os.version,
        &mut crash.os.label,
        &mut crash.cpu.arch,
        &mut crash.cpu.model,
    ] {
        *field = text.to_owned();
    }
    crash.reason = Some(text.to_owned());
    crash.cpu.cores = Some(u32::MAX);
    crash.sample_rate = f64::NAN;
    crash.times.uptime_s = Some(u64::MAX);
    crash.times.install_age_s = Some(u64::MAX);
    crash.times.crashed_at = Some(jiff::Timestamp::MIN);
    crash.memory.total_physical_bytes = Some(u64::MAX);
    crash.notes = vec![ProcessorNote { source: text.to_owned(), text: text.to_owned() }];
    crash.annotations = annotations(text);
    let mut dump = ProcessedDump { name: text.to_owned(), ..crash.dumps[0].clone() };
    dump.stackwalk.crashing_thread = Some(usize::MAX);
    dump.stackwalk.modules = vec![module_named(text), module_named("")];
    for module in &mut dump.stackwalk.modules {
        module.code_id = text.to_owned();
        module.debug_id = text.to_owned();
        module.version = Some(text.to_owned());
    }
    crash.dumps = vec![dump.clone(), dump.clone(), ProcessedDump { name: "1#".to_owned() + text, ..dump }];
    crash
}

fn annotations(text: &str) -> Annotations {
    let mut annotations: Annotations = (0..40).map(|n| (format!("{n}{text}"), text.to_owned())).collect();
    annotations.insert("HangID", text);
    annotations.insert("Android_Model", text);
    annotations.insert("AdapterVendorID", text);
    annotations.insert("bytes", AnnotationValue::from_bytes(vec![0, 0xff, 0xed, 0xa0, 0x80]));
    annotations
}

#[tokio::test]
async fn whatever_text_a_client_sends_its_crash_is_saved() {
    let db = migrated("hostile_text").await;
    let texts = [
        String::new(),
        "\0".to_owned(),
        "a\0b'\"\\{},NULL\n\r\t\u{7f}\u{202e}\u{10ffff}".to_owned(),
        "\u{fffd}\\u0000\\ud800".to_owned(),
        "'; DROP TABLE fact_crash; --".to_owned(),
        "é".repeat(5_000),
        long(7, 200_000),
    ];
    let crashes: Vec<_> = (0..).zip(&texts).map(|(number, text)| hostile(number, text)).collect();

    let saved = db.facts.save(&crashes.iter().map(CrashFact::of).collect::<Vec<_>>()).await.unwrap();

    assert_eq!(saved.rejected, []);
    assert_eq!(saved.inserted, texts.len() as u64);
    for crash in &crashes {
        let row = db.facts.fact(crash.crash_id).await.unwrap().unwrap();
        assert_eq!((row.uptime_s, row.cores, row.sample_rate), (None, None, 1.0));
        assert!(row.notes.iter().any(|note| note == "facts: uptime is out of range"), "{:?}", row.notes);
        assert_eq!(row.dumps.len(), 3);
        assert!(row.signature.len() <= 1024 && !row.product.is_empty());
    }
    let unknown = db.facts.fact(crashes[0].crash_id).await.unwrap().unwrap();
    assert_eq!((unknown.product.as_str(), unknown.os_family.as_str()), ("unknown", "Unknown"));
    assert_eq!(db.ask("SELECT product_version_id FROM fact_crash JOIN dim_product_version USING (product_version_id) WHERE version = 'unknown'"), ["0"]);
}

#[tokio::test]
async fn long_names_stay_distinct() {
    let db = migrated("long_names").await;
    let crashes: Vec<_> = ["one", "two"]
        .iter()
        .zip(0..)
        .map(|(end, number)| ProcessedCrash {
            reason: Some(format!("{}{end}", long(3, 3000))),
            ..crash(number)
        })
        .collect();
    db.facts.save(&crashes.iter().map(CrashFact::of).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(db.ask("SELECT count(DISTINCT reason_id) FROM fact_crash"), ["2"]);
}

#[tokio::test]
async fn a_crash_that_the_database_refuses_is_named_and_the_others_are_saved() {
    let db = migrated("one_bad").await;
    let mut facts: Vec<_> = (0..50).map(|number| CrashFact::of(&crash(number))).collect();
    // What `CrashFact::of` never lets through: text in a dimension, text in the row, and a violated CHECK.
    facts[7].signature = "NUL \0".to_owned();
    facts[31].proto_signature = Some("NUL \0".to_owned());
    facts[49].sample_rate = 2.0;

    let saved = db.facts.save(&facts).await.unwrap();

    assert_eq!(saved.inserted, 47);
    let mut rejected: Vec<_> = saved.rejected.iter().map(|(id, _)| *id).collect();
    rejected.sort_unstable();
    let mut expected = [facts[7].crash_id, facts[31].crash_id, facts[49].crash_id];
    expected.sort_unstable();
    assert_eq!(rejected, expected);
    assert!(saved.rejected.iter().any(|(_, why)| why.contains("sample_rate_check")), "{:?}", saved.rejected);
}

#[tokio::test]
async fn too_many_channels_and_kinds_count_as_unknown() {
    let db = migrated("too_many").await;
    db.ask("INSERT INTO dim_channel (name) SELECT 'spam' || n FROM generate_series(1, 10000) n");
    db.ask("INSERT INTO dim_kind (process_type, event) SELECT 'spam' || n, 'crash' FROM generate_series(1, 10000) n");
    let mut spam = crash(1);
    spam.channel = "one more".to_owned();
    spam.process_type = "one more".to_owned();
    let mut known = crash(2);
    known.channel = "spam17".to_owned();
    known.process_type = "spam17".to_owned();

    let saved = db.facts.save(&[CrashFact::of(&spam), CrashFact::of(&known)]).await.unwrap();

    assert_eq!(saved.inserted, 2);
    let row = db.facts.fact(spam.crash_id).await.unwrap().unwrap();
    assert_eq!(
        (row.channel.as_str(), row.process_type.as_str(), row.version.as_str()),
        ("unknown", "unknown", "1.0b2")
    );
    let row = db.facts.fact(known.crash_id).await.unwrap().unwrap();
    assert_eq!((row.channel.as_str(), row.process_type.as_str()), ("spam17", "spam17"));
}

#[tokio::test]
async fn everything_works_without_prepared_statements_too() {
    let config = Config { prepared: false, ..Config::default() };
    let db = common::migrated_with("unprepared", config).await;
    let crashes = [hostile(1, "a\0b"), crash(2)];

    for inserted in [2, 0] {
        let saved = db.facts.save(&crashes.each_ref().map(CrashFact::of)).await.unwrap();
        assert_eq!((saved.inserted, saved.inserted + saved.updated), (inserted, 2));
    }

    assert_eq!(db.facts.fact(crashes[1].crash_id).await.unwrap().unwrap().signature, "main | crash_here");
}

mod any_text {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_becomes_a_fact(text: String, other in ".{0,3000}", number: u64, share: f64) {
            let mut crash = hostile(1, &text);
            crash.version = other.clone();
            crash.signature = other;
            crash.sample_rate = share;
            crash.times.last_crash_s = Some(number);
            crash.dumps[0].sha256 = text;
            let fact = CrashFact::of(&crash);
            prop_assert!(fact.signature.len() <= 1024 && !fact.signature.contains('\0'));
            prop_assert!(fact.sample_rate > 0.0 && fact.sample_rate <= 1.0);
            prop_assert!(fact.version.len() <= 128 && !fact.version.is_empty());
        }
    }
}
