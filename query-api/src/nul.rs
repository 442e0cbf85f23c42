//! Texts with a NUL in them (U+0000): PostgreSQL has none, so nothing is found by them. They are
//! refused before anything is looked for, whichever argument they are in.

use async_graphql::{ServerError, Value};

use crate::failure::Failure;

/// Refuses a value of an argument, or of a variable, that has such a text in it.
///
/// # Errors
/// When it has.
pub fn refuse(value: &Value) -> Result<(), ServerError> {
    match value {
        Value::String(text) if text.contains('\0') => {
            let why = "a text has a NUL in it (U+0000), which none here may have".to_owned();
            Err(Failure::Validation(why).into())
        }
        Value::List(values) => values.iter().try_for_each(refuse),
        Value::Object(fields) => fields.values().try_for_each(refuse),
        _ => Ok(()),
    }
}
