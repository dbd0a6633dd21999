//! `roomlane trace`: the next packets of a room with what each stage decided. Headers and masked ids only.

use std::io::Write;

use serde_json::{Value, json};

use crate::act::ask;
use crate::args::{Place, RoomType, TraceAct, TraceArgs};
use crate::exit::Failure;
use crate::table::Table;

/// Runs the subcommand.
pub fn run(place: &Place, args: &TraceArgs) -> Result<(), Failure> {
    let dirs = place.run_dirs()?;
    let mut out = std::io::stdout().lock();
    match &args.act {
        TraceAct::Start { room, room_type, sdkappid, count, drop_only, json } => {
            if *room_type == RoomType::Number && room.parse::<u32>().is_err() {
                return Err(Failure::usage("a room of type number is named by a number"));
            }
            let app = sdkappid.map_or_else(|| crate::why_cmd::first_app(place), Ok)?;
            let answer = ask(
                &dirs,
                &json!({
                    "act": "trace.start", "sdkappid": app, "room": room,
                    "room_type": room_type.name(), "count": count, "drop_only": drop_only,
                }),
            )?;
            match json {
                true => writeln!(out, "{answer}")?,
                false => writeln!(out, "trace started; see roomlane trace show")?,
            }
        }
        TraceAct::Stop { json } => {
            let answer = ask(&dirs, &json!({"act": "trace.stop"}))?;
            match json {
                true => writeln!(out, "{answer}")?,
                false => writeln!(out, "trace stopped")?,
            }
        }
        TraceAct::Show { json, no_header } => {
            let answer = ask(&dirs, &json!({"act": "trace.show"}))?;
            match json {
                true => writeln!(out, "{answer}")?,
                false => table(&answer).write(&mut out, !no_header)?,
            }
            if answer["is_over"] == false {
                eprintln!("roomlane: the trace goes on");
            }
            if answer["skipped"].as_u64() > Some(0) {
                eprintln!(
                    "roomlane: {} records were left out: too many at once",
                    answer["skipped"]
                );
            }
        }
    }
    Ok(())
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new(&[
        ">number",
        "session",
        "class",
        ">len",
        ">type",
        ">sequence",
        ">ssrc",
        "stage",
        "ended",
        "copies",
    ]);
    for packet in answer["packets"].as_array().into_iter().flatten() {
        let text = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
            other => other.to_string(),
        };
        let ended = match &packet["reason"] {
            Value::Null => text(&packet["ended"]),
            reason => format!("{} {}", text(&packet["ended"]), text(reason)),
        };
        let copies = packet["copies"].as_array().into_iter().flatten();
        let copies: Vec<String> = copies
            .map(|copy| match &copy["dropped"] {
                Value::Null => format!("{}:sealed", text(&copy["to"])),
                reason => format!("{}:{}", text(&copy["to"]), text(reason)),
            })
            .collect();
        table.row(vec![
            text(&packet["number"]),
            text(&packet["session"]),
            text(&packet["class"]),
            text(&packet["len"]),
            text(&packet["payload_type"]),
            text(&packet["sequence"]),
            text(&packet["ssrc"]),
            text(&packet["stage"]),
            ended,
            copies.join(" "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_a_line_with_its_end_and_its_copies() {
        let answer = json!({"packets": [{
            "number": 3, "session": "s0-1-1", "class": "rtp", "len": 99, "payload_type": 111,
            "sequence": 4, "ssrc": 5, "stage": "seal", "ended": "forwarded", "reason": null,
            "copies": [{"to": "s0-2-1", "dropped": null}, {"to": "s0-3-1", "dropped": "no_right"}],
        }, {
            "number": 4, "session": "s0-1-1", "class": "stun", "len": 9, "stage": "ice",
            "ended": "dropped", "reason": "bad_stun", "copies": [],
        }]});
        let mut out = vec![];
        table(&answer).write(&mut out, false).unwrap();
        let expected = "\
            3  s0-1-1  rtp   99  111  4  5  seal  forwarded         s0-2-1:sealed s0-3-1:no_right\n\
            4  s0-1-1  stun   9    -  -  -  ice   dropped bad_stun\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
