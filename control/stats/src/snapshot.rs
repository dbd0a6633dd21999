//! A copy of everything the stats region says, and sums over it.

use proto::DropReason;
use proto::counters::{STAGES, ShardCounters, StageCounters, WorkerCounters};
use proto::port::PortState;
use proto::snapshot::{RoomRow, SessionRow};

/// A copy of the stats region at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was copied, in nanoseconds of the monotonic clock.
    pub taken_ns: u64,
    /// The node as a whole.
    pub node: NodeFacts,
    /// The port's device.
    pub port: PortState,
    /// Shards in their order.
    pub shards: Vec<ShardView>,
    /// Rooms, one entry per shard that knows them; see [`Snapshot::rooms_merged`].
    pub rooms: Vec<RoomView>,
    /// Sessions.
    pub sessions: Vec<SessionView>,
}

/// The node as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Process id of the data plane.
    pub pid: u64,
    /// Differs between any two data planes that ever ran.
    pub instance: u64,
    /// When the data plane last beat its heart, in nanoseconds of the monotonic clock.
    pub heartbeat_ns: u64,
    /// UDP port of shard 0.
    pub udp_base: u16,
    /// Shards.
    pub shards: u32,
    /// Sessions a shard can hold.
    pub sessions_max: u32,
    /// Rooms a shard can hold.
    pub rooms_max: u32,
    /// Self-description, JSON; may be empty.
    pub about: String,
}

/// A shard and its worker; `None` before their first publication.
#[derive(Debug, Clone)]
pub struct ShardView {
    /// Index.
    pub shard: usize,
    /// What the shard counts.
    pub counters: Option<ShardCounters>,
    /// What its worker counts.
    pub worker: Option<WorkerCounters>,
}

/// A room.
#[derive(Debug, Clone, Copy)]
pub struct RoomView {
    /// Bit `i` is set when shard `i` knows it.
    pub shards: u64,
    /// What is known of it.
    pub row: RoomRow,
}

/// A session.
#[derive(Debug, Clone, Copy)]
pub struct SessionView {
    /// What is known of it.
    pub row: SessionRow,
}

impl SessionView {
    /// Its id.
    pub fn id(&self) -> proto::SessionId {
        proto::SessionId(self.row.session_plus_one.wrapping_sub(1))
    }
}

/// A session row's state in words.
pub fn session_state(state: u32) -> &'static str {
    match state {
        0 => "opening",
        1 => "alive",
        2 => "grant ended",
        3 => "closed",
        _ => "unknown",
    }
}

impl Snapshot {
    /// How old the data is: nanoseconds since the data plane's last heartbeat.
    pub fn age_ns(&self) -> u64 {
        self.taken_ns.saturating_sub(self.node.heartbeat_ns)
    }

    /// All shards' counters added up.
    pub fn totals(&self) -> ShardCounters {
        let mut total = ShardCounters::default();
        for counters in self.shards.iter().filter_map(|shard| shard.counters.as_ref()) {
            add(&mut total, counters);
        }
        total
    }

    /// Every drop of the node by reason, in the order of [`DropReason::ALL`]: of shards (received and
    /// outgoing) and of ports.
    pub fn drops(&self) -> [u64; DropReason::COUNT] {
        let mut drops = [0u64; DropReason::COUNT];
        for shard in &self.shards {
            let received = shard.counters.as_ref().map(|c| &c.drops);
            let egress = shard.counters.as_ref().map(|c| &c.egress_drops);
            let port = shard.worker.as_ref().map(|w| &w.port_drops);
            for part in [received, egress, port].into_iter().flatten() {
                sum_into(&mut drops, part);
            }
        }
        drops
    }

    /// Sums of all drops.
    pub fn dropped(&self) -> u64 {
        self.drops().iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Rooms, each once, whatever number of shards serves it; in the order they were opened.
    pub fn rooms_merged(&self) -> Vec<RoomView> {
        let mut merged: std::collections::BTreeMap<u64, RoomView> = Default::default();
        for view in &self.rooms {
            merged
                .entry(view.row.room)
                .and_modify(|room| {
                    room.shards |= view.shards;
                    room.row.sessions += view.row.sessions;
                    room.row.publications += view.row.publications;
                    room.row.subscriptions += view.row.subscriptions;
                    room.row.opened_ns = room.row.opened_ns.min(view.row.opened_ns);
                    room.row.rx_packets += view.row.rx_packets;
                    room.row.tx_packets += view.row.tx_packets;
                })
                .or_insert(*view);
        }
        merged.into_values().collect()
    }
}

fn sum_into<const N: usize>(total: &mut [u64; N], part: &[u64; N]) {
    for (total, part) in total.iter_mut().zip(part) {
        *total = total.wrapping_add(*part);
    }
}

fn add(total: &mut ShardCounters, part: &ShardCounters) {
    macro_rules! fields {
        ($($field:ident)*) => { $(total.$field = total.$field.wrapping_add(part.$field);)* };
    }
    fields!(rx_packets rx_bytes forwarded done punted steered tx_packets tx_bytes rtcp_rx rtcp_tx);
    fields!(pli_rx pli_tx relay_tx relay_rx events_lost commands commands_refused rooms sessions);
    fields!(publications subscriptions stun_answered injected nack_rx nack_tx rtx_rx rtx_tx);
    fields!(rtx_missed transport_cc_tx stun_auth_failed seal_checks seal_faults);
    sum_into(&mut total.classes, &part.classes);
    sum_into(&mut total.drops, &part.drops);
    sum_into(&mut total.egress_drops, &part.egress_drops);
    for index in 0..STAGES.len() {
        let (into, from): (&mut StageCounters, _) = (&mut total.stages[index], part.stages[index]);
        into.calls = into.calls.wrapping_add(from.calls);
        into.packets = into.packets.wrapping_add(from.packets);
        into.sampled_cycles = into.sampled_cycles.wrapping_add(from.sampled_cycles);
        into.sampled_packets = into.sampled_packets.wrapping_add(from.sampled_packets);
    }
}
