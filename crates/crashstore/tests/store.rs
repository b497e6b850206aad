//! Saving, finding and dropping crashes, in one process and several.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod support;

use crash::Place;
use crashstore::{Area, Config, CrashStore, Error};
use support::{id, minute, processed, raw, segment, store};

#[tokio::test]
async fn a_raw_crash_is_read_whole_by_place_and_by_id_alone() {
    let folder = tempfile::tempdir().unwrap();
    let writer = store(folder.path()).writer("node-1").unwrap();
    let crashes = [raw(id(0, 1), 5000), raw(id(0, 2), 0), raw(id(1, 3), 100_000)];
    let reader = store(folder.path());
    for crash in &crashes {
        let place = writer.save_raw(crash).await.unwrap();
        assert_eq!(place.segment, "node-1");
        assert_eq!(reader.raw(crash.id(), Some(&place)).await.unwrap().as_ref(), Some(crash));
        assert_eq!(reader.raw(crash.id(), None).await.unwrap().as_ref(), Some(crash));
        assert_eq!(reader.private(crash.id()).await.unwrap().as_ref(), Some(&crash.private));
    }
    assert_eq!(reader.raw(id(0, 4), None).await.unwrap(), None);
    assert_eq!(reader.processed(id(0, 1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_place_is_a_hint_and_never_leads_astray() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let (one, two) = (raw(id(0, 1), 100), raw(id(0, 2), 100));
    let place = writer.save_raw(&one).await.unwrap();
    let other = writer.save_raw(&two).await.unwrap();
    let wrong = [
        other,
        Place { offset: place.offset + 8, ..place.clone() },
        Place { offset: u64::MAX, ..place.clone() },
        Place { segment: "node-2".to_owned(), ..place.clone() },
        Place { segment: "../../../../../../etc/passwd".to_owned(), offset: 0 },
    ];
    for hint in wrong {
        assert_eq!(store.raw(one.id(), Some(&hint)).await.unwrap().as_ref(), Some(&one), "{hint:?}");
        assert_eq!(store.raw(id(0, 3), Some(&hint)).await.unwrap(), None, "{hint:?}");
    }
}

#[tokio::test]
async fn the_result_that_was_saved_last_counts_whoever_saved_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    // The name that sorts first saves last.
    let (late, early) = (store.writer("a").unwrap(), store.writer("b").unwrap());
    let id = id(0, 1);
    for (attempt, writer) in [(1, &early), (2, &early), (3, &late)] {
        let crash = processed(id, attempt, &format!("attempt {attempt}"));
        writer.save_processed(&crash).await.unwrap();
        assert_eq!(store.processed(id).await.unwrap(), Some(crash));
    }
    let attempts: Vec<u16> = store.find(id).await.unwrap().iter().map(|found| found.attempt).collect();
    assert_eq!(attempts, [3, 1, 2]);
}

#[tokio::test]
async fn a_closed_minute_is_gone_on_with_by_the_same_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let crashes = [raw(id(0, 1), 700), raw(id(0, 2), 700), raw(id(0, 3), 700)];
    let mut places = vec![];
    for crash in &crashes {
        let writer = store.writer("node-1").unwrap();
        places.push(writer.save_raw(crash).await.unwrap());
        writer.close().await;
    }
    assert!(places.iter().all(|place| place.segment == "node-1"), "{places:?}");
    assert!(places.is_sorted_by_key(|place| place.offset), "{places:?}");
    for crash in &crashes {
        assert_eq!(store.raw(crash.id(), None).await.unwrap().as_ref(), Some(crash));
    }
    assert!(!folder.path().join("store/writers/node-1.segments").exists());
}

#[tokio::test]
async fn what_is_in_the_store_can_be_listed_and_found_by_short_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crash = raw(id(0, 1), 1000);
    let place = writer.save_raw(&crash).await.unwrap();
    writer.save_raw(&raw(id(0, 2), 1000)).await.unwrap();
    writer.save_processed(&processed(crash.id(), 7, "")).await.unwrap();
    writer.save_processed(&processed(id(70, 9), 1, "")).await.unwrap();

    assert_eq!(store.minutes(Area::Raw).await.unwrap(), [minute()]);
    assert_eq!(store.minutes(Area::Processed).await.unwrap(), [minute(), id(70, 9).minute()]);
    assert_eq!(store.list(Area::Raw, minute()).await.unwrap().len(), 2);
    let found = store.find(crash.id()).await.unwrap();
    assert_eq!(found.iter().map(|found| found.area).collect::<Vec<_>>(), Area::ALL);
    assert_eq!((&found[0].place, found[0].erased, found[2].attempt), (&place, false, 7));
    assert!(found[1].saved_at < found[0].saved_at, "private annotations are saved before the crash");

    assert_eq!(store.find_short(crash.id().short()).await.unwrap(), [crash.id()]);
    assert_eq!(store.find_short(id(70, 9).short()).await.unwrap(), [id(70, 9)]);
    assert_eq!(store.find_short(id(0, 3).short()).await.unwrap(), []);
}

