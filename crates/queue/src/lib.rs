//! Crash ids through RabbitMQ: publish, journal, consume, retry, dead-letter.
//!
//! A [`Publisher`] hands ids to the broker and knows that they arrived; while it cannot, the ids stand in a journal
//! on disk and follow when the broker is back. A [`Consumer`] takes ids, the urgent ones first, and every
//! [`Delivery`] ends in one verdict: acknowledged, retried later, put off, parked as dead, or given back. Nothing is
//! acknowledged on hope: a delivery without a verdict goes back to its queue.
//!
//! Everything here is at least once: an id may arrive twice, never not at all. Whoever processes it must end with
//! the same result both times.
//!
//! This crate alone links lapin. It must not know what a crash holds, nor the store or the database it is saved
//! in: it carries ids and what the next try has to know.
//!
//! Start reading at [`Publisher`] and [`Consumer`]; `topology` is what stands on the broker, `wire` the connection
//! that publishes with confirms, `line` one connection, `supervisor` its life, and `journal` the ids on disk.

mod config;
mod consumer;
mod dead;
mod delivery;
mod depths;
mod direct;
mod error;
mod examine;
mod feed;
mod forecast;
mod journal;
mod lane;
mod line;
mod message;
mod metrics;
mod names;
mod publisher;
mod supervisor;
mod topology;
mod turns;
mod wire;

pub use config::Config;
pub use consumer::{Consumer, Prefetch, Valve};
pub use dead::{Content, DeadQueue, Parked, Parker};
pub use delivery::{Delivery, Later};
pub use depths::{Depth, Kind, depths};
pub use direct::Direct;
pub use error::Error;
pub use examine::{Examination, examine};
pub use forecast::{Forecast, Pace, forecast, more_processors};
pub use journal::{JournalDepth, Journaled, is_journaled, journal_depth, journaled};
pub use message::Message;
pub use publisher::{Published, Publisher};
pub use supervisor::BrokerState;
pub use topology::declare;
