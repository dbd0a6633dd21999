//! Metrics: what this process counts, and what the data plane has counted in the stats region. Names,
//! labels and sentences are in the table of [`proto::metric`].

mod alarms;
mod shards;
mod text;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Recorder, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use proto::metric::{self, Kind};
use proto::{SecurityEvent, ShardId};
use stats::{Snapshot, Stats};

use crate::limits::ALARM_CERTIFICATE_S;
use crate::link::hub::{Hub, Status};
use crate::security::{SENT, Security};
use crate::signalling::Role;
use text::Text;
use watch::{FLOODS, SIGNALLING, Watch};

/// Upper bounds of the duration of a join, in seconds.
const JOIN_SECONDS: [f64; 8] = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5];
/// Upper bounds of the duration of a DTLS handshake, in seconds: two round trips, and repetitions.
const DTLS_SECONDS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
/// Upper bounds of the size of a room, in members.
const ROOM_SIZES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 25.0, 100.0, 500.0, 2500.0];
/// How often the supervisor has started this process again.
const RESTARTS_VARIABLE: &str = "ROOMLANE_RESTARTS";
/// Of the tree that this was built from; empty where there was none.
const COMMIT: &str = env!("ROOMLANE_COMMIT");

/// The recorder, the stats region as far as there is one, and what guards of the node are told.
pub struct Metrics {
    /// Where security events are reported.
    pub security: Security,
    recorder: PrometheusRecorder,
    run_dir: PathBuf,
    stats: Mutex<Option<Stats>>,
    watch: Mutex<Watch>,
    looked: Mutex<Instant>,
    rate_limited: AtomicU64,
    started: Instant,
    restarts: Option<u64>,
    /// Hash of the settings that run; empty before the start is over.
    config_hash: Mutex<String>,
    /// Certificates that end soon, and when.
    expiring: Mutex<HashMap<&'static str, u64>>,
}

impl Metrics {
    /// For the node in `run_dir`.
    ///
    /// # Errors
    /// Never with these buckets.
    pub fn new(run_dir: PathBuf) -> anyhow::Result<Metrics> {
        let full = |metric: &metric::Metric| Matcher::Full(metric.name.to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(full(&metric::JOIN_SECONDS), &JOIN_SECONDS)?
            .set_buckets_for_metric(full(&metric::DTLS_SECONDS), &DTLS_SECONDS)?
            .set_buckets_for_metric(full(&metric::ROOM_SIZE), &ROOM_SIZES)?
            .build_recorder();
        for metric in metric::ALL {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
                Kind::Histogram => recorder.describe_histogram(name, None, help),
            }
        }
        let restarts = std::env::var(RESTARTS_VARIABLE).ok().and_then(|text| text.parse().ok());
        Ok(Metrics {
            security: Security::default(),
            recorder,
            run_dir,
            stats: Mutex::new(None),
            watch: Mutex::new(Watch::default()),
            looked: Mutex::new(Instant::now()),
            rate_limited: AtomicU64::new(0),
            started: Instant::now(),
            restarts,
            config_hash: Mutex::default(),
            expiring: Mutex::default(),
        })
    }

    /// An HTTP request ended.
    pub fn request(&self, api: &'static str, status: u16, code: &'static str) {
        let is_limited = status == 429 && code.ends_with("join_rate");
        if is_limited {
            self.rate_limited.fetch_add(1, Ordering::Relaxed);
        }
        let status = status.to_string();
        with_local_recorder(&self.recorder, || {
            let name = metric::API_REQUESTS.name;
            counter!(name, "api" => api, "status" => status, "code" => code).increment(1);
            if is_limited {
                counter!(metric::API_RATE_LIMITED.name, "api" => api, "code" => code).increment(1);
            }
        });
    }

    /// A join ended: `ok` or a problem's code.
    pub fn join(&self, role: Role, code: &'static str, took: Duration) {
        let role = if role == Role::Publish { "publish" } else { "subscribe" };
        let result = if code == "ok" { "ok" } else { "refused" };
        with_local_recorder(&self.recorder, || {
            let name = metric::JOINS.name;
            counter!(name, "role" => role, "result" => result, "reason" => code).increment(1);
            if code == "ok" {
                histogram!(metric::JOIN_SECONDS.name, "role" => role).record(took.as_secs_f64());
            }
        });
    }

