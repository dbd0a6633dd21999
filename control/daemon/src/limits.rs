//! Every limit of the control process, by name.

use std::time::Duration;

/// Longest session description accepted, in bytes.
pub const OFFER_BYTES_MAX: usize = 64 * 1024;
/// Most m-sections in one offer.
pub const SECTIONS_MAX: usize = 16;
/// Longest identification of an m-section (`a=mid`), in bytes.
pub const MID_BYTES_MAX: usize = 32;
/// Fingerprints that one peer may announce for its certificate.
pub const FINGERPRINTS_MAX: usize = 4;
/// Longest `a=fmtp` value that an answer repeats, in bytes.
pub const FMTP_BYTES_MAX: usize = 512;
/// Lines of one trickled fragment.
pub const FRAGMENT_LINES_MAX: usize = 256;
/// Subscribing resources one user may have in one room.
pub const SUBSCRIPTIONS_PER_MEMBER: usize = 4;

/// How long a join waits for the shard's answer.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a kick waits until the shard says that the session is closed.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a shard may take to tell of a session.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Sessions of one member that a question about two members looks at.
pub const LOOK_SESSIONS_MAX: usize = 32;
/// Sessions of a list of streams that are asked at a time.
pub const LOOKS_AT_ONCE: usize = 16;
/// Streams of one answer: no more sessions are asked once there are so many.
pub const STREAMS_ANSWER_MAX: usize = 1500;
/// Records of one packet trace: its packets and their copies.
pub const TRACE_RECORDS_MAX: usize = 20_000;
/// Names in the clear of one answer.
pub const REVEALED_MAX: usize = 2000;
/// How long an answer waits for a captured packet.
pub const CAPTURE_WAIT: Duration = Duration::from_millis(500);
/// A capture that nobody reads for so long is ended and forgotten.
pub const CAPTURE_READER_GONE: Duration = Duration::from_secs(10);
/// Captured headers of one answer.
pub const CAPTURE_RECORDS_PER_ANSWER: usize = 1000;
/// Notes of what happened to whom; the oldest is forgotten.
pub const TRAIL_MAX: usize = 4096;
/// Notes of one answer: the last ones.
pub const TRAIL_ANSWER_MAX: usize = 1000;
/// So many of the last notes are looked at for one that says the same.
pub const TRAIL_REPEATS: usize = 64;
/// How long media is watched to say what flows: sound that pauses sends a packet every 400 ms.
pub const WHY_INTERVAL: Duration = Duration::from_secs(1);

/// How long an HTTP request may take in all.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send its request head, and until its first request on a connection.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Open connections of one listener.
pub const CONNECTIONS_MAX: usize = 4096;
/// Those of one source: an IPv4 address, or a /64 network of IPv6. Generous, since a thousand viewers of
/// one site share an address and each holds a connection for its events; yet three quarters stay free
/// whatever one source does. Proxies on this host can use a Unix socket, which has no source.
pub const CONNECTIONS_PER_SOURCE: usize = CONNECTIONS_MAX / 4;
/// How long a connection may be without a request; event streams are requests for as long as they last.
/// An answer of known length is to be taken within this time.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(30);
/// How often an HTTP/2 client is asked whether it is there.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to say so.
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 requests at a time on one connection.
pub const REQUESTS_PER_CONNECTION: u32 = 64;
/// How long connections may finish after SIGTERM.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Commands that wait for a place in one shard's ring.
pub const OUTBOX_MAX: usize = 8192;
/// Commands one request may put there: closing what it replaces, opening, relaying.
pub const OUTBOX_RESERVE: usize = 512;
/// Datagrams that wait for a place in one shard's inject ring; more are dropped, and DTLS sends again.
pub const INJECTS_MAX: usize = 1024;
/// Events, and datagrams, taken from one ring before the others get their turn.
pub const EVENTS_PER_TURN: usize = 256;
/// Longest time without looking at the rings, should a wake-up be lost.
pub const RING_POLL: Duration = Duration::from_millis(100);
/// How soon a full ring is tried again.
pub const RING_RETRY: Duration = Duration::from_millis(1);
/// Longest wait for one message of the link's handshake.
pub const HANDSHAKE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach the data plane.
pub const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long the answer to `Resync` may take.
pub const RESYNC_TIMEOUT: Duration = Duration::from_secs(5);

/// Sources whose rate of joins is watched at a time; more share one budget.
pub const SOURCES_MAX: usize = 65_536;
/// How often forgotten sources are swept out.
pub const SOURCE_SWEEP: Duration = Duration::from_secs(30);

/// Longest line on the admin socket, in bytes.
pub const ADMIN_LINE_BYTES_MAX: usize = 4096;
/// Open connections to the admin socket.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Idle time after which an admin connection is closed.
pub const ADMIN_IDLE: Duration = Duration::from_secs(300);

/// Lines of one peer-triggerable kind that are logged per second.
pub const LOG_LINES_PER_S: u32 = 5;

