use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::SqlState;

/// Why the database did not do what was asked.
///
/// Three things can be wrong, and callers act by them: the database as a whole ([`Error::is_unavailable`]: wait and go on
/// later), the moment ([`Error::is_transient`]: try again), or the crash itself (neither: trying again gives the same).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The section `[facts]` cannot be used.
    #[error("{0}")]
    Config(String),
    /// No connection could be made.
    #[error(
        "connecting to PostgreSQL at {url}: {reason}; check that the server runs and that url in [facts] is right"
    )]
    Unreachable {
        /// The URL, its password redacted.
        url: String,
        /// What the client or the server said.
        reason: String,
    },
    /// All connections of this process were in use, or the server did not answer a connection in time.
    #[error("waiting for a connection to PostgreSQL took too long ({0})")]
    NoConnection(String),
    /// The server did not answer a statement in time, not even with an error.
    #[error("{doing}: PostgreSQL did not answer within {seconds} s")]
    NoAnswer {
        /// What was being done.
        doing: &'static str,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The database has an older schema than this release needs.
    #[error("the database has schema {found} and this release needs {needed}: run `crashmill migrate`")]
    SchemaTooOld {
        /// The database's schema; 0 is an empty database.
        found: u32,
        /// What this release needs.
        needed: u32,
    },
    /// The database has a schema that releases as old as this one must not use any more.
    #[error(
        "the database has schema {found}, which needs a release built for schema {oldest} or later, and this one is for {ours}: upgrade this program"
    )]
    SchemaLeftBehind {
        /// The database's schema.
        found: u32,
        /// The oldest release that may use it, by its newest migration.
        oldest: u32,
        /// This release's newest migration.
        ours: u32,
    },
    /// A migration could not be applied; nothing of it was.
    #[error("migrating the database: {reason}")]
    Migration {
        /// What went wrong, down to the server's words.
        reason: String,
        /// Whether another try can help, as when a lock was not free.
        transient: bool,
    },
    /// A statement failed.
    #[error("{doing}: {}", describe(source))]
    Statement {
        /// What was being done.
        doing: &'static str,
        /// What the client or the server said.
        source: tokio_postgres::Error,
    },
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Database,
    Moment,
    Data,
}

impl Error {
    /// Whether the database as a whole is out of use: gone, full, overloaded, read-only, or not set up for us.
    ///
    /// No crash is to blame: stop taking new ones, and try again later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.fault() == Fault::Database
    }

    /// Whether the same may work when it is tried again; true of everything unavailable too.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.fault() != Fault::Data
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Statement { source, .. } => fault_of(source),
            Self::Migration { transient: true, .. } => Fault::Moment,
            _ => Fault::Database,
        }
    }

    pub(crate) fn pool(error: PoolError, url: &settings::ServiceUrl) -> Self {
        match error {
            PoolError::Timeout(step) => Self::NoConnection(format!("{step:?}").to_lowercase()),
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                Self::unreachable(url, &error)
            }
            other => Self::NoConnection(other.to_string()),
        }
    }

    pub(crate) fn unreachable(url: &settings::ServiceUrl, error: &tokio_postgres::Error) -> Self {
        Self::Unreachable { url: url.to_string(), reason: describe(error) }
    }

    /// Whether a row had no partition to go to.
    pub(crate) fn is_missing_partition(&self) -> bool {
        // The code is that of a violated CHECK, which would be named.
        matches!(self, Self::Statement { source, .. } if source.as_db_error().is_some_and(|error| {
            *error.code() == SqlState::CHECK_VIOLATION && error.constraint().is_none()
        }))
    }
}

/// Whether the same statement may work when it is tried again soon.
pub(crate) fn is_passing(error: &tokio_postgres::Error) -> bool {
    fault_of(error) == Fault::Moment
}

fn fault_of(error: &tokio_postgres::Error) -> Fault {
    match error.code() {
        Some(code) => fault_of_code(code.code()),
        None if is_conversion(error) => Fault::Data,
        // Without the server's word it is the connection that failed.
        None => Fault::Database,
    }
}

fn fault_of_code(code: &str) -> Fault {
    match (code, code.get(..2)) {
        // Deadlock, serialization failure, a lock or a statement that took too long: another try may have better luck.
        (_, Some("40")) | ("55P03" | "57014", _) => Fault::Moment,
        // A value out of range, a violated constraint, a row twice or too large: this data will never be taken.
        (_, Some("21" | "22" | "23" | "54")) => Fault::Data,
        // Connections, resources, shutdown, a disk, a standby, missing rights or tables.
        _ => Fault::Database,
    }
}

/// The client tells apart by text alone what it could not convert.
fn is_conversion(error: &tokio_postgres::Error) -> bool {
    let text = error.to_string();
    text.starts_with("error serializing parameter") || text.starts_with("error deserializing column")
}

/// The whole story in one line: the client's own text says only "db error".
pub(crate) fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<tokio_postgres::error::DbError>() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    match error.source() {
        Some(cause) if error.to_string() == "db error" => describe(cause),
        Some(cause) => format!("{error}: {}", describe(cause)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_the_database_the_moment_and_the_data_apart() {
        for (fault, codes) in [
            // Connection lost, too many, disk full, shutdown, starting up, read-only, no table, no right, no database.
            (
                Fault::Database,
                &["08006", "53300", "53100", "57P01", "57P03", "25006", "42P01", "42501", "3D000"][..],
            ),
            // Serialization, deadlock, lock timeout, statement timeout.
            (Fault::Moment, &["40001", "40P01", "55P03", "57014"]),
            // NUL in text, out of range, bad text, violated CHECK, an index row too large.
            (Fault::Data, &["22021", "22003", "22P02", "23514", "54000"]),
        ] {
            for code in codes {
                assert_eq!(fault_of_code(code), fault, "{code}");
            }
        }
    }
}
