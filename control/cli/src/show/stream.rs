//! `roomlane show stream`: every SSRC that comes in and every slot that goes out, from the shards by way of
//! the control daemon. Rates out are measured between two questions.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::SessionId;
use serde_json::{Value, json};

use super::{Shown, members};
use crate::act;
use crate::exit::Failure;
use crate::table::{Table, percent};

/// A stream between two answers: its session, and its slot.
type Key = (String, u64);

pub(super) fn show(
    dirs: &[PathBuf],
    id: Option<&str>,
    interval: Duration,
) -> Result<Shown, Failure> {
    let request = request(id)?;
    let before = octets(&act::ask(dirs, &request)?);
    std::thread::sleep(interval);
    let mut answer = act::ask(dirs, &request)?;
    let left_out = answer["sessions_left_out"].as_u64().unwrap_or_default();
    if left_out > 0 {
        eprintln!(
            "roomlane: the streams of {left_out} more sessions are not shown; name a room or a session"
        );
    }
    let mut table = Table::new(&[
        "session",
        "user",
        "room",
        "way",
        "kind",
        "codec",
        "ssrc",
        ">stream",
        ">of member",
        ">layer",
        ">slot",
        ">kbit/s",
        ">packets",
        ">loss",
        ">jitter ms",
        ">rtt ms",
        ">nack",
        ">pli",
        ">again",
        "state",
    ]);
    let mut rows = vec![];
    for row in answer["streams"].as_array_mut().into_iter().flatten() {
        measure(row, &before);
        table.row(cells(row));
        table.about(row.clone());
        rows.push(row.clone());
    }
    let json = json!({ "streams": rows, "sessions_left_out": left_out });
    Ok(Shown { tables: vec![table], json: members(json) })
}

fn request(id: Option<&str>) -> Result<Value, Failure> {
    let Some(id) = id else { return Ok(json!({ "act": "stream.list" })) };
    match (id.parse::<u64>(), id.parse::<SessionId>()) {
        (Ok(room), _) => Ok(json!({ "act": "stream.list", "room": room })),
        (_, Ok(session)) => Ok(json!({ "act": "stream.list", "session": session.to_string() })),
        _ => Err(Failure::usage(format!(
            "{id:?} is neither a room's number nor a session id; see roomlane show room, or show \
             session"
        ))),
    }
}

/// What went out of each slot, and when that was.
fn octets(answer: &Value) -> HashMap<Key, (u64, u64)> {
    let rows = answer["streams"].as_array().into_iter().flatten();
    rows.filter_map(|row| Some((key(row)?, (row["octets"].as_u64()?, row["at_ns"].as_u64()?))))
        .collect()
}

fn key(row: &Value) -> Option<Key> {
    Some((row["session"].as_str()?.to_owned(), row["slot"].as_u64()?))
}

/// Bits per second out: the difference of a counter that begins anew at 2^32.
fn measure(row: &mut Value, before: &HashMap<Key, (u64, u64)>) {
    let then = key(row).and_then(|key| before.get(&key));
    let now = (row["octets"].as_u64(), row["at_ns"].as_u64());
    if let (Some((octets_then, then_ns)), (Some(octets), Some(at_ns))) = (then, now)
        && at_ns > *then_ns
    {
        let more = (octets as u32).wrapping_sub(*octets_then as u32);
        row["bits_per_s"] = (f64::from(more) * 8e9 / (at_ns - then_ns) as f64).round().into();
    }
}

fn cells(row: &Value) -> Vec<String> {
    let number = |key: &str| row[key].as_u64().map_or("-".to_owned(), |number| number.to_string());
    let tenths = |key: &str| row[key].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let kbit_s = row["bits_per_s"].as_f64().map_or("-".to_owned(), |b| format!("{:.0}", b / 1e3));
    let kind = match row["repairs"] == true {
        true => format!("{} rtx", super::word(&row["kind"])),
        false => super::word(&row["kind"]),
    };
    vec![
        super::word(&row["session"]),
        super::word(&row["user"]),
        super::word(&row["room_label"]),
        super::word(&row["direction"]),
        kind,
        super::word(&row["codec"]),
        row["ssrc"].as_u64().map_or("-".to_owned(), |ssrc| format!("{ssrc:08x}")),
        number("publication"),
        number("member"),
        number("layer"),
        number("slot"),
        kbit_s,
        number("packets"),
        row["loss_ratio"].as_f64().map_or("-".to_owned(), percent),
        tenths("jitter_ms"),
        tenths("rtt_ms"),
        number("nacks"),
        number("plis"),
        number("sent_again"),
        super::word(&row["state"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_out_is_that_between_two_answers_also_over_the_end_of_the_counter() {
        let row = |octets: u64, at_ns: u64| {
            json!({"session": "s0-1-1", "slot": 2, "octets": octets, "at_ns": at_ns,
                   "bits_per_s": null})
        };
        let before = octets(&json!({"streams": [row((1 << 32) - 100, 1_000_000_000)]}));
        let mut now = row(900, 3_000_000_000);
        measure(&mut now, &before);
        assert_eq!(now["bits_per_s"], 4000.0, "1000 bytes in two seconds");
        let mut new = row(900, 3_000_000_000);
        measure(&mut new, &HashMap::new());
        assert_eq!(new["bits_per_s"], Value::Null);
        assert_eq!(cells(&new)[11], "-");
    }

    #[test]
    fn what_is_shown_is_named_by_a_room_or_a_session() {
        assert_eq!(request(Some("7")).unwrap()["room"], 7);
        assert_eq!(request(Some("s0-1-1")).unwrap()["session"], "s0-1-1");
        assert_eq!(request(None).unwrap(), json!({"act": "stream.list"}));
        assert!(request(Some("alice")).unwrap_err().message.contains("see roomlane show room"));
    }
}
