//! Personal fields: what of an event is about a person, and goes when they are forgotten.
//!
//! They are marked where their event is named in its family. The store seals them with a key of the
//! person's; once that is forgotten, a stand-in is read. Upcasters see what was sealed or its
//! stand-in, which is a text either way; where no key opens it, the event is not read. A mark must
//! never be taken away: what was sealed could not be opened.

use uuid::Uuid;

/// A field of an event that is personal: a text, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Personal {
    /// Its name in the event's data.
    pub name: &'static str,
    /// The name of the field, beside it, that says whose it is.
    pub subject: &'static str,
    /// What stands there when the person is forgotten, made of what that other field holds.
    pub stand_in: fn(&str) -> String,
}

/// The keyword of a JSON Schema that says of a field whose it is.
pub const KEYWORD: &str = "x-personal-of";

/// What the object has, and no text, that stands where a field is sealed and no key opens it.
pub(crate) const SEALED: &str = "$sealed";

/// For a handle. It is nobody else's, and can't be: handles have no `-`.
pub(crate) fn handle(subject: &str) -> String {
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, subject.as_bytes()).simple().to_string();
    format!("forgotten-{}", &hash[..16])
}

/// For the name that others see.
pub(crate) fn display_name(_: &str) -> String {
    "Forgotten".to_owned()
}

/// For what somebody said.
pub(crate) fn text(_: &str) -> String {
    "(forgotten)".to_owned()
}

/// For what may be empty.
pub(crate) fn empty(_: &str) -> String {
    String::new()
}

/// The schema, with the keyword at the personal fields.
pub(crate) fn marked(mut schema: schemars::Schema, personal: &[Personal]) -> schemars::Schema {
    for field in personal {
        let place = format!("/properties/{}", field.name);
        if let Some(property) = schema.pointer_mut(&place).and_then(|it| it.as_object_mut()) {
            property.insert(KEYWORD.to_owned(), field.subject.into());
        }
    }
    schema
}
