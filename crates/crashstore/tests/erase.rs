//! Erasing one crash.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use std::time::Duration;

use crashstore::Area;
use support::{id, minute, processed, raw, segment, store};

/// Whether the bytes of a dump, or anything of them, are in a file.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn an_erased_crash_is_gone_from_all_areas_and_its_neighbours_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crashes = [raw(id(0, 1), 40_000), raw(id(0, 2), 40_000), raw(id(0, 3), 40_000)];
    let mut places = vec![];
    for crash in &crashes {
        places.push(writer.save_raw(crash).await.unwrap());
        writer.save_processed(&processed(crash.id(), 1, "first")).await.unwrap();
        writer.save_processed(&processed(crash.id(), 2, "second")).await.unwrap();
    }
    let secret = &crashes[1].dumps[0].bytes[20 * 64..20 * 64 + 24];
    let path = segment(folder.path(), Area::Raw, "node-1");
    let before = std::fs::read(&path).unwrap();
    let frame = usize::try_from(places[1].offset).unwrap();
    assert!(contains(&before, secret), "half of a dump does not compress");

    let erased = store.erase(id(0, 2)).await.unwrap();
    assert!(erased.frames == 4 && erased.bytes > 20_000, "{erased:?}");
    assert_eq!(store.raw(id(0, 2), None).await.unwrap(), None);
    assert_eq!(store.raw(id(0, 2), Some(&places[1])).await.unwrap(), None);
    assert_eq!(store.private(id(0, 2)).await.unwrap(), None);
    assert_eq!(store.processed(id(0, 2)).await.unwrap(), None);
    let found = store.find(id(0, 2)).await.unwrap();
    assert!(found.len() == 4 && found.iter().all(|frame| frame.erased), "{found:?}");

    let after = std::fs::read(&path).unwrap();
    assert!(!contains(&after, secret));
    assert_eq!(after.len(), before.len());
    assert_eq!(after[..frame + 72], before[..frame + 72], "the header stays as it was");
    assert_eq!(
        after[usize::try_from(places[2].offset).unwrap()..],
        before[usize::try_from(places[2].offset).unwrap()..]
    );

    for index in [0, 2] {
        let crash = &crashes[index];
        assert_eq!(store.raw(crash.id(), Some(&places[index])).await.unwrap().as_ref(), Some(crash));
        assert_eq!(store.processed(crash.id()).await.unwrap().unwrap().signature, "second");
    }
    for area in Area::ALL {
        assert_eq!(store.check(area, minute()).await.unwrap(), []);
    }
    assert_eq!(store.erase(id(0, 2)).await.unwrap(), erased, "erasing again does no harm");
    assert_eq!(store.erase(id(0, 9)).await.unwrap().frames, 0);
}

#[tokio::test]
async fn erasing_finishes_what_an_erasure_that_was_killed_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crash = raw(id(0, 1), 40_000);
    writer.save_raw(&crash).await.unwrap();
    let path = segment(folder.path(), Area::Raw, "node-1");
    let whole = std::fs::read(&path).unwrap();
    store.erase(crash.id()).await.unwrap();
    let erased = std::fs::read(&path).unwrap();

    // The 8 bytes are there, and the rest of the frame is too.
    let mut half = whole.clone();
    half[72..80].copy_from_slice(&erased[72..80]);
    assert_ne!(half, whole);
    std::fs::write(&path, half).unwrap();
    assert_eq!(store.raw(crash.id(), None).await.unwrap(), None);
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
    store.erase(crash.id()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), erased);
    assert!(erased[80..].iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_crash_can_be_saved_again_after_its_erasure() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crash = raw(id(0, 1), 1000);
    writer.save_raw(&crash).await.unwrap();
    store.erase(crash.id()).await.unwrap();
    writer.close().await;
    // The last frame of the segment is an erased one: it is whole, and no torn tail.
    let writer = store.writer("node-1").unwrap();
    let place = writer.save_raw(&crash).await.unwrap();
    assert!(place.segment == "node-1" && place.offset > 0, "{place:?}");
    assert_eq!(store.raw(crash.id(), None).await.unwrap(), Some(crash));
}

#[tokio::test]
async fn crashes_are_erased_while_others_are_appended_to_the_same_segment() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let appending = tokio::spawn({
        let writer = writer.clone();
        async move {
            for number in 100..250 {
                writer.save_raw(&raw(id(0, number), 2000)).await.unwrap();
            }
        }
    });
    for number in 0..20 {
        writer.save_raw(&raw(id(0, number), 2000)).await.unwrap();
        store.erase(id(0, number)).await.unwrap();
    }
    appending.await.unwrap();
    for number in 0..20 {
        assert_eq!(store.raw(id(0, number), None).await.unwrap(), None);
    }
    for number in 100..250 {
        assert_eq!(store.raw(id(0, number), None).await.unwrap(), Some(raw(id(0, number), 2000)));
    }
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
}

#[tokio::test]
async fn an_erasure_waits_for_whoever_rewrites_the_segment() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    writer.save_raw(&raw(id(0, 1), 1000)).await.unwrap();
    let held = std::fs::File::open(segment(folder.path(), Area::Private, "node-1")).unwrap();
    held.lock().unwrap();
    let mut erasing = tokio::spawn({
        let store = store.clone();
        async move { store.erase(id(0, 1)).await }
    });
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut erasing).await.is_err());
    assert!(store.raw(id(0, 1), None).await.unwrap().is_some());
    held.unlock().unwrap();
    assert_eq!(erasing.await.unwrap().unwrap().frames, 2);
}
