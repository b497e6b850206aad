//! A backlog, small enough for every run: who overtakes whom, and what reprocessing gets. `cargo xtask chaos drain` does it with
//! hundreds of thousands, and measures rate and memory.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

#[path = "support/backlog.rs"]
mod backlog;
mod support;

use std::time::Duration;

use backlog::{Backlog, Batch};
use crash::QueueName;
use jiff::{SignedDuration, Timestamp};
use support::{
    daemon::{Role, migrated},
    folder,
};
use testing::{Database, amqp_url, eventually};

const STANDARD: usize = 2_000;
const REPROCESSING: usize = 200;
const PRIORITY: usize = 30;
/// One of so many is reprocessed while others wait.
const EVERY: usize = 10;
/// What is in a processor's hands, prefetched and unsaved, when others overtake: of each queue.
const IN_HANDS: usize = 50;
/// How much sooner or later some may be done than they were taken.
const SLACK: usize = 20;
/// How long a part of it may take.
const DEADLINE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_crashes_overtake_a_backlog_and_reprocessing_keeps_its_share_only() {
    let (dir, database) = (folder(), Database::create("backlog"));
    let settings = migrated(&database, database.url(), &amqp_url(), "backlog");
    let namespace = &settings.iter().find(|(name, _)| name.ends_with("__NAMESPACE")).unwrap().1;
    let store = crashstore::Config { path: dir.path().join("store"), ..Default::default() };
    let queue = queue::Config {
        url: amqp_url().parse().unwrap(),
        namespace: namespace.clone(),
        journal: dir.path().join("journal"),
        ..Default::default()
    };
    let since = Timestamp::now() - SignedDuration::from_mins(10);
    let backlog = Backlog::open(&store, &queue).await;
    for (queue, product, crashes) in
        [(QueueName::Standard, "Game", STANDARD), (QueueName::Reprocessing, "Again", REPROCESSING)]
    {
        backlog.add(Batch { queue, product, crashes, since }, |_| {}).await;
    }

    let processor = Role::ready("processor", dir.path(), &settings);
    let facts = || usize::try_from(database.number("SELECT count(*) FROM fact_crash")).unwrap();
    eventually(DEADLINE, async || (facts() >= STANDARD / 4).then_some(())).await;
    let before = facts();
    let priority = Batch { queue: QueueName::Priority, product: "Urgent", crashes: PRIORITY, since };
    backlog.add(priority, |_| {}).await;
    let published = facts();
    eventually(DEADLINE, async || (facts() == STANDARD + REPROCESSING + PRIORITY).then_some(())).await;

    // In the order in which they were done.
    let rank = "(SELECT *, row_number() OVER (ORDER BY completed_at) AS rank FROM fact_crash) AS ranked";
    let ranked = |what: &str, condition: &str| {
        let products = "dim_product_version USING (product_version_id) JOIN dim_product USING (product_id)";
        let sql = format!("SELECT {what} FROM {rank} JOIN {products} WHERE {condition}");
        usize::try_from(database.number(&sql)).unwrap()
    };
    let last = ranked("max(rank)", "name = 'Urgent'");
    println!(
        "of {before} to {published} facts priority crashes came, and the last of them was number {last}"
    );
    assert!(last < published + PRIORITY + 2 * IN_HANDS, "priority crashes wait for nobody");
    assert!(last < STANDARD, "the backlog was still there");

    let first = STANDARD / 2;
    let reprocessed = ranked("count(*)", &format!("name = 'Again' AND rank <= {first}"));
    println!("{reprocessed} of the first {first} were reprocessed");
    assert!(reprocessed <= first / EVERY + SLACK, "others go before reprocessing");
    assert!(reprocessed + 2 * SLACK >= first / EVERY, "and it goes on");

    backlog.close().await;
    assert!(processor.stop().success());
}
