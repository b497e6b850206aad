//! A disk that fills up: what is refused, what still works, and that it is over by itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up ends here")]

mod support;

use std::{path::Path, time::Duration};

use crashstore::{
    Area, Config, CrashStore, Error, Writer,
    space::{Reading, State},
};
use support::{id, minute, processed, raw};
use testing::SmallDisk;

const MIB: u64 = 1 << 20;
/// A look is done every second.
const SOON: Duration = Duration::from_secs(20);

fn config(disk: &Path) -> Config {
    let [warn_below, refuse_below, stop_below] =
        ["24MiB", "50% up to 16MiB", "25%"].map(|mark| mark.parse().unwrap());
    Config { path: disk.join("store"), warn_below, refuse_below, stop_below, ..Config::default() }
}

async fn until(writer: &Writer, state: State) -> Reading {
    let mut readings = writer.space().expect("it is on a disk").readings();
    let reading = readings.wait_for(|reading| reading.state == state);
    tokio::time::timeout(SOON, reading).await.expect("it is seen in time").unwrap().clone()
}

async fn frames(store: &CrashStore, area: Area) -> usize {
    store.list(area, minute()).await.unwrap().len()
}

#[tokio::test]
async fn a_disk_that_fills_up_refuses_new_crashes_then_results_and_never_an_erasure() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let store = CrashStore::open(&config(disk.path())).unwrap();
    let writer = store.writer("node-1").unwrap();
    writer.save_raw(&raw(id(0, 1), 500_000)).await.unwrap();
    assert_eq!(writer.space().expect("it is on a disk").readings().borrow().state, State::Ok);

    // Somebody is told, and nothing is refused.
    disk.fill_to(20 * MIB);
    let why = until(&writer, State::Low).await.why().unwrap();
    assert!(why.contains("of 32 MiB are free") && why.contains("below warn_below"), "{why}");
    writer.save_raw(&raw(id(0, 2), 500)).await.unwrap();

    // No new crash, not a byte of it; what is under way goes on.
    disk.fill_to(12 * MIB);
    until(&writer, State::Refuse).await;
    let error = writer.save_raw(&raw(id(0, 3), 500)).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("below refuse_below in [crashstore] (16 MiB)"), "{cause}");
    assert_eq!((frames(&store, Area::Raw).await, frames(&store, Area::Private).await), (2, 2));
    writer.save_processed(&processed(id(0, 1), 1, "main")).await.unwrap();

    disk.fill_to(4 * MIB);
    until(&writer, State::Stop).await;
    let error = writer.save_processed(&processed(id(0, 2), 1, "main")).await.unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert_eq!(frames(&store, Area::Processed).await, 1);

    // Erasing needs no room at all.
    disk.fill_to(0);
    store.erase(id(0, 1)).await.unwrap();
    assert_eq!(store.raw(id(0, 1), None).await.unwrap(), None);
    assert!(store.raw(id(0, 2), None).await.unwrap().is_some());

    disk.make_room();
    until(&writer, State::Ok).await;
    writer.save_raw(&raw(id(0, 3), 500)).await.unwrap();
    writer.save_processed(&processed(id(0, 2), 1, "main")).await.unwrap();
    assert_eq!(store.check(Area::Raw, minute()).await.unwrap(), []);
    writer.close().await;
}

#[tokio::test]
async fn a_burst_between_two_looks_does_not_pass_the_mark() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let store = CrashStore::open(&config(disk.path())).unwrap();
    let writer = store.writer("node-1").unwrap();
    let mut saves = tokio::task::JoinSet::new();
    for number in 0..100 {
        let writer = writer.clone();
        saves.spawn(async move { writer.save_raw(&raw(id(0, number), 1_000_000)).await });
    }
    let mut saved = 0;
    while let Some(result) = saves.join_next().await {
        match result.unwrap() {
            Ok(_) => saved += 1,
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. } | Error::NoRoomFor { .. }), "{error}");
            }
        }
    }
    let free = crashstore::space::Room::of(disk.path()).unwrap().free;
    assert!(free >= 16 * MIB, "{free} bytes are left after {saved} crashes");
    assert_eq!(frames(&store, Area::Raw).await, saved);
    assert!(saved > 10, "{saved}");
    writer.close().await;
}

#[tokio::test]
async fn one_crash_that_is_too_large_for_what_is_left_says_nothing_of_the_disk() {
    let Some(disk) = SmallDisk::mount(32) else { return };
    let store = CrashStore::open(&config(disk.path())).unwrap();
    disk.fill_to(20 * MIB);
    let writer = store.writer("node-1").unwrap();
    let error = writer.save_raw(&raw(id(0, 1), 12_000_000)).await.unwrap_err();
    assert!(matches!(error, Error::NoRoomFor { .. }) && error.is_of_one_crash(), "{error}");
    writer.try_out().await.unwrap();
    writer.save_raw(&raw(id(0, 2), 500)).await.unwrap();
    assert_eq!(frames(&store, Area::Raw).await, 1);

    disk.fill_to(12 * MIB);
    until(&writer, State::Refuse).await;
    let error = writer.try_out().await.unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    writer.close().await;
}
