//! The PostgreSQL fact tables and every query on them.
//!
//! A processed crash becomes a [`CrashFact`], and a batch of them is saved by [`Facts::save`]: one row a crash, however often
//! it comes. This crate alone contains SQL; the tables themselves are in `migrations/`, each column with a comment. It must
//! not know queues, stores or how a crash is processed, and it decides nothing about a message: [`Error`] only says whether
//! another try can help.
//!
//! Start reading at [`Facts::save`] in `save`, then `dimension`, which turns names into the numbers that a fact row holds,
//! and `fact`, which makes any text of a client fit for a row. [`migrate`] brings the schema up to date.

mod attempts;
mod clean;
mod config;
mod connect;
mod convert;
mod degraded;
mod dimension;
mod dimensions;
mod erasure;
mod error;
mod examine;
mod fact;
mod jobs;
mod leadership;
mod letters;
mod listing;
mod migrate;
mod nodes;
mod partitions;
mod read;
mod save;
mod short;
mod statement;
mod sweep;
mod tls;
mod unaccounted;
mod version;
mod write;

pub use attempts::{Attempt, DeadLetter, Outcome};
pub use config::{Config, PartitionStep, Tls};
pub use connect::Facts;
pub use degraded::{Degraded, Lacks, Part};
pub use erasure::{ErasedCounts, ErasedCrash, ErasureOf, ErasureRequest};
pub use error::Error;
pub use examine::{Examination, examine};
pub use fact::{CrashFact, Device, DumpFact, Gpu, ModuleFact};
pub use jobs::{JobRun, JobState};
pub use leadership::Leadership;
pub use letters::{Decision, Letter, LetterGroup, Standing, Which};
pub use migrate::{Migrated, SCHEMA, SchemaState, migrate, schema_state};
pub use nodes::{Fleet, NodeReport, QueueReport};
pub use partitions::Partition;
pub use read::{DumpRow, FactRow};
pub use save::Saved;
pub use sweep::{SweepAhead, SweepBacklog, SweepMark};
