//! `roomlane why`: where media between two members of a room stops. The control daemon judges; here its
//! answer becomes lines for people. Ids are typed in the clear and come back masked, unless `--reveal` is
//! given and granted.

use std::io::Write;

use serde_json::{Value, json};

use crate::act::ask;
use crate::args::{Place, RoomType, WhyArgs};
use crate::exit::Failure;

/// Runs the subcommand.
pub fn run(place: &Place, args: &WhyArgs) -> Result<(), Failure> {
    if args.room_type == RoomType::Number && args.room.parse::<u32>().is_err() {
        return Err(Failure::usage("a room of type number is named by a number"));
    }
    let app = match args.sdkappid {
        Some(app) => app,
        None => first_app(place)?,
    };
    let request = json!({
        "act": "why", "sdkappid": app, "room": args.room, "room_type": args.room_type.name(),
        "from": args.from, "to": args.to, "reveal": args.reveal,
    });
    let answer = ask(&place.run_dirs()?, &request)?;
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{answer}")?,
        false => out.write_all(text(&answer).as_bytes())?,
    }
    Ok(())
}

/// The app that is meant when none is named.
pub fn first_app(place: &Place) -> Result<u32, Failure> {
    let app = place.load()?.and_then(|(_, config)| config.apps.first().map(|app| app.sdkappid));
    app.ok_or_else(|| {
        Failure::usage("which app? name it with --sdkappid, or a --config that has one")
    })
}

/// A glyph and a word for each step, so that neither colour nor glyph alone carries the meaning.
fn text(answer: &Value) -> String {
    let word = |value: &Value| -> String { crate::listing::shown(value.as_str().unwrap_or("-")) };
    let mut text = format!(
        "{} to {} in room {} of app {}\n",
        word(&answer["from"]),
        word(&answer["to"]),
        word(&answer["room"]),
        answer["sdkappid"]
    );
    for chain in answer["chains"].as_array().into_iter().flatten() {
        let kind = chain["kind"].as_str().unwrap_or("media");
        text += &format!("\n{kind}\n");
        for step in chain["steps"].as_array().into_iter().flatten() {
            let (glyph, state) = match step["state"].as_str() {
                Some("ok") => ("+", "ok"),
                Some("lossy") => ("~", "lossy"),
                Some("stops") => ("x", "STOPS"),
                _ => (".", "not reached"),
            };
            let (who, name) = (word(&step["who"]), word(&step["step"]));
            let line =
                format!("  {glyph} {who:<9}  {name:<10}  {state:<11}  {}", word(&step["what"]));
            text += line.trim_end();
            text.push('\n');
        }
        let verdict = word(&chain["verdict"]);
        text += &match chain["next"].as_str() {
            None | Some("") => format!("  => {verdict}\n"),
            Some(_) => format!("  => {verdict}; next: {}\n", word(&chain["next"])),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_glyph_and_a_word_and_the_stop_says_what_to_do() {
        let step = |step, state, what| json!({"who": "viewer", "step": step, "state": state, "what": what});
        let answer = json!({
            "from": "al***e", "to": "b\u{1b}[2Jb", "room": "d***", "sdkappid": 7,
            "chains": [{
                "kind": "audio", "verdict": "no_slot", "next": "offer more sections",
                "steps": [step("joined", "ok", "1 session"), step("slot", "stops", "1 of 1"),
                          step("path", "not_reached", "")],
            }],
        });
        let expected = "al***e to b\\u{1b}[2Jb in room d*** of app 7\n\naudio\n\
            \x20 + viewer     joined      ok           1 session\n\
            \x20 x viewer     slot        STOPS        1 of 1\n\
            \x20 . viewer     path        not reached\n\
            \x20 => no_slot; next: offer more sections\n";
        assert_eq!(text(&answer), expected);
    }
}