/// Largest DTLS datagram we send, in bytes: whole over every path that carries IPv6.
pub const DTLS_MTU: u16 = 1200;
/// Unfinished DTLS handshakes at a time. Beyond, the oldest of the app that has most gives way.
pub const DTLS_HALF_OPEN_MAX: usize = 512;
/// Those of one app. Beyond, its oldest gives way.
pub const DTLS_HALF_OPEN_PER_APP: usize = 256;
/// A younger handshake does not give way: the new one is refused, and its ClientHello comes again.
pub const DTLS_HALF_OPEN_GRACE: Duration = Duration::from_secs(1);
/// How long a DTLS handshake may take from its ClientHello.
pub const DTLS_DEADLINE: Duration = Duration::from_secs(10);
/// Datagrams looked at for one DTLS handshake; further ones are dropped.
pub const DTLS_DATAGRAMS_MAX: u32 = 256;
/// DTLS handshakes of one session that may fail before it meets silence, until its ICE restarts.
pub const DTLS_FAILURES_MAX: u32 = 5;
/// How often repetitions and deadlines are looked for while there are unfinished handshakes.
pub const DTLS_TICK: Duration = Duration::from_millis(50);
/// DTLS datagrams on their way from the link to the handshakes' thread.
pub const DTLS_PUNTS_MAX: usize = 1024;
/// DTLS datagrams of one session that wait for their turn.
pub const DTLS_QUEUE_MAX: usize = 16;
/// DTLS datagrams of all sessions that wait for their turn.
pub const DTLS_QUEUES_MAX: usize = 4096;
/// A certificate for DTLS is used for joins of so long.
pub const IDENTITY_ROTATES: Duration = Duration::from_secs(7 * 24 * 3600);
/// A certificate for DTLS is valid for so long.
pub const IDENTITY_VALID: Duration = Duration::from_secs(30 * 24 * 3600);

const _: () = assert!(DTLS_HALF_OPEN_PER_APP < DTLS_HALF_OPEN_MAX);
const _: () =
    assert!(DTLS_DEADLINE.as_secs() < IDENTITY_VALID.as_secs() - IDENTITY_ROTATES.as_secs());

/// Event streams of one resource.
pub const EVENT_STREAMS_PER_RESOURCE: usize = 2;
/// Event streams of the node; each holds a connection.
pub const EVENT_STREAMS_MAX: usize = CONNECTIONS_MAX / 2;
/// Changes that wait for one listener; a slower one is told everything anew.
pub const EVENT_QUEUE_MAX: usize = 64;
/// How often a silent event stream shows that it lives.
pub const EVENT_KEEPALIVE: Duration = Duration::from_secs(15);

/// How long the redirect hook may take before a join is served here.
pub const HOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// Longest answer of the redirect hook, in bytes.
pub const HOOK_ANSWER_BYTES_MAX: usize = 4096;
/// Longest location of another node, in bytes.
pub const LOCATION_BYTES_MAX: usize = 2048;

/// Security events that are kept for consoles.
pub const SECURITY_RECORDS_MAX: usize = 1024;
/// Incidents that are kept; of more the oldest closed ones are forgotten.
pub const INCIDENTS_MAX: usize = 512;
/// Subjects of one kind that have incidents of their own at a time; further ones share one.
pub const INCIDENT_SUBJECTS_MAX: usize = 64;
/// How often the counts of incidents are written; a crash forgets so much of them.
pub const INCIDENT_COUNTS_INTERVAL: Duration = Duration::from_secs(10);
/// Notes of one incident.
pub const INCIDENT_REMARKS_MAX: usize = 50;
/// Longest note, in characters.
pub const INCIDENT_REMARK_CHARS_MAX: usize = 500;
/// The file of incidents is written anew, with what is kept, once it is longer than this, in bytes, and
/// twice as long as when that was done last.
pub const INCIDENT_FILE_BYTES_MAX: u64 = 1 << 20;
/// Unwanted packets of one class per second that make a flood.
pub const FLOOD_PACKETS_PER_S: f64 = 1000.0;
/// Requests refused for their rate per second that make a flood.
pub const FLOOD_REQUESTS_PER_S: f64 = 100.0;
/// Seconds below half of that after which a flood has ended.
pub const FLOOD_ENDS_AFTER: u32 = 5;
/// Packets with a wrong tag per second that are a security event: above what loss of keys may bring.
pub const FORGED_PACKETS_PER_S: f64 = 50.0;
/// Replayed packets per second that are a security event: above what networks duplicate.
pub const REPLAYED_PACKETS_PER_S: f64 = 50.0;
/// A worker without a heartbeat for longer stands still, in nanoseconds.
pub const ALARM_HEARTBEAT_NS: u64 = 1_000_000_000;
/// A smaller part of a worker's buffers that is free is too small.
pub const ALARM_BUFFERS_FREE: f64 = 0.1;
/// A larger part of the packets received that is dropped is too large.
pub const ALARM_DROP_RATIO: f64 = 0.001;
/// More of what a node can carry is too much.
pub const ALARM_STRESS: f64 = 0.8;
/// Seconds before its end at which a certificate should be replaced.
pub const ALARM_CERTIFICATE_S: u64 = 14 * 24 * 3600;
/// Looks in a row without a fault after which an alarm has ended.
pub const ALARM_CALM_LOOKS: u32 = 5;
/// A change of the wall clock that counts as one, in nanoseconds.
pub const CLOCK_STEP_MIN_NS: i128 = 500_000_000;

/// Security events that wait for the webhook; more are dropped.
pub const NOTIFY_QUEUE_MAX: usize = 256;
/// How long the webhook may take for one request.
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between attempts to reach the webhook.
pub const NOTIFY_PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
