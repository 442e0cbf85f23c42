//! Personal fields: sealed with a key a subject, opened by nobody else, and forgotten for good.

#[path = "subjects/aside.rs"]
mod aside;
#[path = "subjects/crashes.rs"]
mod crashes;
#[path = "given/cuts.rs"]
mod cuts;
#[path = "given/dice.rs"]
mod dice;
#[path = "subjects/erasure.rs"]
mod erasure;
#[path = "subjects/exchanged.rs"]
mod exchanged;
#[path = "subjects/fields.rs"]
mod fields;
#[path = "subjects/keys.rs"]
mod keys;
#[path = "subjects/lost.rs"]
mod lost;
#[path = "subjects/people.rs"]
mod people;
#[path = "subjects/processes.rs"]
mod processes;
