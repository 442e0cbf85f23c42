//! The index in PostgreSQL: full text for whole words, prefixes for typing, trigrams for typos.
//!
//! Texts are folded (lower case, no diacritics) and kept twice: as words, and squashed to letters
//! and digits alone, so that `AC/DC`, `ac dc` and `acdc` are one. Of Chinese and Japanese, which
//! put no spaces between words, each character counts as a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_schemas::{TrackId, UserId};
use sqlx::postgres::PgRow;
use sqlx::{Executor, PgConnection, PgPool, Row, query};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use uuid::Uuid;

use crate::projection::{ApplyError, ModelId, Target};
use crate::query_error::QueryError;
use crate::search::{
    HITS_MAX, QUERY_CHARS_MAX, SearchChange, SearchIndex, SearchQuery, Subject, SubjectKind,
};

/// This model.
pub const MODEL: ModelId = ModelId { name: "search", version: 5 };

/// How alike a word must be to what was typed, from 0 to 1, to be taken for a typo of it; and no
/// compilation of plans, which takes longer than the search itself.
const SETTINGS: &str = "SET LOCAL pg_trgm.word_similarity_threshold = 0.4; SET LOCAL jit = off";

pub(crate) const DOCUMENTS: &str = "CREATE TABLE IF NOT EXISTS documents (
    kind text NOT NULL,
    id uuid NOT NULL,
    title text NOT NULL,
    squashed text NOT NULL,
    handle text,
    body text NOT NULL,
    lexemes tsvector NOT NULL,
    PRIMARY KEY (kind, id)
)";

pub(crate) const DOCUMENTS_BY_TEXT: &str = "
CREATE INDEX IF NOT EXISTS documents_by_body ON documents USING gin (body gin_trgm_ops);
CREATE INDEX IF NOT EXISTS documents_by_lexemes ON documents USING gin (lexemes);
CREATE INDEX IF NOT EXISTS documents_by_title ON documents USING hash (title);
CREATE INDEX IF NOT EXISTS documents_by_handle ON documents USING hash (handle)
    WHERE handle IS NOT NULL";

pub(crate) const DOCUMENTS_BY_SQUASHED: &str = "CREATE INDEX IF NOT EXISTS documents_by_squashed
    ON documents (squashed text_pattern_ops)";

/// Characters of scripts without spaces: kana, and Chinese characters with all their extensions.
const UNSPACED: &str =
    r"([\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])";

const PUT: &str = r"
INSERT INTO documents (kind, id, title, squashed, handle, body, lexemes)
SELECT $1, $2, title, regexp_replace(title, '[^[:alnum:]]', '', 'g'), $4, body,
       to_tsvector('simple', body)
FROM (SELECT projection.fold($3) AS title,
             regexp_replace(
                 regexp_replace(
                     projection.fold(concat_ws(' ', $3, $4, $5)), '{UNSPACED}', ' \1 ', 'g'),
                 '[^[:alnum:]]+', ' ', 'g') AS body
     ) AS folded
ON CONFLICT (kind, id) DO UPDATE
SET title = excluded.title, squashed = excluded.squashed, handle = excluded.handle,
    body = excluded.body, lexemes = excluded.lexemes";

/// People are few beside tracks: whoever looks for them alone must not go through all there is.
pub(crate) const PERSONS_BY_TEXT: &str = "
CREATE INDEX IF NOT EXISTS persons_by_body ON documents USING gin (body gin_trgm_ops)
    WHERE kind = 'person';
CREATE INDEX IF NOT EXISTS persons_by_lexemes ON documents USING gin (lexemes)
    WHERE kind = 'person';
CREATE INDEX IF NOT EXISTS persons_by_squashed ON documents (squashed text_pattern_ops)
    WHERE kind = 'person'";

