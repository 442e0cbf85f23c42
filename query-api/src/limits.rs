//! Every bound of this crate, each with its unit in its name.

use std::time::Duration;

/// The largest body of a query, in bytes, and the largest message on a socket.
pub const BODY_BYTES_MAX: usize = 128 * 1024;

/// The largest frame that is read from a socket, in bytes: of one that is larger only the head is.
/// Both it and one between this and the largest message are refused with the same reason.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;

/// The longest document, in bytes; `getIntrospectionQuery()` has about 2,000.
pub const QUERY_BYTES_MAX: usize = 32 * 1024;

/// How deep brackets may nest, so that a parser that recurses keeps its stack.
pub const BRACKETS_MAX: usize = 64;

/// How deep fields may nest.
pub const DEPTH_MAX: usize = 12;

/// How deep fields may nest below `__schema`: as deep as graphql-js asks, and no deeper.
pub const INTROSPECTION_DEPTH_MAX: usize = 15;

/// How many selections a document may have once its fragments are put in.
pub const SELECTIONS_MAX: usize = 1_000;

/// How many fields an operation may have at its root.
pub const ROOT_FIELDS_MAX: usize = 20;

/// How many fields may have another name.
pub const ALIASES_MAX: usize = 50;

/// How many directives a document may have.
pub const DIRECTIVES_MAX: usize = 50;

/// How many fragments may lie in each other.
pub const FRAGMENTS_MAX: usize = 20;

/// What a document may cost: one a field, times the rows that are asked for.
pub const COMPLEXITY_MAX: usize = 5_000;

/// What the document of a subscription may cost: it is paid anew with each delivery.
pub const SUBSCRIPTION_COMPLEXITY_MAX: usize = 500;

/// How many errors are told of one request.
pub const ERRORS_MAX: usize = 20;

/// How far into the hits of a search one may page.
pub const SEARCH_HITS_MAX: u32 = 1_000;

/// How long a query waits for models to have what its caller has seen.
pub const FRESHNESS_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a query waits for models whose log nobody has looked at yet, as right after a start.
pub const LOOK_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a query may take altogether.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(15);

/// How long it may take to make what one delivery of a subscription tells.
pub const DELIVERY_TIME_MAX: Duration = Duration::from_secs(10);

/// How many sockets one process keeps open.
pub const SOCKETS_MAX: usize = 20_000;

/// How many of them one account may have: its devices, and their pages.
pub const ACCOUNT_SOCKETS_MAX: usize = 50;

/// How many subscriptions and queries run on one socket at once.
pub const SUBSCRIPTIONS_MAX: usize = 50;

/// How long an id of a subscription may be, in bytes.
pub const SUBSCRIPTION_ID_BYTES_MAX: usize = 128;

/// How long a new socket may take to say who it is.
pub const INIT_TIME_MAX: Duration = Duration::from_secs(10);

/// How often a socket is pinged; one that is silent for two of these is closed.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long one message may take to be written to a socket.
pub const SEND_TIME_MAX: Duration = Duration::from_secs(20);

/// How long a client may take to take leave once it was told why its socket is closed.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// How many events wait for a subscriber in memory; who is further behind is served by the model.
pub const EVENTS_WAITING_MAX: usize = 64;

/// How many channels and orders are followed at once in one process; each has a queue.
pub const TOPICS_MAX: usize = 50_000;

/// How many messages are read from the model at once for who has fallen behind.
pub const CATCH_UP_ROWS: u32 = 100;

/// How long the store may take to say where its log ends, when subscriptions begin.
pub const HUB_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a stream of sound may go on after the process was told to stop.
pub const STREAM_DRAIN_TIME: Duration = Duration::from_secs(5);
