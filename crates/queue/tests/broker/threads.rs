//! What a connection leaves behind when it is given up.

use std::{process::Command, time::Duration};

use crash::QueueName;
use queue::{BrokerState, Config};

use crate::{
    proxy::{Network, Proxy},
    support::{SOON, config, connected, message, reaches, through},
};

/// Set in the process whose threads are counted: in this one other tests have connections of their own.
const ALONE: &str = "CRASHMILL_TEST_ALONE";

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_fell_silent_leave_no_thread_behind() {
    if std::env::var_os(ALONE).is_some() {
        return fall_silent_again_and_again().await;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "threads::connections_that_fell_silent_leave_no_thread_behind", "--nocapture"])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

async fn fall_silent_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(Network::Good).await;
    // The publish times out long before a heartbeat is missed, which would make lapin end the connection by itself.
    let patient =
        Config { heartbeat: settings::Duration::from_secs(600), ..config("threads", folder.path()) };
    let publisher = connected(&through(&patient, &proxy.url())).await;
    assert_eq!(connection_threads(), 1);
    proxy.set(Network::BlackHole);
    publisher.publish(QueueName::Standard, &message(1)).await.unwrap();
    reaches(&publisher, |state| *state != BrokerState::Connected).await;
    publisher.close(Duration::ZERO).await;

    // The other side never says goodbye.
    testing::eventually(SOON, async || (connection_threads() == 0).then_some(())).await;
}

fn connection_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    threads
        .filter(|thread| {
            std::fs::read_to_string(thread.path().join("comm"))
                .is_ok_and(|name| name.trim() == "lapin-io-loop")
        })
        .count()
}
