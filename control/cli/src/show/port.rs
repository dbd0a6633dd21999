//! `roomlane show port`: the device, and what happened below UDP.

use proto::DropReason;
use serde_json::{Map, Value, json};

use super::{Scene, Shown, about, about_text, members};
use crate::table::Table;

const FACTS: [&str; 10] =
    ["port", "driver", "device", "memory", "queues", "addresses", "udp_base", "mtu", "vlan", "mac"];

pub(super) fn show(scene: &Scene) -> Shown {
    let about = about(scene);
    let mut facts = Table::new(&["port", ""]);
    for key in FACTS.iter().filter(|key| !about[**key].is_null()) {
        facts.row(vec![(*key).to_owned(), about_text(&about, key)]);
    }
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
    Shown { tables: vec![facts, table], json: members(json!({ "about": about, "queues": list })) }
}
