//! The store in an object store: a real S3 API, and bad ways to it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::{path::Path, time::Duration};

use crashstore::{Area, Config, CrashStore, Erased, Error};
use futures_util::{StreamExt, stream};
use settings::Duration as Setting;
use support::{files, id, in_bucket, minute, processed, raw};
use testing::{Bucket, FaultyHttp};

fn open(bucket: &Bucket, folder: &Path) -> CrashStore {
    CrashStore::open(&in_bucket(bucket, bucket.endpoint(), folder)).unwrap()
}

#[tokio::test]
async fn a_crash_is_read_whole_from_objects_named_by_its_id() {
    let (bucket, folder) = (Bucket::create("objects_read"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    let crash = raw(id(0, 1), 5_000);
    let place = writer.save_raw(&crash).await.unwrap();
    writer.save_processed(&processed(crash.id(), 3, "main")).await.unwrap();

    assert_eq!(store.raw(crash.id(), Some(&place)).await.unwrap(), Some(crash.clone()));
    assert_eq!(store.private(crash.id()).await.unwrap(), Some(crash.private.clone()));
    assert_eq!(store.processed(crash.id()).await.unwrap().unwrap().signature, "main");
    let (id, folder_name) = (crash.id(), minute());
    let mut keys = bucket.keys();
    keys.sort();
    assert_eq!(
        keys,
        [
            format!("crashes/private/{folder_name}/{id}.json.zst"),
            format!("crashes/processed/{folder_name}/{id}.json.zst"),
            format!("crashes/raw/{folder_name}/{id}.tar.zst"),
        ]
    );
    assert_eq!(files(folder.path()), Vec::<std::path::PathBuf>::new(), "nothing is on this machine");
}

#[tokio::test]
async fn a_trial_leaves_nothing_and_fails_where_there_is_no_bucket() {
    let (bucket, folder) = (Bucket::create("objects_trial"), tempfile::tempdir().unwrap());
    open(&bucket, folder.path()).try_out().await.unwrap();
    assert_eq!(bucket.keys(), Vec::<String>::new());

    let config = Config {
        url: Some("s3://nobody-made-it".to_owned()),
        ..in_bucket(&bucket, bucket.endpoint(), folder.path())
    };
    let error = CrashStore::open(&config).unwrap().try_out().await.unwrap_err();
    assert!(matches!(error, Error::ObjectStore { .. }), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_nothing_and_a_bucket_that_is_not_there_is_a_failure() {
    let (bucket, folder) = (Bucket::create("objects_nothing"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    assert_eq!(store.raw(id(0, 1), None).await.unwrap(), None);
    assert_eq!(store.processed(id(0, 1)).await.unwrap(), None);
    assert_eq!(store.find(id(0, 1)).await.unwrap(), []);
    assert_eq!(store.minutes(Area::Raw).await.unwrap(), []);

    let config = Config {
        url: Some("s3://nobody-made-it".to_owned()),
        ..in_bucket(&bucket, bucket.endpoint(), folder.path())
    };
    let store = CrashStore::open(&config).unwrap();
    let failures = [
        store.raw(id(0, 1), None).await.unwrap_err(),
        store.find(id(0, 1)).await.unwrap_err(),
        store.erase(id(0, 1)).await.unwrap_err(),
    ];
    for error in failures {
        assert!(matches!(error, Error::ObjectStore { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_result_that_is_saved_again_takes_the_place_of_the_one_before() {
    let (bucket, folder) = (Bucket::create("objects_again"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    for (attempt, signature) in [(1, "first"), (2, "second")] {
        writer.save_processed(&processed(id(0, 1), attempt, signature)).await.unwrap();
    }
    assert_eq!(store.processed(id(0, 1)).await.unwrap().unwrap().signature, "second");
    let found = store.find(id(0, 1)).await.unwrap();
    assert_eq!(
        found.iter().map(|found| (found.area, found.attempt)).collect::<Vec<_>>(),
        [(Area::Processed, 2)]
    );
}

#[tokio::test]
async fn what_is_there_can_be_listed_and_found_by_short_id() {
    let (bucket, folder) = (Bucket::create("objects_list"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    for (minutes, number) in [(0, 1), (0, 2), (70, 3), (24 * 60, 4)] {
        writer.save_raw(&raw(id(minutes, number), 100)).await.unwrap();
    }
    let expected = [minute(), id(70, 3).minute(), id(24 * 60, 4).minute()];
    assert_eq!(store.minutes(Area::Raw).await.unwrap(), expected);
    let listed = store.list(Area::Raw, minute()).await.unwrap();
    let mut ids = [id(0, 1), id(0, 2)];
    ids.sort();
    assert_eq!(listed.iter().map(|found| found.id).collect::<Vec<_>>(), ids);
    assert!(listed.iter().all(|found| found.bytes > 0 && !found.erased));
    assert_eq!(store.find_short(id(0, 2).short()).await.unwrap(), [id(0, 2)]);
}

#[tokio::test]
async fn an_erased_crash_is_gone_from_all_areas_and_erasing_again_does_no_harm() {
    let (bucket, folder) = (Bucket::create("objects_erase"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    for number in [1, 2] {
        writer.save_raw(&raw(id(0, number), 100)).await.unwrap();
        writer.save_processed(&processed(id(0, number), 1, "main")).await.unwrap();
    }
    assert_eq!(store.erase(id(0, 1)).await.unwrap().frames, 3);
    assert_eq!(store.erase(id(0, 1)).await.unwrap(), Erased::default());
    assert_eq!(store.find(id(0, 1)).await.unwrap(), []);
    assert!(bucket.keys().iter().all(|key| !key.contains(&id(0, 1).to_string())));
    assert_eq!(store.find(id(0, 2)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn dropping_a_day_takes_one_area_of_that_day_and_nothing_else() {
    let (bucket, folder) = (Bucket::create("objects_drop"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    for (minutes, number) in [(0, 1), (0, 2), (70, 3), (24 * 60, 4)] {
        writer.save_raw(&raw(id(minutes, number), 100)).await.unwrap();
    }
    let freed = store.drop_day(Area::Private, minute().day()).await.unwrap();
    assert_eq!(freed.files, 3);
    assert!(freed.bytes > 0);
    let crash = store.raw(id(0, 1), None).await.unwrap().unwrap();
    assert!(crash.private.is_empty(), "the crash is there without them");
    assert_eq!(store.drop_day(Area::Raw, minute().day()).await.unwrap().files, 3);
    assert_eq!(store.drop_day(Area::Raw, minute().day()).await.unwrap().files, 0);
    assert_eq!(store.minutes(Area::Raw).await.unwrap(), [id(24 * 60, 4).minute()]);
    assert!(store.private(id(24 * 60, 4)).await.unwrap().is_some());
}

#[tokio::test]
async fn objects_that_are_not_what_was_written_are_named() {
    let (bucket, folder) = (Bucket::create("objects_damage"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    for number in 1..=3 {
        writer.save_raw(&raw(id(0, number), 100)).await.unwrap();
    }
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
    let key = |number| format!("crashes/raw/{}/{}.tar.zst", minute(), id(0, number));
    bucket.put(&key(1), b"short");
    bucket.put(&key(2), &vec![7; 4_000]);

    let damage = store.check(Area::Raw, minute()).await.unwrap();
    let mut named: Vec<_> = damage.iter().filter_map(|damage| damage.id).collect();
    named.sort();
    let mut expected = vec![id(0, 1), id(0, 2)];
    expected.sort();
    assert_eq!(named, expected);
    assert!(matches!(store.raw(id(0, 1), None).await, Err(Error::Damaged { .. })));
    assert!(store.raw(id(0, 3), None).await.unwrap().is_some());
}

/// Saves crashes by a way that spoils so many of a thousand requests; each that was answered must be whole.
async fn save_by_a_bad_way(name: &str, per_mille: u64) {
    let (bucket, folder) = (Bucket::create(name), tempfile::tempdir().unwrap());
    let way = FaultyHttp::to_url(bucket.endpoint(), 7);
    way.spoil(per_mille);
    let config = Config { timeout: Setting::from_secs(10), ..in_bucket(&bucket, &way.url(), folder.path()) };
    let writer = CrashStore::open(&config).unwrap().spooling_writer(&config, "node-1").unwrap();
    let crashes: Vec<_> = (0..60).map(|number| raw(id(0, number), 20_000)).collect();
    let saved = stream::iter(&crashes).map(|crash| writer.save(crash)).buffered(8).collect::<Vec<_>>().await;
    assert!(way.spoilt() > 0, "nothing was spoilt");
    assert!(saved.iter().all(Result::is_ok), "the store or the spool takes every crash");

    way.spoil(0);
    let mover = writer.mover().unwrap();
    testing::eventually(Duration::from_secs(30), async || {
        mover.pass(async |_, _| (), || true).await.unwrap().done.then_some(())
    })
    .await;
    let store = open(&bucket, folder.path());
    for crash in &crashes {
        assert_eq!(store.raw(crash.id(), None).await.unwrap().as_ref(), Some(crash));
    }
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
    assert_eq!(store.list(Area::Raw, minute()).await.unwrap().len(), crashes.len());
}

#[tokio::test]
async fn of_a_hundred_requests_one_fails_and_every_answered_crash_is_whole() {
    save_by_a_bad_way("objects_1_percent", 10).await;
}

#[tokio::test]
async fn of_a_hundred_requests_twenty_fail_and_every_answered_crash_is_whole() {
    save_by_a_bad_way("objects_20_percent", 200).await;
}

#[tokio::test]
async fn what_there_is_can_be_measured_and_read_day_by_day_and_nothing_is_compacted() {
    let (bucket, folder) = (Bucket::create("objects_upkeep"), tempfile::tempdir().unwrap());
    let store = open(&bucket, folder.path());
    let writer = store.writer("node-1").unwrap();
    let crashes = [raw(id(0, 1), 5_000), raw(id(0, 2), 5_000), raw(id(24 * 60, 3), 5_000)];
    for crash in &crashes {
        writer.save_raw(crash).await.unwrap();
        writer.save_processed(&processed(crash.id(), 1, "main")).await.unwrap();
    }

    let days = [crashes[0].id().day(), crashes[2].id().day()];
    assert_eq!(store.days(Area::Raw).await.unwrap(), days);
    let usage = store.usage(Area::Raw).await.unwrap();
    assert_eq!(
        usage.iter().map(|day| (day.day, day.files)).collect::<Vec<_>>(),
        [(days[0], 2), (days[1], 1)]
    );
    assert!(usage[0].bytes > usage[1].bytes && usage[1].bytes > 2_000, "{usage:?}");
    let mut ids = [crashes[0].id(), crashes[1].id()];
    ids.sort_unstable();
    let current = store.current(Area::Processed, minute()).await.unwrap();
    assert_eq!(current.iter().map(|found| found.id).collect::<Vec<_>>(), ids);
    let (id, place) = (current[0].id, &current[0].place);
    assert_eq!(store.processed_at(id, place).await.unwrap().unwrap().signature, "main");
    assert!(store.private_at(id, place).await.unwrap().is_some());
    assert_eq!((store.room().await.unwrap(), store.can_compact().await.unwrap()), (None, None));
}
