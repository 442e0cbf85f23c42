//! Which fields of events are personal.

use crate::event::EventType;

/// A field of an event's data that is about a person. Data with such fields is a JSON object, and
/// the field one of its own, not one further down.
#[derive(Clone, Copy, Debug)]
pub struct PersonalField {
    /// Its name. Where it is absent or null, nothing is sealed.
    pub name: &'static str,
    /// The name of the field, beside it, with the id of the person: a text.
    pub subject: &'static str,
    /// The category of the stream in which everything about a person begins, `<home>-<id>`. Who has
    /// something sealed there had a key, and is given no other.
    pub home: &'static str,
    /// The text that stands there once the person is forgotten, made of their id.
    pub stand_in: fn(&str) -> String,
}

/// Tells the personal fields of a type. What it tells of a type must never become less: events of
/// before could not be opened.
pub type Marks = fn(&EventType) -> &'static [PersonalField];
