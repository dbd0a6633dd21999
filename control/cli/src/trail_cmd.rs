//! `roomlane trail`: what happened lately to one user, room, session, app or address, oldest first.

use std::io::Write;

use serde_json::{Value, json};

use crate::act::ask;
use crate::args::{Place, TrailArgs};
use crate::exit::Failure;
use crate::table::Table;
use crate::utc;

/// Runs the subcommand.
pub fn run(place: &Place, args: &TrailArgs) -> Result<(), Failure> {
    let request = json!({"act": "trail", "subject": args.subject, "reveal": args.reveal});
    let answer = ask(&place.run_dirs()?, &request)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    table(&answer).write(&mut out, !args.no_header)?;
    let since = answer["since_unix_ms"].as_u64().map_or("now".to_owned(), utc::rfc3339);
    eprintln!("roomlane: the trail begins at {since} and forgets its oldest notes");
    Ok(())
}

fn table(answer: &Value) -> Table {
    let mut table =
        Table::new(&["time", ">count", "kind", "session", "user", "room", "source", "what"]);
    for note in answer["notes"].as_array().into_iter().flatten() {
        let text = |key: &str| match note[key].as_str() {
            None | Some("") => "-".to_owned(),
            Some(text) => crate::listing::shown(text),
        };
        table.row(vec![
            utc::rfc3339(note["unix_ms"].as_u64().unwrap_or_default()),
            note["count"].to_string(),
            text("kind"),
            text("session"),
            text("user"),
            text("room"),
            text("source"),
            text("what"),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_become_lines_and_cannot_write_to_the_terminal() {
        let answer = json!({"notes": [{
            "unix_ms": 1000, "count": 3, "kind": "drop", "session": "s0-1-1", "user": "al***e",
            "room": "d***", "source": "", "what": "auth\u{1b}_failed",
        }]});
        let mut out = vec![];
        table(&answer).write(&mut out, false).unwrap();
        let line =
            "1970-01-01T00:00:01.000Z  3  drop  s0-1-1  al***e  d***  -  auth\\u{1b}_failed\n";
        assert_eq!(String::from_utf8(out).unwrap(), line);
    }
}
