//! The read side on a real PostgreSQL: runner, rebuilds and models.

mod database;
mod engine;
mod meilisearch;
mod memory_store;
mod models;
mod purchases;
mod runner;
mod search;
