//! `roomlane show room`: who is in which room, with masked names.

use proto::snapshot::label_text;
use serde_json::{Value, json};

use super::{Scene, Shown, ago_s, members};
use crate::exit::{Exit, Failure};
use crate::table::{Table, duration};

pub(super) fn show(scene: &Scene, id: Option<&str>) -> Result<Shown, Failure> {
    let only: Option<u64> = match id {
        None => None,
        Some(id) => Some(id.parse().map_err(|_| {
            Failure::usage(format!("{id:?} is no room's number; see roomlane show room"))
        })?),
    };
    let mut table = Table::new(&[
        ">room",
        ">app",
        "label",
        ">epoch",
        "shards",
        ">sessions",
        ">publishing",
        ">receiving",
        ">in",
        ">out",
        ">age",
    ]);
    let mut list: Vec<Value> = vec![];
    for room in scene.snapshot.rooms_merged() {
        let row = &room.row;
        if only.is_some_and(|only| only != row.room) {
            continue;
        }
        let shards: Vec<u32> = (0..64).filter(|bit| room.shards >> bit & 1 == 1).collect();
        let age_s = ago_s(scene, row.opened_ns);
        table.row(vec![
            row.room.to_string(),
            row.app.to_string(),
            label_text(&row.label),
            row.epoch.to_string(),
            shards.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
            row.sessions.to_string(),
            row.publications.to_string(),
            row.subscriptions.to_string(),
            row.rx_packets.to_string(),
            row.tx_packets.to_string(),
            duration(age_s),
        ]);
        let object = json!({
            "room": row.room, "sdkappid": row.app, "label": label_text(&row.label),
            "epoch": row.epoch, "shards": shards, "sessions": row.sessions,
            "publications": row.publications, "subscriptions": row.subscriptions,
            "rx_packets": row.rx_packets, "tx_packets": row.tx_packets, "age_s": age_s,
        });
        table.about(object.clone());
        list.push(object);
    }
    match only {
        Some(room) if table.len() == 0 => {
            Err(Failure::new(Exit::NotFound, format!("no room {room}; see roomlane show room")))
        }
        _ => Ok(Shown { tables: vec![table], json: members(json!({ "rooms": list })) }),
    }
}
