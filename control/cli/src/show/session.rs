//! `roomlane show session`: every secured transport, with masked names.

use proto::snapshot::{SessionRow, label_text};
use proto::{GrantWord, Privileges, SessionId};
use serde_json::{Value, json};
use stats::session_state;

use super::{Scene, Shown, ago_s, members};
use crate::exit::{Exit, Failure};
use crate::table::{Table, duration};

pub(super) fn show(scene: &Scene, id: Option<&str>) -> Result<Shown, Failure> {
    let only: Option<SessionId> = match id {
        None => None,
        Some(id) => Some(id.parse().map_err(|()| {
            Failure::usage(format!("{id:?} is no session id; ids look like s0-1-1"))
        })?),
    };
    let mut table = Table::new(&[
        "session",
        ">room",
        "user",
        "state",
        "rights",
        ">in",
        ">out",
        ">lost",
        ">jitter",
        ">bad tags",
        ">heard",
        ">age",
        ">grant ends",
        "profile",
    ]);
    let mut list: Vec<Value> = vec![];
    for session in &scene.snapshot.sessions {
        if only.is_some_and(|only| only != session.id()) {
            continue;
        }
        let row = &session.row;
        let grant = GrantWord(row.grant);
        let now_s = scene.snapshot.taken_ns / 1_000_000_000;
        let ends_s = u64::from(grant.deadline_s()).saturating_sub(now_s);
        let heard = (row.heard_ns > 0).then(|| ago_s(scene, row.heard_ns));
        table.row(vec![
            session.id().to_string(),
            row.room.to_string(),
            label_text(&row.label),
            session_state(row.state).to_owned(),
            rights(grant.privileges()),
            row.rx_packets.to_string(),
            row.tx_packets.to_string(),
            row.rx_lost.to_string(),
            row.jitter.to_string(),
            row.auth_failures.to_string(),
            heard.map_or("never".to_owned(), duration),
            duration(ago_s(scene, row.opened_ns)),
            duration(ends_s),
            profile(row).to_owned(),
        ]);
        let object = json!({
            "session": session.id().to_string(), "room": row.room, "member": row.member,
            "label": label_text(&row.label), "state": session_state(row.state),
            "privileges": grant.privileges().0, "grant_ends_s": ends_s,
            "rx_packets": row.rx_packets, "rx_bytes": row.rx_bytes,
            "tx_packets": row.tx_packets, "tx_bytes": row.tx_bytes,
            "rx_lost": row.rx_lost, "jitter": row.jitter, "auth_failures": row.auth_failures,
            "publications": row.publications, "slots": row.slots, "profile": profile(row),
            "heard_s": heard, "age_s": ago_s(scene, row.opened_ns),
        });
        table.about(object.clone());
        list.push(object);
    }
    match only {
        Some(id) if table.len() == 0 => {
            Err(Failure::new(Exit::NotFound, format!("no session {id}; see roomlane show session")))
        }
        _ => Ok(Shown { tables: vec![table], json: members(json!({ "sessions": list })) }),
    }
}

/// The eight rights in eight places: create, enter, then send and receive of audio, video, screen.
fn rights(privileges: Privileges) -> String {
    let letters = "ceaAvVsS".chars().enumerate();
    letters.map(|(bit, letter)| if privileges.0 >> bit & 1 == 1 { letter } else { '-' }).collect()
}

fn profile(row: &SessionRow) -> &'static str {
    match row.profile {
        1 => "AES_CM_128_HMAC_SHA1_80",
        7 => "AEAD_AES_128_GCM",
        8 => "AEAD_AES_256_GCM",
        _ => "unknown",
    }
}
