//! Every metric of a node: one table for what exports them, for the handbook, and for the tests that
//! hold alarms and dashboards to what is exported.
//!
//! Names follow Prometheus: a prefix, base units, `_total` for counters, ratios from 0 to 1. No label
//! holds an id, a name or an address: apps, rooms and users never become labels.

/// What kind of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises while its process lives.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bound, with their sum.
    Histogram,
}

impl Kind {
    /// As in Prometheus' text format.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A metric: what `/metrics` says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its full name.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// Every metric, in the handbook's order.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    // the node
    BUILD_INFO Gauge "roomlane_build_info" ["version" "commit" "backend"] "Always 1; what was built, and the type of the data plane's port.";
    UPTIME Gauge "roomlane_uptime_seconds" [] "Age of the control process.";
    STATE Gauge "roomlane_state" ["state"] "1 for the state that the node is in, 0 for the others.";
    STRESS Gauge "roomlane_stress_ratio" [] "The fullest of: busiest core, buffers in use, session table, room table.";
    DATA_PLANE_UP Gauge "roomlane_data_plane_up" [] "1 while the data plane is connected.";
    DATA_PLANE_RESTARTS Counter "roomlane_data_plane_restarts_total" [] "Data planes that this control process met after its first one.";
    CONTROL_RESTARTS Counter "roomlane_control_restarts_total" [] "Times that the supervisor started the control process again.";
    MEMORY Gauge "roomlane_memory_bytes" ["kind"] "Resident memory of a process of the node.";
    CLOCK_STEP Gauge "roomlane_clock_step_seconds" [] "By how much the wall clock was set since the control process started.";
    CERTIFICATE_EXPIRY Gauge "roomlane_certificate_expiry_timestamp_seconds" ["use"] "When a certificate ends, in Unix time.";
    RELOAD_SUCCESSFUL Gauge "roomlane_config_last_reload_successful" [] "1 when the configuration was taken in at the last attempt.";
    RELOAD_TIME Gauge "roomlane_config_last_reload_success_timestamp_seconds" [] "When the configuration was last taken in, in Unix time.";
    CONFIG_INFO Gauge "roomlane_config_info" ["hash"] "Always 1; which configuration runs, by the hash of its settings without secrets.";
    // signalling
    API_REQUESTS Counter "roomlane_api_requests_total" ["api" "status" "code"] "HTTP requests by API, status and problem code.";
    API_RATE_LIMITED Counter "roomlane_api_rate_limited_total" ["api" "code"] "Requests refused for the rate of their source or app.";
    JOINS Counter "roomlane_join_total" ["role" "result" "reason"] "Joins by role, result and reason.";
    JOIN_SECONDS Histogram "roomlane_join_seconds" ["role"] "Time that successful joins took.";
    ROOM_SIZE Histogram "roomlane_room_size" [] "Members of the room that a join entered, the newcomer included.";
    TOKEN_REJECTIONS Counter "roomlane_token_rejections_total" ["reason"] "Tokens refused, by reason.";
    SHARD_REFUSALS Counter "roomlane_shard_refusals_total" [] "Joins that a shard refused.";
    DTLS_HANDSHAKES Counter "roomlane_dtls_handshakes_total" ["result"] "DTLS handshakes by result.";
    DTLS_SECONDS Histogram "roomlane_dtls_handshake_seconds" [] "Time from ClientHello to keys.";
    DTLS_HALF_OPEN Gauge "roomlane_dtls_half_open" [] "Unfinished DTLS handshakes.";
    DTLS_QUEUE_DROPS Counter "roomlane_dtls_queue_drops_total" [] "DTLS datagrams dropped because too many of their session or of all waited.";
    HANDSHAKE_DROPS Counter "roomlane_handshake_drops_total" ["direction"] "DTLS datagrams that the control daemon had no room for.";
    ROOMS Gauge "roomlane_rooms" [] "Rooms.";
    MEMBERS Gauge "roomlane_members" ["role"] "WHIP and WHEP resources by role.";
    STREAMS Gauge "roomlane_streams" ["kind" "direction"] "Streams in, and receive sections of subscribers out, by kind of media.";
    // security
    SECURITY_EVENTS Counter "roomlane_security_events_total" ["event" "category" "severity"] "Security events, those held back from the log included.";
    NOTIFICATIONS Counter "roomlane_notifications_total" ["result"] "Security events for the webhook, by what became of them.";
    FLOOD_ACTIVE Gauge "roomlane_flood_active" ["class"] "1 while a class of unwanted traffic is above its threshold.";
    FLOOD_DROPPED Counter "roomlane_flood_dropped_total" ["class"] "Unwanted packets dropped before anything costly, by class.";
    // packets, by worker
    RX_PACKETS Counter "roomlane_rx_packets_total" ["worker" "class"] "Datagrams given to the shard, by their first bytes.";
    RX_BYTES Counter "roomlane_rx_bytes_total" ["worker"] "UDP payload bytes given to the shard.";
    TX_PACKETS Counter "roomlane_tx_packets_total" ["worker"] "Media packets sent.";
    TX_BYTES Counter "roomlane_tx_bytes_total" ["worker"] "Their bytes.";
    FORWARDED Counter "roomlane_forwarded_packets_total" ["worker"] "Received packets that went to a subscriber.";
    DONE Counter "roomlane_done_packets_total" ["worker"] "Received packets that ended here: RTCP, connectivity checks, or media without subscriber.";
    DROPS Counter "roomlane_drops_total" ["worker" "reason"] "Received packets dropped, by reason.";
    EGRESS_DROPS Counter "roomlane_egress_drops_total" ["worker" "reason"] "Copies not sent, by reason.";
    SRTP_AUTH_FAILURES Counter "roomlane_srtp_auth_failures_total" ["worker"] "SRTP and SRTCP packets with a wrong authentication tag.";
    REPLAYS Counter "roomlane_replays_total" ["worker"] "Packets whose index was accepted before.";
    ICE_CHECKS Counter "roomlane_ice_checks_total" ["worker" "result"] "Connectivity checks: answered, or the reason of the drop.";
    NACK Counter "roomlane_nack_total" ["worker" "direction"] "Lost sequence numbers reported: in by subscribers, out to publishers.";
    PLI Counter "roomlane_pli_total" ["worker" "direction"] "Picture-loss indications: in from subscribers, out to publishers.";
    RTX_PACKETS Counter "roomlane_rtx_packets_total" ["worker" "direction"] "Retransmissions: in from publishers, out to subscribers.";
    RTX_MISSED Counter "roomlane_rtx_missed_total" ["worker"] "Lost packets that could not be sent again.";
    RTCP Counter "roomlane_rtcp_packets_total" ["worker" "direction"] "RTCP packets by direction.";
    TRANSPORT_FEEDBACK Counter "roomlane_transport_feedback_total" ["worker"] "Transport-wide feedback packets sent to publishers.";
    SEAL_CHECKS Counter "roomlane_seal_checks_total" ["worker"] "Sealed packets that another library opened, to watch the cipher kernel.";
    SEAL_FAULTS Counter "roomlane_seal_faults_total" ["worker"] "Those of them that it did not open; the kernel is not used any more.";
    HANDSHAKE_DATAGRAMS Counter "roomlane_handshake_datagrams_total" ["worker" "direction"] "DTLS datagrams between the shard and the control daemon.";
    RELAY Counter "roomlane_relay_packets_total" ["worker" "direction"] "Opened copies between shards.";
    STAGE_PACKETS Counter "roomlane_stage_packets_total" ["worker" "stage"] "Packets by stage of the packet path.";
    STAGE_CALLS Counter "roomlane_stage_calls_total" ["worker" "stage"] "Bursts by stage of the packet path.";
    // workers
    SESSIONS Gauge "roomlane_sessions" ["worker"] "Sessions on the shard.";
    SESSION_FILL Gauge "roomlane_session_table_fill_ratio" ["worker"] "Used share of the shard's places for sessions.";
    ROOM_FILL Gauge "roomlane_room_table_fill_ratio" ["worker"] "Used share of the shard's places for rooms.";
    MBUF_FREE Gauge "roomlane_mbuf_free_ratio" ["worker"] "Free share of the worker's buffer pool.";
    BUSY_RATIO Gauge "roomlane_worker_busy_ratio" ["worker"] "Share of the last second that the worker spent in turns with work.";
    BUSY_SECONDS Counter "roomlane_worker_busy_seconds_total" ["worker"] "Time in turns with work.";
    ASLEEP_SECONDS Counter "roomlane_worker_asleep_seconds_total" ["worker"] "Time asleep.";
    CYCLES Gauge "roomlane_worker_cycles_per_packet" ["worker"] "CPU cycles that all stages together took of a packet, by sampled bursts.";
    HEARTBEAT_AGE Gauge "roomlane_worker_heartbeat_age_seconds" ["worker"] "Age of the worker's last sign of life.";
    WORKER_RESTARTS Counter "roomlane_worker_restarts_total" ["worker"] "Shards replaced after a panic.";
    TURN_SECONDS Histogram "roomlane_turn_seconds" ["worker"] "Duration of turns with work, which bound a packet's time in the node.";
    PORT_UP Gauge "roomlane_port_up" [] "1 while the port's link carries packets, 0 while it does not; absent where nobody knows.";
    PORT_LINK_CHANGES Counter "roomlane_port_link_changes_total" [] "Times that the port's link went down or came back.";
    PORT_LOST Counter "roomlane_port_lost_packets_total" ["reason"] "Packets that a DPDK device lost, by its own count.";
    BURST_PACKETS Histogram "roomlane_burst_packets" ["worker"] "Datagrams that one turn received, empty turns apart.";
}

