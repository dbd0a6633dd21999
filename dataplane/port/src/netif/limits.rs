//! Every bound of the stack, with its reason.

use roomlane_core::Duration;

/// Neighbours known or asked for at one time. Only next hops of our own traffic get in.
pub const NEIGHBOURS_MAX: usize = 1024;
/// Places where a neighbour may stand, so that a lookup has a bound.
pub const NEIGHBOUR_PROBES_MAX: usize = 8;
/// A neighbour that answered is asked again when it is used after this time, and is still used
/// meanwhile.
pub const NEIGHBOUR_REFRESH: Duration = Duration::from_s(30);
/// A neighbour that has not answered for this time is unknown again.
pub const NEIGHBOUR_EXPIRY: Duration = Duration::from_s(90);
/// Pause between two questions for one neighbour (RFC 1122 section 2.3.2.1 recommends one second).
pub const ASK_PAUSE: Duration = Duration::from_s(1);
/// An answer counts only this long after its question.
pub const ANSWER_WINDOW: Duration = Duration::from_s(3);
/// How often the gateways are looked after without traffic.
pub const GATEWAY_PAUSE: Duration = Duration::from_ms(250);

/// Questions sent per second, over all neighbours.
pub const ASKS_PER_S: u64 = 100;
/// Questions sent at once.
pub const ASKS_BURST: u64 = 32;
/// ARP and NDP requests answered per second.
pub const ANSWERS_PER_S: u64 = 1_000;
/// ARP and NDP requests answered at once.
pub const ANSWERS_BURST: u64 = 64;
/// Pings answered per second.
pub const PINGS_PER_S: u64 = 100;
/// Pings answered at once.
pub const PINGS_BURST: u64 = 32;

const _: () = assert!(NEIGHBOURS_MAX.is_power_of_two() && NEIGHBOUR_PROBES_MAX < NEIGHBOURS_MAX);
const _: () = assert!(NEIGHBOUR_REFRESH.0 < NEIGHBOUR_EXPIRY.0);
const _: () = assert!(ASK_PAUSE.0 < ANSWER_WINDOW.0 && ANSWER_WINDOW.0 < NEIGHBOUR_REFRESH.0);