    /// Somebody entered a room that now has so many members.
    pub fn entered(&self, members: usize) {
        with_local_recorder(&self.recorder, || {
            histogram!(metric::ROOM_SIZE.name).record(members as f64);
        });
    }

    /// Tokens were refused.
    pub fn token_rejected(&self, reason: &'static str) {
        with_local_recorder(&self.recorder, || {
            counter!(metric::TOKEN_REJECTIONS.name, "reason" => reason).increment(1);
        });
    }

    /// A DTLS handshake ended: `ok` or why not.
    pub fn dtls_handshake(&self, result: &'static str, took: Duration) {
        with_local_recorder(&self.recorder, || {
            counter!(metric::DTLS_HANDSHAKES.name, "result" => result).increment(1);
            if result == "ok" {
                histogram!(metric::DTLS_SECONDS.name).record(took.as_secs_f64());
            }
        });
    }

    /// Unfinished DTLS handshakes, of now.
    pub fn dtls_half_open(&self, count: usize) {
        with_local_recorder(&self.recorder, || {
            gauge!(metric::DTLS_HALF_OPEN.name).set(count as f64);
        });
    }

    /// A DTLS datagram was dropped before its turn.
    pub fn dtls_dropped(&self) {
        with_local_recorder(&self.recorder, || {
            counter!(metric::DTLS_QUEUE_DROPS.name).increment(1);
        });
    }

    /// When the certificate for `https` or `dtls` ends.
    pub fn certificate(&self, usage: &'static str, expires_unix_s: u64) {
        let mut expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        let unix_s = shm::clock::unix_ns() / 1_000_000_000;
        let ends_soon = expires_unix_s < unix_s + ALARM_CERTIFICATE_S;
        // Once for each certificate.
        if !ends_soon {
            expiring.remove(usage);
        } else if expiring.insert(usage, expires_unix_s) != Some(expires_unix_s) {
            self.security.report(SecurityEvent::CertificateExpires, usage, 1);
        }
        drop(expiring);
        with_local_recorder(&self.recorder, || {
            gauge!(metric::CERTIFICATE_EXPIRY.name, "use" => usage).set(expires_unix_s as f64);
        });
    }

    /// The configuration was read, at the start or again: taken in, with the hash of what runs now, or
    /// refused and the old one kept.
    pub fn reloaded(&self, taken: Option<&str>) {
        match taken {
            Some(_) => self.security.ended(SecurityEvent::ReloadFailed, ""),
            None => self.security.report(SecurityEvent::ReloadFailed, "", 1),
        }
        with_local_recorder(&self.recorder, || {
            gauge!(metric::RELOAD_SUCCESSFUL.name).set(f64::from(u8::from(taken.is_some())));
            if let Some(hash) = taken {
                let unix_s = shm::clock::unix_ns() as f64 / 1e9;
                gauge!(metric::RELOAD_TIME.name).set(unix_s);
                hash.clone_into(
                    &mut self.config_hash.lock().unwrap_or_else(PoisonError::into_inner),
                );
            }
        });
    }

    /// Everything as text.
    pub fn render(&self, hub: &Hub) -> String {
        let snapshot = self.snapshot(hub);
        let mut text = Text::default();
        self.own(&mut text, hub, snapshot.as_ref());
        let watch = self.watch();
        if let Some(snapshot) = &snapshot {
            shards::write(&mut text, snapshot, watch.rates.as_ref());
        }
        text.add(&metric::DATA_PLANE_RESTARTS, &[], watch.lives.saturating_sub(1));
        text.add(&metric::CLOCK_STEP, &[], watch.clock_step_ns as f64 / 1e9);
        let classes = FLOODS.iter().map(|(class, _)| *class).chain([SIGNALLING]);
        for (class, flood) in classes.zip(&watch.floods) {
            text.add(&metric::FLOOD_ACTIVE, &[class], u8::from(flood.is_active));
            text.add(&metric::FLOOD_DROPPED, &[class], flood.dropped);
        }
        drop(watch);
        let handle = self.recorder.handle();
        handle.run_upkeep();
        handle.render() + &text.finish()
    }