#[tokio::test]
async fn dropping_a_day_takes_one_area_of_that_day_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let (today, tomorrow) = (raw(id(0, 1), 9000), raw(id(24 * 60, 1), 9000));
    let place = writer.save_raw(&today).await.unwrap();
    writer.save_raw(&tomorrow).await.unwrap();

    let freed = store.drop_day(Area::Private, today.id().day()).await.unwrap();
    assert!(freed.files == 1 && freed.bytes > 0, "{freed:?}");
    let without = crash::RawCrash { private: crash::Annotations::default(), ..today.clone() };
    assert_eq!(store.raw(today.id(), None).await.unwrap(), Some(without));
    assert_eq!(store.private(today.id()).await.unwrap(), None);

    let freed = store.drop_day(Area::Raw, today.id().day()).await.unwrap();
    assert!(freed.files == 1 && freed.bytes > 4000, "{freed:?}");
    assert_eq!(store.raw(today.id(), Some(&place)).await.unwrap(), None);
    assert_eq!(store.find(today.id()).await.unwrap(), []);
    assert_eq!(store.raw(tomorrow.id(), None).await.unwrap(), Some(tomorrow));
    assert_eq!(store.minutes(Area::Raw).await.unwrap(), [id(24 * 60, 1).minute()]);
    assert_eq!(store.drop_day(Area::Raw, today.id().day()).await.unwrap().files, 0);
}

#[tokio::test]
async fn a_crash_saved_to_a_dropped_day_is_there_although_its_segment_was_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    writer.save_raw(&raw(id(0, 1), 100)).await.unwrap();
    for area in Area::ALL {
        store.drop_day(area, minute().day()).await.unwrap();
    }
    let crash = raw(id(0, 2), 100);
    writer.save_raw(&crash).await.unwrap();
    assert_eq!(store.raw(crash.id(), None).await.unwrap(), Some(crash));
    assert_eq!(store.raw(id(0, 1), None).await.unwrap(), None);
}

#[tokio::test]
async fn a_name_that_is_held_is_passed_over_and_free_again_after_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let first = store.writer("node-1").unwrap();
    let second = store.writer("node-1").unwrap();
    let third = store.writer("node-1").unwrap();
    assert_eq!([first.name(), second.name(), third.name()], ["node-1", "node-1-2", "node-1-3"]);
    first.close().await;
    assert_eq!(store.writer("node-1").unwrap().name(), "node-1");
}

#[tokio::test]
async fn names_that_are_no_file_names_and_levels_that_zstd_lacks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let opened = store(folder.path());
    for name in ["", ".", "..", ".a", "a/b", "a+1", "a b", "é", &"a".repeat(101)] {
        assert!(matches!(opened.writer(name), Err(Error::InvalidName { .. })), "{name}");
    }
    for compression_level in [-5, 0, 23] {
        let config = Config { compression_level, ..support::config(folder.path()) };
        assert!(
            matches!(CrashStore::open(&config), Err(Error::CompressionLevel { .. })),
            "{compression_level}"
        );
    }
}

#[tokio::test]
async fn a_closed_writer_has_saved_all_it_accepted_and_takes_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..50 {
        let writer = writer.clone();
        saves.spawn(async move { (number, writer.save_raw(&raw(id(0, number), 20_000)).await) });
    }
    tokio::task::yield_now().await;
    writer.clone().close().await;

    while let Some(saved) = saves.join_next().await {
        let (number, result) = saved.unwrap();
        let found = store.raw(id(0, number), None).await.unwrap().is_some();
        assert!(matches!((&result, found), (Ok(_), true) | (Err(Error::Closed { .. }), false)), "{result:?}");
    }
    assert!(matches!(writer.save_raw(&raw(id(0, 99), 1)).await, Err(Error::Closed { .. })));
}

#[tokio::test]
async fn many_crashes_at_once_are_all_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..200_u64 {
        let writer = writer.clone();
        let crash = raw(id(i64::try_from(number % 3).unwrap(), number), 3000);
        saves.spawn(async move { writer.save_raw(&crash).await.map(|place| (crash, place)) });
    }
    while let Some(saved) = saves.join_next().await {
        let (crash, place) = saved.unwrap().unwrap();
        assert_eq!(store.raw(crash.id(), Some(&place)).await.unwrap(), Some(crash));
    }
    for minute in store.minutes(Area::Raw).await.unwrap() {
        assert_eq!(store.check(Area::Raw, minute).await.unwrap(), []);
        assert_eq!(store.check(Area::Private, minute).await.unwrap(), []);
    }
}

