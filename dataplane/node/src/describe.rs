//! What a node says of itself: the cell for consoles, the line for whoever started it, the table of its
//! memory.

use std::fmt::Write;
use std::net::IpAddr;

use config::{Aead, Config};
use proto::ShardId;
use proto::region::{PORT_TEXT_BYTES, RING_BYTES, Sizes};
use roomlane_core::limits::HISTORY_SLOT;
use roomlane_core::{BUF_CAPACITY, Duration, HEADROOM, Now, Shard, ShardConfig};
use serde_json::{Value, json};
use srtp::{FanoutProvider, Provider, RingProvider};

use crate::node::{aead_path, sizes};
use crate::regions::{PortText, stats_payload_bytes};
use crate::relay;

/// A node's self-description, without anything secret and with addresses masked.
#[derive(Debug, Clone)]
pub struct About(Value);

/// What only the open device knows.
#[derive(Debug, Clone, Default)]
pub struct DeviceAbout {
    /// Its driver, such as `net_af_xdp`; the port's type where there is no other name.
    pub driver: String,
    /// The memory that buffers lie in.
    pub memory: String,
    /// Queues in use.
    pub queues: usize,
}

impl About {
    /// Describes a node that is about to go.
    pub fn new(config: &Config, instance: u64, device: &DeviceAbout) -> Self {
        let addresses = config.port.addresses.iter();
        let addresses: Vec<String> =
            addresses.map(|cidr| format!("{}/{}", masked(cidr.addr), cidr.prefix)).collect();
        let workers = (0..config.workers.shards())
            .map(|shard| json!({"shard": shard, "core": config.workers.cores.get(shard)}));
        About(json!({
            "name": config.node.name,
            "version": env!("CARGO_PKG_VERSION"),
            "environment": format!("{:?}", config.node.environment).to_lowercase(),
            "pid": std::process::id(),
            "instance": format!("{instance:016x}"),
            "started_unix_s": shm::clock::unix_ns() / 1_000_000_000,
            "port": config.port.kind.name(),
            "driver": device.driver,
            "memory": device.memory,
            "queues": device.queues,
            "addresses": addresses,
            "udp_base": config.port.udp_base,
            "mtu": config.port.mtu,
            "vlan": config.port.vlan,
            "aead": aead_path(config.workers.aead),
            "workers": workers.collect::<Vec<_>>(),
        }))
    }

    /// The same, with the state of the port's link.
    pub fn with_link(&self, is_up: bool) -> About {
        let mut about = self.0.clone();
        about["link"] = if is_up { "up" } else { "down" }.into();
        About(about)
    }

    /// For the stats region.
    pub fn port_text(&self) -> PortText {
        let text = self.0.to_string();
        let mut cell = [0; PORT_TEXT_BYTES];
        // Workers are many on a large node; whoever wants them all reads their counters.
        let text = if text.len() <= cell.len() {
            text
        } else {
            let mut short = self.0.clone();
            short["workers"] = json!([]);
            short.to_string()
        };
        let len = text.len().min(cell.len());
        cell[..len].copy_from_slice(&text.as_bytes()[..len]);
        cell
    }

    /// The line on standard output that says that the node is up.
    pub fn ready_line(&self, run_dir: &std::path::Path) -> String {
        let mut line = json!({"ready": true, "run_dir": run_dir});
        if let (Some(line), Some(about)) = (line.as_object_mut(), self.0.as_object()) {
            line.extend(about.clone());
        }
        line.to_string()
    }
}

/// An address with its host part hidden: a node's own, but it names the operator's site.
pub fn masked(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.x")
        }
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            format!("{a:x}:{b:x}:x")
        }
    }
}

