//! Upcasting: data of an older schema version is brought up to date, one version at a time.
//!
//! A changed schema gets the next version and one line in [`UPCASTERS`]; what is in the log stays
//! as it was written.

use serde_json::Value;
use thiserror::Error;

/// Turns the data of one version of a type into the next.
pub struct Upcaster {
    /// The type's name.
    pub event_type: &'static str,
    /// The version it reads; it makes the next.
    pub from: u32,
    /// The change; `None` when the data does not have the shape of that version.
    pub apply: fn(Value) -> Option<Value>,
}

/// Every upcaster there is; all types are at their first version.
pub const UPCASTERS: &[Upcaster] = &[];

/// Why data could not be brought up to date.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpcastError {
    /// A later release wrote it.
    #[error("{event_type} was written at version {found}, later than {known}")]
    FromTheFuture {
        /// The type's name.
        event_type: &'static str,
        /// The version it was written at.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
    /// No upcaster reads this version.
    #[error("nothing brings {event_type} from version {from} on")]
    Missing {
        /// The type's name.
        event_type: &'static str,
        /// The version that is stuck.
        from: u32,
    },
    /// The data does not have the shape of its version.
    #[error("the data of {event_type} is not of version {from}")]
    WrongShape {
        /// The type's name.
        event_type: &'static str,
        /// The version it says.
        from: u32,
    },
}

/// Brings data of `version` to `current`.
pub(crate) fn upcast(
    event_type: &'static str,
    version: u32,
    current: u32,
    data: Value,
) -> Result<Value, UpcastError> {
    chain(UPCASTERS, event_type, version, current, data)
}

fn chain(
    upcasters: &[Upcaster],
    event_type: &'static str,
    version: u32,
    current: u32,
    mut data: Value,
) -> Result<Value, UpcastError> {
    if version > current {
        return Err(UpcastError::FromTheFuture { event_type, found: version, known: current });
    }
    for from in version..current {
        let step = upcasters
            .iter()
            .find(|step| step.event_type == event_type && step.from == from)
            .ok_or(UpcastError::Missing { event_type, from })?;
        data = (step.apply)(data).ok_or(UpcastError::WrongShape { event_type, from })?;
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STEPS: &[Upcaster] = &[
        Upcaster {
            event_type: "Named",
            from: 2,
            apply: |data| Some(json!({ "names": [data["name"]] })),
        },
        Upcaster {
            event_type: "Named",
            from: 1,
            apply: |data| Some(json!({ "name": data.as_str()? })),
        },
    ];

    #[test]
    fn versions_are_chained() {
        let data = chain(STEPS, "Named", 1, 3, json!("Ada"));
        assert_eq!(data, Ok(json!({ "names": ["Ada"] })));
        assert_eq!(chain(STEPS, "Named", 3, 3, json!(7)), Ok(json!(7)));
    }

    #[test]
    fn what_can_not_be_brought_on_is_told_apart() {
        let future = UpcastError::FromTheFuture { event_type: "Named", found: 4, known: 3 };
        assert_eq!(chain(STEPS, "Named", 4, 3, json!(1)), Err(future));
        let missing = UpcastError::Missing { event_type: "Other", from: 1 };
        assert_eq!(chain(STEPS, "Other", 1, 2, json!(1)), Err(missing));
        let shape = UpcastError::WrongShape { event_type: "Named", from: 1 };
        assert_eq!(chain(STEPS, "Named", 1, 3, json!(1)), Err(shape));
    }
}
