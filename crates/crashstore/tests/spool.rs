//! The spool: what becomes of crashes while the store does not take them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crash::CrashId;
use crashstore::{
    Area, Config, CrashStore, Error, Mover, Passed, Saved, SpoolDepth, SpoolingWriter, Takes, spool_depth,
    spooled,
};
use settings::{Duration as Setting, Size};
use support::{files, id, in_bucket, minute, raw};
use testing::{Bucket, FaultyHttp, Proxy, eventually};

/// How long what happens by itself may take.
const SOON: Duration = Duration::from_secs(30);

fn config(bucket: &Bucket, endpoint: &str, folder: &Path) -> Config {
    Config { timeout: Setting::from_millis(400), retries: 1, ..in_bucket(bucket, endpoint, folder) }
}

fn writer(config: &Config) -> SpoolingWriter {
    CrashStore::open(config).unwrap().spooling_writer(config, "node-1").unwrap()
}

/// Passes until the spool is empty; the ids that were published, in order.
async fn until_moved(mover: &Mover) -> Vec<CrashId> {
    let published = Mutex::new(vec![]);
    eventually(SOON, async || {
        let publish = async |id, _| {
            published.lock().unwrap().push(id);
        };
        mover.pass(publish, || true).await.unwrap().done.then_some(())
    })
    .await;
    published.into_inner().unwrap()
}

/// Whether a file of the spool belongs to a crash, whatever its name: locks and records do not.
fn segments(folder: &Path) -> usize {
    files(&folder.join("spool"))
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "zst"))
        .count()
}

