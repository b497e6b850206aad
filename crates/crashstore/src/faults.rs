//! The writer on disks that fail, fill up, and lose their power.
//!
//! These tests need the seam of `disk`, so they are inside the crate; what needs no more than real files is under
//! `tests`.

mod disks;
mod power;

#[path = "../tests/support/mod.rs"]
mod support;

use std::{io, sync::Arc, time::Duration};

use disks::{Faults, FaultyDisk, Rule, What};
use support::{id, minute, processed, raw, segment, store};

use crate::{Area, Config, CrashStore, Error, Writer, appender::Limits};

fn writer(store: &CrashStore, faults: &Arc<Faults>) -> Writer {
    store.writer_on("node-1", Box::new(FaultyDisk(faults.clone())), Limits::default()).unwrap()
}

/// Polls for what there is no signal for.
async fn until(done: impl Fn() -> bool) {
    let polling = async {
        while !done() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), polling).await.expect("it happens in time");
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[tokio::test]
async fn a_failed_sync_abandons_the_segment_and_the_crash_is_saved_in_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::default());
    let writer = writer(&store, &faults);
    let crashes = [raw(id(0, 1), 500), raw(id(0, 2), 500), raw(id(0, 3), 500)];
    let place = writer.save_raw(&crashes[0]).await.unwrap();
    let before = std::fs::read(segment(folder.path(), Area::Raw, "node-1")).unwrap();

    faults.fail(Rule { what: What::Sync, path: "raw/20261123/1310/node-1.", errno: EIO, times: 1 });
    let second = writer.save_raw(&crashes[1]).await.unwrap();
    let third = writer.save_raw(&crashes[2]).await.unwrap();
    assert_eq!([&*place.segment, &*second.segment, &*third.segment], ["node-1", "node-1+1", "node-1+1"]);
    for crash in &crashes {
        assert_eq!(store.raw(crash.id(), None).await.unwrap().as_ref(), Some(crash));
    }
    // Synced once and failed: never again, and no reader sees what was not answered from there.
    assert_eq!(faults.count(What::Sync, "raw/20261123/1310/node-1."), 2);
    assert_eq!(std::fs::read(segment(folder.path(), Area::Raw, "node-1")).unwrap(), before);
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
}

#[tokio::test]
async fn a_crash_that_two_segments_refuse_is_an_error_and_the_next_one_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::default());
    let writer = writer(&store, &faults);
    writer.save_raw(&raw(id(0, 1), 500)).await.unwrap();
    for what in [What::Sync, What::Write] {
        faults.fail(Rule { what, path: "raw/20261123/1310/node-1", errno: EIO, times: 2 });
        let error = writer.save_raw(&raw(id(0, 2), 500)).await.unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert_eq!(store.raw(id(0, 2), None).await.unwrap(), None);
    }
    let crash = raw(id(0, 3), 500);
    writer.save_raw(&crash).await.unwrap();
    assert_eq!(store.raw(crash.id(), None).await.unwrap(), Some(crash));
    assert!(store.raw(id(0, 1), None).await.unwrap().is_some());
}

#[tokio::test]
async fn an_abandoned_segment_is_left_alone_by_the_next_start_too() {
    for in_order in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (store, faults) = (store(folder.path()), Arc::default());
        let writer = writer(&store, &faults);
        writer.save_raw(&raw(id(0, 1), 500)).await.unwrap();
        // The segment, then the room for another one.
        faults.fail(Rule { what: What::Sync, path: "raw/20261123/1310/node-1.", errno: EIO, times: 1 });
        faults.fail(Rule { what: What::Create, path: "raw/", errno: EIO, times: 1 });
        writer.save_raw(&raw(id(0, 2), 500)).await.unwrap_err();
        if in_order {
            writer.close().await;
        } else {
            faults.die();
            writer.close().await;
        }
        let before = std::fs::read(segment(folder.path(), Area::Raw, "node-1")).unwrap();
        let again = store.writer("node-1").unwrap();
        let crash = raw(id(0, 3), 500);
        assert_eq!(again.save_raw(&crash).await.unwrap().segment, "node-1+1");
        assert_eq!(std::fs::read(segment(folder.path(), Area::Raw, "node-1")).unwrap(), before);
        assert!(store.raw(id(0, 1), None).await.unwrap().is_some());
        again.close().await;
        let third = store.writer("node-1").unwrap();
        assert_eq!(third.save_raw(&raw(id(0, 4), 500)).await.unwrap().segment, "node-1+1");
    }
}

