//! ClickHouse: its server, and the models it holds, each with its queries.
//!
//! A table `<model>` is read; `<model>_build` beside it is a shadow under construction. What is
//! inserted is on disk before the insert is acknowledged, because the checkpoint in PostgreSQL
//! moves by that acknowledgement.

pub mod plays;

use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error;
use reqwest::Response;
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

use crate::projection::ApplyError;
use crate::query_error::QueryError;

pub use plays::{ClickHousePlays, ClickHousePlaysProjection};

/// What it is called.
pub const NAME: &str = "ClickHouse";

/// The database where a URL names none.
pub const DATABASE: &str = "veza";

/// How long a reader waits for an answer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an insert, or a change of tables, may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// A server and a database of it. Cheap to clone; nothing is connected before it is needed.
#[derive(Clone)]
pub struct ClickHouse {
    /// Asks in the database.
    client: Client,
    /// Asks outside of it, where it may have to be made.
    server: Client,
    /// Asks whether it is there, without a statement.
    pings: reqwest::Client,
    database: String,
    address: String,
}

/// The text is no URL of a ClickHouse server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a URL, as http://user:password@host:8123/?database=veza")]
pub struct InvalidUrl;

impl ClickHouse {
    /// The server at `http(s)://user:password@host:port/?database=name`; other parameters of the
    /// URL are settings of ClickHouse.
    pub fn open(url: &str) -> Result<Self, InvalidUrl> {
        let mut url = Url::parse(url).map_err(|_| InvalidUrl)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(InvalidUrl);
        }
        let mut server = Client::default();
        if !url.username().is_empty() {
            server = server.with_user(decoded(url.username())?);
        }
        if let Some(password) = url.password() {
            server = server.with_password(decoded(password)?);
        }
        let mut database = DATABASE.to_owned();
        for (name, value) in url.query_pairs() {
            match &*name {
                "database" => database = value.into_owned(),
                _ => server = server.with_setting(name, value),
            }
        }
        url.set_query(None);
        url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| InvalidUrl)?;
        let address = url.to_string();
        let server = server.with_url(&address);
        let client = server.clone().with_database(&database);
        let pings = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
        Ok(Self { client, server, pings, database, address })
    }

    /// Where it is, without user and password.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether the server answers (<https://clickhouse.com/docs/interfaces/http>).
    ///
    /// # Errors
    /// When it does not, or not in bounded time.
    pub async fn ping(&self) -> Result<(), ApplyError> {
        let asked = self.pings.get(format!("{}/ping", self.address.trim_end_matches('/')));
        let answer = asked.timeout(PING_TIMEOUT).send().await.and_then(Response::error_for_status);
        answer.map(drop).map_err(|error| ApplyError::Transient(error.into()))
    }

    /// Makes the database where it is missing. Only asks where it is there: a user without the
    /// right to make databases is enough then.
    async fn ensure_database(&self) -> Result<(), ApplyError> {
        let asked = "SELECT count() FROM system.databases WHERE name = ?";
        let found = self.server.query(asked).bind(&self.database).fetch_one::<u64>();
        if written(found).await? == 0 {
            let create = self.server.query("CREATE DATABASE IF NOT EXISTS ?");
            written(create.bind(clickhouse::sql::Identifier(&self.database)).execute()).await?;
        }
        Ok(())
    }

    /// The comment of a table; `None` when there is no such table.
    async fn comment_of(&self, table: &str) -> Result<Option<String>, ApplyError> {
        let asked = "SELECT comment FROM system.tables WHERE database = ? AND name = ?";
        let asked = self.server.query(asked).bind(&self.database).bind(table);
        written(asked.fetch_optional::<String>()).await
    }

    /// Runs a statement of ours that has no parameters.
    async fn run(&self, statement: &str) -> Result<(), ApplyError> {
        written(self.client.query(statement).execute()).await
    }
}

/// What ClickHouse says to a writer, in bounded time. Nothing it can say is an event's fault: rows
/// are checked before they are sent.
async fn written<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, ApplyError> {
    let answer = timeout(WRITE_TIMEOUT, answer).await.unwrap_or(Err(Error::TimedOut));
    answer.map_err(|error| ApplyError::Transient(error.into()))
}

/// What ClickHouse says to a reader, in bounded time.
async fn read<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, QueryError> {
    let answer = timeout(QUERY_TIMEOUT, answer).await.unwrap_or(Err(Error::TimedOut));
    answer.map_err(|error| match &error {
        // Unknown table and unknown database: the model of this version was never swapped in.
        Error::BadResponse(said) if said.contains("Code: 60.") || said.contains("Code: 81.") => {
            QueryError::NotBuilt
        }
        _ => QueryError::Analytics(error.into()),
    })
}

/// A part of a URL without its `%` escapes.
fn decoded(text: &str) -> Result<String, InvalidUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(InvalidUrl)?;
        let digits = str::from_utf8(digits).map_err(|_| InvalidUrl)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| InvalidUrl)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| InvalidUrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_server_database_and_user_and_keeps_the_password_to_itself() {
        let server = ClickHouse::open("https://ada:p%40ss@ch:8443/?database=plays").unwrap();
        assert_eq!((server.address(), &*server.database), ("https://ch:8443/", "plays"));
        assert_eq!(ClickHouse::open("http://ch:8123").unwrap().database, DATABASE);
        assert_eq!(decoded("p%40s%73").unwrap(), "p@ss");
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused() {
        for bad in ["", "ch:8123", "tcp://ch:9000", "http://ada:%zz@ch", "http://a:%f@ch"] {
            assert_eq!(ClickHouse::open(bad).err(), Some(InvalidUrl), "{bad}");
        }
    }
}
