//! For tests only: a database, a broker, a bucket and a crash report of your own.
//!
//! Tests run in parallel against one PostgreSQL and one RabbitMQ server, so each takes a database of its own
//! ([`Database`]), puts a prefix of its own before every name on the broker ([`namespace`]), and makes a bucket
//! ([`Bucket`]) where it needs an object store. `cargo xtask test`
//! starts the servers and says where they are; `cargo run -p servers --bin private-servers` does the same by hand.
//!
//! This crate must know nothing about how Crashmill stores, queues or processes a crash: it stands on the outside, like a
//! client. It panics where it cannot go on, for a test has no better way to say so.
//!
//! Start reading at [`Database`], [`report`] for uploads, and [`eventually`] for whatever takes a moment.
//! [`SmallDisk`] is a disk to be filled.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot be set up ends here, with the reason"
)]

mod bucket;
mod database;
mod eventually;
mod proxy;
pub mod report;
mod small_disk;

pub use bucket::{Bucket, FaultyHttp};
pub use database::Database;
pub use eventually::{eventually, eventually_blocking};
pub use proxy::Proxy;
pub use small_disk::SmallDisk;

use std::env;

/// The variable that holds the URL of a PostgreSQL server on which databases may be made.
pub const POSTGRES: &str = "CRASHMILL_TEST_POSTGRES";
/// The variable that holds the URL of a RabbitMQ server on which anything may be declared.
pub const AMQP: &str = "CRASHMILL_TEST_AMQP";
/// The variable that holds the URL of an S3 emulator on which buckets may be made.
pub const S3: &str = "CRASHMILL_TEST_S3";
/// The variable that holds a program that obeys the hidden `guard` command of the `servers` crate, for tests that
/// start servers of their own in order to kill them.
pub const GUARD: &str = "CRASHMILL_TEST_GUARD";

/// The URL of the RabbitMQ server, user and password included.
pub fn amqp_url() -> String {
    variable(AMQP)
}

/// A prefix for queues and exchanges that no other test uses, nor an earlier run of this one.
pub fn namespace(test_name: &str) -> String {
    format!("{}-{:08x}", plain(test_name), rand::random::<u32>())
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run the tests with `cargo xtask test`, which starts the servers, \
             or set what `cargo run -p servers --bin private-servers -- --fast DIR` prints"
        )
    })
}

/// The name without anything that would have to be quoted somewhere, and short enough to leave room for a suffix.
fn plain(test_name: &str) -> String {
    test_name
        .chars()
        .filter_map(|c| match c {
            'a'..='z' | '0'..='9' => Some(c),
            'A'..='Z' => Some(c.to_ascii_lowercase()),
            '_' | '-' | ' ' | ':' => Some('_'),
            _ => None,
        })
        .take(40)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_names_its_test_and_is_never_the_same_twice() {
        let first = namespace("queue::A crash, twice");
        assert!(first.starts_with("queue__a_crash_twice-"), "{first}");
        assert_ne!(first, namespace("queue::A crash, twice"));
    }

    #[test]
    fn a_long_test_name_still_leaves_room_in_the_63_bytes_of_a_database_name() {
        assert!(namespace(&"long".repeat(50)).len() < 63);
    }
}
