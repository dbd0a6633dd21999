//! What the data plane has counted, as metrics: read from the stats region like any console does.

use proto::DropReason;
use proto::counters::{
    BURST_BOUNDS, CLASSES, LATENCY_BUCKETS, STAGES, ShardCounters, WorkerCounters,
};
use proto::metric;
use proto::port::{LINK_UNKNOWN, LINK_UP, PortState};
use stats::{Rates, Snapshot};

use super::text::Text;

/// What refuses a connectivity check and nothing else.
const CHECK_REFUSALS: [DropReason; 5] = [
    DropReason::BadStun,
    DropReason::UnknownUfrag,
    DropReason::StunReplay,
    DropReason::StunLimit,
    DropReason::PathTaken,
];

/// Everything of the snapshot; `rates` are of the last second, where they are known.
pub fn write(text: &mut Text, snapshot: &Snapshot, rates: Option<&Rates>) {
    for view in &snapshot.shards {
        let name = view.shard.to_string();
        let worker = view.worker.as_ref();
        if let Some(counters) = &view.counters {
            packets(text, &name, counters);
            drops(text, &name, counters, worker);
            feedback(text, &name, counters);
            stages(text, &name, counters);
            let fill = |used: u64, places: u32| used as f64 / f64::from(places.max(1));
            let node = &snapshot.node;
            text.add(&metric::SESSIONS, &[&name], counters.sessions);
            text.add(&metric::SESSION_FILL, &[&name], fill(counters.sessions, node.sessions_max));
            text.add(&metric::ROOM_FILL, &[&name], fill(counters.rooms, node.rooms_max));
        }
        if let Some(counters) = worker {
            loop_(text, &name, counters, snapshot.taken_ns);
            if let Some(rates) = rates.and_then(|rates| rates.workers.get(view.shard)) {
                text.add(&metric::BUSY_RATIO, &[&name], rates.busy);
            }
        }
    }
    port(text, &snapshot.port);
    text.add(&metric::STRESS, &[], stress(snapshot, rates));
}

fn port(text: &mut Text, port: &PortState) {
    if port.link != LINK_UNKNOWN {
        text.add(&metric::PORT_UP, &[], u8::from(port.link == LINK_UP));
        text.add(&metric::PORT_LINK_CHANGES, &[], port.link_changes);
    }
    // Sockets of the kernel's have no such counters; theirs are the kernel's.
    if port.has_totals == 1 {
        for (reason, count) in [
            ("missed", port.rx_missed),
            ("error_in", port.rx_errors),
            ("error_out", port.tx_errors),
            ("no_buffer", port.rx_no_mbuf),
        ] {
            text.add(&metric::PORT_LOST, &[reason], count);
        }
    }
}

/// The fullest of what a node can run out of, 0 to 1.
pub fn stress(snapshot: &Snapshot, rates: Option<&Rates>) -> f64 {
    let mut fullest: f64 = 0.0;
    for view in &snapshot.shards {
        if let Some(counters) = &view.counters {
            let node = &snapshot.node;
            fullest = fullest.max(counters.sessions as f64 / f64::from(node.sessions_max.max(1)));
            fullest = fullest.max(counters.rooms as f64 / f64::from(node.rooms_max.max(1)));
        }
        if let Some(worker) = &view.worker {
            fullest = fullest.max(worker.bufs_in_use as f64 / worker.bufs_total.max(1) as f64);
        }
    }
    let busy = rates.into_iter().flat_map(|rates| &rates.workers).map(|worker| worker.busy);
    busy.fold(fullest, f64::max).clamp(0.0, 1.0)
}

fn packets(text: &mut Text, worker: &str, counters: &ShardCounters) {
    for (class, count) in CLASSES.iter().zip(counters.classes) {
        text.add(&metric::RX_PACKETS, &[worker, class], count);
    }
    for (metric, count) in [
        (&metric::RX_BYTES, counters.rx_bytes),
        (&metric::TX_PACKETS, counters.tx_packets),
        (&metric::TX_BYTES, counters.tx_bytes),
        (&metric::FORWARDED, counters.forwarded),
        (&metric::DONE, counters.done),
    ] {
        text.add(metric, &[worker], count);
    }
}