#[tokio::test]
async fn while_the_store_is_down_crashes_are_spooled_and_when_it_is_back_they_are_moved_and_the_spool_is_empty()
 {
    let (bucket, folder) = (Bucket::create("spool_down"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let writer = writer(&config);
    proxy.cut();
    let crashes: Vec<_> = (0..20).map(|number| raw(id(number % 3, number.unsigned_abs()), 2_000)).collect();
    for crash in &crashes {
        assert!(matches!(writer.save(crash).await.unwrap(), Saved::Spooled { .. }));
        assert!(spooled(&config, crash.id()).unwrap());
    }
    assert!(!spooled(&config, id(0, 99)).unwrap());
    let depth = spool_depth(&config).unwrap();
    assert_eq!(depth.crashes, 20);
    assert!(depth.bytes > 0 && depth.oldest.is_some());
    let mover = writer.mover().unwrap();
    assert_eq!(mover.depth().await.unwrap(), depth);
    assert!(bucket.keys().is_empty());

    proxy.restore();
    let mut published = until_moved(&mover).await;
    assert_eq!(published[0].minute(), minute(), "the oldest come first");
    published.sort();
    let mut ids: Vec<_> = crashes.iter().map(crash::RawCrash::id).collect();
    ids.sort();
    assert_eq!(published, ids, "each once");
    let store = CrashStore::open(&config).unwrap();
    for crash in &crashes {
        assert_eq!(store.raw(crash.id(), None).await.unwrap().as_ref(), Some(crash));
        assert!(!spooled(&config, crash.id()).unwrap());
    }
    assert_eq!(spool_depth(&config).unwrap(), SpoolDepth::default());
    assert_eq!(segments(folder.path()), 0, "{:?}", files(folder.path()));
    assert!(matches!(writer.save(&raw(id(0, 50), 10)).await.unwrap(), Saved::Stored(_)));
}

#[tokio::test]
async fn a_store_that_is_slow_costs_one_crash_its_time_and_not_each_of_them_and_nothing_is_doubled() {
    let (bucket, folder) = (Bucket::create("spool_slow"), tempfile::tempdir().unwrap());
    let way = FaultyHttp::to_url(bucket.endpoint(), 1);
    let config = config(&bucket, &way.url(), folder.path());
    let writer = writer(&config);
    way.delay(Duration::from_secs(2));
    let started = Instant::now();
    for number in 0..60 {
        assert!(matches!(writer.save(&raw(id(0, number), 500)).await.unwrap(), Saved::Spooled { .. }));
    }
    // One wait for the first; a try every now and then waits as well. All of them would have waited for 24 s.
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());

    way.delay(Duration::ZERO);
    assert_eq!(until_moved(&writer.mover().unwrap()).await.len(), 60);
    let listed = CrashStore::open(&config).unwrap().list(Area::Raw, minute()).await.unwrap();
    assert_eq!(listed.len(), 60);
    assert_eq!(segments(folder.path()), 0);
}

#[tokio::test]
async fn what_a_process_left_is_moved_by_the_next_one_and_moving_twice_is_one_crash() {
    let (bucket, folder) = (Bucket::create("spool_left"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let first = writer(&config);
    proxy.cut();
    for number in 0..5 {
        first.save(&raw(id(0, number), 500)).await.unwrap();
    }
    proxy.restore();
    // It is stopped in the middle: four are in the store, and none may be unlinked.
    let (mover, asked) = (first.mover().unwrap(), AtomicUsize::new(0));
    let stopped = eventually(SOON, async || {
        let go_on = || asked.fetch_add(1, Ordering::Relaxed) < 4;
        let passed = mover.pass(async |_, _| (), go_on).await.unwrap();
        (asked.load(Ordering::Relaxed) > 0).then_some(passed)
    })
    .await;
    assert!(!stopped.done && stopped.moved == 4, "{stopped:?}");
    assert_eq!((spool_depth(&config).unwrap().crashes, bucket.keys().len()), (5, 8));
    first.close().await;

    let second = writer(&config);
    assert_eq!(until_moved(&second.mover().unwrap()).await.len(), 5);
    assert_eq!((bucket.keys().len(), segments(folder.path())), (10, 0));
}

#[tokio::test]
async fn a_mover_that_is_asked_to_stop_leaves_the_rest_where_it_is() {
    let (bucket, folder) = (Bucket::create("spool_stop"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let writer = writer(&config);
    proxy.cut();
    for number in 0..5 {
        writer.save(&raw(id(0, number), 500)).await.unwrap();
    }
    proxy.restore();
    let (mover, asked) = (writer.mover().unwrap(), AtomicUsize::new(0));
    let go_on = || asked.fetch_add(1, Ordering::Relaxed) < 2;
    let passed = eventually(SOON, async || {
        let passed = mover.pass(async |_, _| (), go_on).await.unwrap();
        (asked.load(Ordering::Relaxed) > 0).then_some(passed)
    })
    .await;
    assert_eq!(passed, Passed { moved: 2, done: false });
    assert_eq!(asked.load(Ordering::Relaxed), 3, "nothing is begun once the answer is no");
    assert_eq!((spool_depth(&config).unwrap().crashes, bucket.keys().len()), (5, 4));
    writer.close().await;
    assert_eq!(spool_depth(&config).unwrap().crashes, 5);
}

#[tokio::test]
async fn a_full_spool_refuses_and_takes_crashes_again_when_it_was_emptied() {
    let (bucket, folder) = (Bucket::create("spool_full"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = Config { spool_limit: Size::mib(1), ..config(&bucket, &proxy.url(), folder.path()) };
    let writer = writer(&config);
    proxy.cut();
    let mut number = 0;
    let error = loop {
        number += 1;
        assert!(number < 100, "it is never full");
        match writer.save(&raw(id(0, number), 200_000)).await {
            Ok(saved) => assert!(matches!(saved, Saved::Spooled { .. })),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::SpoolFull { .. }) && number > 2, "{number}: {error}");
    assert!(spool_depth(&config).unwrap().bytes <= 1 << 20);

    // While anything takes it, a crash is taken: also in the moment before the store is known to be back.
    proxy.restore();
    assert!(matches!(writer.save(&raw(id(0, 99), 200_000)).await.unwrap(), Saved::Stored(_)));
    until_moved(&writer.mover().unwrap()).await;
    proxy.cut();
    // What it had is forgotten once it is measured again.
    eventually(SOON, async || writer.save(&raw(id(0, 100), 200_000)).await.ok()).await;
    assert_eq!(spool_depth(&config).unwrap().crashes, 1);
}

#[tokio::test]
async fn a_damaged_crash_in_the_spool_keeps_its_segment_and_no_other_crash_which_no_restart_moves_again() {
    let (bucket, folder) = (Bucket::create("spool_damaged"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let writer = writer(&config);
    proxy.cut();
    for (minutes, number) in [(0, 1), (0, 2), (1, 3)] {
        writer.save(&raw(id(minutes, number), 5_000)).await.unwrap();
    }
    let path = folder.path().join("spool/raw").join(minute().to_string()).join("node-1.tar.zst");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();

    proxy.restore();
    assert_eq!(until_moved(&writer.mover().unwrap()).await, [id(0, 2), id(1, 3)]);
    assert!(path.exists() && spooled(&config, id(0, 1)).unwrap());
    assert!(!spooled(&config, id(1, 3)).unwrap() && !spooled(&config, id(0, 2)).unwrap());
    assert_eq!(spool_depth(&config).unwrap().crashes, 1);

    // What is erased elsewhere by now does not come back with a restart.
    CrashStore::open(&config).unwrap().erase(id(0, 2)).await.unwrap();
    writer.close().await;
    let next = self::writer(&config);
    assert_eq!(until_moved(&next.mover().unwrap()).await, []);
    assert!(path.exists() && spooled(&config, id(0, 1)).unwrap());
    let store = CrashStore::open(&config).unwrap();
    assert_eq!(store.find(id(0, 2)).await.unwrap(), []);
}

#[tokio::test]
async fn one_crash_that_the_object_store_does_not_take_holds_up_no_other() {
    let (bucket, folder) = (Bucket::create("spool_poison"), tempfile::tempdir().unwrap());
    let way = FaultyHttp::to_url(bucket.endpoint(), 1);
    let config = config(&bucket, &way.url(), folder.path());
    let first = writer(&config);
    way.forbid(Some("PUT "));
    for number in 0..12 {
        assert!(matches!(first.save(&raw(id(0, number), 500)).await.unwrap(), Saved::Spooled { .. }));
    }
    let (oldest, later) = (id(0, 0), id(0, 12));
    way.forbid(Some(&oldest.to_string()));
    let mover = first.mover().unwrap();
    assert_eq!(until_moved(&mover).await.len(), 11);
    assert!(mover.store_is_up());
    assert!(matches!(first.save(&raw(later, 500)).await.unwrap(), Saved::Stored(_)));
    assert_eq!(spool_depth(&config).unwrap().crashes, 1, "the others take no room");

    first.close().await;
    way.forbid(None);
    let second = writer(&config);
    assert_eq!(until_moved(&second.mover().unwrap()).await, [oldest]);
    assert_eq!(segments(folder.path()), 0);
}

#[tokio::test]
async fn a_store_that_takes_what_is_small_and_no_crash_is_down() {
    let (bucket, folder) = (Bucket::create("spool_no_crash"), tempfile::tempdir().unwrap());
    let way = FaultyHttp::to_url(bucket.endpoint(), 1);
    let config = config(&bucket, &way.url(), folder.path());
    let writer = writer(&config);
    way.forbid(Some("PUT "));
    for number in 0..20 {
        writer.save(&raw(id(0, number), 500)).await.unwrap();
    }
    way.forbid(Some("zst"));
    let (mover, asked) = (writer.mover().unwrap(), AtomicUsize::new(0));
    eventually(SOON, async || {
        let go_on = || asked.fetch_add(1, Ordering::Relaxed) < usize::MAX;
        let passed = mover.pass(async |_, _| (), go_on).await.unwrap();
        assert_eq!(passed, Passed::default());
        (asked.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    assert!(!mover.store_is_up());
    assert!(asked.load(Ordering::Relaxed) < 20, "not every crash is tried");
    assert_eq!(spool_depth(&config).unwrap().crashes, 20);
}

#[tokio::test]
async fn a_crash_that_is_erased_while_it_is_moved_does_not_stay_in_the_store() {
    let (bucket, folder) = (Bucket::create("spool_erased_late"), tempfile::tempdir().unwrap());
    let way = FaultyHttp::to_url(bucket.endpoint(), 1);
    let config = config(&bucket, &way.url(), folder.path());
    let writer = writer(&config);
    way.forbid(Some("PUT "));
    writer.save(&raw(id(0, 1), 500)).await.unwrap();
    way.forbid(None);
    let mover = writer.mover().unwrap();
    eventually(SOON, async || matches!(writer.try_out().await, Ok(Takes::Store)).then_some(())).await;

    // Its private annotations are there for so long before the rest comes: the erasure finds nothing else.
    way.delay(Duration::from_secs(1));
    let published = AtomicUsize::new(0);
    let publish = async |_, _| {
        published.fetch_add(1, Ordering::Relaxed);
    };
    let elsewhere = Config { endpoint: Some(bucket.endpoint().to_owned()), ..config.clone() };
    let erase = async {
        eventually(SOON, async || bucket.keys().iter().any(|key| key.contains("private")).then_some(()))
            .await;
        CrashStore::open(&elsewhere).unwrap().erase(id(0, 1)).await.unwrap();
    };
    let (passed, ()) = tokio::join!(mover.pass(publish, || true), erase);
    assert_eq!(passed.unwrap(), Passed { moved: 0, done: true });
    assert_eq!((bucket.keys(), published.into_inner()), (vec![], 0));
    assert_eq!(segments(folder.path()), 0);
}

#[tokio::test]
async fn a_store_that_is_back_is_noticed_without_a_client_and_with_nothing_in_the_spool() {
    let (bucket, folder) = (Bucket::create("spool_idle"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let writer = writer(&config);
    let mover = writer.mover().unwrap();
    proxy.cut();
    assert_eq!(writer.try_out().await.unwrap(), Takes::Spool);
    assert!(!mover.store_is_up());
    proxy.restore();
    eventually(SOON, async || {
        mover.pass(async |_, _| (), || true).await.unwrap();
        mover.store_is_up().then_some(())
    })
    .await;
    assert_eq!(writer.try_out().await.unwrap(), Takes::Store);
    assert_eq!(bucket.keys(), Vec::<String>::new(), "a trial leaves nothing");
}

#[tokio::test]
async fn a_folder_that_is_a_store_or_the_spool_of_another_store_is_no_spool() {
    let (bucket, folder) = (Bucket::create("spool_whose"), tempfile::tempdir().unwrap());
    let config = config(&bucket, bucket.endpoint(), folder.path());
    writer(&config).close().await;
    writer(&config).close().await;
    let other = Config { url: Some("s3://other/crashes".to_owned()), ..config.clone() };
    let refused = CrashStore::open(&other).unwrap().spooling_writer(&other, "node-1").unwrap_err();
    assert!(matches!(refused, Error::Spool { .. }), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("s3://other/crashes") && said.contains(&bucket.url()), "{said}");

    let store = Config { path: folder.path().join("old"), ..Config::default() };
    let old = CrashStore::open(&store).unwrap().writer("node-1").unwrap();
    old.save_raw(&raw(id(0, 1), 500)).await.unwrap();
    old.save_processed(&support::processed(id(0, 1), 1, "main")).await.unwrap();
    old.close().await;
    let before = files(&store.path);
    let config = Config { spool: Some(store.path.clone()), ..config };
    let refused = CrashStore::open(&config).unwrap().spooling_writer(&config, "node-1").unwrap_err();
    assert!(refused.to_string().contains("is a crash store and no spool"), "{refused}");
    assert_eq!(files(&store.path), before, "nothing is touched");
}

#[tokio::test]
async fn a_crash_that_was_erased_while_it_was_spooled_does_not_come_back() {
    let (bucket, folder) = (Bucket::create("spool_erased"), tempfile::tempdir().unwrap());
    let proxy = Proxy::to_url(bucket.endpoint());
    let config = config(&bucket, &proxy.url(), folder.path());
    let writer = writer(&config);
    proxy.cut();
    for number in [1, 2] {
        writer.save(&raw(id(0, number), 500)).await.unwrap();
    }
    proxy.restore();
    let store = CrashStore::open(&config).unwrap();
    assert_eq!(store.erase(id(0, 1)).await.unwrap().frames, 2);
    assert!(!spooled(&config, id(0, 1)).unwrap());
    assert_eq!(until_moved(&writer.mover().unwrap()).await, [id(0, 2)]);
    assert_eq!(store.find(id(0, 1)).await.unwrap(), []);
    assert_eq!(segments(folder.path()), 0);
}

#[tokio::test]
async fn a_crash_that_no_store_takes_is_refused_and_spooled_nowhere() {
    let (bucket, folder) = (Bucket::create("spool_refused"), tempfile::tempdir().unwrap());
    let writer = writer(&config(&bucket, bucket.endpoint(), folder.path()));
    let mut crash = raw(id(0, 1), 10);
    crash.metadata.dumps.clear();
    assert!(matches!(writer.save(&crash).await, Err(Error::Unwritable { .. })));
    assert_eq!(segments(folder.path()), 0);
}

#[tokio::test]
async fn a_local_store_without_a_spool_says_what_it_always_said() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::config(folder.path());
    let writer = writer(&config);
    assert!(!writer.has_spool() && writer.mover().is_none());
    assert!(matches!(writer.save(&raw(id(0, 1), 10)).await.unwrap(), Saved::Stored(_)));
    assert_eq!(spool_depth(&config).unwrap(), SpoolDepth::default());
    assert!(!spooled(&config, id(0, 1)).unwrap());
}
