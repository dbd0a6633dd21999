//! What DPDK's own telemetry socket shows of a node, read from the stats region like any console does.

use proto::DropReason;
use proto::snapshot::label_text;
use stats::Snapshot;

/// A value of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A count.
    Number(u64),
    /// A short line.
    Text(String),
}

/// Names and values, in order.
pub type Answer = Vec<(String, Value)>;

/// One command of the socket.
#[derive(Debug, Clone, Copy)]
pub struct TelemetryCommand {
    /// Its path.
    pub path: &'static str,
    /// For `/help`.
    pub help: &'static str,
    /// Makes the answer; the parameter is what followed the comma.
    pub answer: fn(&Snapshot, Option<&str>) -> Answer,
}

/// Every command that a node adds.
pub const COMMANDS: [TelemetryCommand; 3] = [
    TelemetryCommand {
        path: "/roomlane/workers",
        help: "Loops and cores of the workers. Parameter: a worker, for all its counters",
        answer: workers,
    },
    TelemetryCommand {
        path: "/roomlane/rooms",
        help: "Open rooms with masked labels. Parameter: a shard",
        answer: rooms,
    },
    TelemetryCommand {
        path: "/roomlane/drops",
        help: "Dropped packets by reason, received and to be sent. Parameter: a shard",
        answer: drops,
    },
];

/// Whether a shard is asked for: all are without a parameter, none with one that is no number.
fn wanted(parameter: Option<&str>, shard: usize) -> bool {
    match parameter.map(str::trim).filter(|text| !text.is_empty()) {
        None => true,
        Some(text) => text.parse() == Ok(shard),
    }
}

fn workers(snapshot: &Snapshot, parameter: Option<&str>) -> Answer {
    let mut answer = Answer::new();
    for view in snapshot.shards.iter().filter(|view| wanted(parameter, view.shard)) {
        let (Some(worker), Some(counters)) = (&view.worker, &view.counters) else { continue };
        let core = match worker.core {
            u64::MAX => Value::Text("not pinned".to_owned()),
            core => Value::Number(core),
        };
        answer.push((format!("worker_{}/core", view.shard), core));
        let overview = [
            ("rooms", counters.rooms),
            ("sessions", counters.sessions),
            ("rx_packets", counters.rx_packets),
            ("tx_packets", counters.tx_packets),
            ("drops", counters.dropped()),
            ("restarts", worker.restarts),
            ("heartbeat_ns", worker.heartbeat_ns),
        ];
        let details = [
            ("io_worker", worker.io_worker),
            ("turns", worker.turns),
            ("idle_turns", worker.idle_turns),
            ("busy_ns", worker.busy_ns),
            ("asleep_ns", worker.asleep_ns),
            ("bufs_in_use", worker.bufs_in_use),
            ("bufs_total", worker.bufs_total),
            ("forwarded", counters.forwarded),
            ("done", counters.done),
            ("relay_rx", counters.relay_rx),
            ("relay_tx", counters.relay_tx),
            ("rtcp_rx", counters.rtcp_rx),
            ("rtcp_tx", counters.rtcp_tx),
            ("pli_rx", counters.pli_rx),
            ("pli_tx", counters.pli_tx),
            ("events_lost", counters.events_lost),
            ("commands", counters.commands),
            ("commands_refused", counters.commands_refused),
        ];
        let details = details.iter().filter(|_| parameter.is_some());
        for (name, number) in overview.iter().chain(details) {
            answer.push((format!("worker_{}/{name}", view.shard), Value::Number(*number)));
        }
    }
    answer
}

fn rooms(snapshot: &Snapshot, parameter: Option<&str>) -> Answer {
    let mut answer = Answer::new();
    for view in &snapshot.rooms {
        let shard = view.shards.trailing_zeros() as usize;
        if !wanted(parameter, shard) {
            continue;
        }
        let room = &view.row;
        let text = format!(
            "app {} label {} sessions {} publications {} subscriptions {} rx {} tx {}",
            room.app,
            label_text(&room.label),
            room.sessions,
            room.publications,
            room.subscriptions,
            room.rx_packets,
            room.tx_packets
        );
        answer.push((format!("shard_{shard}/room_{}", room.room), Value::Text(text)));
    }
    answer
}

