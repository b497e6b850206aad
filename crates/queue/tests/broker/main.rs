//! The queue against a real RabbitMQ, also behind a network that fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests end a test like the tests themselves"
)]

mod consuming;
mod journal;
mod proxy;
mod publishing;
mod support;
mod threads;
mod topology;
