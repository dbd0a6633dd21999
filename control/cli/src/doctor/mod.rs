//! `roomlane doctor`: what of this host helps or hinders a node, and the command that changes it.
//!
//! It reads files of the kernel and changes nothing. A check is a function from [`Host`] to a
//! [`Finding`], so that tests can hand it another host.

mod checks;
#[cfg(test)]
mod fake;
mod hardware;
mod host;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;
use config::Config;
use serde_json::json;

use crate::args::Place;
use crate::exit::Failure;
use crate::table::Table;
use host::Host;

#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Print nothing but the commands that fix what was found, as a script for root to read and run; what
    /// a person must do is a comment.
    #[arg(long, conflicts_with = "json")]
    fix_commands: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Nothing to do.
    Ok,
    /// Works, and could be better.
    Warn,
    /// The node as configured will not work.
    Fail,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone)]
struct Finding {
    name: &'static str,
    status: Status,
    /// The fact.
    found: String,
    /// The command, or the act, that changes it; empty when nothing is to be done.
    fix: String,
    /// The fix is an act for a person, not a command for a shell.
    by_hand: bool,
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        let (found, fix) = (found.into(), String::new());
        Finding { name, status: Status::Ok, found, fix, by_hand: false }
    }

    fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        let (found, fix) = (found.into(), fix.into());
        Finding { name, status: Status::Warn, found, fix, by_hand: false }
    }

    fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        let (found, fix) = (found.into(), fix.into());
        Finding { name, status: Status::Fail, found, fix, by_hand: false }
    }

    /// Its fix is nothing that a shell could run.
    fn by_hand(self) -> Self {
        Finding { by_hand: true, ..self }
    }

    /// The fix as a line of a script: what a shell cannot run is a comment.
    fn line(&self) -> String {
        let fix = self.fix.replace('\n', " ");
        if self.by_hand { format!("# {}: {fix}", self.name) } else { fix }
    }
}

/// Runs the checks. The exit code is 1 when one of them failed.
pub fn run(place: &Place, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let host = Host::this();
    let (config, mut findings) = configuration(place);
    findings.extend(checks::all(&host, &config));
    let mut out = std::io::stdout().lock();
    if args.fix_commands {
        for finding in findings.iter().filter(|finding| !finding.fix.is_empty()) {
            writeln!(out, "{}", finding.line())?;
        }
    } else if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| {
                json!({"check": finding.name, "status": finding.status.word().to_lowercase(),
                       "found": finding.found, "fix": finding.fix, "by_hand": finding.by_hand})
            })
            .collect();
        writeln!(out, "{}", json!({"schema": "roomlane.doctor.v1", "checks": list}))?;
    } else {
        let mut table = Table::new(&["check", "", "found"]);
        for finding in &findings {
            let status = finding.status.word().to_owned();
            table.row(vec![finding.name.to_owned(), status, finding.found.clone()]);
        }
        table.write(&mut out, false)?;
        let fixes: Vec<_> = findings.iter().filter(|finding| !finding.fix.is_empty()).collect();
        for (index, finding) in fixes.iter().enumerate() {
            let lead = if index == 0 { "\n" } else { "" };
            writeln!(out, "{lead}{}: {}", finding.name, finding.fix)?;
        }
    }
    let failed = findings.iter().any(|finding| finding.status == Status::Fail);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The configuration that is checked against the host; the default where there is none.
fn configuration(place: &Place) -> (Config, Vec<Finding>) {
    let name = "configuration";
    match place.load() {
        Ok(Some((path, config))) => {
            let mut findings = vec![Finding::ok(name, path.display().to_string())];
            findings.extend(crate::config_cmd::key_files(&config).into_iter().map(|problem| {
                match problem {
                    crate::config_cmd::Problem::Error(text) => {
                        Finding::fail("key files", text, "see the message").by_hand()
                    }
                    crate::config_cmd::Problem::Unknown(text) => {
                        Finding::warn("key files", text, "sudo roomlane doctor")
                    }
                }
            }));
            (config, findings)
        }
        Ok(None) => {
            let found = format!("no {}; the default is checked", config::DEFAULT_PATH);
            let fix = format!("roomlane config sample > {}", config::DEFAULT_PATH);
            (Config::default(), vec![Finding::warn(name, found, fix)])
        }
        Err(failure) => {
            let fix = "roomlane config check";
            (Config::default(), vec![Finding::fail(name, failure.message, fix)])
        }
    }
}
