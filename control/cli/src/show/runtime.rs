//! `roomlane show runtime`: per worker and stage, calls, packets and cycles.

use proto::counters::STAGES;
use serde_json::{Value, json};

use super::{Scene, Shown, members, shard_of};
use crate::exit::Failure;
use crate::table::{Table, percent};

pub(super) fn show(scene: &Scene, id: Option<&str>) -> Result<Shown, Failure> {
    let only = shard_of(scene, id)?;
    let mut table =
        Table::new(&[">worker", "stage", ">calls", ">packets", ">packets/call", ">cycles/packet"]);
    let mut turns = Table::new(&[">worker", ">turns", ">idle turns", ">idle"]);
    let mut list: Vec<Value> = vec![];
    for view in &scene.snapshot.shards {
        if only.is_some_and(|only| only != view.shard) {
            continue;
        }
        let (worker, counters) =
            (view.worker.unwrap_or_default(), view.counters.unwrap_or_default());
        let idle = ratio(worker.idle_turns, worker.turns);
        turns.row(vec![
            view.shard.to_string(),
            worker.turns.to_string(),
            worker.idle_turns.to_string(),
            percent(idle),
        ]);
        let mut stages: Vec<Value> = vec![];
        for (name, stage) in STAGES.iter().zip(counters.stages) {
            let per_call = ratio(stage.packets, stage.calls);
            let cycles = ratio(stage.sampled_cycles, stage.sampled_packets);
            table.row(vec![
                view.shard.to_string(),
                (*name).to_owned(),
                stage.calls.to_string(),
                stage.packets.to_string(),
                format!("{per_call:.2}"),
                if stage.sampled_packets > 0 { format!("{cycles:.0}") } else { "-".to_owned() },
            ]);
            let object = json!({
                "worker": view.shard, "stage": name, "calls": stage.calls, "packets": stage.packets,
                "packets_per_call": per_call, "cycles_per_packet": cycles,
            });
            table.about(object.clone());
            stages.push(object);
        }
        list.push(json!({
            "worker": view.shard, "turns": worker.turns, "idle_turns": worker.idle_turns,
            "idle": idle, "stages": stages,
        }));
    }
    Ok(Shown { tables: vec![table, turns], json: members(json!({ "workers": list })) })
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