#[tokio::test]
async fn a_full_disk_says_what_to_do_leaves_no_litter_and_is_over_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::default());
    let writer = writer(&store, &faults);
    writer.save_raw(&raw(id(0, 1), 500)).await.unwrap();
    faults.fail(Rule { what: What::Write, path: "raw/", errno: ENOSPC, times: 10 });
    for _ in 0..10 {
        let error = writer.save_raw(&raw(id(0, 2), 500)).await.unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert!(error.to_string().contains("free space"), "{error}");
    }
    let files = std::fs::read_dir(segment(folder.path(), Area::Raw, "x").parent().unwrap()).unwrap().count();
    assert_eq!(files, 1);
    let crash = raw(id(0, 3), 500);
    writer.save_raw(&crash).await.unwrap();
    assert_eq!(store.raw(crash.id(), None).await.unwrap(), Some(crash));
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
}

#[tokio::test]
async fn a_nearly_full_disk_is_not_even_asked_to_take_a_crash_until_it_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::<Faults>::default());
    faults.leave(1 << 20);
    let writer = writer(&store, &faults);
    faults.forget();
    for _ in 0..3 {
        let error = writer.save_raw(&raw(id(0, 1), 500)).await.unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    }
    assert_eq!(faults.log(), []);
    // No clock but the watch's own: a look is done every second.
    faults.leave(1 << 50);
    let mut readings = writer.space().unwrap().readings();
    let room = readings.wait_for(|reading| reading.why().is_none());
    tokio::time::timeout(Duration::from_secs(20), room).await.unwrap().unwrap();
    writer.save_raw(&raw(id(0, 1), 500)).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_could_not_be_synced_takes_no_new_segment() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::default());
    let writer = writer(&store, &faults);
    faults.fail(Rule { what: What::SyncFolder, path: "raw/20261123/1310", errno: EIO, times: 1 });
    for _ in 0..2 {
        let error = writer.save_raw(&raw(id(0, 1), 500)).await.unwrap_err();
        assert!(matches!(error, Error::UntrustedFolder { .. }), "{error}");
    }
    // Another minute's folder is another matter.
    writer.save_raw(&raw(id(1, 2), 500)).await.unwrap();
    assert_eq!(store.raw(id(0, 1), None).await.unwrap(), None);
}

#[tokio::test]
async fn a_new_segment_is_synced_with_every_folder_above_it_and_later_batches_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::<Faults>::default());
    let writer = writer(&store, &faults);
    writer.save_processed(&processed(id(0, 1), 1, "")).await.unwrap();
    for path in ["store", "store/processed", "store/processed/20261123", "store/processed/20261123/1310"] {
        assert_eq!(faults.count_exactly(What::SyncFolder, path), 1, "{path}");
    }
    writer.save_processed(&processed(id(0, 2), 1, "")).await.unwrap();
    assert_eq!(faults.count(What::SyncFolder, "processed"), 3);
    assert_eq!(faults.count(What::Sync, "processed/"), 2);
}

#[tokio::test]
async fn private_annotations_are_durable_before_the_first_byte_of_the_crash_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::<Faults>::default());
    let writer = writer(&store, &faults);
    writer.save_raw(&raw(id(0, 1), 500)).await.unwrap();
    faults.forget();
    writer.save_raw(&raw(id(0, 2), 500)).await.unwrap();
    let log = faults.log();
    let log: Vec<_> = log.iter().map(|(what, path)| (*what, path.split('/').rev().nth(3).unwrap())).collect();
    let expected =
        [(What::Write, "private"), (What::Sync, "private"), (What::Write, "raw"), (What::Sync, "raw")];
    assert_eq!(log, expected);

    faults.fail(Rule { what: What::Sync, path: "private/", errno: EIO, times: 2 });
    writer.save_raw(&raw(id(0, 3), 500)).await.unwrap_err();
    assert_eq!(store.find(id(0, 3)).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gathers_while_the_disk_is_busy_shares_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let (store, faults) = (store(folder.path()), Arc::<Faults>::default());
    let writer = writer(&store, &faults);
    writer.save_processed(&processed(id(0, 0), 1, "")).await.unwrap();
    faults.forget();
    // The disk waits in a sync until everything else is in the queue.
    let gate = faults.close_gate();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..100 {
        let writer = writer.clone();
        saves.spawn(async move { writer.save_processed(&processed(id(0, number), 1, "")).await });
    }
    gate.wait_for(What::Write, 1);
    until(|| writer.waiting() >= 100).await;
    drop(gate);
    while let Some(saved) = saves.join_next().await {
        saved.unwrap().unwrap();
    }
    let syncs = faults.count(What::Sync, "processed/");
    // The batch that waited, what gathered behind it, and a straggler on a busy machine.
    assert!(syncs <= 5, "{syncs} syncs for 100 crashes");
}

