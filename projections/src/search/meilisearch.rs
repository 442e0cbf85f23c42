//! The index in Meilisearch.
//!
//! An answer of 202 is only a place in a queue: a write has happened when its task has succeeded,
//! and that is waited for, so that the checkpoint never runs ahead of the index.

mod transport;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use event_schemas::{TrackId, UserId};
use meilisearch_sdk::client::{Client, SwapIndexes};
use meilisearch_sdk::errors::{Error, ErrorCode, MeilisearchError};
use meilisearch_sdk::search::{FederationOptions, MultiSearchQuery, SearchResult, Selectors};
use meilisearch_sdk::settings::Settings;
use meilisearch_sdk::task_info::TaskInfo;
use meilisearch_sdk::tasks::Task;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};

use self::transport::Transport;
use crate::projection::{ApplyError, ModelId, Target};
use crate::query_error::QueryError;
use crate::search::{
    HITS_MAX, QUERY_CHARS_MAX, SearchChange, SearchIndex, SearchQuery, Subject, SubjectKind,
};

/// This model: what its documents are made of is in PostgreSQL, they are in Meilisearch.
pub const MODEL: ModelId = ModelId { name: "search_meilisearch", version: 4 };

/// What it is called.
pub const NAME: &str = "Meilisearch";

/// How long the server may take to answer a writer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a reader waits for hits.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a task may take; one queue serves all indexes, so a large write holds up small ones.
const TASK_TIMEOUT: Duration = Duration::from_secs(120);

/// The first pause between two looks at a task; it doubles up to [`TASK_POLL_MAX`].
const TASK_POLL_MIN: Duration = Duration::from_millis(10);

/// The longest pause between two looks at a task.
const TASK_POLL_MAX: Duration = Duration::from_millis(500);

/// An index in Meilisearch, and a second one beside it for rebuilds.
#[derive(Clone)]
pub struct MeilisearchIndex {
    client: Client<Transport>,
    live: String,
    shadow: String,
}

/// A document as it is sent.
#[derive(Serialize)]
struct Sent<'a> {
    id: String,
    kind: &'static str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<&'a str>,
    words: &'a str,
    /// The title again, to be found by equality where it has no letters to search for.
    exact: &'a str,
}

/// A document as it is found.
#[derive(Deserialize)]
struct Found {
    id: String,
}

impl MeilisearchIndex {
    /// The index of this name on the server; nothing is connected before it is needed. An error
    /// means that the key can be none.
    pub fn open(url: &str, key: Option<&str>, index: &str) -> Result<Self, ApplyError> {
        let client = Client::new_with_client(url, key, Transport::new(key).map_err(failed)?);
        let (live, shadow) = (index.to_owned(), format!("{index}-build"));
        Ok(Self { client, live, shadow })
    }

    /// Whether the server answers, and says that it is well.
    ///
    /// # Errors
    /// When it does not, or not in bounded time.
    pub async fn ping(&self) -> Result<(), ApplyError> {
        let asked = timeout(PING_TIMEOUT, self.client.health()).await;
        asked.unwrap_or(Err(Error::Timeout)).map(drop).map_err(failed)
    }

    async fn create(&self, uid: &str) -> Result<(), ApplyError> {
        let created = asked(self.client.create_index(uid, Some("id"))).await?;
        self.done(created, Some(ErrorCode::IndexAlreadyExists)).await?;
        let settings = Settings::new()
            .with_searchable_attributes(["title", "handle", "words"])
            .with_filterable_attributes(["kind", "exact", "handle"])
            .with_displayed_attributes(["id"]);
        let pushed = asked(self.client.index(uid).set_settings(&settings)).await?;
        self.done(pushed, None).await
    }

    /// Waits until the task has succeeded, or failed in the way that is as good.
    async fn done(&self, task: TaskInfo, fine: Option<ErrorCode>) -> Result<(), ApplyError> {
        let deadline = Instant::now() + TASK_TIMEOUT;
        let mut pause = TASK_POLL_MIN;
        loop {
            // A canceled task is one that the client can't parse, and so an error here, too.
            match asked(self.client.get_task(&task)).await? {
                Task::Succeeded { .. } => return Ok(()),
                Task::Failed { content } if fine.as_ref() == Some(&content.error.error_code) => {
                    return Ok(());
                }
                Task::Failed { content } => return Err(task_failed(content.error)),
                Task::Enqueued { .. } | Task::Processing { .. } if Instant::now() > deadline => {
                    return Err(failed(Error::Timeout));
                }
                Task::Enqueued { .. } | Task::Processing { .. } => sleep(pause).await,
            }
            pause = (pause * 2).min(TASK_POLL_MAX);
        }
    }

