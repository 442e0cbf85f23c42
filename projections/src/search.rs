//! Search: the port of an index of tracks and people, the projection that feeds it, its engines.
//!
//! The projection keeps in PostgreSQL what documents are made of, so that an event which changes a
//! part of one (a track is published, an artist takes another name) gives the whole document to
//! whichever index serves.

pub mod conformance;
pub mod feed;
pub mod meilisearch;
pub mod postgres;

use async_trait::async_trait;
use event_schemas::{TrackId, UserId};
use sqlx::PgConnection;

use crate::projection::{ApplyError, POSTGRES, Target};
use crate::query_error::QueryError;

pub use feed::{SEARCH_CATEGORIES, SearchFeed};
pub use meilisearch::MeilisearchIndex;
pub use postgres::PostgresSearch;

/// Most hits of one search.
pub const HITS_MAX: u32 = 100;

/// Longest text that is searched for, in characters; the rest is left out.
pub const QUERY_CHARS_MAX: usize = 200;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A published track whose master was not taken down.
    Track(TrackId),
    /// A person.
    Person(UserId),
}

/// Of which kind a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// Published tracks.
    Track,
    /// People.
    Person,
}

impl SubjectKind {
    /// Its name, as it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Track => "track",
            Self::Person => "person",
        }
    }
}

impl Subject {
    /// Of which kind it is.
    pub fn kind(self) -> SubjectKind {
        match self {
            Self::Track(_) => SubjectKind::Track,
            Self::Person(_) => SubjectKind::Person,
        }
    }
}

/// Something that can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchDocument {
    /// What it is about.
    pub subject: Subject,
    /// A track's title, or a person's name; counts most.
    pub title: String,
    /// A person's handle: nobody else comes before whoever is called exactly so.
    pub handle: Option<String>,
    /// The other words it is found by: artist and tags of a track.
    pub words: String,
}

/// A change of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchChange {
    /// The document is this from now on.
    Put(SearchDocument),
    /// There is no such document any more.
    Remove(Subject),
}

/// What is searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    /// The words, as they were typed.
    pub text: String,
    /// Only documents of this kind.
    pub kind: Option<SubjectKind>,
    /// How many hits are left out.
    pub offset: u32,
    /// How many hits follow at most; never more than [`HITS_MAX`].
    pub limit: u32,
}

/// An index of documents. The conformance suite holds all engines to the same behaviour.
#[async_trait]
pub trait SearchIndex: Send + Sync + 'static {
    /// What searches, as operators call it.
    fn engine(&self) -> &'static str {
        POSTGRES
    }

    /// Writes the changes in order, in the connection's transaction, or returns when a crash can't
    /// undo them. A change that was written before is harmless.
    async fn write(
        &self,
        target: Target,
        connection: &mut PgConnection,
        changes: &[SearchChange],
    ) -> Result<(), ApplyError>;

    /// Finds documents, best first; nothing for a text without letters, digits or signs.
    async fn search(&self, query: &SearchQuery) -> Result<Vec<Subject>, QueryError>;

    /// Whether the live index is there, where it does not live in PostgreSQL.
    async fn has_live(&self) -> Result<bool, ApplyError> {
        Ok(true)
    }

    /// Makes an empty shadow, where the index does not live in PostgreSQL.
    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        Ok(())
    }

    /// Puts the shadow in place of the live index, where it does not live in PostgreSQL.
    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        Ok(())
    }
}
