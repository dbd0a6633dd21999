//! `roomlane show drops`: every dropped packet by reason, with what the reason means.

use proto::DropReason;
use serde_json::{Value, json};

use super::{Scene, Shown, members};
use crate::table::Table;

pub(super) fn show(scene: &Scene, all: bool) -> Shown {
    let totals = scene.snapshot.totals();
    let mut port = [0u64; DropReason::COUNT];
    for worker in scene.snapshot.shards.iter().filter_map(|shard| shard.worker.as_ref()) {
        port.iter_mut().zip(worker.port_drops).for_each(|(sum, n)| *sum = sum.wrapping_add(n));
    }
    let mut table = Table::new(&["reason", ">received", ">outgoing", ">port", ">per s", "meaning"]);
    let mut list: Vec<Value> = vec![];
    for (index, reason) in DropReason::ALL.iter().enumerate() {
        let (received, outgoing, port) =
            (totals.drops[index], totals.egress_drops[index], port[index]);
        let rate = scene.rates.drops_by_reason_ps.get(index).copied().unwrap_or_default();
        let object = json!({
            "reason": reason.name(), "received": received, "outgoing": outgoing, "port": port,
            "per_s": rate, "sentence": reason.sentence(),
        });
        list.push(object.clone());
        if all || received + outgoing + port > 0 {
            table.row(vec![
                reason.name().to_owned(),
                received.to_string(),
                outgoing.to_string(),
                port.to_string(),
                format!("{rate:.0}"),
                reason.sentence().to_owned(),
            ]);
            table.about(object);
        }
    }
    let json = json!({ "total": scene.snapshot.dropped(), "drops": list });
    Shown { tables: vec![table], json: members(json) }
}
