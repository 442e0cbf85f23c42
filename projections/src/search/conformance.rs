//! What every search index must do, as a suite that each engine's tests run.

use std::collections::HashSet;

use event_schemas::{TrackId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::projection::Target;
use crate::search::{SearchChange, SearchDocument, SearchIndex, SearchQuery, Subject, SubjectKind};

/// Documents that are hard to find, and what lies around them: title, other words.
const TRACKS: &[(&str, &str)] = &[
    ("Midnight Rain", "Ada Lovelace ambient"),
    ("Midsummer", "Grace folk"),
    ("Highway Thunder", "AC/DC rock"),
    ("AC/DC", "a tribute"),
    ("Für Elise", "Ludwig piano"),
    ("Smörgåsbord", "Björk pop"),
    ("X", "one letter"),
    ("Xylophone Dreams", "mallets"),
    ("!!!", "signs"),
];

/// What is typed, and the title that must come first.
const FOUND: &[(&str, &str)] = &[
    ("midnight rain", "Midnight Rain"),
    ("midnigt rain", "Midnight Rain"),
    ("midnihgt", "Midnight Rain"),
    ("midn", "Midnight Rain"),
    ("rain ambient", "Midnight Rain"),
    ("lovelace", "Midnight Rain"),
    ("ac/dc", "AC/DC"),
    ("acdc", "AC/DC"),
    ("AC DC", "AC/DC"),
    ("fur elise", "Für Elise"),
    ("FÜR", "Für Elise"),
    ("smorgasbord", "Smörgåsbord"),
    ("bjork", "Smörgåsbord"),
    ("x", "X"),
    ("xylofone", "Xylophone Dreams"),
    ("!!!", "!!!"),
];

/// What is typed and finds nothing.
const NOT_FOUND: &[&str] = &["", "   ", "qqqqqq", "\0", "%", "\\", "'"];

/// Runs the suite on an empty index whose tables are first in the connection's search path.
///
/// # Panics
/// When the index does not do what it must.
pub async fn holds(index: &dyn SearchIndex, connection: &mut PgConnection) {
    let mut puts = Vec::new();
    for (title, words) in TRACKS {
        puts.push(put(Subject::Track(TrackId(Uuid::new_v4())), title, words));
    }
    for number in 0..1_000 {
        let subject = Subject::Track(TrackId(Uuid::new_v4()));
        puts.push(put(subject, &format!("Decoy {number}"), "nobody noise"));
    }
    let person = Subject::Person(UserId(Uuid::new_v4()));
    puts.push(called(person, "Ada Lovelace", "ada"));
    index.write(Target::Live, connection, &puts).await.expect("documents are written");
    index.write(Target::Live, connection, &puts).await.expect("a repeated write is harmless");

    for (typed, title) in FOUND {
        let hits = search(index, typed, Some(SubjectKind::Track), 5).await;
        let first = hits.first().map(|hit| titled(&puts, *hit));
        assert_eq!(first, Some(*title), "the first hit for {typed:?}");
    }
    for typed in NOT_FOUND {
        assert_eq!(search(index, typed, None, 5).await, [], "hits for {typed:?}");
    }
    assert_eq!(search(index, "ada", Some(SubjectKind::Person), 5).await, [person]);
    search(index, "'; DROP TABLE documents; -- \"\\", None, 5).await;
    pages_do_not_overlap(index).await;
    who_is_called_so_comes_first(index, connection).await;
    who_shares_a_word_with_many_tracks_is_found(index, connection).await;
    changes_are_seen(index, connection, person).await;
}

async fn pages_do_not_overlap(index: &dyn SearchIndex) {
    let all = search(index, "decoy", None, 100).await;
    assert_eq!(all.len(), 100);
    let query = SearchQuery { text: "decoy".to_owned(), kind: None, offset: 40, limit: 20 };
    let page = index.search(&query).await.expect("it is answered");
    assert_eq!(page, all[40..60]);
}

async fn who_is_called_so_comes_first(index: &dyn SearchIndex, connection: &mut PgConnection) {
    let person = || Subject::Person(UserId(Uuid::new_v4()));
    let mut people = Vec::new();
    for number in 0..60 {
        let (name, handle) = (format!("Nina {number}"), format!("nina{number}"));
        people.push(called(person(), &name, &handle));
        people.push(called(person(), "Nina", &format!("fan{number}")));
    }
    let (nina, other) = (person(), person());
    people.push(called(nina, "Zoe", "nina"));
    people.push(called(other, "Nina K.", "nina.k_"));
    index.write(Target::Live, connection, &people).await.expect("people are written");
    for kind in [None, Some(SubjectKind::Person)] {
        for (typed, first) in [("nina", nina), ("Nina", nina), ("@nina", nina), ("nina.k_", other)]
        {
            let hits = search(index, typed, kind, 5).await;
            assert_eq!((hits[0], hits.len()), (first, 5), "the first hit for {typed:?}");
        }
        let mut all = search(index, "nina", kind, 50).await;
        let query = SearchQuery { text: "nina".to_owned(), kind, offset: 50, limit: 50 };
        all.extend(index.search(&query).await.expect("it is answered"));
        let once: HashSet<Subject> = all.iter().copied().collect();
        assert_eq!((all[0], once.len()), (nina, 100), "everybody once, page by page");
    }
    assert_eq!(search(index, "nina", Some(SubjectKind::Track), 5).await, []);
}

/// More tracks have a word than an engine ranks at once.
async fn who_shares_a_word_with_many_tracks_is_found(
    index: &dyn SearchIndex,
    connection: &mut PgConnection,
) {
    let tracks: Vec<_> = (0..6_000)
        .map(|number| {
            let track = Subject::Track(TrackId(Uuid::new_v4()));
            put(track, &format!("Zebra crossing {number}"), "nobody noise")
        })
        .collect();
    index.write(Target::Live, connection, &tracks).await.expect("tracks are written");
    let eve = Subject::Person(UserId(Uuid::new_v4()));
    let eve_zebra = [called(eve, "Eve Zebra", "eve")];
    index.write(Target::Live, connection, &eve_zebra).await.expect("she is written");
    assert_eq!(search(index, "zebra", Some(SubjectKind::Person), 5).await, [eve]);
}

async fn changes_are_seen(index: &dyn SearchIndex, connection: &mut PgConnection, person: Subject) {
    let renamed = called(person, "Countess", "ada");
    index.write(Target::Live, connection, &[renamed]).await.expect("it is written");
    assert_eq!(search(index, "countess", None, 5).await, [person]);
    assert_eq!(search(index, "lovelace", Some(SubjectKind::Person), 5).await, []);
    let gone = [SearchChange::Remove(person)];
    index.write(Target::Live, connection, &gone).await.expect("it is removed");
    assert_eq!(search(index, "countess", None, 5).await, []);
}

async fn search(
    index: &dyn SearchIndex,
    text: &str,
    kind: Option<SubjectKind>,
    limit: u32,
) -> Vec<Subject> {
    let query = SearchQuery { text: text.to_owned(), kind, offset: 0, limit };
    index.search(&query).await.expect("it is answered")
}

fn put(subject: Subject, title: &str, words: &str) -> SearchChange {
    let (title, words) = (title.to_owned(), words.to_owned());
    SearchChange::Put(SearchDocument { subject, title, handle: None, words })
}

fn called(subject: Subject, name: &str, handle: &str) -> SearchChange {
    let (title, handle) = (name.to_owned(), Some(handle.to_owned()));
    SearchChange::Put(SearchDocument { subject, title, handle, words: String::new() })
}

fn titled(puts: &[SearchChange], hit: Subject) -> &str {
    let title = puts.iter().find_map(|change| match change {
        SearchChange::Put(document) if document.subject == hit => Some(document.title.as_str()),
        _ => None,
    });
    title.expect("a hit is one of the documents")
}
