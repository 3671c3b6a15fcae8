//! Every limit of the proxy, by name and unit (invariant 9).
use std::time::Duration;

/// Open connections of one sandbox; a further one is reset.
pub const SANDBOX_CONNECTIONS: usize = 512;
/// Open connections of all sandboxes together.
pub const TOTAL_CONNECTIONS: usize = 16_384;
/// Sandboxes with a policy.
pub const SANDBOXES: usize = 4_096;

/// From the accept to a complete ClientHello or a request's head.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// How long a connection may stay silent before it counts as one where the server speaks first.
pub const SERVER_FIRST_WAIT: Duration = Duration::from_millis(300);
/// One ClientHello, all records and fragments together, in bytes.
pub const CLIENT_HELLO_BYTES: usize = 32 * 1024;
/// To one upstream address.
pub const DIAL_WAIT: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
pub const DIAL_ADDRESSES: usize = 4;
/// A relayed connection without a byte in either direction.
pub const RELAY_IDLE: Duration = Duration::from_secs(3_600);
/// An HTTP connection without a request under way.
pub const HTTP_IDLE: Duration = Duration::from_secs(120);
/// From the request to the head of the response: models think for minutes.
pub const RESPONSE_HEAD_WAIT: Duration = Duration::from_secs(900);
/// How long the answer to `policy` waits for the connections that it cut.
pub const CUT_WAIT: Duration = Duration::from_secs(1);

/// One copy of a relay, in bytes.
pub const RELAY_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of one direction after which the relay goes over to splice, which takes two descriptors more.
pub const SPLICE_AFTER_BYTES: u64 = 256 * 1024;
/// The pipe between two spliced sockets, in bytes.
pub const SPLICE_PIPE_BYTES: i32 = 256 * 1024;

/// A request's or response's head, in bytes.
pub const HEAD_BYTES: usize = 64 * 1024;
/// Fields of a head.
pub const HEAD_FIELDS: usize = 128;
/// Streams that a client may have open in one HTTP/2 connection.
pub const HTTP2_STREAMS: u32 = 128;
/// Requests of one sandbox under way in one connection; more are refused.
pub const REQUESTS_UNDER_WAY: usize = 256;
/// A JSON or form body up to this size is rewritten as a whole and keeps a content-length; a longer one streams.
pub const BODY_REWRITE_BYTES: usize = 1024 * 1024;
/// A body that a `respond` rule holds, in bytes.
pub const RESPOND_BODY_BYTES: usize = 64 * 1024;
/// Idle upstream connections kept for one sandbox.
pub const IDLE_UPSTREAMS: usize = 32;
/// How long one of them is kept.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(30);
/// TLS sessions remembered for one sandbox's upstreams.
pub const UPSTREAM_TLS_SESSIONS: usize = 64;
/// Minted leaf certificates kept.
pub const LEAVES: usize = 1_024;
/// How long a minted leaf is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(7 * 86_400);

/// A DNS query, in bytes; a query carries a name of 255 bytes at most, and padding.
pub const DNS_QUERY_BYTES: usize = 1_232;
/// An upstream's answer, in bytes.
pub const DNS_ANSWER_BYTES: usize = 16 * 1024;
/// Addresses of one answer.
pub const DNS_ADDRESSES: usize = 16;
/// Queries of one sandbox per second, and in one burst.
pub const DNS_QUERIES_PER_SECOND: f64 = 50.0;
pub const DNS_QUERY_BURST: f64 = 200.0;
/// Different names that one sandbox may ask for in a window: what a tunnel needs many of.
pub const DNS_NAMES_PER_WINDOW: usize = 300;
pub const DNS_NAMES_WINDOW: Duration = Duration::from_secs(60);
/// What may stand before a wildcard's suffix, in bytes: a tunnel's payload.
pub const DNS_WILDCARD_BYTES: usize = 100;
/// Queries under way of all sandboxes, and of one.
pub const DNS_UNDER_WAY: usize = 4_096;
pub const SANDBOX_DNS_UNDER_WAY: usize = 64;
/// DNS connections over TCP of all sandboxes, of one, and queries in one connection.
pub const DNS_STREAMS: usize = 1_024;
pub const SANDBOX_DNS_STREAMS: usize = 8;
pub const DNS_STREAM_QUERIES: usize = 64;
pub const DNS_STREAM_IDLE: Duration = Duration::from_secs(10);
/// One question to one upstream resolver, and how often each one is asked.
pub const DNS_UPSTREAM_WAIT: Duration = Duration::from_secs(2);
pub const DNS_UPSTREAM_TRIES: usize = 2;
/// The TTL that a sandbox sees. The pin outlives it: clients keep answers for longer than they are told.
pub const DNS_TTL_SECONDS: (u32, u32) = (5, 300);
pub const PIN_LIFE: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(3_600));
/// Names pinned for one sandbox; the oldest goes.
pub const PINS: usize = 1_024;

/// Rules of one policy.
pub const RULES: usize = 1_024;
/// An id, a path pattern, a method, a header's name or value in a rule, in bytes.
pub const RULE_TEXT_BYTES: usize = 2_048;
/// Entries of one list in a rule.
pub const RULE_LIST: usize = 64;
/// Entries of the host floor.
pub const FLOOR_ENTRIES: usize = 4_096;

/// Secrets of one sandbox.
pub const SECRETS: usize = 64;
/// A secret's value, in bytes. A shorter one would be masked everywhere.
pub const SECRET_BYTES: (usize, usize) = (8, 16 * 1024);
/// A placeholder, in bytes.
pub const PLACEHOLDER_BYTES: (usize, usize) = (24, 256);

/// Events kept; the oldest goes, and a reader that missed some is told.
pub const EVENTS: usize = 16_384;
/// Events of one source per second, and in one burst; how many were dropped beyond stands in the next one.
pub const EVENTS_PER_SECOND: f64 = 200.0;
pub const EVENT_BURST: f64 = 2_000.0;
/// Events of one answer.
pub const EVENT_BATCH: usize = 1_000;
/// A text of the sandbox in an event, in bytes.
pub const EVENT_TEXT_BYTES: usize = 512;
/// A line of the control socket, in bytes.
pub const CONTROL_LINE_BYTES: usize = 4 * 1024 * 1024;
/// Connections of the control socket.
pub const CONTROL_CONNECTIONS: usize = 16;
/// Descriptors in one control message.
pub const CONTROL_DESCRIPTORS: usize = 8;
/// Open files of the process.
pub const OPEN_FILES: u64 = 131_072;
