use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use jiff::civil::Date;
use tokio_postgres::types::Type;

use crate::{
    Config, Error, SchemaState,
    dimensions::Dimensions,
    migrate::SCHEMA_STATE,
    statement::{How, On, Param},
    tls,
};

/// What tells one database from another, so that numbers of one are not used in the next.
///
/// The timeline changes when a standby takes over or a backup is restored: rows that were written last may be gone then.
const IDENTITY: &str = "SELECT format('%s/%s/%s', (SELECT system_identifier FROM pg_control_system()), \
     (SELECT oid FROM pg_database WHERE datname = current_database()), left(pg_walfile_name(pg_current_wal_lsn()), 8))";

const MAKE_PARTITIONS: &str = "SELECT make_partitions($1, $2, $3)";

/// How much longer than its own timeout we wait for the server's answer.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The fact tables.
#[derive(Clone)]
pub struct Facts {
    pub(crate) pool: Pool,
    pub(crate) config: Arc<Config>,
    pub(crate) how: How,
    pub(crate) dimensions: Arc<Dimensions>,
}

impl Facts {
    /// Connects, and checks that this release may use the database's schema.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::SchemaTooOld`] or [`Error::SchemaLeftBehind`], which say what to do, or
    /// [`Error::Config`].
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let dimensions = Arc::new(Dimensions::default());
        let facts = Self {
            pool: pool(config, Arc::clone(&dimensions))?,
            config: Arc::new(config.clone()),
            how: How {
                prepared: config.prepared,
                deadline: config.statement_timeout.get().saturating_add(GRACE),
            },
            dimensions,
        };
        let connection = facts.connection().await?;
        let read = connection.query_opt(SCHEMA_STATE, &[]);
        let state = tokio::time::timeout(facts.how.deadline, read)
            .await
            .map_err(|_| Error::NoAnswer { doing: READING, seconds: facts.how.deadline.as_secs() })?;
        SchemaState::of(state)?.check()?;
        drop(connection);
        Ok(facts)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        let connection = self.connection().await?;
        self.how.within("asking the database whether it is there", connection.batch_execute("SELECT 1")).await
    }

    /// Makes the partitions from `first` to `last` that are missing, and returns how many.
    ///
    /// # Errors
    /// When the database does not do it.
    pub async fn make_partitions(&self, first: Date, last: Date) -> Result<u32, Error> {
        let connection = self.connection().await?;
        self.make_partitions_on(&On::connection(&connection, self.how), first, last).await
    }

    /// The same on a connection that is at hand: whoever holds one must not wait for another.
    pub(crate) async fn make_partitions_on(
        &self,
        on: &On<'_>,
        first: Date,
        last: Date,
    ) -> Result<u32, Error> {
        let step = self.config.partitions.as_sql();
        let params: [Param<'_>; 3] = [(&first, Type::DATE), (&last, Type::DATE), (&step, Type::TEXT)];
        let rows = on.query("making partitions", MAKE_PARTITIONS, &params).await?;
        let made: i32 = rows.first().map_or(0, |row| row.get(0));
        Ok(made.unsigned_abs())
    }

    pub(crate) async fn connection(&self) -> Result<Object, Error> {
        connect(&self.pool, &self.config).await
    }
}

/// Takes a connection out of a pool.
pub(crate) async fn connect(pool: &Pool, config: &Config) -> Result<Object, Error> {
    // The pool has a timeout for each of its steps but for the greeting.
    tokio::time::timeout(config.connect_timeout.get().saturating_mul(4), pool.get())
        .await
        .map_err(|_| Error::NoConnection("greeting".to_owned()))?
        .map_err(|error| Error::pool(error, &config.url))
}

pub(crate) const READING: &str = "reading the database's schema version";

pub(crate) fn pool(config: &Config, dimensions: Arc<Dimensions>) -> Result<Pool, Error> {
    let (postgres, tls) = config.to_postgres()?;
    // Anything less believes in a connection until something is written to it.
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
    let manager = Manager::from_config(postgres, tls::connector(tls)?, recycling);

    let newcomer = Arc::new(Newcomer { session: config.session_sql(), seen: Mutex::default(), dimensions });
    let greet = Hook::async_fn(move |client: &mut ClientWrapper, _| {
        let newcomer = Arc::clone(&newcomer);
        Box::pin(async move { newcomer.greet(client).await.map_err(HookError::Backend) })
    });

    Pool::builder(manager)
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(config.connect_timeout.get()))
        .create_timeout(Some(config.connect_timeout.get()))
        .recycle_timeout(Some(config.connect_timeout.get()))
        .post_create(greet)
        .build()
        .map_err(|error| Error::Config(format!("setting up the connection pool: {error}")))
}

/// What a new connection is told and asked.
struct Newcomer {
    session: String,
    /// The identity of the database that the connection before led to.
    seen: Mutex<Option<String>>,
    dimensions: Arc<Dimensions>,
}

impl Newcomer {
    /// Sets the session up, and forgets what was remembered when it is with another database than before.
    async fn greet(&self, client: &tokio_postgres::Client) -> Result<(), tokio_postgres::Error> {
        client.batch_execute(&self.session).await?;
        let identity: String = client.query_typed_one(IDENTITY, &[]).await?.get(0);

        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_some_and(|before| *before != identity) {
            tracing::warn!("the database is another one than before: what was remembered of it is forgotten");
            self.dimensions.forget();
        }
        *seen = Some(identity);
        Ok(())
    }
}
