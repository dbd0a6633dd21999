//! `roomlane drain`, `undrain` and `set`: whether the node takes new sessions, and what it obeys until
//! its next reload or start.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::act::ask;
use crate::args::Place;
use crate::exit::{Exit, Failure};

/// How often progress is asked for.
const LOOK: Duration = Duration::from_millis(500);
/// How long after the deadline the last session may end.
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// What is left then is ended: 90s, 15m, 2h [default: never].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    deadline: Option<Duration>,
    /// Do not wait until the last session has ended.
    #[arg(long)]
    no_wait: bool,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    #[command(subcommand)]
    act: SetAct,
}

#[derive(Debug, Subcommand)]
enum SetAct {
    /// The control daemon's log: this level and above, until the next start.
    LogLevel {
        /// The level.
        level: Level,
    },
    /// Whether new sessions are taken; the others go on.
    Accepting {
        /// on or off.
        switch: Switch,
    },
    /// A limit, until the next reload that changes it, or the next start.
    Limit {
        /// limits.source_joins_per_s or tokens.skew_s.
        key: String,
        /// The number.
        value: u64,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// A number with its unit: `500ms`, `90s`, `15m`, `2h`; seconds without one.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let wrong = || format!("{text:?} is no time; allowed: 500ms, 90s, 15m, 2h");
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let ms = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

/// Asks on a terminal; elsewhere `--yes` is needed.
pub fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("to {what}, say --yes")));
    }
    eprint!("{what}? type yes: ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}

/// `roomlane drain`.
pub fn drain(place: &Place, args: &DrainArgs) -> Result<(), Failure> {
    let dirs = place.run_dirs()?;
    let deadline_s = args.deadline.map(|deadline| deadline.as_secs());
    let answer = ask(&dirs, &json!({ "act": "drain", "deadline_s": deadline_s }))?;
    if args.no_wait {
        let sessions = answer["sessions"].as_u64().unwrap_or_default();
        return Ok(writeln!(std::io::stdout(), "draining: {sessions} session(s) left")?);
    }
    wait(&dirs, args.deadline)
}

/// Waits for the last session, with a line on stderr whenever their number changes.
fn wait(dirs: &[PathBuf], deadline: Option<Duration>) -> Result<(), Failure> {
    let end = deadline.map(|deadline| Instant::now() + deadline + GRACE);
    let mut told = None;
    loop {
        let state = ask(dirs, &json!({ "act": "drain.status" }))?;
        if state["draining"] != Value::Bool(true) {
            let text = "draining was ended by roomlane undrain; new sessions are taken again";
            return Err(Failure::new(Exit::Refused, text));
        }
        let left = state["sessions"].as_u64().unwrap_or_default();
        if left == 0 {
            return Ok(writeln!(std::io::stdout(), "drained: no session is left")?);
        }
        if told != Some(left) {
            let until = state["deadline_s"].as_u64();
            let until = until.map_or(String::new(), |s| format!(", the rest ends in {s} s"));
            let rooms = state["rooms"].as_u64().unwrap_or_default();
            eprintln!("draining: {left} session(s) in {rooms} room(s){until}");
            told = Some(left);
        }
        if end.is_some_and(|end| Instant::now() > end) {
            return Err(Failure::new(Exit::TimedOut, format!("{left} session(s) did not end")));
        }
        std::thread::sleep(LOOK);
    }
}

/// `roomlane undrain`.
pub fn undrain(place: &Place) -> Result<(), Failure> {
    ask(&place.run_dirs()?, &json!({ "act": "undrain" }))?;
    Ok(writeln!(std::io::stdout(), "new sessions are taken")?)
}

/// `roomlane set`.
pub fn set(place: &Place, args: &SetArgs) -> Result<(), Failure> {
    let dirs = place.run_dirs()?;
    let (request, done) = match &args.act {
        SetAct::LogLevel { level } => {
            let level = format!("{level:?}").to_lowercase();
            let request = json!({ "act": "set", "key": "control.log_level", "value": level });
            (request, format!("log level {level}"))
        }
        SetAct::Accepting { switch: Switch::Off } => {
            (json!({ "act": "drain" }), "new sessions are refused".to_owned())
        }
        SetAct::Accepting { switch: Switch::On } => {
            (json!({ "act": "undrain" }), "new sessions are taken".to_owned())
        }
        SetAct::Limit { key, value } => {
            let request = json!({ "act": "set", "key": key, "value": value.to_string() });
            (request, format!("{key} = {value}"))
        }
    };
    ask(&dirs, &request)?;
    Ok(writeln!(std::io::stdout(), "{done}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let all =
            [("500ms", 500), ("90s", 90_000), ("15m", 900_000), ("2h", 7_200_000), ("3", 3000)];
        for (text, ms) in all {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "m", "-1s", "1d", "1.5s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