fn drops(snapshot: &Snapshot, parameter: Option<&str>) -> Answer {
    let mut received = [0u64; DropReason::COUNT];
    let mut egress = [0u64; DropReason::COUNT];
    for view in snapshot.shards.iter().filter(|view| wanted(parameter, view.shard)) {
        let counters = view.counters.unwrap_or_default();
        let worker = view.worker.unwrap_or_default();
        for reason in 0..DropReason::COUNT {
            received[reason] += counters.drops[reason] + worker.port_drops[reason];
            egress[reason] += counters.egress_drops[reason];
        }
    }
    let name = |reason: usize| DropReason::ALL[reason].name();
    let received = received.iter().enumerate().map(|(at, n)| (name(at).to_owned(), *n));
    let egress = egress.iter().enumerate().map(|(at, n)| (format!("egress/{}", name(at)), *n));
    received.chain(egress).map(|(name, number)| (name, Value::Number(number))).collect()
}

#[cfg(test)]
mod tests {
    use proto::counters::{ShardCounters, WorkerCounters};
    use proto::snapshot::RoomRow;
    use stats::{NodeFacts, RoomView, ShardView};

    use super::*;

    fn snapshot() -> Snapshot {
        let shards = (0..2).map(|shard| {
            let mut counters = ShardCounters { rx_packets: 100, ..ShardCounters::default() };
            counters.drops[DropReason::Replay as usize] = 2 + shard as u64;
            counters.egress_drops[DropReason::NoMbuf as usize] = 1;
            let core = u64::MAX * shard as u64;
            let mut worker = WorkerCounters { core, ..WorkerCounters::default() };
            worker.port_drops[DropReason::TxFull as usize] = 9;
            ShardView { shard, counters: Some(counters), worker: Some(worker) }
        });
        let label = *b"d*mo\x1b\0\0\0\0\0\0\0\0\0\0\0";
        let row = RoomRow { room: 7, app: 1, label, ..RoomRow::default() };
        Snapshot {
            taken_ns: 0,
            port: Default::default(),
            node: NodeFacts {
                pid: 1,
                instance: 1,
                heartbeat_ns: 0,
                udp_base: 8000,
                shards: 2,
                sessions_max: 4,
                rooms_max: 4,
                about: String::new(),
            },
            shards: shards.collect(),
            rooms: vec![RoomView { shards: 2, row }],
            sessions: vec![],
        }
    }

    fn value(answer: &Answer, name: &str) -> Option<Value> {
        answer.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn drops_are_summed_over_shards_and_ports() {
        let snapshot = snapshot();
        let all = drops(&snapshot, None);
        assert_eq!(all.len(), 2 * DropReason::COUNT);
        assert_eq!(value(&all, "replay"), Some(Value::Number(5)));
        assert_eq!(value(&all, "tx_full"), Some(Value::Number(18)));
        assert_eq!(value(&all, "egress/no_mbuf"), Some(Value::Number(2)));
        assert_eq!(value(&drops(&snapshot, Some("1")), "replay"), Some(Value::Number(3)));
        assert_eq!(value(&drops(&snapshot, Some("2")), "replay"), Some(Value::Number(0)));
    }

    #[test]
    fn workers_show_their_core_and_rooms_their_masked_label_without_escapes() {
        let snapshot = snapshot();
        let all = workers(&snapshot, None);
        assert_eq!(value(&all, "worker_0/core"), Some(Value::Number(0)));
        assert_eq!(value(&all, "worker_1/core"), Some(Value::Text("not pinned".to_owned())));
        assert_eq!(value(&all, "worker_1/rx_packets"), Some(Value::Number(100)));
        assert_eq!(value(&all, "worker_1/turns"), None);
        let one = workers(&snapshot, Some("1"));
        assert_eq!(value(&one, "worker_1/turns"), Some(Value::Number(0)));
        assert_eq!(value(&one, "worker_0/core"), None);
        let Some(Value::Text(room)) = value(&rooms(&snapshot, Some("1")), "shard_1/room_7") else {
            panic!("no room");
        };
        assert!(room.starts_with("app 1 label d*mo? sessions 0"), "{room:?}");
        assert!(rooms(&snapshot, Some("nonsense")).is_empty());
    }
}
