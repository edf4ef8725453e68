//! The database that processes share.

use std::time::Duration;

use apalis_postgres::PostgresStorage;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

use crate::jobs::StoreError;
use crate::refusal::Causes;

/// Connections of a process, besides the one that listens.
const CONNECTIONS: u32 = 8;
/// Who asks is not kept waiting for a database that is gone.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How often a database is asked that may be starting.
const TRIES: usize = 20;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Connect, and bring the tables to this version.
///
/// # Errors
/// [`StoreError`] if the database cannot be reached, or is of a newer version.
pub(super) async fn open(options: PgConnectOptions) -> Result<PgPool, StoreError> {
    let options = options.application_name("diffusion-studio");
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE);
    let pool = pool.after_connect(|connection, _| {
        // Statements are few and find rows by indexes, whatever they ask for: planning one takes longer than running it.
        Box::pin(async move { connection.execute("SET plan_cache_mode = force_generic_plan").await.map(drop) })
    });
    let pool = pool.connect_lazy_with(options);
    until_reached(&pool).await?;
    // Both wait for each other's turn by a lock in the database.
    PostgresStorage::setup(&pool).await.map_err(of_apalis)?;
    let mut migrator = sqlx::migrate!("./migrations-postgres");
    migrator.create_schema("studio");
    migrator.dangerous_set_table_name("studio._sqlx_migrations");
    migrator.run(&pool).await?;
    Ok(pool)
}

/// Wait for a database that starts at the same time.
async fn until_reached(pool: &PgPool) -> Result<(), StoreError> {
    let mut tries = 1;
    loop {
        match pool.acquire().await.map_err(StoreError::from) {
            Ok(_) => return Ok(()),
            Err(error @ StoreError::Unreachable(_)) if tries < TRIES => {
                tracing::warn!(error = %Causes(&error), "the database does not answer yet");
                tries += 1;
                tokio::time::sleep(BETWEEN_TRIES).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What apalis says, as what the database says.
pub(super) fn of_apalis(error: apalis_postgres::Error) -> StoreError {
    match error {
        apalis_postgres::Error::Database(sqlx::Error::Migrate(error)) => StoreError::Migrate(*error),
        apalis_postgres::Error::Database(error) => error.into(),
        other => StoreError::Database(sqlx::Error::Configuration(Box::new(other))),
    }
}
