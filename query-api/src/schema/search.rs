//! Search: tracks and people by words, spelled well or badly.

use async_graphql::{Context, Enum, Object, Union};
use projections::postgres;
use projections::search::{self, Subject};

use crate::failure::Failure;
use crate::limits::SEARCH_HITS_MAX;
use crate::reader::Reader;
use crate::schema::audio::Track;
use crate::schema::connection::{Connection, connection_names};
use crate::schema::page::{cost, size};
use crate::schema::user::User;

/// What can be searched.
#[derive(Default)]
pub struct SearchQuery;

/// What is searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "search::SubjectKind")]
pub enum SearchKind {
    /// Published tracks.
    Track,
    /// People.
    Person,
}

/// What was found.
#[derive(Union)]
pub enum SearchResult {
    /// A published track.
    Track(Track),
    /// A person.
    User(User),
}

connection_names! {
    /// The names of the field, not of the union.
    SearchNames = "SearchConnection", "SearchEdge"
}

/// A page of hits, best first.
pub type Hits = Connection<SearchResult, SearchNames, SearchNames>;

#[Object]
impl SearchQuery {
    /// Tracks and people, best first; misspelled words are found too.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn search(
        &self,
        context: &Context<'_>,
        text: String,
        kind: Option<SearchKind>,
        #[graphql(default = 20)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Hits, Failure> {
        let rows = size(first)?.rows();
        let offset = after.as_deref().map_or(Ok(0), offset)?;
        let reader = Reader::of(context);
        reader.freshness.reach(reader.parts.search_model).await?;
        // One hit more than asked for tells whether there is a next page.
        let limit = (rows + 1).min(search::HITS_MAX);
        let kind = kind.map(search::SubjectKind::from);
        let query = search::SearchQuery { text, kind, offset, limit };
        let mut found = reader.parts.search.search(&query).await?;
        let next = offset + rows;
        let more =
            if rows < limit { found.len() as u32 > rows } else { found.len() as u32 == rows };
        found.truncate(rows as usize);
        // The index may know what its model does not: such a hit is not shown.
        let hits = (offset + 1..).map(|behind| format!("s{behind}"));
        let hits = hits.zip(results(reader, found).await?).collect();
        Ok(Hits::new(hits, offset > 0, more && next < SEARCH_HITS_MAX))
    }
}

/// How many hits are behind a cursor.
fn offset(cursor: &str) -> Result<u32, Failure> {
    // Numbers are read with a sign as well.
    let digits = cursor.strip_prefix('s').filter(|text| text.bytes().all(|it| it.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number
        .filter(|offset| *offset < SEARCH_HITS_MAX)
        .ok_or_else(|| Failure::Validation("`after` is not a cursor that a page gave".to_owned()))
}

/// What the hits are about, in the order of the hits.
async fn results(
    reader: &Reader,
    found: Vec<Subject>,
) -> Result<Vec<Option<SearchResult>>, Failure> {
    let tracks = found.iter().filter_map(|subject| match subject {
        Subject::Track(track) => Some(*track),
        Subject::Person(_) => None,
    });
    let people = found.iter().filter_map(|subject| match subject {
        Subject::Person(user) => Some(*user),
        Subject::Track(_) => None,
    });
    let rows = &reader.rows;
    let (mut tracks, mut people) =
        tokio::try_join!(rows.load_many(tracks), rows.load_many(people))?;
    let result = |subject| match subject {
        Subject::Track(track) => {
            let is_there =
                |track: &postgres::Track| track.master_available && reader.sees_track(track);
            let track = tracks.remove(&track).filter(is_there);
            track.map(|track| SearchResult::Track(Track(track)))
        }
        Subject::Person(user) => {
            people.remove(&user).map(|profile| SearchResult::User(User(profile)))
        }
    };
    Ok(found.into_iter().map(result).collect())
}
