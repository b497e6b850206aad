//! A process's life: logs, metrics, the health port, signals, systemd.
//!
//! Every role is started by [`run`], which owns the process from its first log line to its exit status and
//! gives the role a [`Context`]: its configuration, a token that says when to stop, and the [`Health`] to which
//! it reports what it depends on. This crate must not know what a crash is, nor any SQL or broker.
//!
//! How a process stops is the part that others lean on: the first SIGTERM or SIGINT asks the role to finish
//! what it has in hand, and a second one, or `shutdown_timeout`, ends the process whatever it is doing.
//!
//! Start reading at [`run`].

mod config;
mod context;
mod health;
mod life;
mod listener;
mod logs;
mod metering;
mod port;
mod process;
mod shutdown;
pub mod sockets;
mod systemd;
mod version;

pub use config::{Config, Log, LogFormat};
pub use context::Context;
pub use health::{Dependency, Health, Need};
pub use life::run;
pub use listener::{BoundedListener, BoundedStream};
pub use port::health_routes;
pub use sockets::Sockets;
pub use version::{VERSION, Version};
