//! `roomlane incident`: what somebody has to look after, who does, and what came of it.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::act::ask;
use crate::args::Place;
use crate::exit::Failure;
use crate::listing::{List, ListArgs};
use crate::show::word;
use crate::table::Table;
use crate::utc;

#[derive(Debug, Args)]
pub struct IncidentArgs {
    #[command(subcommand)]
    act: IncidentAct,
}

#[derive(Debug, Subcommand)]
enum IncidentAct {
    /// List incidents that are open or acknowledged, the newest first.
    List {
        /// Closed ones, too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        form: ListArgs,
    },
    /// Show one with its notes, what the node did by itself, and the runbook.
    Show {
        /// Its number, as roomlane incident list prints it.
        incident: u64,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Say that you are on it.
    Ack {
        /// Its number.
        incident: u64,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Add a note to it. Write no names: notes are not masked.
    Note {
        /// Its number.
        incident: u64,
        /// What to say, up to 500 characters.
        text: String,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say that it is done; what happens from now on opens another.
    Close {
        /// Its number.
        incident: u64,
        /// A last note.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &IncidentArgs) -> Result<(), Failure> {
    let (request, json, done) = match &args.act {
        IncidentAct::List { all, form } => return list(place, *all, form),
        IncidentAct::Show { incident, json } => return show(place, *incident, *json),
        IncidentAct::Ack { incident, json } => {
            let request = json!({ "act": "incident.ack", "incident": incident });
            (request, *json, format!("incident {incident} acknowledged"))
        }
        IncidentAct::Note { incident, text, json } => {
            let request = json!({ "act": "incident.note", "incident": incident, "text": text });
            (request, *json, format!("incident {incident} has a note more"))
        }
        IncidentAct::Close { incident, note, json } => {
            let request = json!({ "act": "incident.close", "incident": incident, "text": note });
            (request, *json, format!("incident {incident} closed"))
        }
    };
    let answer = ask(&place.run_dirs()?, &request)?;
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{answer}")?,
        false => writeln!(out, "{done}")?,
    }
    Ok(())
}

fn list(place: &Place, all: bool, form: &ListArgs) -> Result<(), Failure> {
    let select = form.select()?;
    let answer = ask(&place.run_dirs()?, &json!({ "act": "incident.list" }))?;
    let table = table(&answer, all);
    form.print(&select, List { schema: "roomlane.incident.v1", rows: "incidents", table })
}

fn table(answer: &Value, all: bool) -> Table {
    let mut table = Table::new(&[
        ">incident",
        "state",
        "severity",
        "event",
        "about",
        ">count",
        "since",
        "last",
        "ended",
        ">acked by",
        ">notes",
    ]);
    for row in answer["incidents"].as_array().into_iter().flatten() {
        if row["state"] == "closed" && !all {
            continue;
        }
        table.row(vec![
            word(&row["incident"]),
            state(&row["state"]),
            word(&row["severity"]),
            word(&row["event"]),
            word(&row["about"]),
            word(&row["count"]),
            moment(&row["since_unix_ms"]),
            moment(&row["last_unix_ms"]),
            moment(&row["ended_unix_ms"]),
            user(&row["acked_by_uid"]),
            word(&row["notes"]),
        ]);
        table.about(row.clone());
    }
    table
}

/// A glyph and the word: neither alone has to carry it.
fn state(state: &Value) -> String {
    let glyph = match state.as_str() {
        Some("open") => "!",
        Some("acked") => "~",
        _ => "+",
    };
    format!("{glyph} {}", word(state))
}

fn show(place: &Place, incident: u64, json: bool) -> Result<(), Failure> {
    let request = json!({ "act": "incident.show", "incident": incident });
    let answer = ask(&place.run_dirs()?, &request)?;
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{answer}")?,
        false => out.write_all(text(&answer["incident"]).as_bytes())?,
    }
    Ok(())
}

fn text(row: &Value) -> String {
    let of = |key: &str| word(&row[key]);
    let mut lines = vec![
        format!("incident  {}: {} ({})", of("incident"), of("event"), of("severity")),
        format!("state     {}", state(&row["state"])),
        format!("what      {}", of("what")),
        format!("about     {}", of("about")),
        format!("count     {}", of("count")),
        format!("since     {}", moment(&row["since_unix_ms"])),
        format!("last      {}", moment(&row["last_unix_ms"])),
        format!("ended     {}", moment(&row["ended_unix_ms"])),
        format!("node did  {}", of("action")),
        format!("runbook   {}", of("runbook")),
    ];
    for (word, by) in [("acked", "acked"), ("closed", "closed")] {
        let (who, at) = (&row[format!("{by}_by_uid")], &row[format!("{by}_unix_ms")]);
        if !who.is_null() {
            lines.push(format!("{word:<8}  {} by {}", moment(at), user(who)));
        }
    }
    for remark in row["remarks"].as_array().into_iter().flatten() {
        let (at, who) = (moment(&remark["unix_ms"]), user(&remark["uid"]));
        lines.push(format!("note      {at} by {who}: {}", word(&remark["text"])));
    }
    lines.join("\n") + "\n"
}

fn moment(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), utc::rfc3339)
}

fn user(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |uid| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64, state: &str) -> Value {
        json!({
            "incident": number, "state": state, "event": "media_forged", "severity": "warning",
            "about": "auth_failed\u{1b}[2J", "count": 130, "since_unix_ms": 1000,
            "last_unix_ms": 2000, "ended_unix_ms": null, "acked_by_uid": 7, "acked_unix_ms": 3000,
            "notes": 1, "what": "Many.", "action": "They are dropped.", "runbook": "docs/x.md#y",
        })
    }

    #[test]
    fn closed_ones_are_left_out_and_nothing_writes_to_the_terminal() {
        let answer = json!({ "incidents": [row(2, "acked"), row(1, "closed")] });
        let shown = |all| {
            let mut out = vec![];
            table(&answer, all).write(&mut out, false).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(false),
            "2  ~ acked  warning  media_forged  auth_failed[2J  130  1970-01-01T00:00:01.000Z  \
             1970-01-01T00:00:02.000Z  -  uid 7  1\n"
        );
        assert_eq!(shown(true).lines().count(), 2);
        assert!(shown(true).contains("+ closed"));
    }

    #[test]
    fn one_incident_says_who_is_on_it_what_the_node_did_and_where_to_go_on() {
        let mut row = row(2, "acked");
        row["remarks"] = json!([{ "unix_ms": 4000, "uid": 7, "text": "a test peer" }]);
        let text = text(&row);
        for wanted in [
            "incident  2: media_forged (warning)",
            "state     ~ acked",
            "node did  They are dropped.",
            "runbook   docs/x.md#y",
            "acked     1970-01-01T00:00:03.000Z by uid 7",
            "note      1970-01-01T00:00:04.000Z by uid 7: a test peer",
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
        }
    }
}