fn drops(text: &mut Text, name: &str, counters: &ShardCounters, worker: Option<&WorkerCounters>) {
    for reason in DropReason::ALL {
        let at = *reason as usize;
        let received = counters.drops[at] + worker.map_or(0, |worker| worker.port_drops[at]);
        text.add(&metric::DROPS, &[name, reason.name()], received);
        text.add(&metric::EGRESS_DROPS, &[name, reason.name()], counters.egress_drops[at]);
    }
    let of = |reason: DropReason| counters.drops[reason as usize];
    let failed = of(DropReason::AuthFailed).saturating_sub(counters.stun_auth_failed);
    text.add(&metric::SRTP_AUTH_FAILURES, &[name], failed);
    text.add(&metric::REPLAYS, &[name], of(DropReason::Replay));
    text.add(&metric::ICE_CHECKS, &[name, "answered"], counters.stun_answered);
    text.add(&metric::ICE_CHECKS, &[name, "auth_failed"], counters.stun_auth_failed);
    for reason in CHECK_REFUSALS {
        text.add(&metric::ICE_CHECKS, &[name, reason.name()], of(reason));
    }
}

fn feedback(text: &mut Text, worker: &str, counters: &ShardCounters) {
    for (metric, received, sent) in [
        (&metric::HANDSHAKE_DATAGRAMS, counters.punted, counters.injected),
        (&metric::PLI, counters.pli_rx, counters.pli_tx),
        (&metric::RTCP, counters.rtcp_rx, counters.rtcp_tx),
        (&metric::NACK, counters.nack_rx, counters.nack_tx),
        (&metric::RTX_PACKETS, counters.rtx_rx, counters.rtx_tx),
        (&metric::RELAY, counters.relay_rx, counters.relay_tx),
    ] {
        text.add(metric, &[worker, "in"], received);
        text.add(metric, &[worker, "out"], sent);
    }
    text.add(&metric::RTX_MISSED, &[worker], counters.rtx_missed);
    text.add(&metric::TRANSPORT_FEEDBACK, &[worker], counters.transport_cc_tx);
    text.add(&metric::SEAL_CHECKS, &[worker], counters.seal_checks);
    text.add(&metric::SEAL_FAULTS, &[worker], counters.seal_faults);
}

fn stages(text: &mut Text, worker: &str, counters: &ShardCounters) {
    let mut cycles = 0.0;
    for (stage, seen) in STAGES.iter().zip(&counters.stages) {
        text.add(&metric::STAGE_PACKETS, &[worker, stage], seen.packets);
        text.add(&metric::STAGE_CALLS, &[worker, stage], seen.calls);
        // A stage that few packets reach weighs as much as those do.
        let sampled = seen.sampled_cycles as f64 / seen.sampled_packets.max(1) as f64;
        cycles += sampled * seen.packets as f64;
    }
    if cycles > 0.0 && counters.rx_packets > 0 {
        text.add(&metric::CYCLES, &[worker], cycles / counters.rx_packets as f64);
    }
}

