//! What can keep a server from running.

use std::{io, path::PathBuf};

use crate::system::Package;

/// Why a server, or another guarded process, could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A package of the system is needed and absent.
    #[error("{package} is not installed; install it with: {command}")]
    Missing {
        /// What is absent.
        package: Package,
        /// The command that installs it here.
        command: &'static str,
    },
    /// Another process supervises the servers of this folder.
    #[error("{dir} is in use by {holder}; stop that one first, or choose another folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The process that has it, as far as it is known.
        holder: String,
    },
    /// The data were made by a PostgreSQL whose programs are no longer installed.
    #[error(
        "the data in {data} were made by PostgreSQL {made_by}, which is not installed; \
         install that version beside the newer one, or move the data to it with pg_upgrade",
        data = data.display()
    )]
    OtherVersion {
        /// PostgreSQL's data folder.
        data: PathBuf,
        /// The major version in its `PG_VERSION`.
        made_by: String,
    },
    /// A server ended before it was ready, or was not ready in time.
    #[error("{server} {reason}; the end of its log, {log}:\n{tail}", log = log.display())]
    Startup {
        /// The server, as people call it.
        server: &'static str,
        /// What it did instead of becoming ready.
        reason: String,
        /// Its log file.
        log: PathBuf,
        /// The last lines that it wrote there since it was started.
        tail: String,
    },
    /// Something that the system refused.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Adds what was being done to an I/O error.
pub(crate) trait Doing<T> {
    /// The sentence is made only when it is needed.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::Io { doing: what(), source: error.into() })
    }
}