/// The metric that a name in a query means: its own, or a histogram's with `_bucket`, `_sum` or
/// `_count`.
pub fn find(name: &str) -> Option<&'static Metric> {
    let parts = ["_bucket", "_sum", "_count"];
    ALL.iter().find(|metric| match metric.kind {
        Kind::Histogram => {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| rest.is_empty() || parts.contains(&rest))
        }
        _ => metric.name == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_follow_prometheus() {
        for metric in ALL {
            let name = metric.name;
            assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(name.starts_with("roomlane_") && !name.contains("__"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn no_label_can_hold_an_identity() {
        for metric in ALL {
            for label in metric.labels {
                let of_people = ["app", "room", "user", "session", "member", "address", "ssrc"];
                assert!(!of_people.contains(label), "{}: {label}", metric.name);
            }
        }
    }

    #[test]
    fn a_histograms_series_are_found_by_their_names() {
        assert_eq!(find("roomlane_join_seconds_bucket"), Some(&JOIN_SECONDS));
        assert_eq!(find("roomlane_join_seconds"), Some(&JOIN_SECONDS));
        assert_eq!(find("roomlane_join_total"), Some(&JOINS));
        assert_eq!(find("roomlane_join_total_bucket"), None);
        assert_eq!(find("roomlane_nothing"), None);
    }
}
