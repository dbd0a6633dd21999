//! What changed between two snapshots, per second.

use proto::DropReason;

use crate::snapshot::{ShardView, Snapshot};

/// What a node did between two snapshots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rates {
    /// Seconds between the two; zero when they cannot be compared, and then so are all others.
    pub seconds: f64,
    /// Datagrams received per second.
    pub rx_pps: f64,
    /// Datagrams sent per second.
    pub tx_pps: f64,
    /// UDP payload bits received per second.
    pub rx_bps: f64,
    /// UDP payload bits sent per second.
    pub tx_bps: f64,
    /// Drops per second.
    pub drops_ps: f64,
    /// Drops per second by reason, in the order of [`DropReason::ALL`].
    pub drops_by_reason_ps: Vec<f64>,
    /// Packets per second that the port's device lost by its own count; no drops, for nobody saw them.
    pub port_lost_ps: f64,
    /// Workers in their order.
    pub workers: Vec<WorkerRates>,
}

/// What one worker did between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WorkerRates {
    /// Datagrams that its shard received per second.
    pub rx_pps: f64,
    /// Datagrams that its shard sent per second.
    pub tx_pps: f64,
    /// Part of the time spent in turns with work, 0 to 1.
    pub busy: f64,
    /// Part of the time spent asleep, 0 to 1.
    pub asleep: f64,
    /// Turns of the loop per second.
    pub turns_ps: f64,
}

impl Rates {
    /// Rates from `old` to `new`; zeros when they are of different lives of the data plane.
    pub fn between(old: &Snapshot, new: &Snapshot) -> Rates {
        let seconds = new.taken_ns.saturating_sub(old.taken_ns) as f64 / 1e9;
        if seconds <= 0.0 || old.node.instance != new.node.instance {
            return Rates {
                drops_by_reason_ps: vec![0.0; DropReason::COUNT],
                workers: vec![WorkerRates::default(); new.shards.len()],
                ..Rates::default()
            };
        }
        let per_s = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
        let (before, after) = (old.totals(), new.totals());
        let drops: Vec<f64> =
            old.drops().iter().zip(new.drops()).map(|(old, new)| per_s(*old, new)).collect();
        let workers = old.shards.iter().zip(&new.shards);
        Rates {
            seconds,
            rx_pps: per_s(before.rx_packets, after.rx_packets),
            tx_pps: per_s(sent(&before), sent(&after)),
            rx_bps: per_s(before.rx_bytes, after.rx_bytes) * 8.0,
            tx_bps: per_s(before.tx_bytes, after.tx_bytes) * 8.0,
            drops_ps: drops.iter().sum(),
            drops_by_reason_ps: drops,
            port_lost_ps: per_s(old.port.lost(), new.port.lost()),
            workers: workers.map(|(old, new)| worker(old, new, seconds)).collect(),
        }
    }
}

/// RTP and RTCP packets given to the port.
fn sent(counters: &proto::counters::ShardCounters) -> u64 {
    counters.tx_packets.wrapping_add(counters.rtcp_tx)
}

fn worker(old: &ShardView, new: &ShardView, seconds: f64) -> WorkerRates {
    let per_s = |old: u64, new: u64| new.saturating_sub(old) as f64 / seconds;
    let mut rates = WorkerRates::default();
    if let (Some(old), Some(new)) = (&old.counters, &new.counters) {
        rates.rx_pps = per_s(old.rx_packets, new.rx_packets);
        rates.tx_pps = per_s(sent(old), sent(new));
    }
    if let (Some(old), Some(new)) = (&old.worker, &new.worker) {
        rates.turns_ps = per_s(old.turns, new.turns);
        // The worker's own clock: publications are not aligned with our reading.
        let elapsed_ns = new.heartbeat_ns.saturating_sub(old.heartbeat_ns);
        if elapsed_ns > 0 {
            let part = |old: u64, new: u64| {
                (new.saturating_sub(old) as f64 / elapsed_ns as f64).clamp(0.0, 1.0)
            };
            rates.busy = part(old.busy_ns, new.busy_ns);
            rates.asleep = part(old.asleep_ns, new.asleep_ns);
        }
    }
    rates
}
