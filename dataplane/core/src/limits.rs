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
/// A session whose handshake is not finished after so long ends: its control plane may have died in the
/// middle of it, and knows nothing of it any more.
pub const HANDSHAKE_TIME: Duration = Duration::from_s(60);
/// Keys that a token may be minted under: those of the control plane's last lives.
pub const UFRAG_KEYS: usize = 4;
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

/// Missing packets of one stream that are asked for; a larger gap is left to a keyframe.
pub const NACK_STREAM_MAX: usize = 128;
/// Packets of a stream that a subscriber may miss in a row, by a right or a path that it had not, before what
/// follows is a new segment.
pub const EGRESS_LEAP_MAX: u64 = 1 << 14;
/// Missing packets of all streams of a shard.
pub const NACK_POOL: usize = 16_384;
/// A packet overtaken by so many others is lost, not late.
pub const NACK_REORDER_PACKETS: u64 = 3;
/// So is one that stays away so long.
pub const NACK_REORDER_TIME: Duration = Duration::from_ms(10);
/// Requests for one packet.
pub const NACK_TRIES_MAX: u8 = 8;
/// A packet that is missing so long is given up: no decoder waits for it.
pub const NACK_AGE_MAX: Duration = Duration::from_s(1);
/// The round trip to a publisher before the first was measured.
pub const NACK_RTT_START: Duration = Duration::from_ms(100);
/// Shortest and longest round trip that requests are paced by.
pub const NACK_RTT: (Duration, Duration) = (Duration::from_ms(20), Duration::from_ms(400));

/// Sessions of a shard that may have transport-wide feedback at the same time.
pub const TRANSPORT_CC_SESSIONS_MAX: usize = 4096;
/// Transport-wide sequence numbers that a session's ring holds: 10,000 packets per second, twice over.
pub const TRANSPORT_CC_STATUSES: usize = 1 << 10;
/// Numbers that one feedback packet reports on: at two bytes and two bits each they fit in 1,200 bytes.
pub const TRANSPORT_CC_REPORT_MAX: usize = 400;
/// Between two rounds of transport-wide feedback, while packets arrive.
pub const TRANSPORT_CC_INTERVAL: Duration = Duration::from_ms(50);

/// Packets of one block of the history.
pub const HISTORY_BLOCK: usize = 32;
/// Bytes of one packet in it, header extensions included.
pub const HISTORY_SLOT: usize = 1280;
/// Blocks of one stream: as many packets as the replay window is wide.
pub const HISTORY_STREAM_BLOCKS: usize = 32;
const _: () = assert!(HISTORY_BLOCK * HISTORY_STREAM_BLOCKS == srtp::REPLAY_WIDTH);
/// Blocks of ended streams that one housekeeping turn wipes.
pub const HISTORY_WIPES: usize = 8;

/// Bytes that a session may have sent again per second, at least.
pub const REPAIR_BURST: u64 = 64_000;
/// One part in so many of what a session is sent may be sent again.
pub const REPAIR_SHARE: u64 = 4;
/// Packets sent again that a shard remembers, so as not to repeat them within a round trip.
pub const REPAIR_RECENT: usize = 4096;
/// Between two repairs of one packet for one slot: half a round trip, within these bounds.
pub const REPAIR_PAUSE: (Duration, Duration) = (Duration::from_ms(20), Duration::from_ms(200));
/// Lost numbers that a session may report at once, and per second; what is above is not looked at.
pub const SESSION_NACKS: (u32, u32) = (1024, 2048);
/// Keyframes that a session may ask for at once, and per second.
pub const SESSION_PLIS: (u32, u32) = (16, 8);

/// Bitrate that a publisher is granted while nothing is known against it, in bits per second.
pub const REMB_START: u64 = 1_000_000;
/// Least and most that it is told, in bits per second.
pub const REMB_FLOOR: u64 = 100_000;
/// See [`REMB_FLOOR`].
pub const REMB_CEILING: u64 = 20_000_000;
/// Below so many per cent of loss a publisher may grow; above the second it must shrink.
pub const REMB_LOSS_LOW: u64 = 2;
/// See [`REMB_LOSS_LOW`].
pub const REMB_LOSS_HIGH: u64 = 10;
