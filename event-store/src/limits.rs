//! The sizes beyond which the store refuses, in one place.

/// Longest stream name, in bytes of UTF-8; that of a stream of links is longer by `$ce-` or `$et-`,
/// and that of what a group keeps by what is put around the name of its stream.
pub const STREAM_NAME_BYTES_MAX: usize = 1024;

/// Longest event type, in bytes of UTF-8.
pub const EVENT_TYPE_BYTES_MAX: usize = 1024;

/// Largest event, in bytes: data, metadata and twice the type, as EventStoreDB counts it.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Largest append, in bytes: the sum of its events.
pub const APPEND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most events in one append.
pub const APPEND_EVENTS_MAX: usize = 65_536;

/// Most streams that one append writes to or checks: each is looked up by the one who writes.
pub const APPEND_STREAMS_MAX: usize = 1024;

/// Longest regular expression of a filter, in bytes.
pub const FILTER_PATTERN_BYTES_MAX: usize = 4096;

/// How large a regular expression, or a part of it, may become when it is made ready, in bytes:
/// that takes time, which nobody else has meanwhile.
pub const FILTER_REGEX_BYTES_MAX: usize = 512 * 1024;

/// How often a regular expression may go back over one name: those that need not for what they say
/// do so a few times, and what goes on for longer holds up everybody.
pub const FILTER_BACKTRACKS_MAX: usize = 10_000;

/// Most prefixes in one filter.
pub const FILTER_PREFIXES_MAX: usize = 256;

/// After so many events that its filter leaves out, a read over gRPC tells its client how far it
/// has come.
pub const READ_SILENCE_EVENTS_MAX: u64 = 16_384;

/// Size at which the embedded store begins a new segment, in bytes, unless configured.
pub const SEGMENT_BYTES: u64 = 256 * 1024 * 1024;

/// How much memory the index of the segment that is written takes at most, in bytes, unless
/// configured: then the next segment is begun, however short this one is. One append may go beyond.
/// Only events of less than some 300 bytes, nearly each of another stream, come to it.
pub const INDEX_BYTES: usize = 48 * 1024 * 1024;

/// How much room the embedded store finds on the disk at once for what it will write, in bytes;
/// less where a segment is smaller. To write into room that is there makes a sync cheaper.
pub const ALLOCATE_BYTES: u64 = 16 * 1024 * 1024;

/// How much of that room the embedded store fills with zeros together with a small append that
/// comes to where there are none yet, in bytes.
pub const CLEAR_BYTES: usize = 128 * 1024;

/// Largest segment that may be configured, in bytes: offsets in it are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Most appends that wait for the embedded store's writer.
pub const QUEUE_APPENDS_MAX: usize = 4096;

/// Most bytes that wait for the embedded store's writer.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A group of appends that share one sync takes no further append beyond this, in bytes.
pub const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// Events whose ids the embedded store remembers, to recognise retries that expect nothing: the
/// last of the log, also after it was opened again. Each takes 16 bytes of memory, 16 MB for all,
/// and reading all of them takes an opening about 0.1 s, however large the log is.
pub const RECENT_IDS_MAX: usize = 1_000_000;

/// For those ids, opening the embedded store reads no further segment beyond this, in bytes, of
/// those whose index does not have them.
pub const RECENT_BYTES: u64 = 64 * 1024 * 1024;

/// Events that the embedded store keeps in memory for live subscribers.
pub const LIVE_EVENTS_MAX: usize = 8192;

/// Bytes of events that the embedded store keeps in memory for live subscribers.
pub const LIVE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most events that one step of a read takes from the log.
pub const PAGE_EVENTS_MAX: usize = 2048;

/// Most that its first step takes, where it does not wait for the disk.
pub const PAGE_EVENTS_AT_ONCE_MAX: usize = 32;

/// A step of a read takes no further event beyond this, in bytes.
pub const PAGE_BYTES: u64 = 512 * 1024;

/// A filtered subscription that finds no event gets a checkpoint after this many, unless it asks
/// for another interval.
pub const CHECKPOINT_EVENTS: u64 = 1024;

/// Segments that wait for their index to be written, before the embedded store's writer waits too.
pub const UNSEALED_MAX: usize = 1;

/// Streams whose ends the embedded store remembers, and of as many what their metadata hide.
pub const STREAM_CACHE_ENTRIES_MAX: u64 = 100_000;

/// How much of a segment scavenging must give back to write it anew, in percent, unless asked for
/// otherwise.
pub const SCAVENGE_PERCENT: u8 = 10;

/// How fast scavenging reads, in bytes a second, unless asked for otherwise: what is left of the
/// disk is for appends. A log of 100 GB takes about half an hour.
pub const SCAVENGE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;

/// Categories and types of which the embedded store remembers how many events they have.
pub const INDEX_CACHE_ENTRIES_MAX: u64 = 10_000;

/// Personal fields that no key opens, of which a process keeps what is wrong with them.
pub const UNREADABLE_FIELDS_MAX: usize = 1_000;

/// Subjects whose keys the store of keys remembers, ready for use: about 1 KB each.
pub const SUBJECT_CACHE_ENTRIES_MAX: u64 = 50_000;

/// Most groups of persistent subscriptions in one store.
pub const GROUPS_MAX: usize = 1000;

/// Longest name of a group, in bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 512;

/// Most consumers of one group, whatever its settings say.
pub const CONSUMERS_MAX: usize = 1000;

/// Longest name of a consumer, of its user or of where it comes from, in bytes of UTF-8.
pub const CONSUMER_NAME_BYTES_MAX: usize = 1024;