#[tokio::test]
async fn dumps_that_do_not_fit_their_metadata_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let writer = store(folder.path()).writer("node-1").unwrap();
    let mut crash = raw(id(0, 1), 10);
    crash.metadata.dumps[0].member = "../../evil".to_owned();
    assert!(matches!(writer.save_raw(&crash).await, Err(Error::Unwritable { .. })));
    crash.metadata.dumps.clear();
    assert!(matches!(writer.save_raw(&crash).await, Err(Error::Unwritable { .. })));
}

#[tokio::test]
async fn damage_in_the_middle_is_named_and_hides_no_other_crash() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let crashes = [raw(id(0, 1), 900), raw(id(0, 2), 900), raw(id(0, 3), 900), raw(id(0, 4), 900)];
    let mut places = vec![];
    for crash in &crashes {
        places.push(writer.save_raw(crash).await.unwrap());
    }
    writer.close().await;
    let path = segment(folder.path(), Area::Raw, "node-1");
    let mut bytes = std::fs::read(&path).unwrap();
    // A bit of the second crash's header, and one of the third crash's frame.
    bytes[usize::try_from(places[1].offset).unwrap() + 20] ^= 1;
    bytes[usize::try_from(places[2].offset).unwrap() + 120] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let damage = store.check(Area::Raw, minute()).await.unwrap();
    let named: Vec<_> = damage.iter().map(|damage| (&damage.segment, damage.offset, damage.id)).collect();
    assert_eq!(named, [(&path, places[1].offset, None), (&path, places[2].offset, Some(id(0, 3)))]);
    assert_eq!(damage[0].offset + damage[0].bytes, places[2].offset);
    for index in [0, 3] {
        let found = store.raw(crashes[index].id(), None).await.unwrap();
        assert_eq!(found.as_ref(), Some(&crashes[index]));
    }
    let error = store.raw(id(0, 3), Some(&places[2])).await.unwrap_err();
    assert!(matches!(&error, Error::Damaged { segment, .. } if *segment == path), "{error}");
    assert_eq!(store.raw(id(0, 2), Some(&places[1])).await.unwrap(), None);

    // A writer does not go on with a segment that is not sound, and leaves it as it is.
    let before = std::fs::read(&path).unwrap();
    let writer = store.writer("node-1").unwrap();
    assert_eq!(writer.save_raw(&raw(id(0, 5), 10)).await.unwrap().segment, "node-1+1");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn a_damaged_last_frame_of_a_segment_closed_in_order_is_damage_and_not_a_tail() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let place = writer.save_raw(&raw(id(0, 1), 900)).await.unwrap();
    writer.close().await;
    let path = segment(folder.path(), Area::Raw, "node-1");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap().len(), 1);
    assert!(matches!(store.raw(id(0, 1), Some(&place)).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn lengths_that_lie_and_holes_of_gigabytes_do_not_hurt_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    writer.save_raw(&raw(id(0, 1), 900)).await.unwrap();
    writer.close().await;
    let path = segment(folder.path(), Area::Raw, "node-1");
    // A sound header that promises 4 GiB, in a file that has them without taking a block.
    let mut header = std::fs::read(&path).unwrap()[..72].to_vec();
    header[60..64].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32fast::hash(&header[..68]);
    header[68..72].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &header).unwrap();
    assert_eq!(store.raw(id(0, 1), None).await.unwrap(), None);

    std::fs::File::options().write(true).open(&path).unwrap().set_len(1 << 32 | 1 << 10).unwrap();
    assert!(matches!(store.raw(id(0, 1), None).await, Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn a_frame_of_a_later_format_is_passed_over_by_its_length_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let writer = store.writer("node-1").unwrap();
    let place = writer.save_raw(&raw(id(0, 1), 900)).await.unwrap();
    let after = raw(id(0, 2), 900);
    writer.save_raw(&after).await.unwrap();
    writer.close().await;
    let path = segment(folder.path(), Area::Raw, "node-1");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[12] = 2;
    let crc = crc32fast::hash(&bytes[..68]);
    bytes[68..72].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    for hint in [Some(&place), None] {
        let error = store.raw(id(0, 1), hint).await.unwrap_err();
        assert!(matches!(error, Error::Newer { format: 2, .. }), "{error}");
    }
    assert_eq!(store.raw(after.id(), None).await.unwrap(), Some(after));
}
