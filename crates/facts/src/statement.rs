//! Running one statement: prepared or not, and with a deadline on our side too.

use std::time::Duration;

use deadpool_postgres::{Object, StatementCache, Transaction};
use tokio::time::timeout;
use tokio_postgres::{
    Client, Row,
    types::{ToSql, Type},
};

use crate::Error;

/// A value with its type, which the server must be told where the statement is not prepared.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// How statements are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Whether they are prepared once a connection, or sent whole each time.
    pub(crate) prepared: bool,
    /// The server has a timeout of its own; this one is for a server that does not answer at all.
    pub(crate) deadline: Duration,
}

/// Where statements are run: on a connection, within a transaction or not.
pub(crate) struct On<'a> {
    client: &'a Client,
    cache: &'a StatementCache,
    how: How,
}

impl<'a> On<'a> {
    pub(crate) fn connection(connection: &'a Object, how: How) -> Self {
        Self { client: connection, cache: &connection.statement_cache, how }
    }

    pub(crate) fn transaction(transaction: &'a Transaction<'_>, how: How) -> Self {
        Self { client: transaction.client(), cache: &transaction.statement_cache, how }
    }

    /// Runs a statement; `doing` says in errors what it is for.
    pub(crate) async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        self.how
            .within(doing, async {
                if !self.how.prepared {
                    return self.client.query_typed(sql, params).await;
                }
                let statement = self.cache.prepare(self.client, sql).await?;
                let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
                self.client.query(&statement, &values).await
            })
            .await
    }
}

impl How {
    /// Waits for what the server does, but not for ever.
    pub(crate) async fn within<T>(
        &self,
        doing: &'static str,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        timeout(self.deadline, answer)
            .await
            .map_err(|_| Error::NoAnswer { doing, seconds: self.deadline.as_secs() })?
            .map_err(|source| Error::Statement { doing, source })
    }
}
