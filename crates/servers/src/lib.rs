//! Private PostgreSQL and RabbitMQ servers, started from the system's packages.
//!
//! For `crashmill standalone` and for tests: whoever has the packages installed needs no other setup. The servers listen on
//! the loopback address only, on ports and with passwords of their own, run as an unprivileged user, and keep everything in
//! one folder. Nothing outlives its starter, even one that is killed: see [`guard`].
//!
//! This crate starts and stops processes and knows nothing else: no SQL, no AMQP beyond its first bytes, no crash. A
//! supervisor decides when to restart what.
//!
//! Start reading at [`Servers::start`]; the parts are [`Layout`] (where things are, and whose), [`Postgres`],
//! [`RabbitMq`], and [`Guarded`], which a supervisor also uses for processes of its own. All of it blocks, for seconds:
//! in a tokio runtime, call it from `spawn_blocking`.

mod account;
mod error;
pub mod guard;
mod guarded;
mod layout;
mod packages;
mod ports;
mod postgres;
mod processes;
mod rabbitmq;
mod record;
mod startup;
mod system;

pub use account::Account;
pub use error::Error;
pub use guarded::{Environment, Guard, Guarded, Program, Stop, StopSignal, this_executable};
pub use layout::Layout;
pub use packages::missing;
pub use postgres::Postgres;
pub use rabbitmq::RabbitMq;
pub use system::{Package, System};

use std::{io, path::Path, thread};

/// What a server promises about what it has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut.
    Full,
    /// It survives the server's end, and is gone after a power cut: for tests, which then run faster. There is also room for
    /// more connections.
    Fast,
}

/// Both servers of a folder.
#[derive(Debug)]
pub struct Servers {
    /// PostgreSQL.
    pub postgres: Postgres,
    /// RabbitMQ.
    pub rabbitmq: RabbitMq,
}

impl Servers {
    /// Starts both servers at the same time. Blocks until both are ready; if one fails, neither is left running.
    pub fn start(layout: &Layout, durability: Durability) -> Result<Self, Error> {
        let (postgres, rabbitmq) = thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::start(layout, durability));
            let rabbitmq = RabbitMq::start(layout, durability);
            (postgres.join(), rabbitmq)
        });
        let postgres = postgres.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(Self { postgres: postgres?, rabbitmq: rabbitmq? })
    }

    /// Ends both servers. Blocks until they are gone.
    pub fn stop(mut self) -> io::Result<()> {
        thread::scope(|scope| {
            let postgres = scope.spawn(|| self.postgres.stop());
            self.rabbitmq.stop()?;
            postgres.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        Ok(())
    }
}

/// Where the servers of a folder are, as their supervisor last started them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Urls {
    /// The URL of the PostgreSQL database, with the password, unless there is no such server.
    pub postgres: Option<String>,
    /// The URL of RabbitMQ, with the password, unless there is no such server.
    pub amqp: Option<String>,
}

/// Reads where the servers of a folder are; `None` when none were ever started there.
///
/// For commands that work beside a supervisor: nothing is claimed, and the servers may be down.
pub fn urls(dir: &Path) -> Result<Option<Urls>, Error> {
    Ok(record::Record::load(dir)?.map(|record| Urls {
        postgres: record.postgres.map(|postgres| postgres.url()),
        amqp: record.rabbitmq.map(|rabbitmq| rabbitmq.url()),
    }))
}