/// A person's handle counts most, with or without its `@`, then an exact title, then one that
/// begins so, then whole words and beginnings of words, then words with two letters swapped, then
/// what is alike. See [`statement`].
const SEARCH: &str = r"
WITH typed AS MATERIALIZED (
    SELECT text, ltrim(text, '@') AS handle,
           regexp_replace(text, '[^[:alnum:]]', '', 'g') AS squashed,
           trim(regexp_replace(regexp_replace(text, '{UNSPACED}', ' \1 ', 'g'),
                               '[^[:alnum:]]+', ' ', 'g')) AS words
    FROM (SELECT trim(projection.fold($1)) AS text) AS folded
), parsed AS MATERIALIZED (
    SELECT *, CASE WHEN words = '' THEN NULL ELSE
                  to_tsquery('simple', replace(words, ' ', ':* & ') || ':*') END AS prefixes,
           replace(replace(squashed, '\', '\\'), '_', '\_') || '%' AS beginning,
           (SELECT to_tsquery('simple', string_agg('(' || word_or_alike || ')', ' & '))
            FROM regexp_split_to_table(words, ' ') AS word, LATERAL (
                SELECT string_agg(left(word, at - 1) || substr(word, at + 1, 1)
                                      || substr(word, at, 1) || substr(word, at + 2), ' | ')
                           || ' | ' || word || ':*' AS word_or_alike
                FROM generate_series(1, length(word) - 1) AS at
                WHERE length(word) >= {SWAPPED_CHARS_MIN}
                UNION ALL SELECT word || ':*' WHERE length(word) < {SWAPPED_CHARS_MIN}
            ) AS of_word
            WHERE words <> '' AND word_or_alike IS NOT NULL) AS swapped
    FROM typed
)
SELECT kind, id,
       (CASE WHEN d.handle = p.handle THEN 10
             WHEN title = p.text THEN 8
             WHEN p.squashed <> '' AND d.squashed = p.squashed THEN 7
             WHEN p.squashed <> '' AND d.squashed LIKE p.beginning THEN 4 ELSE 0 END)
       + (CASE WHEN lexemes @@ prefixes THEN 2 + ts_rank(lexemes, prefixes)
               WHEN lexemes @@ swapped THEN 1 ELSE 0 END)
       + coalesce(word_similarity(words, body), 0) + 0.5 * similarity(words, title) AS score
FROM (
    -- Each arm by an index of its own, and so many of each at most: what matches everything must
    -- not be ranked as a whole. Whoever is named exactly so is among them all the same.
    (SELECT * FROM documents WHERE title = (SELECT text FROM parsed WHERE text <> '') {OF_KIND}
        LIMIT 1000)
    UNION (SELECT * FROM documents WHERE handle = (SELECT handle FROM parsed) {OF_KIND} LIMIT 10)
    UNION (SELECT * FROM documents
        WHERE squashed ~>=~ (SELECT squashed FROM parsed WHERE squashed <> '')
          AND squashed ~<~ (SELECT squashed || U&'\+10FFFF' FROM parsed) {OF_KIND} LIMIT 1000)
    UNION (SELECT * FROM documents WHERE lexemes @@ (SELECT prefixes FROM parsed) {OF_KIND}
        LIMIT 2000)
    UNION (SELECT * FROM documents WHERE lexemes @@ (SELECT swapped FROM parsed) {OF_KIND}
        LIMIT 1000)
    UNION (SELECT * FROM documents
        WHERE (SELECT words FROM parsed WHERE length(words) > 2) <% body {OF_KIND}
        LIMIT 5000)
) AS d, parsed p
ORDER BY score DESC, length(title), kind, id OFFSET $2 LIMIT $3";

/// In words of so many letters and more, two that stand beside each other may be swapped: such
/// typos leave too few trigrams alike.
const SWAPPED_CHARS_MIN: &str = "4";

/// The search, of one kind or of all. The kind stands in each arm, so that nothing of another takes
/// its place there, and as a literal, so that the indexes of one kind are used.
fn statement(kind: Option<SubjectKind>) -> String {
    let of_kind = kind.map(|kind| format!("AND kind = '{}'", kind.as_str())).unwrap_or_default();
    SEARCH
        .replace("{OF_KIND}", &of_kind)
        .replace("{UNSPACED}", UNSPACED)
        .replace("{SWAPPED_CHARS_MIN}", SWAPPED_CHARS_MIN)
}

/// How many searches PostgreSQL does at once: it is also who logs people in.
const SEARCHES_MAX: usize = 4;

/// How long a search waits for its turn, and then may take, each; the second also in PostgreSQL
/// itself, which goes on when whoever asked has gone.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(3);

/// Who may search now. Cheap to clone.
#[derive(Clone, Debug)]
struct Turns {
    free: Arc<Semaphore>,
    /// Whether it was told that not all get one, since a search last had one at once.
    is_told: Arc<AtomicBool>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(SEARCHES_MAX)), is_told: Arc::default() }
    }
}

