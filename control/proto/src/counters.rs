//! What a shard and its worker count: fixed blocks of words that the stats region carries.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::DropReason;

/// The stages of a shard's packet path, in their order.
pub const STAGES: [&str; 9] =
    ["classify", "lookup", "ice", "admit", "open", "inspect", "feedback", "route", "seal"];

/// What a datagram is by its first bytes (RFC 7983 section 7, RFC 5761 section 4), in their order.
pub const CLASSES: [&str; 5] = ["stun", "dtls", "srtp", "srtcp", "other"];

/// Upper bounds of the histogram of bursts, in datagrams.
pub const BURST_BOUNDS: [u64; 6] = [1, 2, 4, 8, 16, 32];

/// Buckets of the forwarding-latency histogram: bucket `i` counts turns that took less than `2^i`
/// microseconds (and not less than half of it); the last takes the rest.
pub const LATENCY_BUCKETS: usize = 24;

/// Buckets of the histogram of turns' CPU time: see [`turn_cpu_bucket`].
pub const TURN_CPU_BUCKETS: usize = 208;
/// Parts of an octave of it, and of its first microsecond: two neighbours differ by a sixteenth.
const TURN_CPU_PARTS: u64 = 16;
/// Below so many nanoseconds buckets are of one size.
const TURN_CPU_LINEAR_NS: u64 = 1024;

/// The bucket of a turn that took `span_ns` of its thread's CPU time. The last takes the rest, from
/// 4.2 ms on.
pub const fn turn_cpu_bucket(span_ns: u64) -> usize {
    if span_ns < TURN_CPU_LINEAR_NS {
        return (span_ns * TURN_CPU_PARTS / TURN_CPU_LINEAR_NS) as usize;
    }
    let octave = span_ns.ilog2() - TURN_CPU_LINEAR_NS.ilog2();
    // The bits behind the leading one.
    let part = (span_ns >> (span_ns.ilog2() - TURN_CPU_PARTS.ilog2())) % TURN_CPU_PARTS;
    let bucket = (1 + octave as u64) * TURN_CPU_PARTS + part;
    if bucket < TURN_CPU_BUCKETS as u64 { bucket as usize } else { TURN_CPU_BUCKETS - 1 }
}

/// Turns of that bucket took less than so many nanoseconds.
pub const fn turn_cpu_bound_ns(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    let (octaves, part) = (next / TURN_CPU_PARTS, next % TURN_CPU_PARTS);
    if octaves == 0 {
        return part * TURN_CPU_LINEAR_NS / TURN_CPU_PARTS;
    }
    ((TURN_CPU_PARTS + part) * (TURN_CPU_LINEAR_NS / TURN_CPU_PARTS)) << (octaves - 1)
}

/// Calls, packets and sampled cycles of one stage (as VPP's `show runtime`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct StageCounters {
    /// Bursts that reached the stage.
    pub calls: u64,
    /// Packets in them.
    pub packets: u64,
    /// Cycles of the sampled calls.
    pub sampled_cycles: u64,
    /// Packets of the sampled calls.
    pub sampled_packets: u64,
}

/// Everything one shard counts. Plain integers; readers get copies.
///
/// The books: `rx_packets = forwarded + done + dropped() + punted + steered`, which are as many as `classes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ShardCounters {
    /// Datagrams given to the shard.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Opened packets that went to at least one subscriber or shard.
    pub forwarded: u64,
    /// Authentic packets that ended here: RTCP, connectivity checks, or media nobody subscribes to.
    pub done: u64,
    /// Handed to the control daemon.
    pub punted: u64,
    /// Given unopened to another shard.
    pub steered: u64,
    /// Sealed RTP packets given to the port.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Authentic RTCP packets received.
    pub rtcp_rx: u64,
    /// RTCP packets sent.
    pub rtcp_tx: u64,
    /// Picture-loss requests received from subscribers.
    pub pli_rx: u64,
    /// Picture-loss requests sent to publishers, after merging and throttling.
    pub pli_tx: u64,
    /// Authenticated connectivity checks answered (RFC 8445 7.3).
    pub stun_answered: u64,
    /// Datagrams sent on behalf of the control plane.
    pub injected: u64,
    /// Sequence numbers that subscribers reported lost.
    pub nack_rx: u64,
    /// Sequence numbers that publishers were asked for again.
    pub nack_tx: u64,
    /// Retransmissions received from publishers and unwrapped.
    pub rtx_rx: u64,
    /// Retransmissions sent to subscribers.
    pub rtx_tx: u64,
    /// Lost packets that the history no longer had, or the budget did not allow.
    pub rtx_missed: u64,
    /// Transport-wide feedback packets sent to publishers.
    pub transport_cc_tx: u64,
    /// Opened copies given to other shards.
    pub relay_tx: u64,
    /// Opened copies taken from other shards.
    pub relay_rx: u64,
    /// Events that did not fit in the event queue.
    pub events_lost: u64,
    /// Commands carried out.
    pub commands: u64,
    /// Commands refused.
    pub commands_refused: u64,
    /// Rooms open now.
    pub rooms: u64,
    /// Sessions open now.
    pub sessions: u64,
    /// Publications open now.
    pub publications: u64,
    /// Subscriptions (slots in use) now.
    pub subscriptions: u64,
    /// Calls, packets and cycles by stage.
    pub stages: [StageCounters; STAGES.len()],
    /// Received packets dropped, by reason.
    pub drops: [u64; DropReason::COUNT],
    /// Copies for a subscriber not sent, by reason.
    pub egress_drops: [u64; DropReason::COUNT],
    /// The received packets by class, see [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Those dropped as `auth_failed` that were connectivity checks.
    pub stun_auth_failed: u64,
    /// Sealed packets that another library opened, to watch the cipher kernel.
    pub seal_checks: u64,
    /// Those of them that it did not open: the kernel is not used any more from the first one on.
    pub seal_faults: u64,
}

