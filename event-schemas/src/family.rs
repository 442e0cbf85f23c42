//! Families: the events of one kind of stream, as an enum over structs.

use cqrs_es::DomainEvent;
use serde_json::Value;
use thiserror::Error;

use crate::personal::{Personal, SEALED};
use crate::upcast::{UpcastError, upcast};

/// The events of one kind of stream, encoded by type name and schema version.
pub trait EventFamily: DomainEvent {
    /// The category of its streams: they are named `<category>-<id>`.
    const CATEGORY: &'static str;

    /// Every type of the family.
    const TYPES: &'static [TypeInfo];

    /// The event as it is stored.
    fn encode(&self) -> Encoded;

    /// The event from what was stored; older versions are brought up to date first.
    fn decode(event_type: &str, version: u32, data: Value) -> Result<Self, DecodeError>;

    /// Whether this type is one of the family's.
    fn has(event_type: &str) -> bool {
        Self::TYPES.iter().any(|known| known.name == event_type)
    }
}

/// One event type and the version of its schema that is written today.
#[derive(Clone, Copy, Debug)]
pub struct TypeInfo {
    /// Its name in the log.
    pub name: &'static str,
    /// The version that is written.
    pub version: u32,
    /// Its JSON Schema.
    pub schema: fn() -> schemars::Schema,
    /// The fields that are about a person.
    pub personal: &'static [Personal],
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The name of its type.
    pub event_type: &'static str,
    /// The version of its schema.
    pub version: u32,
    /// Its data.
    pub data: Value,
}

/// Why stored data is not an event of a family.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// No type of the family has this name: written by a later release, or another family's.
    #[error("event type {0} is not known")]
    UnknownType(String),
    /// Its data could not be brought up to date.
    #[error(transparent)]
    Upcast(#[from] UpcastError),
    /// A personal field of it is sealed still: the key of its person is lost, or another.
    #[error("field {field} of {event_type} is sealed, and no key that is here opens it")]
    Sealed {
        /// The name of its type.
        event_type: &'static str,
        /// The name of the field.
        field: &'static str,
    },
    /// Its data does not have the shape of its schema.
    #[error("the data of {event_type} is not readable")]
    Undecodable {
        /// The name of its type.
        event_type: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Makes a family of structs: the enum, its names and versions, encoding and decoding. Behind a
/// version stand the fields that are personal, each with the field that says whose it is, and what
/// makes its stand-in: `{ bio of user_id: empty }`.
macro_rules! event_family {
    (
        $(#[$doc:meta])*
        $family:ident in $category:literal: $(
            $event:ident v $version:literal
            $({ $($field:ident of $subject:ident: $stand_in:ident),+ $(,)? })?,
        )+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "type", content = "data")]
        pub enum $family {
            $(
                #[doc = concat!("See [`struct@", stringify!($event), "`].")]
                $event($event),
            )+
        }

        $(
            impl From<$event> for $family {
                fn from(event: $event) -> Self {
                    Self::$event(event)
                }
            }
        )+

        // Marks are of fields that are there.
        $(const _: fn(&$event) = |_event| {
            $($(let _ = (&_event.$field, &_event.$subject);)+)?
        };)+

        impl cqrs_es::DomainEvent for $family {
            fn event_type(&self) -> String {
                match self {
                    $(Self::$event(_) => stringify!($event).to_owned(),)+
                }
            }

            fn event_version(&self) -> String {
                match self {
                    $(Self::$event(_) => $version.to_string(),)+
                }
            }
        }

        impl $crate::family::EventFamily for $family {
            const CATEGORY: &'static str = $category;

            const TYPES: &'static [$crate::family::TypeInfo] = &[
                $($crate::family::TypeInfo {
                    name: stringify!($event),
                    version: $version,
                    schema: || {
                        let personal = $crate::family::personal!(
                            $($($field of $subject: $stand_in),+)?
                        );
                        $crate::personal::marked(schemars::schema_for!($event), personal)
                    },
                    personal: $crate::family::personal!($($($field of $subject: $stand_in),+)?),
                },)+
            ];

            fn encode(&self) -> $crate::family::Encoded {
                match self {
                    $(Self::$event(event) => $crate::family::Encoded {
                        event_type: stringify!($event),
                        version: $version,
                        data: serde_json::to_value(event)
                            .expect("events are plain data with string keys"),
                    },)+
                }
            }

            fn decode(
                event_type: &str,
                version: u32,
                data: serde_json::Value,
            ) -> Result<Self, $crate::family::DecodeError> {
                match event_type {
                    $(stringify!($event) => {
                        let personal = $crate::family::personal!(
                            $($($field of $subject: $stand_in),+)?
                        );
                        $crate::family::refuse_sealed(stringify!($event), personal, &data)?;
                        let event =
                            $crate::family::decode_as(stringify!($event), $version, version, data)?;
                        Ok(Self::$event(event))
                    })+
                    unknown => {
                        Err($crate::family::DecodeError::UnknownType(unknown.to_owned()))
                    }
                }
            }
        }
    };
}
pub(crate) use event_family;

/// The personal fields of one event.
macro_rules! personal {
    ($($field:ident of $subject:ident: $stand_in:ident),*) => {
        const {
            &[$($crate::personal::Personal {
                name: stringify!($field),
                subject: stringify!($subject),
                stand_in: $crate::personal::$stand_in,
            }),*] as &[$crate::personal::Personal]
        }
    };
}
pub(crate) use personal;

/// That none of the personal fields is sealed. It could not be read as a text either, but this says
/// why.
pub(crate) fn refuse_sealed(
    event_type: &'static str,
    personal: &[Personal],
    data: &Value,
) -> Result<(), DecodeError> {
    let is_sealed =
        |field: &&Personal| data.get(field.name).is_some_and(|value| value.get(SEALED).is_some());
    match personal.iter().find(is_sealed) {
        Some(field) => Err(DecodeError::Sealed { event_type, field: field.name }),
        None => Ok(()),
    }
}

/// Brings the data up to date and reads it as one event type.
pub(crate) fn decode_as<T: serde::de::DeserializeOwned>(
    event_type: &'static str,
    current: u32,
    version: u32,
    data: Value,
) -> Result<T, DecodeError> {
    let data = upcast(event_type, version, current, data)?;
    serde_json::from_value(data).map_err(|source| DecodeError::Undecodable { event_type, source })
}