/// Most messages that one consumer may ask to have in flight.
pub const CONSUMER_BUFFER_MAX: u32 = 10_000;

/// Most messages that a setting of a group may let it hold ready.
pub const GROUP_BUFFER_MAX: u32 = 65_536;

/// A group that holds so many bytes of messages, in flight or ready, reads no further one. Each
/// counts for 512 bytes besides its own, so they are 65,536 at most, whatever consumers ask for.
pub const GROUP_BYTES_HELD: usize = 32 * 1024 * 1024;

/// The same for a group that nobody consumes.
pub const GROUP_BYTES_HELD_IDLE: usize = 1024 * 1024;

/// Most ids in one acknowledgement.
pub const ACK_IDS_MAX: usize = 2000;

/// Longest reason of a negative acknowledgement that is kept, in bytes of UTF-8.
pub const NACK_REASON_BYTES_MAX: usize = 4096;

/// Acknowledgements and questions that wait for one group.
pub const GROUP_QUEUE_MAX: usize = 256;

/// Longest filter of a group, in bytes: its regular expression, or all its prefixes.
pub const GROUP_FILTER_BYTES_MAX: usize = 16 * 1024;

/// Most links to parked messages in one append.
pub const PARKED_BATCH_MAX: usize = 512;

/// Latencies that the statistics of one consumer go by.
pub const LATENCIES_MAX: usize = 1000;

/// Most projections in one store, those of the system among them.
pub const PROJECTIONS_MAX: usize = 256;

/// Longest name of a projection, in bytes of UTF-8.
pub const PROJECTION_NAME_BYTES_MAX: usize = 512;

/// Longest script of a projection, in bytes of UTF-8.
pub const SCRIPT_BYTES_MAX: usize = 512 * 1024;

/// How much memory the script of one projection may have, in bytes: enough for a state and an event
/// as large as any; and how deep its calls may go.
pub const SCRIPT_MEMORY_BYTES_MAX: usize = 96 * 1024 * 1024;
/// How much of the stack the script of one projection may have, in bytes.
pub const SCRIPT_STACK_BYTES_MAX: usize = 512 * 1024;

/// How long a script may take to describe itself, in milliseconds of the processor's time.
pub const SCRIPT_COMPILE_MILLIS_MAX: u64 = 500;

/// How long a script may take for one event, in milliseconds of the processor's time.
pub const SCRIPT_STEP_MILLIS_MAX: u64 = 250;

/// How long a script may have a processor in a function that can't be interrupted before it is
/// given up, in milliseconds.
pub const SCRIPT_LOST_MILLIS: u64 = 2_000;

/// How many scripts that were given up may still be at work before no further one is begun.
pub const SCRIPTS_LOST_MAX: usize = 4;

/// Most events that a projection handles before others have their turn.
pub const PROJECTION_BATCH_EVENTS_MAX: usize = 200;

/// A projection takes no further event into a batch beyond this, in bytes.
pub const PROJECTION_BATCH_BYTES: usize = 1024 * 1024;

/// Most events that a script emits for one event.
pub const EMITS_MAX: usize = 512;

/// A projection handles no further event before what it emitted is written, beyond so many bytes.
pub const EMITTED_BYTES: usize = 8 * 1024 * 1024;

/// Most bytes that a script emits for one event.
pub const EMITTED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Largest state of a partition, and largest result, in bytes of JSON: EventStoreDB's, unless that
/// is configured. Where it is kept it must fit an event.
pub const PROJECTION_STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// States of partitions that a projection keeps in memory beyond those that are not written yet.
pub const PARTITIONS_CACHED_MAX: usize = 10_000;
/// The same in bytes.
pub const PARTITIONS_CACHED_BYTES: usize = 16 * 1024 * 1024;

/// States of partitions that are not written yet, of one projection: more are written at once, and
/// a transient projection, which writes nothing, may have no more.
pub const PARTITIONS_UNWRITTEN_MAX: usize = 400;
/// Most partitions of a transient projection, which keeps them in memory.
pub const PARTITIONS_TRANSIENT_MAX: usize = 100_000;

/// Streams that a projection remembers to have emitted to.
pub const EMITTED_STREAMS_KNOWN_MAX: usize = 10_000;

/// Streams, and categories, of which inspecting a folder counts the events.
pub const INSPECTED_NAMES_MAX: usize = 1_000_000;

/// How fast a scrub reads, in bytes a second, unless asked for otherwise: a log of 1 TB takes a day
/// and a half.
pub const SCRUB_BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;

/// Damaged segments that are remembered.
pub const ROT_REMEMBERED_MAX: usize = 100;

/// The largest manifest of a backup that is read, in bytes: that of a log of some 40 TB.
pub const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Longest login name, in bytes of UTF-8.
pub const LOGIN_BYTES_MAX: usize = 256;

/// Longest full name of a user, and name of a group of users, in bytes of UTF-8.
pub const USER_NAME_BYTES_MAX: usize = 1024;

/// Most groups that one user is in.
pub const USER_GROUPS_MAX: usize = 100;

/// Longest password, in bytes of UTF-8: more makes hashing slower, not the password safer.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Passwords that wait for a processor to be looked at; more are refused.
pub const PASSWORDS_WAITING_MAX: usize = 256;

/// Logins that are remembered as proved, some 100 bytes each.
pub const CREDENTIALS_REMEMBERED_MAX: u64 = 10_000;

/// Most users that are listed.
pub const USERS_LISTED_MAX: usize = 10_000;
