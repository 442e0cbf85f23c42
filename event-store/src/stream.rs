//! Streams: their names, revisions, the expectations of writers, and their metadata.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::InvalidName;
use crate::index_streams::link_prefix;
use crate::limits::STREAM_NAME_BYTES_MAX;
use crate::persistent::kept_bytes_max;

/// `$tb` of a deleted stream.
pub(crate) const TRUNCATE_ALL: u64 = i64::MAX as u64;

/// A stream's name, `<category>-<id>` by convention. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Arc<str>);

impl StreamName {
    /// Checks and wraps a name: 1 to [`STREAM_NAME_BYTES_MAX`] bytes, and not a bare `$$`. What
    /// begins with `$ce-` or `$et-` is named by a category or a type, which may be as long itself;
    /// and what groups of persistent subscriptions keep is named by their streams.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        let name = name.as_ref();
        let max = STREAM_NAME_BYTES_MAX + link_prefix(name).len() + kept_bytes_max(name);
        match name.len() {
            0 => Err(InvalidName::Empty),
            length if length > max => Err(InvalidName::TooLong { length, max }),
            _ if name == "$$" => Err(InvalidName::NoSubject),
            _ => Ok(Self(name.into())),
        }
    }

    /// A name that a log already holds: `$$<stream>` may be longer than what is taken from callers.
    pub(crate) fn recorded(name: &str) -> Self {
        Self(name.into())
    }

    /// The log, where it is spoken of as a stream: in what is said of rights.
    pub(crate) fn all() -> Self {
        Self("$all".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands before the first `-`, or the whole name where there is none.
    pub fn category(&self) -> &str {
        self.0.split_once('-').map_or(&*self.0, |(category, _)| category)
    }

    /// Whether this is a stream of the system's own (`$…`).
    pub fn is_system(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The stream whose metadata this stream holds, when it is a `$$…` stream.
    pub fn metadata_subject(&self) -> Option<Self> {
        self.0.strip_prefix("$$").map(|subject| Self(subject.into()))
    }

    /// The stream that holds this stream's metadata: `$$<name>`.
    pub fn metadata_stream(&self) -> Self {
        Self(format!("$${}", self.0).into())
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The place of an event in its stream, gapless from zero; but for the tombstone, which is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The first event of a stream.
    pub const FIRST: Self = Self(0);
    /// That of the event that closes a stream for good, whatever came before it.
    pub const TOMBSTONE: Self = Self(i64::MAX as u64);

    /// The revision with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What a writer expects of the stream it appends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExpectedRevision {
    /// Nothing.
    Any,
    /// That it has no events, or only deleted ones.
    NoStream,
    /// That it has events or metadata, and is not deleted.
    StreamExists,
    /// That its last event has this revision.
    Exactly(Revision),
}

impl fmt::Display for ExpectedRevision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("any"),
            Self::NoStream => formatter.write_str("no stream"),
            Self::StreamExists => formatter.write_str("an existing stream"),
            Self::Exactly(revision) => write!(formatter, "revision {revision}"),
        }
    }
}

/// The metadata of a stream, as `$$<stream>` holds it in JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamMetadata {
    /// Only events younger than this are read, in seconds.
    #[serde(rename = "$maxAge", default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
    /// Only this many of the last events are read.
    #[serde(rename = "$maxCount", default, skip_serializing_if = "Option::is_none")]
    pub max_count: Option<u64>,
    /// Events before this revision are not read; `i64::MAX` on a deleted stream.
    #[serde(rename = "$tb", default, skip_serializing_if = "Option::is_none")]
    pub truncate_before: Option<u64>,
    /// How long readers over HTTP may cache, in seconds.
    #[serde(rename = "$cacheControl", default, skip_serializing_if = "Option::is_none")]
    pub cache_control_seconds: Option<u64>,
    /// Who may do what.
    #[serde(rename = "$acl", default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<StreamAcl>,
    /// What users keep there.
    #[serde(flatten)]
    pub custom: BTreeMap<String, Value>,
}

/// What of the metadata of a stream decides which of its events are seen: that is small, however
/// much users keep beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Visibility {
    pub(crate) max_age_seconds: Option<u64>,
    pub(crate) max_count: Option<u64>,
    pub(crate) truncate_before: Option<u64>,
}

impl Visibility {
    /// That of a stream that holds metadata: only the last counts, as EventStoreDB has it.
    pub(crate) const OF_METADATA: Self =
        Self { max_age_seconds: None, max_count: Some(1), truncate_before: None };

    /// Whether all events are hidden, as those of a deleted stream are until it is written again.
    pub(crate) fn is_of_deleted(&self) -> bool {
        self.truncate_before.is_some_and(|before| before >= TRUNCATE_ALL)
    }

    /// Whether, of a deleted stream, it does not say from where on the stream is to be seen again:
    /// whoever changes metadata often gives back the `$tb` of the deletion that they have read.
    pub(crate) fn opens_nowhere(&self) -> bool {
        self.truncate_before.is_none() || self.is_of_deleted()
    }

    /// The first revision that may be seen of so many.
    pub(crate) fn first_of(&self, events: u64) -> u64 {
        let counted = self.max_count.map_or(0, |count| events.saturating_sub(count));
        self.truncate_before.unwrap_or(0).max(counted)
    }

    /// Only events recorded after this moment may be seen.
    pub(crate) fn recorded_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let seconds = i64::try_from(self.max_age_seconds?).ok()?;
        now.checked_sub_signed(TimeDelta::try_seconds(seconds)?)
    }
}

impl StreamMetadata {
    /// The metadata in these bytes. What is none counts as empty: anybody may write there.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// What decides which events are seen.
    pub(crate) fn visibility(&self) -> Visibility {
        let &Self { max_age_seconds, max_count, truncate_before, .. } = self;
        Visibility { max_age_seconds, max_count, truncate_before }
    }

    /// Whether they hide all events, as those of a deleted stream do until it is written again.
    pub fn is_of_deleted(&self) -> bool {
        self.visibility().is_of_deleted()
    }
}

/// Who may do what with a stream; each a role or a list of roles, as EventStoreDB writes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamAcl {
    /// Who may read events.
    #[serde(rename = "$r", default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Value>,
    /// Who may append events.
    #[serde(rename = "$w", default, skip_serializing_if = "Option::is_none")]
    pub write: Option<Value>,
    /// Who may delete the stream.
    #[serde(rename = "$d", default, skip_serializing_if = "Option::is_none")]
    pub delete: Option<Value>,
    /// Who may read the metadata.
    #[serde(rename = "$mr", default, skip_serializing_if = "Option::is_none")]
    pub metadata_read: Option<Value>,
    /// Who may write the metadata.
    #[serde(rename = "$mw", default, skip_serializing_if = "Option::is_none")]
    pub metadata_write: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_as_long_as_what_it_is_made_of() {
        let longest = "x".repeat(STREAM_NAME_BYTES_MAX);
        for prefix in ["", "$ce-", "$et-"] {
            let name = format!("{prefix}{longest}");
            assert_eq!(StreamName::new(&name).unwrap().as_str(), name);
            let (length, max) = (name.len() + 1, name.len());
            let refused = StreamName::new(name + "x").unwrap_err();
            assert_eq!(refused.to_string(), InvalidName::TooLong { length, max }.to_string());
        }
    }
}