    /// What this process knows of itself.
    fn own(&self, text: &mut Text, hub: &Hub, snapshot: Option<&Snapshot>) {
        let about = snapshot.map_or("", |snapshot| snapshot.node.about.as_str());
        let about: serde_json::Value = serde_json::from_str(about).unwrap_or_default();
        let backend = about["port"].as_str().unwrap_or("none");
        text.add(&metric::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), COMMIT, backend], 1);
        let hash = self.config_hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
        text.add(&metric::CONFIG_INFO, &[&hash], 1);
        text.add(&metric::UPTIME, &[], self.started.elapsed().as_secs_f64());
        let is_up = matches!(hub.status(), Status::Up { .. });
        let state = match (is_up, hub.is_draining()) {
            (false, _) => "no_data_plane",
            (true, true) => "draining",
            (true, false) => "serving",
        };
        for name in ["serving", "draining", "no_data_plane"] {
            text.add(&metric::STATE, &[name], u8::from(name == state));
        }
        text.add(&metric::DATA_PLANE_UP, &[], u8::from(is_up));
        if let Some(restarts) = self.restarts {
            text.add(&metric::CONTROL_RESTARTS, &[], restarts);
        }
        let data_plane = snapshot.map(|snapshot| snapshot.node.pid);
        let both = [("control", Some(u64::from(std::process::id()))), ("data_plane", data_plane)];
        for (kind, pid) in both {
            if let Some(bytes) = pid.and_then(resident_bytes) {
                text.add(&metric::MEMORY, &[kind], bytes);
            }
        }
        let totals = hub.totals();
        text.add(&metric::ROOMS, &[], totals.rooms);
        text.add(&metric::MEMBERS, &["publish"], totals.publishing);
        text.add(&metric::MEMBERS, &["subscribe"], totals.subscribing);
        for (kind, (received, sent)) in ["audio", "video", "substream"].iter().zip(hub.streams()) {
            text.add(&metric::STREAMS, &[kind, "in"], received);
            text.add(&metric::STREAMS, &[kind, "out"], sent);
        }
        text.add(&metric::SHARD_REFUSALS, &[], hub.refusals());
        let drops = hub.handshake_drops();
        text.add(&metric::HANDSHAKE_DROPS, &["in"], drops.punts);
        text.add(&metric::HANDSHAKE_DROPS, &["out"], drops.injects);
        for event in SecurityEvent::ALL {
            let labels = [event.name(), event.category().name(), event.severity().name()];
            text.add(&metric::SECURITY_EVENTS, &labels, self.security.count(*event));
        }
        for (result, count) in SENT.iter().zip(self.security.notifications().unwrap_or_default()) {
            text.add(&metric::NOTIFICATIONS, &[result], count);
        }
    }

    /// Looks at the counters: once a second. Returns how much each shard moves, for placement.
    pub fn look(&self, hub: &Hub) -> Vec<(ShardId, u64)> {
        let now = self.snapshot(hub);
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let outside = watch::Outside {
            monotonic_ns: shm::clock::monotonic_ns(),
            unix_ns: shm::clock::unix_ns(),
            rate_limited: self.rate_limited.load(Ordering::Relaxed),
            elapsed_s: std::mem::replace(&mut *looked, Instant::now()).elapsed().as_secs_f64(),
        };
        drop(looked);
        let mut watch = self.watch();
        let old = watch.look(now, outside, &self.security);
        match (old, watch.snapshot()) {
            (Some(old), Some(new)) => {
                hub.trail.compare(&old, new);
                loads(&old, new)
            }
            _ => Vec::new(),
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the data plane has counted; `None` without one. A region of an earlier life is let go of.
    pub fn snapshot(&self, hub: &Hub) -> Option<Snapshot> {
        let Status::Up { instance, .. } = hub.status() else { return None };
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        if stats.as_ref().is_none_or(|stats| stats.instance() != instance) {
            *stats = Stats::connect(&self.run_dir).ok();
        }
        stats.as_ref().map(Stats::snapshot)
    }
}

/// Resident memory of a process, as the kernel counts it.
fn resident_bytes(pid: u64) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
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