/// The node's memory at its start, part by part.
pub fn layout(config: &Config) -> String {
    let sizes: Sizes = sizes(config);
    let shards = sizes.shards as usize;
    let ledger = sizes.control_bytes() - sizes.command_ring(0) - shards * 2 * RING_BYTES;
    let pool = config.port.mempool_buffers as usize * (HEADROOM + BUF_CAPACITY);
    let shard = shard_bytes(&sizes, config.workers.aead);
    let history = config.limits.history_packets as usize * HISTORY_SLOT;
    let rows = [
        ("command and event rings (shared, locked)", shards * 2 * RING_BYTES),
        ("ledgers (shared, locked)", ledger),
        ("counters and snapshots (shared)", stats_payload_bytes(&sizes)),
        ("shard tables (measured, empty)", shards * shard),
        ("history of forwarded packets", shards * history),
        ("relay rings", relay::mesh_bytes(shards)),
        ("packet buffers", pool * config.workers.shards()),
    ];
    let mut table = format!(
        "{} shard(s), {} sessions and {} rooms each, port {}\n\n",
        shards,
        sizes.sessions_max,
        sizes.rooms_max,
        config.port.kind.name()
    );
    let mut line = |name: &str, bytes: usize| {
        let kib = bytes.div_ceil(1024);
        writeln!(table, "{name:<44}{kib:>12} KiB").expect("a string takes everything");
    };
    rows.iter().for_each(|(name, bytes)| line(name, *bytes));
    line("total", rows.iter().map(|(_, bytes)| bytes).sum());
    table
}

/// Bytes that a shard takes when it is made: it sets aside all it will ever use, so making one and
/// looking at this process's resident memory tells them.
fn shard_bytes(sizes: &Sizes, aead: Aead) -> usize {
    match aead {
        Aead::Ring => bytes_of(sizes, RingProvider::new()),
        _ => match FanoutProvider::detect() {
            Ok(kernel) => bytes_of(sizes, kernel),
            Err(_) => bytes_of(sizes, RingProvider::new()),
        },
    }
}

fn bytes_of(sizes: &Sizes, provider: impl Provider) -> usize {
    let config = ShardConfig {
        id: ShardId(0),
        seed: [0; 32],
        sessions_max: sizes.sessions_max,
        rooms_max: sizes.rooms_max,
        session_timeout: Duration::from_s(1),
        room_linger: Duration::from_s(0),
        history_packets: 0,
    };
    let before = resident_bytes();
    let shard = Shard::new(&config, provider, Now::default());
    let after = resident_bytes();
    drop(shard);
    after.saturating_sub(before)
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_describes_itself_without_its_full_addresses() {
        let text = "[port]\naddresses = [\"198.18.1.77/24\", \"2001:db8::77/64\"]\n";
        let config = Config::parse(text, "test").expect("valid");
        let about = About::new(&config, 0xab, &DeviceAbout::default());
        let cell = about.port_text();
        let end = cell.iter().position(|byte| *byte == 0).expect("padded");
        let told: Value = serde_json::from_slice(&cell[..end]).expect("JSON");
        assert_eq!(told["addresses"], json!(["198.18.1.x/24", "2001:db8:x/64"]));
        assert_eq!(told["instance"], "00000000000000ab");
        let line: Value = serde_json::from_str(&about.ready_line("/run/x".as_ref())).expect("JSON");
        assert_eq!((&line["ready"], &line["run_dir"]), (&json!(true), &json!("/run/x")));
        assert!(!line.to_string().contains("198.18.1.77"));
    }

    #[test]
    fn the_table_of_memory_adds_up() {
        let table = layout(&Config::default());
        let kib = |line: &str| -> u64 {
            line.split_whitespace().rev().nth(1).and_then(|n| n.parse().ok()).expect("a number")
        };
        let lines: Vec<&str> = table.lines().skip(2).collect();
        let (total, parts) = lines.split_last().expect("lines");
        let sum: u64 = parts.iter().map(|line| kib(line)).sum();
        assert!(sum.abs_diff(kib(total)) <= parts.len() as u64, "{table}");
    }
}
