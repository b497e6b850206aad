//! Where symbols come from, and the cache of them on disk.
//!
//! Given the name and id of a debug file, [`Symbols::locate`] finds its Breakpad symbols: in the folders of the
//! configuration, in the cache, or on the symbol servers, which it asks once and whose answers it keeps in the
//! cache, the negative ones too. Names come from hostile dumps; what is no plain file name is never looked for.
//!
//! This crate must not know minidumps, nor what is inside a symbol file beyond its first line. Start reading at
//! [`Symbols::locate`]; `key` is what may be asked for, `cache` the files, `server` and `download` the network.

mod cache;
mod config;
mod download;
mod key;
mod server;
mod source;

pub use config::Config;
pub use server::install_tls_provider;
pub use source::{Found, Symbols};

/// Why the sources of symbols cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cache cannot be written.
    #[error(
        "cannot write the symbol cache {path}: give it to the user that runs this, or set `symbols.cache`"
    )]
    Cache {
        /// The folder.
        path: std::path::PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// A server's address is not one that symbols can be below.
    #[error("`symbols.servers` has {0:?}, where only http:// and https:// addresses can be")]
    ServerAddress(String),
    /// The HTTP client could not be made.
    #[error("cannot prepare the connection to symbol servers")]
    Client(#[source] reqwest::Error),
}
