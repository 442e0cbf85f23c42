//! A database of its own for each test, on the server that `VEZA_TEST_DATABASE_URL` names.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

/// Makes an empty database and connects to it.
pub async fn fresh() -> PgPool {
    let Ok(url) = std::env::var("VEZA_TEST_DATABASE_URL") else {
        panic!("VEZA_TEST_DATABASE_URL is not set: run the tests through `make test`");
    };
    let options = PgConnectOptions::from_str(&url).expect("VEZA_TEST_DATABASE_URL is an URL");
    let name = format!("query_api_{}", Uuid::new_v4().simple());
    let mut server = PgConnection::connect_with(&options).await.expect("the server answers");
    let create = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
    server.execute(create.as_str()).await.expect("the user may create databases");
    let options = options.database(&name);
    PgPoolOptions::new().max_connections(6).connect_with(options).await.expect("it is there")
}
