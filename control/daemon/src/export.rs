//! Metrics: what this process counts, and what the data plane has counted in the stats region.
//!
//! Names follow Prometheus' rules. No label holds an id, a name or an address: apps, rooms and users
//! never become labels.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use proto::counters::STAGES;
use proto::{DropReason, ShardId};
use stats::{Snapshot, Stats};

use crate::link::hub::{Hub, Status};
use crate::signalling::Role;

/// Upper bounds of the duration of a join, in seconds.
const JOIN_SECONDS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5];

/// Upper bounds of the duration of a DTLS handshake, in seconds: two round trips, and repetitions.
const DTLS_SECONDS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
const DTLS_HISTOGRAM: &str = "roomlane_dtls_handshake_seconds";

/// The recorder, and the stats region as far as there is one.
pub struct Metrics {
    recorder: PrometheusRecorder,
    run_dir: PathBuf,
    stats: Mutex<Option<Stats>>,
    started: Instant,
}

impl Metrics {
    /// For the node in `run_dir`.
    ///
    /// # Errors
    /// Never with these buckets.
    pub fn new(run_dir: PathBuf) -> anyhow::Result<Metrics> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&JOIN_SECONDS)?
            .set_buckets_for_metric(Matcher::Full(DTLS_HISTOGRAM.to_owned()), &DTLS_SECONDS)?
            .build_recorder();
        let metrics =
            Metrics { recorder, run_dir, stats: Mutex::new(None), started: Instant::now() };
        with_local_recorder(&metrics.recorder, describe);
        Ok(metrics)
    }

    /// An HTTP request ended.
    pub fn request(&self, api: &'static str, status: u16, code: &'static str) {
        let status = status.to_string();
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_api_requests_total", "api" => api, "status" => status, "code" => code)
                .increment(1);
        });
    }

    /// A join ended: `ok` or a problem's code.
    pub fn join(&self, role: Role, code: &'static str, took: Duration) {
        let role = if role == Role::Publish { "publish" } else { "subscribe" };
        let result = if code == "ok" { "ok" } else { "refused" };
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_join_total", "role" => role, "result" => result, "reason" => code)
                .increment(1);
            if code == "ok" {
                histogram!("roomlane_join_seconds", "role" => role).record(took.as_secs_f64());
            }
        });
    }

    /// Tokens were refused.
    pub fn token_rejected(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_token_rejections_total", "reason" => reason).increment(1);
        });
    }

    /// A budget was spent.
    pub fn rate_limited(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_api_rate_limited_total", "reason" => reason).increment(1);
        });
    }

    /// A DTLS handshake ended: `ok` or why not.
    pub fn dtls_handshake(&self, result: &'static str, took: Duration) {
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_dtls_handshakes_total", "result" => result).increment(1);
            if result == "ok" {
                histogram!(DTLS_HISTOGRAM).record(took.as_secs_f64());
            }
        });
    }

    /// Unfinished DTLS handshakes, of now.
    pub fn dtls_half_open(&self, count: usize) {
        with_local_recorder(&self.recorder, || {
            gauge!("roomlane_dtls_half_open").set(count as f64);
        });
    }

    /// A DTLS datagram was dropped before its turn.
    pub fn dtls_dropped(&self) {
        with_local_recorder(&self.recorder, || {
            counter!("roomlane_dtls_queue_drops_total").increment(1);
        });
    }

    /// Everything as text.
    pub fn render(&self, hub: &Hub) -> String {
        let snapshot = self.snapshot(hub);
        with_local_recorder(&self.recorder, || {
            own(hub, self.started.elapsed());
            if let Some(snapshot) = &snapshot {
                shards(snapshot);
                workers(snapshot);
            }
        });
        self.recorder.handle().run_upkeep();
        self.recorder.handle().render()
    }

    /// What the data plane has counted; `None` without one. A region of an earlier life is let go of.
    pub fn snapshot(&self, hub: &Hub) -> Option<Snapshot> {
        let Status::Up { instance, .. } = hub.status() else { return None };
        let mut stats = self.stats.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if stats.as_ref().is_none_or(|stats| stats.instance() != instance) {
            *stats = Stats::connect(&self.run_dir).ok();
        }
        stats.as_ref().map(Stats::snapshot)
    }
}

