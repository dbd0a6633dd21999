//! `roomlane show worker`: per core, what the loop does.

use proto::counters::turn_cpu_bound_ns;
use serde_json::{Value, json};

use super::{STALE_NS, Scene, Shown, members, shard_of};
use crate::exit::Failure;
use crate::table::{Table, percent};

pub(super) fn show(scene: &Scene, id: Option<&str>) -> Result<Shown, Failure> {
    let only = shard_of(scene, id)?;
    let mut table = Table::new(&[
        ">worker",
        "state",
        ">core",
        ">I/O by",
        ">rooms",
        ">sessions",
        ">in/s",
        ">out/s",
        ">busy",
        ">asleep",
        ">buffers",
        ">restarts",
        ">beat ms",
    ]);
    let mut list: Vec<Value> = vec![];
    for view in &scene.snapshot.shards {
        if only.is_some_and(|only| only != view.shard) {
            continue;
        }
        let rates = scene.rates.workers.get(view.shard).copied().unwrap_or_default();
        let worker = view.worker.unwrap_or_default();
        let counters = view.counters.unwrap_or_default();
        let beat_ns = scene.snapshot.taken_ns.saturating_sub(worker.heartbeat_ns);
        let state = match view.worker {
            None => "starting",
            Some(_) if beat_ns > STALE_NS => "silent",
            Some(_) => "running",
        };
        let pinned = (worker.core != u64::MAX && view.worker.is_some()).then_some(worker.core);
        let beat_ms = view.worker.map(|_| beat_ns / 1_000_000);
        let or_dash = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
        table.row(vec![
            view.shard.to_string(),
            state.to_owned(),
            or_dash(pinned),
            worker.io_worker.to_string(),
            counters.rooms.to_string(),
            counters.sessions.to_string(),
            format!("{:.0}", rates.rx_pps),
            format!("{:.0}", rates.tx_pps),
            percent(rates.busy),
            percent(rates.asleep),
            format!("{}/{}", worker.bufs_in_use, worker.bufs_total),
            worker.restarts.to_string(),
            or_dash(beat_ms),
        ]);
        let object = json!({
            "worker": view.shard, "state": state, "core": pinned, "io_worker": worker.io_worker,
            "rooms": counters.rooms, "sessions": counters.sessions,
            "rx_pps": rates.rx_pps, "tx_pps": rates.tx_pps, "busy": rates.busy,
            "asleep": rates.asleep, "turns": worker.turns, "idle_turns": worker.idle_turns,
            "busy_ns": worker.busy_ns, "asleep_ns": worker.asleep_ns,
            "bufs_in_use": worker.bufs_in_use, "bufs_total": worker.bufs_total,
            "restarts": worker.restarts, "heartbeat_age_ms": beat_ms,
            "turn_latency_us_log2": worker.turn_latency.to_vec(),
            // Pairs of a bound and how many turns stayed below it, but not below the pair's before.
            "turn_cpu_ns": turns(&worker.turn_cpu),
            "turn_cpu_control_ns": turns(&worker.turn_cpu_control),
        });
        table.about(object.clone());
        list.push(object);
    }
    Ok(Shown { tables: vec![table], json: members(json!({ "workers": list })) })
}

fn turns(turn_cpu: &[u64]) -> Vec<(u64, u64)> {
    let counted = turn_cpu.iter().enumerate().filter(|(_, count)| **count > 0);
    counted.map(|(bucket, count)| (turn_cpu_bound_ns(bucket), *count)).collect()
}