    /// What the server ranks as it does.
    async fn by_rank(
        &self,
        wanted: &SearchQuery,
        text: &str,
        filter: &str,
    ) -> Result<Vec<SearchResult<Found>>, Error> {
        let index = self.client.index(&self.live);
        let mut query = index.search();
        query
            .with_query(text)
            .with_offset(wanted.offset as usize)
            .with_limit(wanted.limit.min(HITS_MAX) as usize)
            .with_attributes_to_retrieve(Selectors::Some(&["id"]));
        if !filter.is_empty() {
            query.with_filter(filter);
        }
        Ok(query.execute().await?.hits)
    }

    /// The same behind whoever has exactly this handle: a rank is 1 at most, and theirs, who match
    /// no text, is 1.
    async fn named_first(
        &self,
        wanted: &SearchQuery,
        text: &str,
        handle: &str,
        of_kind: Option<String>,
    ) -> Result<Vec<SearchResult<Found>>, Error> {
        let index = self.client.index(&self.live);
        let (named, mut others) =
            (format!("handle = {}", quoted(handle)), format!("handle != {}", quoted(handle)));
        if let Some(of_kind) = of_kind {
            others = format!("{of_kind} AND {others}");
        }
        let mut both = MultiSearchQuery::new(&self.client);
        for (text, filter, weight) in [("", &named, 2.0), (text, &others, 1.0)] {
            let mut query = index.search();
            query
                .with_query(text)
                .with_filter(filter)
                .with_attributes_to_retrieve(Selectors::Some(&["id"]));
            both.with_search_query_and_weight(query, weight);
        }
        let federation = FederationOptions {
            offset: Some(wanted.offset as usize),
            limit: Some(wanted.limit.min(HITS_MAX) as usize),
            ..FederationOptions::default()
        };
        Ok(both.with_federation(federation).execute().await?.hits)
    }
}