impl Default for ShardCounters {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

impl ShardCounters {
    /// Received packets dropped, all reasons.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Whether every received packet is accounted for.
    pub fn balances(&self) -> bool {
        let ends = self.forwarded + self.done + self.dropped() + self.punted + self.steered;
        self.rx_packets == ends && self.rx_packets == self.classes.iter().sum()
    }
}

/// What the loop around a shard counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WorkerCounters {
    /// The core it is pinned to, read back from the kernel; `u64::MAX` when not pinned.
    pub core: u64,
    /// The worker that does this worker's I/O (its own index when it has a queue).
    pub io_worker: u64,
    /// Nanoseconds of the monotonic clock at the last publication.
    pub heartbeat_ns: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns without any work.
    pub idle_turns: u64,
    /// Nanoseconds spent in turns with work.
    pub busy_ns: u64,
    /// Nanoseconds spent asleep.
    pub asleep_ns: u64,
    /// Shards replaced after a panic.
    pub restarts: u64,
    /// Buffers out of the pool.
    pub bufs_in_use: u64,
    /// Buffers the pool has.
    pub bufs_total: u64,
    /// Datagrams from the port.
    pub port_rx_packets: u64,
    /// Their payload bytes.
    pub port_rx_bytes: u64,
    /// Datagrams to the port.
    pub port_tx_packets: u64,
    /// Their payload bytes.
    pub port_tx_bytes: u64,
    /// ARP, NDP and ping answers.
    pub port_answered: u64,
    /// Turns with work, by duration (see [`LATENCY_BUCKETS`]).
    pub turn_latency: [u64; LATENCY_BUCKETS],
    /// Turns with work, by the CPU time their thread took (see [`turn_cpu_bucket`]); zeros unless
    /// `workers.time_turns` is set.
    pub turn_cpu: [u64; TURN_CPU_BUCKETS],
    /// Those of them that carried out a command or took a datagram to or from the control plane: what
    /// joins, changes and handshakes bring.
    pub turn_cpu_control: [u64; TURN_CPU_BUCKETS],
    /// Packets dropped below UDP or on the way out, by reason.
    pub port_drops: [u64; DropReason::COUNT],
    /// Turns that received something, by how much: see [`BURST_BOUNDS`].
    pub bursts: [u64; BURST_BOUNDS.len()],
    /// The datagrams that they received.
    pub burst_packets: u64,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turns_cpu_time_lies_between_the_bounds_of_its_bucket_and_they_are_near() {
        for ns in (0..5000).chain((5000..4_000_000).step_by(777)) {
            let bucket = turn_cpu_bucket(ns);
            let above = turn_cpu_bound_ns(bucket);
            let least = if bucket == 0 { 0 } else { turn_cpu_bound_ns(bucket - 1) };
            assert!((least..above).contains(&ns), "{ns}: {least} to {above}");
            assert!(above - least <= (least / 16).max(64), "{ns}: {least} to {above}");
        }
        assert_eq!(turn_cpu_bucket(4_194_303), TURN_CPU_BUCKETS - 1);
        assert_eq!(turn_cpu_bucket(u64::MAX), TURN_CPU_BUCKETS - 1);
    }
}
