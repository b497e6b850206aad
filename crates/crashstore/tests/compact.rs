//! Compaction: of several frames of a crash the latest stays.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::{path::Path, time::Duration};

use crash::{CrashId, ProcessedCrash};
use crashstore::{Area, Compacted, CompactionOrder, CrashStore, Error};
use jiff::{SignedDuration, Timestamp};
use support::{id, minute, processed, raw, segment, store};

/// A processed crash that takes some blocks on a disk.
fn large(id: CrashId, attempt: u16) -> ProcessedCrash {
    let mut state = id.uuid().as_u64_pair().0 ^ u64::from(attempt) | 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    let signature: String = (0..60_000).map(|_| noise()).collect();
    processed(id, attempt, &signature)
}

fn order(area: Area) -> CompactionOrder {
    CompactionOrder {
        area,
        from: None,
        changed_since: None,
        saved_before: Timestamp::now() + SignedDuration::from_hours(1),
        budget: Duration::from_secs(60),
    }
}

/// A store with two results of each of these crashes, closed, and one crash with a single result.
async fn processed_twice(folder: &Path, crashes: &[CrashId]) -> CrashStore {
    let store = store(folder);
    let writer = store.writer("node-1").unwrap();
    for attempt in [1, 2] {
        for crash in crashes {
            writer.save_processed(&large(*crash, attempt)).await.unwrap();
        }
    }
    writer.save_processed(&large(id(0, 99), 1)).await.unwrap();
    writer.close().await;
    store
}

/// Changes a byte in the middle of the last frame of a segment.
fn damage_the_end(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - 100;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_superseded_frame_is_taken_back_and_the_later_one_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let crashes = [id(0, 1), id(0, 2), id(0, 3)];
    let store = processed_twice(folder.path(), &crashes).await;
    let before = store.usage(Area::Processed).await.unwrap();
    let places = store.current(Area::Processed, minute()).await.unwrap();
    assert_eq!(places.len(), 4);

    let compacted = store.compact(order(Area::Processed)).await.unwrap();
    assert_eq!((compacted.minutes, compacted.frames, compacted.next), (1, 3, None));
    assert!(compacted.bytes > 3 * 20_000, "{compacted:?}");
    let after = store.usage(Area::Processed).await.unwrap();
    assert_eq!(before[0].bytes - after[0].bytes, compacted.bytes);

    for crash in crashes {
        assert_eq!(store.processed(crash).await.unwrap().unwrap(), large(crash, 2));
        let frames = store.find(crash).await.unwrap();
        assert_eq!(frames.iter().map(|frame| frame.erased).collect::<Vec<_>>(), [true, false]);
    }
    assert_eq!(store.processed(id(0, 99)).await.unwrap().unwrap(), large(id(0, 99), 1));
    assert_eq!(store.current(Area::Processed, minute()).await.unwrap(), places);
    assert_eq!(store.check(Area::Processed, minute()).await.unwrap(), []);
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap().frames, 0);

    // A writer goes on with the segment, and its frames supersede in their turn.
    let writer = store.writer("node-1").unwrap();
    writer.save_processed(&large(crashes[0], 3)).await.unwrap();
    writer.close().await;
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap().frames, 1);
    assert_eq!(store.processed(crashes[0]).await.unwrap().unwrap(), large(crashes[0], 3));
}

#[tokio::test]
async fn an_older_frame_stays_while_the_latest_one_cannot_be_relied_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let (first, second) = (large(id(0, 1), 1), large(id(0, 1), 2));
    writer.save_processed(&first).await.unwrap();
    writer.save_processed(&second).await.unwrap();
    let none = Compacted { minutes: 1, ..Compacted::default() };
    // The last batch of an open segment may still be torn by a power cut.
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap(), none);
    writer.close().await;

    // Young, by this machine's clock or by another's.
    let young = CompactionOrder {
        saved_before: Timestamp::now() - SignedDuration::from_hours(1),
        ..order(Area::Processed)
    };
    assert_eq!(store.compact(young).await.unwrap(), none);

    damage_the_end(&segment(folder.path(), Area::Processed, "node-1"));
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap(), none);
    assert_eq!(store.processed(id(0, 1)).await.unwrap(), Some(first));
}

#[tokio::test]
async fn an_erased_crash_stays_erased_and_a_crash_that_is_damaged_after_a_compaction_is_not_taken_for_erased()
{
    let folder = tempfile::tempdir().unwrap();
    let store = processed_twice(folder.path(), &[id(0, 1)]).await;
    store.erase(id(0, 1)).await.unwrap();
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap().frames, 0);
    assert_eq!(store.processed(id(0, 1)).await.unwrap(), None);

    let writer = store.writer("node-1").unwrap();
    for attempt in [1, 2] {
        writer.save_processed(&large(id(0, 2), attempt)).await.unwrap();
    }
    writer.close().await;
    assert_eq!(store.compact(order(Area::Processed)).await.unwrap().frames, 1);
    damage_the_end(&segment(folder.path(), Area::Processed, "node-1"));
    assert!(matches!(store.processed(id(0, 2)).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn a_raw_crash_that_was_saved_twice_is_found_by_both_of_its_places() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crash = raw(id(0, 1), 40_000);
    let places = [writer.save_raw(&crash).await.unwrap(), writer.save_raw(&crash).await.unwrap()];
    writer.close().await;
    assert_eq!(store.compact(order(Area::Raw)).await.unwrap().frames, 1);
    for place in &places {
        assert_eq!(store.raw(crash.id(), Some(place)).await.unwrap().as_ref(), Some(&crash));
    }
}

#[tokio::test]
async fn a_round_passes_over_what_has_not_changed_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    for minutes in 0..3 {
        for attempt in [1, 2] {
            writer.save_processed(&large(id(minutes, 1), attempt)).await.unwrap();
        }
    }
    writer.close().await;
    let all = order(Area::Processed);

    let later = Some(Timestamp::now() + SignedDuration::from_mins(10));
    let unchanged = store.compact(CompactionOrder { changed_since: later, ..all }).await.unwrap();
    assert_eq!(unchanged, Compacted::default());
    let stopped = store.compact(CompactionOrder { budget: Duration::ZERO, ..all }).await.unwrap();
    assert_eq!((stopped.minutes, stopped.next), (0, Some(id(0, 1).minute())));
    let rest = store.compact(CompactionOrder { from: Some(id(1, 1).minute()), ..all }).await.unwrap();
    assert_eq!((rest.minutes, rest.frames), (2, 2));
    assert_eq!(store.compact(all).await.unwrap().frames, 1);
    assert_eq!(
        store.can_compact().await.unwrap(),
        Some(true),
        "this filesystem gives back the middle of a file"
    );
}
