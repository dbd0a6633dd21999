//! `roomlane show port`: the device, and what happened below UDP.

use proto::DropReason;
use serde_json::{Map, Value, json};

use super::{Scene, Shown, about, about_text, members};
use crate::table::Table;

const FACTS: [&str; 10] =
    ["port", "driver", "device", "memory", "queues", "addresses", "udp_base", "mtu", "vlan", "mac"];

/// `roomlane show port xstats`: the driver's own counters, by its names.
pub(super) fn xstats(xstats: &[(String, u64)]) -> Shown {
    let mut table = Table::new(&["counter", ">value"]);
    for (name, value) in xstats {
        table.row(vec![name.clone(), value.to_string()]);
        table.about(json!({ "counter": name, "value": value }));
    }
    let list = json!({ "xstats": table.objects() });
    Shown { tables: vec![table], json: members(list) }
}

/// What the device says of itself, as rows and as members.
fn device(scene: &Scene, facts: &mut Table) -> Value {
    let port = &scene.snapshot.port;
    let Some(link) = port.link_word() else { return Value::Null };
    let since_s = super::ago_s(scene, port.link_since_ns);
    let times = match port.link_changes {
        0 => format!("{link} since it was first looked at"),
        1 => format!("{link} for {since_s} s, after 1 change"),
        n => format!("{link} for {since_s} s, after {n} changes"),
    };
    facts.row(vec!["link".to_owned(), times]);
    if port.link_mbps > 0 {
        facts.row(vec!["link speed".to_owned(), format!("{} Mbit/s", port.link_mbps)]);
    }
    let totals = [
        ("imissed", port.rx_missed),
        ("ierrors", port.rx_errors),
        ("rx_nombuf", port.rx_no_mbuf),
        ("oerrors", port.tx_errors),
    ];
    let mut object = json!({
        "link": link, "link_mbps": port.link_mbps, "link_changes": port.link_changes,
        "link_since_s": since_s,
    });
    if port.has_totals == 1 {
        let texts = totals.map(|(name, count)| format!("{name} {count}"));
        facts.row(vec!["device".to_owned(), texts.join(", ")]);
        totals.iter().for_each(|(name, count)| object[*name] = json!(count));
        for (name, count) in [
            ("ipackets", port.rx_packets),
            ("ibytes", port.rx_bytes),
            ("opackets", port.tx_packets),
            ("obytes", port.tx_bytes),
        ] {
            object[name] = json!(count);
        }
    }
    object
}

pub(super) fn show(scene: &Scene) -> Shown {
    let about = about(scene);
    let mut facts = Table::new(&["port", ""]);
    for key in FACTS.iter().filter(|key| !about[**key].is_null()) {
        facts.row(vec![(*key).to_owned(), about_text(&about, key)]);
    }
    let device = device(scene, &mut facts);
    let mut table = Table::new(&[
        ">worker",
        ">in",
        ">in bytes",
        ">out",
        ">out bytes",
        ">answered",
        ">dropped",
        "reasons",
    ]);
    let mut list: Vec<Value> = vec![];
    for view in &scene.snapshot.shards {
        let Some(worker) = &view.worker else { continue };
        let drops = || DropReason::ALL.iter().zip(worker.port_drops).filter(|(_, n)| *n > 0);
        let reasons: Vec<String> = drops().map(|(r, n)| format!("{} {n}", r.name())).collect();
        table.row(vec![
            view.shard.to_string(),
            worker.port_rx_packets.to_string(),
            worker.port_rx_bytes.to_string(),
            worker.port_tx_packets.to_string(),
            worker.port_tx_bytes.to_string(),
            worker.port_answered.to_string(),
            worker.port_drops.iter().sum::<u64>().to_string(),
            reasons.join(", "),
        ]);
        let by_reason: Map<String, Value> =
            drops().map(|(reason, n)| (reason.name().to_owned(), json!(n))).collect();
        let object = json!({
            "worker": view.shard,
            "rx_packets": worker.port_rx_packets, "rx_bytes": worker.port_rx_bytes,
            "tx_packets": worker.port_tx_packets, "tx_bytes": worker.port_tx_bytes,
            "answered": worker.port_answered, "drops": by_reason,
        });
        table.about(object.clone());
        list.push(object);
    }
    let json = json!({ "about": about, "device": device, "queues": list });
    Shown { tables: vec![facts, table], json: members(json) }
}
