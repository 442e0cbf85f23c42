//! The sizes beyond which the store refuses, in one place.

/// Longest stream name, in bytes of UTF-8.
pub const STREAM_NAME_BYTES_MAX: usize = 1024;

/// Longest event type, in bytes of UTF-8.
pub const EVENT_TYPE_BYTES_MAX: usize = 1024;

/// Largest event, in bytes: data, metadata and twice the type, as EventStoreDB counts it.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest append, in bytes: the sum of its events.
pub const APPEND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most events in one append.
pub const APPEND_EVENTS_MAX: usize = 65_536;

/// Longest regular expression of a filter, in bytes.
pub const FILTER_PATTERN_BYTES_MAX: usize = 4096;

/// Most prefixes in one filter.
pub const FILTER_PREFIXES_MAX: usize = 256;