impl Turns {
    /// A turn, once there is one.
    async fn take(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        // While others wait, none is had so.
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            self.is_told.store(false, Ordering::Relaxed);
            return Ok(turn);
        }
        let turn = timeout(SEARCH_TIME_MAX, Arc::clone(&self.free).acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            if !self.is_told.swap(true, Ordering::Relaxed) {
                tracing::warn!("more is searched for than there are turns for: some are refused");
            }
            QueryError::Overloaded
        })
    }
}

/// The index in PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresSearch {
    pool: PgPool,
    turns: Turns,
}

impl PostgresSearch {
    /// Searches through this pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool, turns: Turns::default() }
    }

    async fn ask(self, wanted: SearchQuery) -> Result<Vec<Subject>, QueryError> {
        let text: String = wanted.text.chars().take(QUERY_CHARS_MAX).collect();
        let mut transaction = self.pool.begin().await?;
        let (schema, limit_ms) = (MODEL.schema(Target::Live), SEARCH_TIME_MAX.as_millis());
        let settings = format!(
            "SET LOCAL search_path = {schema}, public; SET LOCAL statement_timeout = {limit_ms}; \
             {SETTINGS}"
        );
        transaction.execute(settings.as_str()).await?;
        let rows = query(&statement(wanted.kind))
            .bind(text.replace('\0', ""))
            .bind(i64::from(wanted.offset))
            .bind(i64::from(wanted.limit.min(HITS_MAX)))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.iter().map(subject).collect()
    }
}

#[async_trait]
impl SearchIndex for PostgresSearch {
    async fn write(
        &self,
        _target: Target,
        connection: &mut PgConnection,
        changes: &[SearchChange],
    ) -> Result<(), ApplyError> {
        let put = PUT.replace("{UNSPACED}", UNSPACED);
        for change in changes {
            let statement = match change {
                SearchChange::Put(document) => {
                    let (kind, id) = columns(document.subject);
                    query(&put)
                        .bind(kind)
                        .bind(id)
                        .bind(&document.title)
                        .bind(&document.handle)
                        .bind(&document.words)
                }
                SearchChange::Remove(subject) => {
                    let (kind, id) = columns(*subject);
                    query("DELETE FROM documents WHERE kind = $1 AND id = $2").bind(kind).bind(id)
                }
            };
            statement.execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn search(&self, wanted: &SearchQuery) -> Result<Vec<Subject>, QueryError> {
        let turn = self.turns.take().await?;
        let (index, wanted) = (self.clone(), wanted.clone());
        // On its own: the turn is over when PostgreSQL is done, whoever still waits.
        let search = tokio::spawn(async move {
            let _turn = turn;
            index.ask(wanted).await
        });
        search.await.map_err(|error| QueryError::Search(error.into()))?
    }
}

fn columns(subject: Subject) -> (&'static str, Uuid) {
    match subject {
        Subject::Track(track) => (subject.kind().as_str(), track.0),
        Subject::Person(user) => (subject.kind().as_str(), user.0),
    }
}

fn subject(row: &PgRow) -> Result<Subject, QueryError> {
    let (kind, id): (String, Uuid) = (row.try_get("kind")?, row.try_get("id")?);
    match kind.as_str() {
        "track" => Ok(Subject::Track(TrackId(id))),
        "person" => Ok(Subject::Person(UserId(id))),
        _ => Err(QueryError::Malformed { what: "an unknown kind of document" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_no_turn_in_time_is_refused_which_is_told_once_until_there_is_room() {
        let turns = Turns::default();
        let is_told = || turns.is_told.load(Ordering::Relaxed);
        let mut taken = Vec::new();
        for _ in 0..SEARCHES_MAX {
            taken.push(turns.take().await.unwrap());
        }
        let refused = tokio::join!(turns.take(), turns.take());
        assert!(matches!(refused, (Err(QueryError::Overloaded), Err(QueryError::Overloaded))));
        assert!(is_told());
        let waits = turns.take();
        let (waited, ()) = tokio::join!(waits, async { drop(taken.pop()) });
        assert!(waited.is_ok() && is_told(), "there is no room yet");
        drop((waited, taken));
        assert!(turns.take().await.is_ok() && !is_told());
    }
}
