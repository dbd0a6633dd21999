//! `roomlane audit verify`: whether the audit file is as it was written.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::args::Place;
use crate::exit::{Exit, Failure};

/// The file's name, as the control daemon makes it.
pub const AUDIT_FILE: &str = "audit.jsonl";

/// `roomlane audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub act: AuditAct,
}

#[derive(Debug, Subcommand)]
pub enum AuditAct {
    /// Check that no line was changed, taken out or put in; exit code 1 when one was.
    Verify {
        /// The file [default: audit.jsonl of the service or of the node].
        file: Option<PathBuf>,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is not what its hash was made of.
    Changed,
    /// The line before it is not the one that was there: one was taken out, put in or moved.
    OutOfChain,
    /// The chain does not begin with it.
    Headless,
}

impl Fault {
    fn words(self) -> &'static str {
        match self {
            Fault::Changed => "was changed",
            Fault::OutOfChain => {
                "does not follow the line before it: one was taken out, put in or moved"
            }
            Fault::Headless => "does not begin the chain: lines before it were taken out",
        }
    }
}

/// What a file is like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    acts: usize,
    /// Lines from 1 on.
    faults: Vec<(usize, Fault)>,
    /// Lines that are none: a crash cut them off.
    cut: Vec<usize>,
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &AuditArgs) -> Result<(), Failure> {
    let AuditAct::Verify { file, json } = &args.act;
    let path = match file {
        Some(file) => file.clone(),
        None => find(&place.run_dirs()?)?,
    };
    let shown = path.display();
    let verdict = read(&path)?;
    let mut out = std::io::stdout().lock();
    if *json {
        let faults = verdict.faults.iter();
        let faults: Vec<Value> =
            faults.map(|(line, fault)| json!({"line": line, "what": fault.words()})).collect();
        let whole = json!({
            "schema": "roomlane.audit.v1",
            "file": path,
            "acts": verdict.acts,
            "intact": faults.is_empty(),
            "faults": faults,
            "cut": verdict.cut,
        });
        writeln!(out, "{whole}")?;
    } else {
        for line in &verdict.cut {
            writeln!(out, "line {line} was cut off; the chain goes on behind it")?;
        }
        for (line, fault) in &verdict.faults {
            writeln!(out, "line {line} {}", fault.words())?;
        }
        let state = if verdict.faults.is_empty() { "intact" } else { "NOT intact" };
        writeln!(out, "{shown}: {} acts, {state}", verdict.acts)?;
    }
    if verdict.faults.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Failed, "")) }
}

/// How many lines of a file are not as they were written.
pub fn faults(path: &Path) -> Result<usize, Failure> {
    read(path).map(|verdict| verdict.faults.len())
}

fn read(path: &Path) -> Result<Verdict, Failure> {
    let text = std::fs::read(path).map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Exit::NotFound,
            std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
            _ => Exit::Failed,
        };
        Failure::new(code, format!("{}: {error}", path.display()))
    })?;
    Ok(verify(&String::from_utf8_lossy(&text)))
}

/// Where the daemon puts it: the service's folder, or beside the sockets.
fn find(run_dirs: &[PathBuf]) -> Result<PathBuf, Failure> {
    let folders = ["LOGS_DIRECTORY", "STATE_DIRECTORY"].into_iter().filter_map(std::env::var_os);
    let service = [Path::new("/var/log/roomlane"), Path::new("/var/lib/roomlane")];
    let folders = folders.map(PathBuf::from).chain(run_dirs.iter().cloned());
    let mut paths = folders.chain(service.map(PathBuf::from)).map(|folder| folder.join(AUDIT_FILE));
    let none = || Failure::new(Exit::NotFound, "no audit file found; name it");
    paths.find(|path| path.exists()).ok_or_else(none)
}

fn verify(text: &str) -> Verdict {
    let mut verdict = Verdict::default();
    let mut last: Option<String> = None;
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let number = at + 1;
        let parsed: Option<Value> = serde_json::from_str(line).ok();
        let Some((value, hash)) =
            parsed.and_then(|value| Some((value.clone(), value["hash"].as_str()?.to_owned())))
        else {
            verdict.cut.push(number);
            continue;
        };
        verdict.acts += 1;
        if hash_of(&value) != hash {
            verdict.faults.push((number, Fault::Changed));
        }
        match (&last, value["prev"].as_str()) {
            (None, Some("")) => {}
            (None, _) => verdict.faults.push((number, Fault::Headless)),
            (Some(last), prev) if prev == Some(last) => {}
            (Some(_), _) => verdict.faults.push((number, Fault::OutOfChain)),
        }
        last = Some(hash);
    }
    verdict
}

/// SHA-256 over a line without its own hash, in hexadecimal: as the control daemon makes it.
fn hash_of(line: &Value) -> String {
    let mut line = line.clone();
    if let Some(members) = line.as_object_mut() {
        members.remove("hash");
    }
    Sha256::digest(line.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(acts: &[&str]) -> Vec<String> {
        let mut last = String::new();
        let line = |act: &&str| {
            let mut line = json!({"unix_ms": 1, "uid": 0, "act": act, "prev": last});
            last = hash_of(&line);
            line["hash"] = last.as_str().into();
            line.to_string()
        };
        acts.iter().map(line).collect()
    }

    fn faults(lines: &[String]) -> Vec<(usize, Fault)> {
        verify(&lines.join("\n")).faults
    }

    #[test]
    fn a_changed_a_missing_and_a_strange_line_are_found() {
        let whole = chain(&["a", "b", "c", "d"]);
        assert_eq!(verify(&whole.join("\n")), Verdict { acts: 4, ..Verdict::default() });
        assert_eq!(verify(""), Verdict::default());
        let mut changed = whole.clone();
        changed[1] = changed[1].replace("\"b\"", "\"x\"");
        assert_eq!(faults(&changed), [(2, Fault::Changed)]);
        let mut taken = whole.clone();
        taken.remove(2);
        assert_eq!(faults(&taken), [(3, Fault::OutOfChain)]);
        assert_eq!(faults(&whole[1..]), [(1, Fault::Headless)]);
        let mut moved = whole.clone();
        moved.swap(1, 2);
        assert_eq!(faults(&moved).len(), 3);
        // Made anew with a hash of its own, the line after it gives it away.
        let mut forged = whole.clone();
        forged[1] = chain(&["a", "x"])[1].clone();
        assert_eq!(faults(&forged), [(3, Fault::OutOfChain)]);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_breaks_nothing() {
        let mut lines = chain(&["a", "b"]);
        lines.insert(1, "{\"unix_ms\":17,\"ui".to_owned());
        let verdict = verify(&lines.join("\n"));
        assert_eq!((verdict.acts, verdict.faults, verdict.cut), (2, vec![], vec![2]));
    }
}
