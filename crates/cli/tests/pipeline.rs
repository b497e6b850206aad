//! The whole flow, submit to fact, against the built executable.

mod support;

use std::fs;

use support::{
    dump_in, folder,
    standalone::{Standalone, settings},
    testdata,
};
use testing::{Database, Proxy, amqp_url, namespace};

#[test]
fn a_crash_goes_from_submit_to_fact() {
    let (dir, database, name) = (folder(), Database::create("pipeline"), namespace("pipeline"));
    let standalone = Standalone::start(dir.path(), &settings(&database, &amqp_url(), &name));

    let annotations = [
        "ProductName=Sample",
        "Version=1.2",
        "ReleaseChannel=beta",
        "BuildID=20261101120000",
        "Email=a@b.example",
    ];
    let id = standalone.submit(&dump_in(dir.path()), &annotations);
    let known = standalone.until_processed(&id);

    let fact = &known["fact"];
    assert_eq!([&fact["product"], &fact["version"], &fact["channel"]], ["Sample", "1.2", "beta"]);
    assert_eq!(fact["dumps"][0]["walk_status"], "ok");
    assert_eq!(fact["crash_id"], id.as_str());
    let areas: Vec<_> =
        known["store"].as_array().unwrap().iter().map(|frame| frame["area"].clone()).collect();
    for area in ["raw", "private", "processed"] {
        assert!(areas.iter().any(|found| found == area), "{area} is missing from {areas:?}");
    }

    let processed = standalone.processed(&id);
    assert!(!processed["dumps"][0]["stackwalk"]["threads"].as_array().unwrap().is_empty());
    assert!(!processed.to_string().contains("a@b.example"), "a processed crash holds no private annotation");
    assert_eq!(processed["signature"], fact["signature"]);
    // The short form finds the same crash.
    assert_eq!(standalone.whereabouts(known["short_id"].as_str().unwrap())["crash_id"], id.as_str());
    assert!(standalone.stop().success());
}

#[test]
fn a_crash_that_came_while_the_broker_was_down_is_processed_when_it_is_back() {
    let (dir, database, name) = (folder(), Database::create("broker_down"), namespace("broker_down"));
    let proxy = Proxy::to_url(&amqp_url());
    let standalone = Standalone::start(dir.path(), &settings(&database, &proxy.url(), &name));

    proxy.cut();
    let id = standalone.submit(&dump_in(dir.path()), &["ProductName=Sample"]);
    let waiting = standalone.whereabouts(&id);
    assert_eq!((&waiting["state"], &waiting["journaled"]), (&"stored".into(), &true.into()), "{waiting}");

    proxy.restore();
    assert_eq!(standalone.until_processed(&id)["journaled"], false);
    assert!(standalone.stop().success());
}

#[test]
fn a_crash_that_came_before_everything_was_killed_is_processed_after_the_next_start() {
    let (dir, database, name) = (folder(), Database::create("killed"), namespace("killed"));
    let proxy = Proxy::to_url(&amqp_url());
    let settings = settings(&database, &proxy.url(), &name);
    let standalone = Standalone::start(dir.path(), &settings);
    proxy.cut();
    let id = standalone.submit(&dump_in(dir.path()), &["ProductName=Sample"]);
    standalone.kill();

    proxy.restore();
    let standalone = Standalone::start(dir.path(), &settings);
    assert_eq!(standalone.until_processed(&id)["fact"]["product"], "Sample");
    assert!(standalone.stop().success());
}

#[test]
fn every_public_minidump_becomes_one_fact() {
    let Some(testdata) = testdata() else { return };
    let (dir, database, name) = (folder(), Database::create("public_dumps"), namespace("public_dumps"));
    let mut settings = settings(&database, &amqp_url(), &name);
    let symbols = toml::Value::Array(vec![testdata.join("symbols").to_string_lossy().into_owned().into()]);
    settings.push(("CRASHMILL__SYMBOLS__PATHS".to_owned(), symbols.to_string()));
    let standalone = Standalone::start(dir.path(), &settings);

    let mut dumps: Vec<_> =
        fs::read_dir(testdata.join("minidumps")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dumps.sort();
    let ids: Vec<_> = dumps.iter().map(|dump| standalone.submit(dump, &["ProductName=Public"])).collect();
    for (dump, id) in dumps.iter().zip(&ids) {
        let fact = &standalone.until_processed(id)["fact"];
        let processed = standalone.processed(id);
        let stackwalk = &processed["dumps"][0]["stackwalk"];
        let file = dump.file_name().unwrap().to_string_lossy();
        if file.starts_with("invalid-r") {
            assert_eq!(fact["success"], false, "{file} is broken on purpose");
            assert_ne!(fact["dumps"][0]["walk_status"], "ok", "{file}");
        } else {
            assert_eq!(fact["success"], true, "{file}");
            assert!(!stackwalk["threads"].as_array().unwrap().is_empty(), "{file} has threads");
            assert!(!stackwalk["modules"].as_array().unwrap().is_empty(), "{file} has modules");
        }
        if file == "test.dmp" {
            assert_eq!(fact["reason"], "EXCEPTION_ACCESS_VIOLATION_WRITE");
            let thread = usize::try_from(stackwalk["crashing_thread"].as_u64().unwrap()).unwrap();
            let functions = stackwalk["threads"][thread]["frames"].to_string();
            assert!(functions.contains("CrashFunction") || functions.contains("main"), "{functions}");
        }
    }
    assert_eq!(database.number("SELECT count(*) FROM fact_crash"), i64::try_from(ids.len()).unwrap());
    assert!(standalone.stop().success());
}
