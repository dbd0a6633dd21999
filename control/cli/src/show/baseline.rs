//! `roomlane clear runtime`: figures of `show runtime` count from here. Nobody but the data plane writes
//! the stats region, so that this is a file of the user's own, and others go on seeing everything.

use std::path::PathBuf;

use proto::counters::STAGES;
use serde_json::{Value, json};
use stats::{Snapshot, Stats};

use crate::args::Place;
use crate::exit::Failure;

/// Where a user's figures of a node lie.
fn file(instance: u64) -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state
        .filter(|dir| dir.is_absolute())
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    Some(state?.join("roomlane").join(format!("runtime-{instance:016x}.json")))
}

/// `roomlane clear runtime`.
pub fn clear(place: &Place) -> Result<(), Failure> {
    let snapshot = Stats::find(&place.run_dirs()?)?.snapshot();
    let file = file(snapshot.node.instance).ok_or_else(|| {
        Failure::failed("neither $XDG_STATE_HOME nor $HOME says where to keep it")
    })?;
    let failed = |error| Failure::failed(format!("{}: {error}", file.display()));
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(&file, figures(&snapshot).to_string()).map_err(failed)?;
    println!("runtime cleared for this user");
    Ok(())
}

/// Per worker: turns, idle turns, and four figures of each stage.
fn figures(snapshot: &Snapshot) -> Value {
    let worker = |view: &stats::ShardView| {
        let (worker, counters) =
            (view.worker.unwrap_or_default(), view.counters.unwrap_or_default());
        let stage = |stage: &proto::counters::StageCounters| {
            [stage.calls, stage.packets, stage.sampled_cycles, stage.sampled_packets]
        };
        let stages: Vec<[u64; 4]> = counters.stages.iter().take(STAGES.len()).map(stage).collect();
        json!({ "turns": [worker.turns, worker.idle_turns], "stages": stages })
    };
    snapshot.shards.iter().map(worker).collect()
}

/// Takes off what was there when it was cleared.
pub(super) fn apply(snapshot: &mut Snapshot) {
    let text = file(snapshot.node.instance).and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(text) = text {
        subtract(snapshot, &serde_json::from_str(&text).unwrap_or_default());
    }
}

fn subtract(snapshot: &mut Snapshot, cleared: &Value) {
    // A shard that was replaced meanwhile began at zero: it has less than was there.
    let less = |now: &mut u64, was: &Value| {
        *now = now.checked_sub(was.as_u64().unwrap_or_default()).unwrap_or(*now);
    };
    for (view, was) in snapshot.shards.iter_mut().zip(cleared.as_array().into_iter().flatten()) {
        if let Some(worker) = &mut view.worker {
            less(&mut worker.turns, &was["turns"][0]);
            less(&mut worker.idle_turns, &was["turns"][1]);
        }
        let stages = view.counters.iter_mut().flat_map(|counters| counters.stages.iter_mut());
        for (stage, was) in stages.zip(was["stages"].as_array().into_iter().flatten()) {
            less(&mut stage.calls, &was[0]);
            less(&mut stage.packets, &was[1]);
            less(&mut stage.sampled_cycles, &was[2]);
            less(&mut stage.sampled_packets, &was[3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_is_taken_off_and_a_replaced_shard_is_not() {
        let mut then = super::super::tests::scene().snapshot;
        let cleared = figures(&then);
        let view = &mut then.shards[0];
        view.worker.as_mut().unwrap().turns += 7;
        let first = &mut view.counters.as_mut().unwrap().stages[0];
        // Of these, packets began anew.
        (first.calls, first.packets) = (first.calls + 3, 2);
        subtract(&mut then, &cleared);
        let (worker, counters) = (then.shards[0].worker.unwrap(), then.shards[0].counters.unwrap());
        assert_eq!((worker.turns, worker.idle_turns), (7, 0));
        assert_eq!((counters.stages[0].calls, counters.stages[0].packets), (3, 2));
        subtract(&mut then, &Value::Null);
        assert_eq!(then.shards[0].worker.unwrap().turns, 7);
    }
}