#[tokio::test]
async fn a_segment_of_full_size_is_continued_under_the_next_number() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let limits = Limits { segment_bytes: 3000, ..Limits::default() };
    let open = || store.writer_on("node-1", Box::new(crate::disk::LocalDisk), limits).unwrap();
    let mut segments = vec![];
    let writer = open();
    for number in 0..6 {
        segments.push(writer.save_raw(&raw(id(0, number), 2500)).await.unwrap().segment);
    }
    writer.close().await;
    let writer = open();
    segments.push(writer.save_raw(&raw(id(0, 6), 10)).await.unwrap().segment);
    let expected = ["node-1", "node-1", "node-1+1", "node-1+1", "node-1+2", "node-1+2", "node-1+3"];
    assert_eq!(segments, expected);
    for number in 0..6 {
        assert_eq!(store.raw(id(0, number), None).await.unwrap(), Some(raw(id(0, number), 2500)));
    }
}

#[tokio::test]
async fn few_segments_are_open_at_a_time_and_closed_ones_are_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let limits = Limits { open: 3, ..Limits::default() };
    let writer = store.writer_on("node-1", Box::new(crate::disk::LocalDisk), limits).unwrap();
    for number in 0..30 {
        let minutes = i64::try_from(number).unwrap() % 10;
        let saved = writer.save_processed(&processed(id(minutes, number), 1, "")).await.unwrap();
        assert_eq!(saved.segment, "node-1");
        let record = std::fs::read_to_string(folder.path().join("store/writers/node-1.segments")).unwrap();
        assert!(record.lines().count() <= 3, "{record}");
    }
    for number in 0..30 {
        let minutes = i64::try_from(number).unwrap() % 10;
        assert!(store.processed(id(minutes, number)).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_crash_that_unpacks_to_more_than_the_limit_is_refused_by_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let writer = store(folder.path()).writer("node-1").unwrap();
    let mut bomb = raw(id(0, 1), 0);
    bomb.dumps[0].bytes = vec![0; 8 << 20].into();
    writer.save_raw(&bomb).await.unwrap();
    let signature = "x".repeat(3 << 20);
    writer.save_processed(&processed(id(0, 1), 1, &signature)).await.unwrap();

    let config = Config { path: folder.path().join("store"), ..Config::default() };
    let narrow = CrashStore::with_limit(&config, 2 << 20).unwrap();
    for error in [
        narrow.raw(bomb.id(), None).await.map(|_| ()).unwrap_err(),
        narrow.processed(bomb.id()).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Damaged { .. }) && error.to_string().contains("unpacks"), "{error}");
    }
    assert_eq!(store(folder.path()).raw(bomb.id(), None).await.unwrap(), Some(bomb));
}

#[tokio::test]
async fn a_segment_that_ends_at_any_byte_or_in_zeros_is_cut_behind_its_last_whole_frame() {
    let folder = memory_folder();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let mut ends = vec![];
    for number in 0..3 {
        writer.save_raw(&raw(id(0, number), 64)).await.unwrap();
        ends.push(std::fs::metadata(segment(folder.path(), Area::Raw, "node-1")).unwrap().len());
    }
    writer.close().await;
    let path = segment(folder.path(), Area::Raw, "node-1");
    let record = store.local().layout().record("node-1");
    let whole = std::fs::read(&path).unwrap();
    for at in 0..=whole.len() {
        let last = ends.iter().rev().find(|end| **end <= at as u64).copied().unwrap_or(0);
        for zeros in [0, whole.len() - at] {
            let torn = [&whole[..at], &vec![0; zeros]].concat();
            std::fs::write(&path, &torn).unwrap();
            std::fs::write(&record, format!("raw/{} node-1\n", minute())).unwrap();
            // Readers that come first stop at the tail, and take it for no damage.
            assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), [], "{at} {zeros}");
            let cuts = store.cut_tails().await.unwrap();
            // The last bytes of a frame may have been zeros.
            let changed = torn != whole && torn.len() as u64 != last;
            assert_eq!(
                cuts.iter().map(|cut| cut.at).collect::<Vec<_>>(),
                if changed { vec![last] } else { vec![] }
            );
            assert_eq!(
                store.list(Area::Raw, minute()).await.unwrap().len(),
                ends.iter().filter(|end| **end <= last).count()
            );
        }
    }
}

/// A folder whose syncs cost nothing, where there is one.
fn memory_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn the_errors_of_a_full_disk_are_told_from_others() {
    for (errno, full) in [(ENOSPC, true), (122, true), (EIO, false), (30, false)] {
        let error = Error::io("saving", io::Error::from_raw_os_error(errno));
        assert_eq!(matches!(error, Error::NoSpace { .. }), full, "{errno}");
    }
}