/// Packets per second by shard, between two snapshots of one life: what placement goes by.
pub fn loads(old: &Snapshot, new: &Snapshot) -> Vec<(ShardId, u64)> {
    if old.node.instance != new.node.instance {
        return Vec::new();
    }
    let elapsed_ms = (new.taken_ns.saturating_sub(old.taken_ns) / 1_000_000).max(1);
    let moved = |view: &stats::ShardView| {
        view.counters.map_or(0, |counters| counters.rx_packets + counters.tx_packets)
    };
    let shards = old.shards.iter().zip(&new.shards);
    let load = |(old, new)| moved(new).saturating_sub(moved(old)) * 1000 / elapsed_ms;
    shards.map(load).enumerate().map(|(index, pps)| (ShardId(index as u8), pps)).collect()
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!(
        "roomlane_api_requests_total",
        "HTTP requests by API, status and problem code."
    );
    describe_counter!("roomlane_api_rate_limited_total", "Requests refused for their rate.");
    describe_counter!("roomlane_join_total", "Joins by role, result and reason.");
    describe_histogram!("roomlane_join_seconds", "Time that successful joins took.");
    describe_counter!("roomlane_token_rejections_total", "Tokens refused, by reason.");
    describe_counter!("roomlane_dtls_handshakes_total", "DTLS handshakes by result.");
    describe_histogram!(DTLS_HISTOGRAM, "Time from ClientHello to keys.");
    describe_gauge!("roomlane_dtls_half_open", "Unfinished DTLS handshakes.");
    describe_counter!(
        "roomlane_dtls_queue_drops_total",
        "DTLS datagrams dropped because too many of their session, or of all, waited."
    );
    describe_counter!("roomlane_shard_refusals_total", "Joins that a shard refused.");
    describe_gauge!("roomlane_build_info", "Always 1; the version is in the label.");
    describe_gauge!("roomlane_uptime_seconds", "Age of the control process.");
    describe_gauge!("roomlane_data_plane_up", "1 while the data plane is connected.");
    describe_gauge!("roomlane_rooms", "Rooms.");
    describe_gauge!("roomlane_members", "WHIP and WHEP resources by role.");
    describe_gauge!("roomlane_sessions", "Sessions on each shard.");
    describe_gauge!("roomlane_streams", "Streams on each shard, by direction.");
    describe_counter!("roomlane_rx_packets_total", "Datagrams given to the shard.");
    describe_counter!("roomlane_rx_bytes_total", "Their bytes.");
    describe_counter!("roomlane_tx_packets_total", "Media packets sent.");
    describe_counter!("roomlane_tx_bytes_total", "Their bytes.");
    describe_counter!("roomlane_forwarded_packets_total", "Packets that went to a subscriber.");
    describe_counter!(
        "roomlane_done_packets_total",
        "Packets that ended here: RTCP, or no subscriber."
    );
    describe_counter!("roomlane_drops_total", "Received packets dropped, by reason.");
    describe_counter!("roomlane_egress_drops_total", "Copies not sent, by reason.");
    describe_counter!("roomlane_pli_total", "Picture-loss indications by direction.");
    describe_counter!("roomlane_rtcp_packets_total", "RTCP packets by direction.");
    describe_counter!("roomlane_nack_total", "Lost sequence numbers reported, by direction.");
    describe_counter!("roomlane_rtx_packets_total", "Retransmissions by direction.");
    describe_counter!("roomlane_rtx_missed_total", "Lost packets that could not be sent again.");
    describe_counter!(
        "roomlane_transport_feedback_total",
        "Transport-wide feedback packets sent to publishers."
    );
    describe_counter!("roomlane_stun_answers_total", "Connectivity checks answered.");
    describe_counter!(
        "roomlane_handshake_datagrams_total",
        "DTLS datagrams between shards and the control daemon."
    );
    describe_counter!(
        "roomlane_handshake_drops_total",
        "DTLS datagrams that the control daemon had no room for."
    );
    describe_counter!("roomlane_relay_packets_total", "Opened copies between shards.");
    describe_counter!("roomlane_stage_packets_total", "Packets by stage of the packet path.");
    describe_counter!("roomlane_worker_busy_seconds_total", "Time in turns with work.");
    describe_counter!("roomlane_worker_restarts_total", "Shards replaced after a panic.");
    describe_gauge!(
        "roomlane_worker_heartbeat_age_seconds",
        "Age of the worker's last sign of life."
    );
    describe_gauge!("roomlane_mbuf_free_ratio", "Free share of the buffer pool.");
}

