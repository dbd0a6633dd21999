//! Every bound of a shard, in one place, with the relations between them.

use crate::Duration;

/// Streams of one resource, of one session: see `proto::command`.
pub use proto::command::{PUBLICATIONS_MAX, SLOTS_MAX};

/// Apps a shard serves.
pub const APPS_MAX: usize = 1024;
/// Slots (receive sections) per session that memory is set aside for, on average.
pub const SLOTS_PER_SESSION: usize = 4;
/// Publications per session that memory is set aside for, on average; remote ones included.
pub const PUBLICATIONS_PER_SESSION: usize = 2;
/// SSRCs one session may send with.
pub use proto::region::ledger::INGRESS_MAX;
/// SSRCs per session that memory is set aside for, on average: a browser sends sound, three layers of a
/// picture and their repair streams with seven, a viewer with none.
pub const INGRESS_PER_SESSION: usize = 4;
/// Events that wait for the control plane; more are counted as lost.
pub const EVENTS_MAX: usize = 4096;
/// Subscriptions sealed in one call to the provider.
pub const SEAL_BATCH: usize = 32;
/// Header-extension bytes that are carried from a publisher to its subscribers.
pub const EXTENSION_BYTES_MAX: usize = 256;
/// Header-extension elements that are carried.
pub const EXTENSION_ELEMENTS_MAX: usize = 8;
/// Publications that wait for the throttle to let their picture-loss indication out.
pub const PLI_PENDING_MAX: usize = 256;
/// Buckets of the budget for unknown sources; sources share a bucket by a keyed hash.
pub const SOURCE_BUCKETS: usize = 4096;

/// Egress indices claimed in the ledger at a time.
pub const CLAIM: u64 = 4096;
const _: () = assert!(CLAIM < 1 << 15, "after a restart receivers must still guess the ROC");

/// Authentication attempts an unknown source may cause at once, and per second.
pub const SOURCE_ATTEMPTS: (u32, u32) = (32, 16);
/// Failed authentications a session may have at once, and per second.
pub const SESSION_FAILURES: (u32, u32) = (256, 128);
/// How far ahead of the last authentic index a packet may be while its session is over that budget.
pub const FAILURE_AHEAD: u64 = 512;

/// Validated paths of one session (RFC 8445 5); the one that was silent longest makes way.
pub const PATHS_MAX: usize = 4;
/// ICE generations of one session: the present one and the coming one (RFC 8445 9).
pub const ICE_GENERATIONS_MAX: usize = 2;
/// The last connectivity checks of one session, remembered so that none of them, sent again by somebody
/// else, adds a path.
pub const CHECKS_REMEMBERED: usize = 32;
/// Authenticated connectivity checks answered for a session at once, and per second.
pub const CHECK_ANSWERS: (u32, u32) = (64, 40);
/// Connectivity checks with a wrong MESSAGE-INTEGRITY that validated paths of a session may cause at
/// once, and per second.
pub const CHECK_FAILURES: (u32, u32) = (64, 32);
/// A path without an authentic packet for so long is no longer sent to (RFC 7675 5.1).
pub const CONSENT: Duration = Duration::from_s(30);
/// DTLS datagrams of a session handed to the control plane at once, and per second.
pub const PUNTS: (u32, u32) = (32, 64);

/// A path must be silent so long before another one replaces it.
pub const PATH_SILENCE: Duration = Duration::from_s(2);
/// A session whose grant ended closes so long after.
pub const GRANT_GRACE: Duration = Duration::from_s(30);
/// A closed session is remembered so long, so that its late packets are counted as `revoked`.
pub const TOMBSTONE: Duration = Duration::from_s(30);
/// An empty room is kept so long at least: its first session is opened by a command of its own.
pub const ROOM_LINGER_MIN: Duration = Duration::from_s(1);
/// Between two picture-loss indications to one publisher.
pub const PLI_INTERVAL: Duration = Duration::from_ms(500);
/// A subscriber waits so long for a keyframe; then it gets the next picture, whatever it is.
pub const KEYFRAME_WAIT: Duration = Duration::from_s(2);
/// A simulcast layer that was silent for longer is interrupted.
pub const LAYER_GAP: Duration = Duration::from_ms(500);
/// A layer must have flowed without an interruption so long before anybody is switched up to it; also the
/// window in which its rate is measured.
pub const LAYER_STEADY: Duration = Duration::from_s(1);
/// A layer that was silent so long is given up for any other.
pub const LAYER_GONE: Duration = Duration::from_s(2);
/// A layer is higher than another one if its rate is more than so many percent of the other's.
pub const LAYER_BETTER_PERCENT: u64 = 125;
/// Between two visits of the housekeeping to one session: the interval of RTCP reports.
pub const VISIT_INTERVAL: Duration = Duration::from_s(1);
/// Between two turns of the housekeeping; each visits its share of the sessions.
pub const TICK: Duration = Duration::from_ms(10);
/// Housekeeping turns per visit.
pub const TICKS_PER_VISIT: u32 = (VISIT_INTERVAL.0 / TICK.0) as u32;
const _: () = assert!(TICKS_PER_VISIT as u64 * TICK.0 == VISIT_INTERVAL.0);

/// Every how many bursts the cycles of a stage are sampled.
pub const SAMPLE_EVERY: u64 = 64;
