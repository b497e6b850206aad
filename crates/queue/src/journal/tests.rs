use std::{fs, time::Instant};

use crash::QueueName;

use super::{ledger::Left, *};
use crate::message::Message;

fn entry(second: u32) -> Entry {
    let crash_id = format!("{second:05x}2a3-5c1f-4c0e-9d5a-2f1b60261123").parse().unwrap();
    Entry {
        queue: QueueName::Standard,
        message: Message::new(crash_id, "2026-11-23T10:00:00Z".parse().unwrap()),
    }
}

fn ledger() -> Ledger {
    Ledger::new(Arc::new(Metrics::new()))
}

/// A folder that its writer has left, with these segments.
fn left_behind(root: &Path, texts: &[String]) -> PathBuf {
    let folder = root.join("gone");
    fs::create_dir(&folder).unwrap();
    for (number, text) in (1..).zip(texts) {
        fs::write(segment::path(&folder, number), text).unwrap();
    }
    folder
}

/// Puts something in the place of a file that can neither be read nor deleted like one.
fn block(path: &Path) {
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
}

#[tokio::test]
async fn a_published_segment_that_cannot_be_deleted_is_never_taken_over_again_but_deleted_later() {
    let root = tempfile::tempdir().unwrap();
    let path = segment::path(&left_behind(root.path(), &[entry(1).line()]), 1);
    let ledger = ledger();
    drain::adopt(root.path(), &ledger);
    assert_eq!((ledger.front().unwrap().path, ledger.depth().ids), (path.clone(), 1));

    block(&path);
    drain::delete(&ledger, path.clone()).await;
    drain::adopt(root.path(), &ledger);
    assert!(ledger.front().is_none() && ledger.is_empty());
    assert_eq!((ledger.depth().ids, ledger.bytes()), (0, entry(1).line().len() as u64));

    fs::remove_dir(&path).unwrap();
    fs::write(&path, entry(1).line()).unwrap();
    ledger.bring_back(Instant::now() + Duration::from_secs(3_600));
    let front = ledger.front().unwrap();
    assert_eq!((&front.path, front.left), (&path, Left::Delete));
    drain::delete(&ledger, front.path).await;
    assert!(!path.exists() && ledger.front().is_none());
    assert_eq!(ledger.bytes(), 0);
}

#[test]
fn a_segment_that_cannot_be_read_waits_behind_the_others_and_longer_each_time() {
    let root = tempfile::tempdir().unwrap();
    let folder = left_behind(root.path(), &[entry(1).line(), entry(2).line()]);
    let (unreadable, good) = (segment::path(&folder, 1), segment::path(&folder, 2));
    block(&unreadable);
    let ledger = ledger();
    drain::adopt(root.path(), &ledger);
    let front = || ledger.front().map(|segment| segment.path);
    assert_eq!((front(), ledger.depth().ids), (Some(unreadable.clone()), 1));
    let (now, millisecond) = (Instant::now(), Duration::from_millis(1));

    assert_eq!(ledger.set_aside(Left::Publish, now, 0.0), 1);
    drain::adopt(root.path(), &ledger);
    ledger.bring_back(now + 200 * millisecond);
    assert_eq!(front(), Some(good));
    ledger.forget_front();
    assert_eq!(front(), Some(unreadable.clone()));

    assert_eq!(ledger.set_aside(Left::Publish, now, 0.0), 2);
    ledger.bring_back(now + 399 * millisecond);
    assert_eq!(front(), None);
    ledger.bring_back(now + 400 * millisecond);
    assert_eq!(front(), Some(unreadable));
}

/// A journal whose writer takes commands and never gets to work on them.
fn hung() -> (Journal, std::sync::mpsc::Sender<()>) {
    let (commands, received) = mpsc::channel(1);
    let (end, ended) = oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        for () in released {}
        drop((received, end));
    });
    let path = PathBuf::from("/the/disk");
    let append_limit = Duration::from_millis(50);
    (Journal { commands, ledger: Arc::new(ledger()), path, append_limit, ended }, release)
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_append_to_a_disk_that_hangs_fails_in_time_also_where_it_is_not_let_in() {
    let (journal, _release) = hung();
    for second in 1..=2 {
        let entry = entry(second);
        let appending = tokio::time::timeout(SOON, journal.append(&entry)).await.unwrap();
        let error = appending.unwrap_err();
        assert!(matches!(&error, Error::Journal { source, .. } if source.kind() == io::ErrorKind::TimedOut));
        assert!(error.to_string().contains("/the/disk"), "{error}");
    }
}

#[tokio::test]
async fn a_journal_on_a_disk_that_hangs_does_not_hold_up_the_end() {
    let (journal, _release) = hung();
    tokio::time::timeout(SOON, journal.close(Duration::from_millis(50))).await.unwrap();
}
