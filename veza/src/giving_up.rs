//! `veza-replay give-up`: whose personal data no key opens any more, and the end of waiting for it.

use std::collections::{BTreeMap, HashSet};

use event_schemas::UserId;
use event_store::{EventStore, PersonalStore, ReadAll, Subject, SubjectKeys, UnreadableField};
use futures::TryStreamExt as _;
use replay_tool::{Output, ReplayError, Verdict};
use serde_json::json;

use crate::personal;

/// Whose a field is that does not say whose it is; they can't be given up.
const NOBODY: &str = "nobody";

/// Who is given up.
#[derive(Clone, Debug, clap::Args)]
pub struct GiveUpArgs {
    /// Them, by their ids; where their key is there and opens other fields, those are lost too
    #[arg(value_name = "PERSON")]
    pub people: Vec<UserId>,
    /// Everybody whose key is lost; not who has a key that opens a part of theirs
    #[arg(long, conflicts_with = "people")]
    pub all: bool,
}

impl GiveUpArgs {
    /// Whether anybody is to be; else they are listed.
    pub fn gives_up(&self) -> bool {
        self.all || !self.people.is_empty()
    }

    fn names(&self, person: &str, found: &Found) -> bool {
        let is_named = self.people.iter().any(|named| named.to_string() == person);
        person != NOBODY && (is_named || (self.all && found.key_is_lost))
    }
}

/// What is known of people's keys.
pub struct People {
    /// What opens their data, but for what no key opens.
    pub opened: PersonalStore,
    /// The keys; none where there are none, or they can't be opened.
    pub keys: Option<SubjectKeys>,
    /// Who is forgotten, where there are none to tell.
    pub forgotten: Vec<Subject>,
}

/// What of a person can't be read.
struct Found {
    fields: u64,
    /// Of all of them.
    key_is_lost: bool,
    /// The first.
    why: String,
}

/// Reads the log and prints each person of whom a field can't be read; those who are to be given up
/// are forgotten in the keys. Bad, when somebody is left of whom something can't be read, or who
/// was named and can be.
///
/// # Errors
/// When the log can't be read, or the keys not be read or written.
pub async fn give_up(
    log: &dyn EventStore,
    people: &People,
    args: &GiveUpArgs,
    output: &mut Output<'_>,
) -> Result<Verdict, ReplayError> {
    let mut found = unreadable(log, &people.opened).await?;
    let forgotten: HashSet<Subject> = people.forgotten.iter().copied().collect();
    found.retain(|person, _| !forgotten.contains(&Subject::new(person)));
    let mut verdict = Verdict::Good;
    let named = args.people.iter().map(UserId::to_string);
    for person in named.filter(|person| !found.contains_key(person)) {
        verdict = Verdict::Bad;
        output.remark(&format!("{person}: nothing of theirs is unreadable"))?;
    }
    let (mut given_up, mut fields) = (0_u64, 0_u64);
    for (person, of_them) in &found {
        let chosen = people.keys.as_ref().filter(|_| args.names(person, of_them));
        if let Some(keys) = chosen {
            keys.forget(Subject::new(person)).await?;
            (given_up, fields) = (given_up + 1, fields + of_them.fields);
        } else {
            verdict = Verdict::Bad;
        }
        let document = json!({
            "person": person, "fields": of_them.fields, "key_is_lost": of_them.key_is_lost,
            "reason": of_them.why, "given_up": chosen.is_some(),
        });
        let state = match (chosen, of_them.key_is_lost) {
            (Some(_), _) => "given up",
            (None, true) => "key lost",
            (None, false) => "another key",
        };
        let line = format!("{person}  {state}  {} fields  {}", of_them.fields, of_them.why);
        output.result(&document, &line)?;
    }
    if args.gives_up() {
        output.remark(&format!("{fields} fields of {given_up} people are given up"))?;
    } else if found.is_empty() {
        output.remark("every personal field can be read")?;
    }
    Ok(verdict)
}

/// What can't be read, by the ids of people; of nobody, where an event does not say whose it is.
async fn unreadable(
    log: &dyn EventStore,
    opened: &PersonalStore,
) -> Result<BTreeMap<String, Found>, ReplayError> {
    let mut found = BTreeMap::new();
    let read = ReadAll { filter: Some(personal::filter()), ..ReadAll::forward() };
    let mut events = log.read_all(read).await?;
    while let Some(mut event) = events.try_next().await? {
        for UnreadableField { person, key_is_lost, why } in opened.open(&mut event).await? {
            let person = person.map_or_else(|| NOBODY.to_owned(), String::from);
            let first = || Found { fields: 0, key_is_lost: true, why: why.to_string() };
            let of_them = found.entry(person).or_insert_with(first);
            of_them.fields += 1;
            of_them.key_is_lost &= key_is_lost;
        }
    }
    Ok(found)
}
