//! What processes share.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use crate::caches::StoreUrl;

/// What processes share: a queue, and a store of pictures.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// The database of the queue.
    pub database: DatabaseUrl,
    /// Where pictures are.
    pub store: StoreUrl,
    /// What people call this process; how fast it draws is remembered under it.
    pub name: String,
    /// A process that says nothing for so long counts as gone.
    pub timeout: Duration,
}

/// Where a database is, as `postgres://user:password@host/name`.
#[derive(Clone)]
pub struct DatabaseUrl(pub(super) Box<PgConnectOptions>);

/// Why a text is no place of a database.
#[derive(Debug, thiserror::Error)]
#[error("a database is given as postgres://user:password@host:5432/name; this is none")]
pub struct ReadUrlError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Debug for DatabaseUrl {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "postgres://{}:{}/{}", self.0.get_host(), self.0.get_port(), self.0.get_database().unwrap_or_default())
    }
}

impl FromStr for DatabaseUrl {
    type Err = ReadUrlError;

    fn from_str(text: &str) -> Result<Self, ReadUrlError> {
        let is_postgres = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        if !is_postgres {
            return Err(ReadUrlError("it does not begin with postgres://".into()));
        }
        text.parse().map(|options| Self(Box::new(options))).map_err(|error: sqlx::Error| ReadUrlError(error.into()))
    }
}
