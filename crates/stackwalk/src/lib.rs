//! Minidump and symbols in, stackwalk out.
//!
//! A minidump is hostile input, and so this crate comes in two halves. [`Walker`] reads one dump and walks its stacks
//! within [`Limits`]; it answers whatever the bytes are, but can still be made to use up time and memory. That is why
//! a [`Pool`] runs walkers in processes of their own ([`worker`]), with a deadline and limits that the system
//! enforces, and replaces them when they die, hang or grow.
//!
//! This crate alone knows the minidump libraries. It must not know where dumps come from, nor what becomes of a
//! stackwalk; a dump that cannot be walked is a result. Start reading at [`Walker::walk`], then [`Pool::walk`].

mod annotations;
mod budget;
mod clean;
mod config;
mod overview;
mod parsed;
mod pool;
mod provider;
mod report;
mod threads;
mod walker;
mod wire;
pub mod worker;

pub use config::{Config, Limits};
pub use pool::{Exit, Pool, WalkFailure, WorkerCommand};
pub use walker::{Walked, Walker, walk};
