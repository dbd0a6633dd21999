//! `roomlane show node`: identity, state and totals.

use serde_json::json;

use super::{STALE_NS, Scene, Shown, about, about_text, members};
use crate::table::Table;

pub(super) fn show(scene: &Scene) -> Shown {
    let (node, rates, totals) = (&scene.snapshot.node, &scene.rates, scene.snapshot.totals());
    let about = about(scene);
    let stale = scene.snapshot.age_ns() > STALE_NS;
    let state = if stale { "silent" } else { "running" };
    let control =
        if scene.control_alive { "running" } else { "dead: media goes on, nothing can be done" };
    let dropped = scene.snapshot.dropped();
    let rows: Vec<(&str, String)> = vec![
        ("name", about_text(&about, "name")),
        ("version", about_text(&about, "version")),
        ("environment", about_text(&about, "environment")),
        ("data plane", format!("{state}, pid {}", node.pid)),
        ("control", control.to_owned()),
        ("port", about_text(&about, "port")),
        ("driver", about_text(&about, "driver")),
        ("UDP ports", udp_ports(node.udp_base, node.shards)),
        ("workers", node.shards.to_string()),
        ("rooms", scene.snapshot.rooms_merged().len().to_string()),
        ("sessions", totals.sessions.to_string()),
        ("packets in/s", format!("{:.0}", rates.rx_pps)),
        ("packets out/s", format!("{:.0}", rates.tx_pps)),
        ("drops/s", format!("{:.0}", rates.drops_ps)),
        ("packets in", totals.rx_packets.to_string()),
        ("packets out", totals.tx_packets.to_string()),
        ("drops", dropped.to_string()),
        ("data age", format!("{} ms", scene.snapshot.age_ns() / 1_000_000)),
    ];
    let mut table = Table::new(&["node", ""]);
    for (name, value) in rows {
        table.row(vec![name.to_owned(), value]);
    }
    let json = json!({
        "pid": node.pid, "state": state, "udp_base": node.udp_base, "workers": node.shards,
        "sessions_max": node.sessions_max, "rooms_max": node.rooms_max, "about": about,
        "rooms": scene.snapshot.rooms_merged().len(), "sessions": totals.sessions,
        "publications": totals.publications, "subscriptions": totals.subscriptions,
        "rx_packets": totals.rx_packets, "rx_bytes": totals.rx_bytes,
        "tx_packets": totals.tx_packets, "tx_bytes": totals.tx_bytes,
        "forwarded": totals.forwarded, "done": totals.done, "dropped": totals.dropped(),
        "punted": totals.punted, "steered": totals.steered, "drops_all": dropped,
        "rx_pps": rates.rx_pps, "tx_pps": rates.tx_pps, "rx_bps": rates.rx_bps,
        "tx_bps": rates.tx_bps, "drops_ps": rates.drops_ps,
        "rtcp_rx": totals.rtcp_rx, "rtcp_tx": totals.rtcp_tx,
        "pli_rx": totals.pli_rx, "pli_tx": totals.pli_tx,
        "commands": totals.commands, "commands_refused": totals.commands_refused,
        "events_lost": totals.events_lost,
    });
    Shown { tables: vec![table], json: members(json) }
}

fn udp_ports(base: u16, shards: u32) -> String {
    match shards {
        1 => base.to_string(),
        _ => format!("{base} to {}", u32::from(base) + shards - 1),
    }
}