#[async_trait]
impl SearchIndex for MeilisearchIndex {
    fn engine(&self) -> &'static str {
        NAME
    }

    async fn write(
        &self,
        target: Target,
        _connection: &mut PgConnection,
        changes: &[SearchChange],
    ) -> Result<(), ApplyError> {
        let index = self.client.index(match target {
            Target::Live => &self.live,
            Target::Shadow => &self.shadow,
        });
        // The last change of a document is the one that counts.
        let mut last = HashMap::new();
        for change in changes {
            last.insert(subject_of(change), change);
        }
        let (mut puts, mut removed) = (Vec::new(), Vec::new());
        for (subject, change) in last {
            match change {
                SearchChange::Put(document) => puts.push(Sent {
                    id: id_of(subject),
                    kind: subject.kind().as_str(),
                    title: &document.title,
                    handle: document.handle.as_deref(),
                    words: &document.words,
                    exact: &document.title,
                }),
                SearchChange::Remove(_) => removed.push(id_of(subject)),
            }
        }
        if !puts.is_empty() {
            self.done(asked(index.add_or_replace(&puts, None)).await?, None).await?;
        }
        if !removed.is_empty() {
            self.done(asked(index.delete_documents(&removed)).await?, None).await?;
        }
        Ok(())
    }

    async fn search(&self, wanted: &SearchQuery) -> Result<Vec<Subject>, QueryError> {
        let printable = wanted.text.trim().chars().filter(|character| !character.is_control());
        let text: String = printable.take(QUERY_CHARS_MAX).collect();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let of_kind = wanted.kind.map(|kind| format!("kind = {}", quoted(kind.as_str())));
        // Without a letter every document would match.
        let is_searchable = text.chars().any(char::is_alphanumeric);
        let exact = (!is_searchable).then(|| format!("exact = {}", quoted(&text)));
        let handle = text.trim_start_matches('@');
        let asked = if is_searchable && wanted.kind != Some(SubjectKind::Track) {
            timeout(SEARCH_TIMEOUT, self.named_first(wanted, &text, handle, of_kind)).await
        } else {
            let filter = Vec::from_iter(of_kind.into_iter().chain(exact)).join(" AND ");
            let text = if is_searchable { &text } else { "" };
            timeout(SEARCH_TIMEOUT, self.by_rank(wanted, text, &filter)).await
        };
        let hits = asked.unwrap_or(Err(Error::Timeout)).map_err(|error| match error {
            // Attributes can't be filtered by in the index of an earlier release alone.
            Error::Meilisearch(error)
                if matches!(
                    error.error_code,
                    ErrorCode::IndexNotFound | ErrorCode::InvalidSearchFilter
                ) =>
            {
                QueryError::NotBuilt
            }
            error => QueryError::Search(error.into()),
        })?;
        hits.iter().map(|hit| subject_from(&hit.result.id)).collect()
    }

    async fn has_live(&self) -> Result<bool, ApplyError> {
        let found = timeout(REQUEST_TIMEOUT, self.client.get_index(&self.live)).await;
        match found.unwrap_or(Err(Error::Timeout)) {
            Ok(_) => Ok(true),
            Err(Error::Meilisearch(error)) if error.error_code == ErrorCode::IndexNotFound => {
                Ok(false)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn begin_shadow(&self) -> Result<(), ApplyError> {
        let deleted = asked(self.client.index(&self.shadow).delete()).await?;
        self.done(deleted, Some(ErrorCode::IndexNotFound)).await?;
        self.create(&self.shadow).await
    }

    async fn swap_shadow(&self) -> Result<(), ApplyError> {
        // Indexes are swapped only with each other; an empty live one is there for a moment only.
        self.create(&self.live).await?;
        let indexes = (self.live.clone(), self.shadow.clone());
        let swap = [SwapIndexes { indexes, rename: None }];
        let swapped = asked(self.client.swap_indexes(&swap)).await?;
        self.done(swapped, None).await
    }
}

/// What the server answers to a writer, in bounded time.
async fn asked<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, ApplyError> {
    let answer = timeout(REQUEST_TIMEOUT, answer).await;
    answer.unwrap_or(Err(Error::Timeout)).map_err(failed)
}

/// What a failed task tells: some codes are about the documents, all others about the server (its
/// disk is full, its index is gone), and no key is parked for those.
fn task_failed(error: MeilisearchError) -> ApplyError {
    match error.error_code {
        ErrorCode::InvalidDocumentId
        | ErrorCode::MissingDocumentId
        | ErrorCode::InvalidDocumentGeoField
        | ErrorCode::MaxFieldsLimitExceeded => ApplyError::Poison(error.into()),
        _ => ApplyError::Transient(error.into()),
    }
}

/// What the server or the way to it did; that an event is to blame is seen in failed tasks alone.
fn failed(error: Error) -> ApplyError {
    ApplyError::Transient(error.into())
}

/// A value in a filter: in quotes, with `"` and `\` escaped.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn subject_of(change: &SearchChange) -> Subject {
    match change {
        SearchChange::Put(document) => document.subject,
        SearchChange::Remove(subject) => *subject,
    }
}

fn id_of(subject: Subject) -> String {
    match subject {
        Subject::Track(track) => format!("track-{track}"),
        Subject::Person(user) => format!("person-{user}"),
    }
}

fn subject_from(id: &str) -> Result<Subject, QueryError> {
    let malformed = QueryError::Malformed { what: "a foreign document" };
    let subject = match id.split_once('-') {
        Some(("track", id)) => id.parse::<TrackId>().map(Subject::Track),
        Some(("person", id)) => id.parse::<UserId>().map(Subject::Person),
        _ => return Err(malformed),
    };
    subject.map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_value_can_not_end_its_quotes() {
        assert_eq!(quoted("track"), r#""track""#);
        assert_eq!(quoted(r#"a" OR "b\"#), r#""a\" OR \"b\\""#);
    }

    #[test]
    fn only_what_is_wrong_with_a_document_parks_it() {
        let failed_with = |code: &str| {
            let told = serde_json::json!({
                "message": "", "code": code, "type": "invalid_request", "link": "",
            });
            task_failed(serde_json::from_value(told).expect("an error as the server tells it"))
        };
        for code in ["invalid_document_id", "missing_document_id", "max_fields_limit_exceeded"] {
            assert!(matches!(failed_with(code), ApplyError::Poison(_)), "{code}");
        }
        for code in ["index_not_found", "no_space_left_on_device", "internal", "one_to_come"] {
            assert!(matches!(failed_with(code), ApplyError::Transient(_)), "{code}");
        }
    }

    #[test]
    fn ids_come_back_as_they_went() {
        let subject = Subject::Track(TrackId(uuid::Uuid::new_v4()));
        assert_eq!(subject_from(&id_of(subject)).expect("it is ours"), subject);
        assert!(subject_from("trk-001").is_err());
    }
}
