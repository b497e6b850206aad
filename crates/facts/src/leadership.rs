//! One leader among processes that share a database.

use deadpool_postgres::{ClientWrapper, Object};
use tokio_postgres::types::Type;

use crate::{Error, Facts, statement::How};

/// The lock of the leader. The number has no meaning but to be this lock's.
pub(crate) const LOCK: i64 = 4_841_290_315_028;

/// A server that hears nothing more of the leader's machine frees the lock within a minute, and not after hours.
const NOTICE_SILENCE: &str =
    "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";

/// Asked of the session itself: through a pooler that hands sessions around, it would be another one that holds the lock.
const HOLDS_LOCK: &str = "
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (classid::bigint << 32 | objid::bigint) = $1)";

/// Being the one leader, for as long as this is kept and its connection lives.
///
/// A session lock on a connection of its own, beside those of the pool: the server frees it whatever becomes of the process.
/// It does not work through a pooler in transaction mode, where [`Leadership::holds`] says no.
pub struct Leadership {
    session: ClientWrapper,
    how: How,
}

impl Facts {
    /// Becomes the leader, unless somebody else is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lead(&self) -> Result<Option<Leadership>, Error> {
        // Out of the pool before it asks: a session that holds the lock must never be lent to anyone.
        let session = Object::take(self.connection().await?);
        let leadership = Leadership { session, how: self.how };
        let preparing = leadership.session.batch_execute(NOTICE_SILENCE);
        leadership.how.within("preparing to lead", preparing).await?;
        Ok(leadership.ask("asking for the leader's lock", TRY_LOCK).await?.then_some(leadership))
    }
}

impl Leadership {
    /// Whether this is still the leader. Somebody else may be after any other answer.
    ///
    /// # Errors
    /// When the session is lost, and the leadership with it.
    pub async fn holds(&self) -> Result<bool, Error> {
        self.ask("asking for the leader's lock", HOLDS_LOCK).await
    }

    async fn ask(&self, doing: &'static str, sql: &str) -> Result<bool, Error> {
        let row = self.how.within(doing, self.session.query_typed_one(sql, &[(&LOCK, Type::INT8)])).await?;
        Ok(row.get(0))
    }
}
