//! What can go wrong between us and the broker.

use std::{error, fmt, io, path::PathBuf, time::Duration};

use lapin::ErrorKind;

const PRECONDITION_FAILED: u16 = 406;
const NOT_FOUND: u16 = 404;

/// Why something on the queue could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `[queue]` section makes no sense.
    #[error("queue.{key} in the configuration: {reason}")]
    Config {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The broker has a queue or an exchange of our name that is not ours: trying again changes nothing.
    #[error(
        "the broker has {what}, declared otherwise than Crashmill needs it ({expected}); it says: {reply}. \
         Empty and delete it (rabbitmqctl delete_queue, or the management pages), or set queue.namespace to use \
         other names, then start again"
    )]
    Mismatch {
        /// The queue or exchange.
        what: String,
        /// How we declare it.
        expected: String,
        /// What the broker answered.
        reply: String,
    },
    /// The broker did not answer in time.
    #[error("{doing} took longer than {after:?}")]
    Timeout {
        /// What was being done.
        doing: String,
        /// The limit.
        after: Duration,
    },
    /// The broker, or the way to it, failed.
    #[error("{doing}: {reason}")]
    Broker {
        /// What was being done.
        doing: String,
        /// What went wrong.
        reason: String,
        /// The protocol's reply code, where there was a reply.
        code: Option<u16>,
    },
    /// A message is not known to have arrived: it may have, or not.
    #[error("no confirm from the broker: {reason}")]
    Unconfirmed {
        /// Why not.
        reason: String,
    },
    /// The connection that brought a delivery is gone, and so is the right to decide about it.
    #[error("the connection that brought this crash is gone, so the broker delivers it again")]
    Stale,
    /// The journal could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Journal {
        /// What was being done.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The journal has reached its limit.
    #[error(
        "the journal in {} has reached queue.journal_limit; get the broker back, or raise the limit. The sweep \
         of the crash store publishes what found no place",
        path.display()
    )]
    JournalFull {
        /// The writer's folder.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn config(key: &'static str, reason: &str) -> Self {
        Self::Config { key, reason: reason.to_owned() }
    }

    pub(crate) fn broker(doing: impl Into<String>, error: &lapin::Error) -> Self {
        let code = match error.kind() {
            ErrorKind::ProtocolError(reply) => Some(reply.get_id()),
            _ => None,
        };
        Self::Broker { doing: doing.into(), reason: error.to_string(), code }
    }

    pub(crate) fn lost(reason: impl fmt::Display) -> Self {
        Self::Broker { doing: "keeping the connection".to_owned(), reason: reason.to_string(), code: None }
    }

    pub(crate) fn unconfirmed(reason: impl fmt::Display) -> Self {
        Self::Unconfirmed { reason: reason.to_string() }
    }

    pub(crate) fn journal(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Journal { doing, path, source }
    }

    /// The same, as a difference between what we declare and what stands on the broker, when it is one.
    pub(crate) fn or_mismatch(self, what: String, expected: String) -> Self {
        match self {
            Self::Broker { reason, code: Some(PRECONDITION_FAILED), .. } => {
                Self::Mismatch { what, expected, reply: reason }
            }
            other => other,
        }
    }

    /// True when the broker does not know the thing.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Broker { code: Some(NOT_FOUND), .. })
    }

    /// True when trying again cannot help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::Mismatch { .. })
    }
}

/// Waits for the broker, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    doing: impl Into<String>,
    action: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, action).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Error::broker(doing, &error)),
        Err(_) => Err(Error::Timeout { doing: doing.into(), after: limit }),
    }
}

const _: () = {
    // Errors cross tasks.
    const fn crosses_tasks<T: error::Error + Send + Sync>() {}
    crosses_tasks::<Error>();
};
