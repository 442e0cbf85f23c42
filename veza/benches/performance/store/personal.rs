//! The store with personal fields sealed by a key a person, against itself without.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use bytes::Bytes;
use event_store::{
    ContentType, EmbeddedStore, EventId, EventStore, EventType, ExpectedRevision, NewEvent,
    PersonalField, PersonalStore, ReadAll, StreamName, SubjectKeys, SubjectKeysOptions,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use uuid::Uuid;

use super::{counted, open};
use crate::machine::scratch;
use crate::scale::Scale;
use crate::table::Better::Higher;
use crate::table::{Row, per_second, tell};

/// How many events are appended, and read.
const EVENTS: usize = 200_000;
/// How many of them each person has.
const EVENTS_A_PERSON: usize = 250;
/// How many appends are under way.
const APPENDS_AT_ONCE: usize = 8;
/// The length of a field, in bytes: with it an event is about as large as those of other rows.
const FIELD_BYTES: usize = 160;
const EVENT_TYPE: &str = "Said";
const CATEGORY: &str = "person";
const BASELINE: &str = "the same log, appended and read with nothing sealed";

const FIELDS: [PersonalField; 1] =
    [PersonalField { name: "text", subject: "who", home: CATEGORY, stand_in: |_| String::new() }];

fn marks(event_type: &EventType) -> &'static [PersonalField] {
    if event_type.as_str() == EVENT_TYPE { &FIELDS } else { &[] }
}

/// What it costs to append and to read.
pub async fn rows(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let count = scale.count(EVENTS);
    let (mut appended, mut read) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds() {
        let (plain, sealed) = (measured(count, false).await?, measured(count, true).await?);
        let said = format!("{:.0} and {:.0} events/s", sealed.0, sealed.1);
        tell(round, "a personal field, appended and read", said);
        appended.push((sealed.0, plain.0));
        read.push((sealed.1, plain.1));
    }
    let row = |id: &str, what: &str, rounds: &[(f64, f64)]| {
        let what = format!("{count} events with a personal field each, {what}");
        Row::new(id, what, ("events/s", Higher), BASELINE, rounds)
    };
    let each = format!("appended {EVENTS_A_PERSON} at once, a new person each time");
    Ok(vec![
        row("store.personal.append", &each, &appended),
        row("store.personal.read", "read in the order of the log", &read),
    ])
}

/// How many events a second a new store takes, and gives back.
async fn measured(count: usize, sealed: bool) -> anyhow::Result<(f64, f64)> {
    let folder = scratch()?;
    let store = Arc::new(open(&folder.path().join("events")).await?);
    let opened = over(&store, folder.path(), sealed)?;
    let began = Instant::now();
    let appends = (0..count).step_by(EVENTS_A_PERSON).map(|from| {
        let person = Uuid::from_u128(from as u128);
        let batch: Vec<NewEvent> =
            (from..count.min(from + EVENTS_A_PERSON)).map(|_| said(person)).collect();
        let stream = StreamName::new(format!("{CATEGORY}-{person}")).expect("a short name");
        let opened = &opened;
        async move { opened.append(&stream, ExpectedRevision::NoStream, batch).await }
    });
    stream::iter(appends).buffered(APPENDS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    let appended = per_second(count, began.elapsed());
    let began = Instant::now();
    let read = counted(opened.read_all(ReadAll::forward()).await?).await?;
    ensure!(read == count, "{read} of {count} events were read");
    let rate = per_second(read, began.elapsed());
    store.close().await?;
    Ok((appended, rate))
}

fn over(
    store: &Arc<EmbeddedStore>,
    folder: &Path,
    sealed: bool,
) -> anyhow::Result<Arc<dyn EventStore>> {
    let store: Arc<dyn EventStore> = Arc::clone(store) as _;
    if !sealed {
        return Ok(store);
    }
    let keys = SubjectKeys::open(SubjectKeysOptions::folder(folder.join("keys")))?;
    Ok(Arc::new(PersonalStore::over(store, keys, marks)))
}

fn said(person: Uuid) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        event_type: EventType::new(EVENT_TYPE).expect("a short literal"),
        content_type: ContentType::Json,
        data: Bytes::from(json!({ "who": person, "text": "x".repeat(FIELD_BYTES) }).to_string()),
        metadata: Bytes::new(),
    }
}