fn own(hub: &Hub, age: Duration) {
    let version = env!("CARGO_PKG_VERSION");
    gauge!("roomlane_build_info", "version" => version).set(1.0);
    gauge!("roomlane_uptime_seconds").set(age.as_secs_f64());
    let up = matches!(hub.status(), Status::Up { .. });
    gauge!("roomlane_data_plane_up").set(if up { 1.0 } else { 0.0 });
    let totals = hub.totals();
    gauge!("roomlane_rooms").set(totals.rooms as f64);
    gauge!("roomlane_members", "role" => "publish").set(totals.publishing as f64);
    gauge!("roomlane_members", "role" => "subscribe").set(totals.subscribing as f64);
    counter!("roomlane_shard_refusals_total").absolute(hub.refusals());
    let drops = hub.handshake_drops();
    counter!("roomlane_handshake_drops_total", "direction" => "in").absolute(drops.punts);
    counter!("roomlane_handshake_drops_total", "direction" => "out").absolute(drops.injects);
}

fn shards(snapshot: &Snapshot) {
    for view in &snapshot.shards {
        let Some(counters) = &view.counters else { continue };
        let worker = view.shard.to_string();
        let count = |name: &'static str, value: u64| {
            counter!(name, "worker" => worker.clone()).absolute(value);
        };
        count("roomlane_rx_packets_total", counters.rx_packets);
        count("roomlane_rx_bytes_total", counters.rx_bytes);
        count("roomlane_tx_packets_total", counters.tx_packets);
        count("roomlane_tx_bytes_total", counters.tx_bytes);
        count("roomlane_forwarded_packets_total", counters.forwarded);
        count("roomlane_done_packets_total", counters.done);
        count("roomlane_rtx_missed_total", counters.rtx_missed);
        count("roomlane_transport_feedback_total", counters.transport_cc_tx);
        count("roomlane_stun_answers_total", counters.stun_answered);
        let both = |name: &'static str, received: u64, sent: u64| {
            counter!(name, "worker" => worker.clone(), "direction" => "in").absolute(received);
            counter!(name, "worker" => worker.clone(), "direction" => "out").absolute(sent);
        };
        both("roomlane_handshake_datagrams_total", counters.punted, counters.injected);
        both("roomlane_pli_total", counters.pli_rx, counters.pli_tx);
        both("roomlane_rtcp_packets_total", counters.rtcp_rx, counters.rtcp_tx);
        both("roomlane_nack_total", counters.nack_rx, counters.nack_tx);
        both("roomlane_rtx_packets_total", counters.rtx_rx, counters.rtx_tx);
        both("roomlane_relay_packets_total", counters.relay_rx, counters.relay_tx);
        for reason in DropReason::ALL {
            let (at, name) = (*reason as usize, reason.name());
            counter!("roomlane_drops_total", "worker" => worker.clone(), "reason" => name)
                .absolute(counters.drops[at] + view.worker.map_or(0, |w| w.port_drops[at]));
            counter!("roomlane_egress_drops_total", "worker" => worker.clone(), "reason" => name)
                .absolute(counters.egress_drops[at]);
        }
        for (stage, seen) in STAGES.iter().zip(&counters.stages) {
            counter!("roomlane_stage_packets_total", "worker" => worker.clone(), "stage" => *stage)
                .absolute(seen.packets);
        }
        gauge!("roomlane_sessions", "worker" => worker.clone()).set(counters.sessions as f64);
        gauge!("roomlane_streams", "worker" => worker.clone(), "direction" => "in")
            .set(counters.publications as f64);
        gauge!("roomlane_streams", "worker" => worker.clone(), "direction" => "out")
            .set(counters.subscriptions as f64);
    }
}

fn workers(snapshot: &Snapshot) {
    for view in &snapshot.shards {
        let Some(counters) = &view.worker else { continue };
        let worker = view.shard.to_string();
        // Whole milliseconds would lose little; a counter of the exporter holds integers.
        counter!("roomlane_worker_busy_seconds_total", "worker" => worker.clone())
            .absolute(counters.busy_ns / 1_000_000_000);
        counter!("roomlane_worker_restarts_total", "worker" => worker.clone())
            .absolute(counters.restarts);
        let age_ns = snapshot.taken_ns.saturating_sub(counters.heartbeat_ns);
        gauge!("roomlane_worker_heartbeat_age_seconds", "worker" => worker.clone())
            .set(age_ns as f64 / 1e9);
        if counters.bufs_total > 0 {
            let free = counters.bufs_total.saturating_sub(counters.bufs_in_use);
            gauge!("roomlane_mbuf_free_ratio", "worker" => worker.clone())
                .set(free as f64 / counters.bufs_total as f64);
        }
    }
}
