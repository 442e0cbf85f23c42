//! What can be asked: the schema, one file a domain. `schema.graphql` is its text, held by a test.

pub mod analytics;
pub mod audio;
pub mod commerce;
pub mod connection;
pub mod long;
pub mod operations;
pub mod page;
pub mod search;
pub mod social;
pub mod subscription;
pub mod user;

use async_graphql::{EmptyMutation, MergedObject, Schema, SchemaBuilder};

use crate::schema::subscription::Subscription;

/// What can be asked once.
#[derive(Default, MergedObject)]
#[graphql(name = "Query")]
pub struct Query(
    user::UserQuery,
    audio::AudioQuery,
    search::SearchQuery,
    social::SocialQuery,
    commerce::CommerceQuery,
    operations::OperationsQuery,
);

/// The platform's schema. Nothing is changed through it: commands have doors of their own.
pub type VezaSchema = Schema<Query, EmptyMutation, Subscription>;

/// The schema for documents that cost no more than this.
pub fn builder(complexity_max: usize) -> SchemaBuilder<Query, EmptyMutation, Subscription> {
    Schema::build(Query::default(), EmptyMutation, Subscription).limit_complexity(complexity_max)
}

/// The schema's text.
pub fn sdl() -> String {
    builder(usize::MAX).finish().sdl()
}