fn loop_(text: &mut Text, worker: &str, counters: &WorkerCounters, now_ns: u64) {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let age = seconds(now_ns.saturating_sub(counters.heartbeat_ns));
    text.add(&metric::BUSY_SECONDS, &[worker], seconds(counters.busy_ns));
    text.add(&metric::ASLEEP_SECONDS, &[worker], seconds(counters.asleep_ns));
    text.add(&metric::HEARTBEAT_AGE, &[worker], age);
    text.add(&metric::WORKER_RESTARTS, &[worker], counters.restarts);
    if counters.bufs_total > 0 {
        let free = counters.bufs_total.saturating_sub(counters.bufs_in_use);
        text.add(&metric::MBUF_FREE, &[worker], free as f64 / counters.bufs_total as f64);
    }
    let bound = |bucket: usize| (1u64 << bucket) as f64 / 1e6;
    let turns = (0..LATENCY_BUCKETS).map(|at| (bound(at), counters.turn_latency[at]));
    text.histogram(&metric::TURN_SECONDS, &[worker], turns, seconds(counters.busy_ns));
    let bursts = BURST_BOUNDS.iter().zip(counters.bursts).map(|(bound, n)| (*bound as f64, n));
    // No burst is larger than the last bound.
    let bursts = bursts.chain([(f64::INFINITY, 0)]);
    let sum = counters.burst_packets as f64;
    text.histogram(&metric::BURST_PACKETS, &[worker], bursts, sum);
}

#[cfg(test)]
mod tests {
    use proto::port::LINK_DOWN;

    use super::*;

    #[test]
    fn a_node_is_as_stressed_as_the_fullest_of_its_parts() {
        let mut snapshot = snapshot();
        assert_eq!(stress(&snapshot, None), 0.25);
        snapshot.shards[0].worker.as_mut().unwrap().bufs_in_use = 50;
        assert_eq!(stress(&snapshot, None), 0.5);
        let worker = stats::WorkerRates { busy: 0.9, ..Default::default() };
        let rates = Rates { workers: vec![worker], ..Default::default() };
        assert_eq!(stress(&snapshot, Some(&rates)), 0.9);
    }

    #[test]
    fn forged_checks_are_no_forged_media_and_classes_add_up() {
        let mut text = Text::default();
        write(&mut text, &snapshot(), None);
        let text = text.finish();
        for line in [
            "roomlane_srtp_auth_failures_total{worker=\"0\"} 7",
            "roomlane_ice_checks_total{worker=\"0\",result=\"auth_failed\"} 3",
            "roomlane_drops_total{worker=\"0\",reason=\"auth_failed\"} 10",
            "roomlane_rx_packets_total{worker=\"0\",class=\"srtcp\"} 4",
            "roomlane_session_table_fill_ratio{worker=\"0\"} 0.25",
            "roomlane_worker_heartbeat_age_seconds{worker=\"0\"} 1.5",
            "roomlane_burst_packets_bucket{worker=\"0\",le=\"32\"} 2",
            "roomlane_burst_packets_sum{worker=\"0\"} 40",
            "roomlane_port_up 0",
            "roomlane_port_link_changes_total 3",
            "roomlane_port_lost_packets_total{reason=\"missed\"} 5",
            "roomlane_turn_seconds_bucket{worker=\"0\",le=\"0.000002\"} 6",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("roomlane_worker_busy_ratio"), "not known before two looks");
    }

    fn snapshot() -> Snapshot {
        let mut counters = ShardCounters {
            sessions: 1,
            classes: [1, 2, 3, 4, 5],
            stun_auth_failed: 3,
            ..Default::default()
        };
        counters.drops[DropReason::AuthFailed as usize] = 10;
        let mut worker = WorkerCounters {
            heartbeat_ns: 500_000_000,
            bufs_total: 100,
            bursts: [0, 0, 0, 1, 0, 1],
            burst_packets: 40,
            ..Default::default()
        };
        worker.turn_latency[1] = 6;
        let node = stats::NodeFacts {
            pid: 1,
            instance: 1,
            heartbeat_ns: 0,
            udp_base: 8000,
            shards: 1,
            sessions_max: 4,
            rooms_max: 4,
            about: String::new(),
        };
        let port = PortState {
            link: LINK_DOWN,
            link_changes: 3,
            has_totals: 1,
            rx_missed: 5,
            ..PortState::default()
        };
        let shard = stats::ShardView { shard: 0, counters: Some(counters), worker: Some(worker) };
        Snapshot {
            taken_ns: 2_000_000_000,
            node,
            port,
            shards: vec![shard],
            rooms: vec![],
            sessions: vec![],
        }
    }
}
