//! The read side on a real PostgreSQL: runner, rebuilds and models.

mod another_log;
mod broker;
mod clickhouse;
mod database;
mod door;
mod engine;
mod engines;
mod foreign;
mod kafka;
mod leases;
mod meilisearch;
mod memory_store;
mod models;
mod purchases;
mod runner;
mod search;
