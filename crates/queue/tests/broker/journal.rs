//! The journal of a process that was killed.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use crash::{CrashId, QueueName};
use queue::{Message, Publisher};
use tokio_util::sync::CancellationToken;

use crate::{
    proxy::{Network, Proxy},
    support::{SOON, config, message, publisher, take_all, through},
};

/// Where the process that is going to be killed writes its journal; without it this is an ordinary run.
const VICTIM: &str = "CRASHMILL_TEST_JOURNAL_VICTIM";

/// Publishes without a broker and prints each id that is safe, until it is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_killed_loses_no_id_that_it_called_safe() {
    if let Ok(folder) = std::env::var(VICTIM) {
        publish_until_killed(folder.as_ref()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = config("killed", folder.path());
    let mut safe = Vec::new();
    for round in 0..3 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "journal::a_process_that_was_killed_loses_no_id_that_it_called_safe",
                "--nocapture",
            ])
            .env(VICTIM, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(victim.stdout.take().unwrap());
        let ids =
            output.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("safe ")?.parse().ok());
        safe.extend(ids.take(100 + 77 * round).map(|id: CrashId| Message::new(id, id.received_at())));
        victim.kill().unwrap();
        victim.wait().unwrap();
    }

    let publisher = publisher(&config).await;
    assert!(publisher.journal_depth().ids >= safe.len() as u64);
    take_all(&config, &safe).await;
    testing::eventually(SOON, async || (publisher.journal_depth().ids == 0).then_some(())).await;
}

async fn publish_until_killed(folder: &std::path::Path) {
    let proxy = Proxy::start(Network::Cut).await;
    let publisher = publisher(&through(&config("victim", folder), &proxy.url())).await;
    let publishing = (0..8).map(|task| {
        let publisher = publisher.clone();
        tokio::spawn(async move {
            for _ in 0..10_000 {
                let message = message(rand::random::<u128>() >> 40 | task);
                publisher.publish(QueueName::Standard, &message).await.unwrap();
                println!("safe {}", message.crash_id);
            }
        })
    });
    for task in publishing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_one_name_share_nothing_and_the_one_that_stays_inherits() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("two_of_one_name", folder.path());
    let proxy = Proxy::start(Network::Cut).await;
    let away = through(&config, &proxy.url());
    let (first, second) = (publisher(&away).await, publisher(&away).await);
    first.publish(QueueName::Standard, &message(1)).await.unwrap();
    second.publish(QueueName::Standard, &message(2)).await.unwrap();
    assert_eq!((first.journal_depth().ids, second.journal_depth().ids), (1, 1));
    assert!(folder.path().join("tests-2").is_dir());
    second.close(Duration::ZERO).await;

    // A third one finds the folder of the second, which nobody holds.
    let third = Publisher::start(&away, "other", CancellationToken::new()).await.unwrap();

    assert_eq!((first.journal_depth().ids, third.journal_depth().ids), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_somebody_deletes_no_longer_waits_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("deleted_segment", folder.path());
    let proxy = Proxy::start(Network::Cut).await;
    let publisher = publisher(&through(&config, &proxy.url())).await;
    publisher.publish(QueueName::Standard, &message(1)).await.unwrap();
    for file in std::fs::read_dir(folder.path().join("tests")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "journal") {
            std::fs::remove_file(path).unwrap();
        }
    }

    proxy.set(Network::Good);
    testing::eventually(SOON, async || (publisher.journal_depth().ids == 0).then_some(())).await;

    let second = message(2);
    publisher.publish(QueueName::Standard, &second).await.unwrap();
    take_all(&config, &[second]).await;
}
