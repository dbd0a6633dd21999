//! `roomlane show buffers`: packet buffers of each worker's pool.

use serde_json::{Value, json};

use super::{Scene, Shown, members, shard_of};
use crate::exit::Failure;
use crate::table::{Table, percent};

pub(super) fn show(scene: &Scene, id: Option<&str>) -> Result<Shown, Failure> {
    let only = shard_of(scene, id)?;
    let mut table = Table::new(&[">worker", ">in use", ">total", ">free"]);
    let mut list: Vec<Value> = vec![];
    for view in &scene.snapshot.shards {
        let Some(worker) = view.worker.filter(|_| only.is_none_or(|only| only == view.shard))
        else {
            continue;
        };
        let free = worker.bufs_total.saturating_sub(worker.bufs_in_use);
        let ratio =
            if worker.bufs_total == 0 { 0.0 } else { free as f64 / worker.bufs_total as f64 };
        table.row(vec![
            view.shard.to_string(),
            worker.bufs_in_use.to_string(),
            worker.bufs_total.to_string(),
            percent(ratio),
        ]);
        let object = json!({
            "worker": view.shard, "in_use": worker.bufs_in_use, "total": worker.bufs_total,
            "free": free, "free_ratio": ratio,
        });
        table.about(object.clone());
        list.push(object);
    }
    Ok(Shown { tables: vec![table], json: members(json!({ "workers": list })) })
}
