//! `roomlane support-bundle`: what somebody who was not there needs to help, in one file that shows no
//! secret, no id and no address.
//!
//! It is masked by construction: everything in it is what a command prints anyway, masked at its source,
//! and goes through [`scrub`] once more; of logs only lines in our own form pass. `--reveal` has no place
//! here.

mod scrub;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};

use crate::args::{BundleArgs, Place};
use crate::exit::{Exit, Failure};
use crate::utc;

/// The folder within the archive.
const FOLDER: &str = "roomlane-support";
/// How much of a log's end is taken, in bytes.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Lines of the journal.
const JOURNAL_LINES: &str = "20000";

/// Name in the bundle, and the command that prints it.
const PARTS: [(&str, &[&str]); 14] = [
    ("config.json", &["config", "show", "--json"]),
    ("doctor.json", &["doctor", "--json"]),
    ("node.json", &["show", "node", "--json"]),
    ("worker.json", &["show", "worker", "--json"]),
    ("port.json", &["show", "port", "--json"]),
    ("room.json", &["show", "room", "--json"]),
    ("session.json", &["show", "session", "--json"]),
    ("drops.json", &["show", "drops", "--json", "--all"]),
    ("runtime.json", &["show", "runtime", "--json"]),
    ("events.json", &["trail", "*", "--json"]),
    ("incidents.json", &["incident", "list", "--all", "--json"]),
    ("trace.json", &["trace", "show", "--json"]),
    ("version.txt", &["--version"]),
    ("help.txt", &["--help"]),
];

/// Runs the subcommand. Parts that cannot be had are named in the manifest.
pub fn run(place: &Place, args: &BundleArgs) -> Result<(), Failure> {
    let mut parts: Vec<(String, Vec<u8>)> = vec![];
    let mut told: Vec<Value> = vec![];
    for (name, words) in PARTS {
        let (content, error) = part(place, words);
        told.push(json!({
            "file": name, "command": format!("roomlane {}", words.join(" ")),
            "bytes": content.len(), "error": error,
        }));
        if !content.is_empty() {
            parts.push((name.to_owned(), content));
        }
    }
    let (log, error) = match &args.log {
        Some(file) => tail(file),
        None => journal(),
    };
    told.push(json!({"file": "log.jsonl", "bytes": log.len(), "error": error}));
    parts.push(("log.jsonl".to_owned(), log));
    let manifest = json!({
        "schema": "roomlane.support-bundle.v1",
        "made": utc::rfc3339(utc::now_ms()),
        "version": env!("CARGO_PKG_VERSION"),
        "parts": told,
    });
    parts.insert(0, ("manifest.json".to_owned(), pretty(&manifest)));
    let archive = archive(&parts)?;
    write(&args.out, &compress_to_vec(archive.as_slice(), CompressionLevel::Fastest))?;
    let missing = told.iter().filter(|part| !part["error"].is_null()).count();
    eprintln!(
        "roomlane: {} parts in {}; {missing} could not be had",
        parts.len(),
        args.out.display()
    );
    Ok(())
}

/// What a command of ours prints, scrubbed, and why it failed.
fn part(place: &Place, words: &[&str]) -> (Vec<u8>, Option<String>) {
    let Ok(me) = std::env::current_exe() else { return (vec![], Some("no own path".into())) };
    let mut command = Command::new(me);
    command.args(words).stdin(Stdio::null());
    for (option, value) in [("--node", &place.node), ("--config", &place.config)] {
        if let Some(value) = value {
            command.args([OsStr::new(option), value.as_os_str()]);
        }
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return (vec![], Some(error.to_string())),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let content = match serde_json::from_str::<Value>(&text) {
        Ok(value) => pretty(&scrub::value(value)),
        Err(_) => scrub::text(&text).into_bytes(),
    };
    let error = String::from_utf8_lossy(&output.stderr);
    let failed = !output.status.success() && output.stdout.is_empty();
    (content, failed.then(|| scrub::text(error.trim())))
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// The end of a log file.
fn tail(file: &Path) -> (Vec<u8>, Option<String>) {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(file)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(LOG_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => (lines(&bytes), None),
        Err(error) => (vec![], Some(error.kind().to_string())),
    }
}

/// The end of our units' journal.
fn journal() -> (Vec<u8>, Option<String>) {
    let output = Command::new("journalctl")
        .args(["-q", "-o", "cat", "-n", JOURNAL_LINES, "-u", "roomlane*"])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => (lines(&output.stdout), None),
        Ok(output) => (vec![], Some(scrub::text(String::from_utf8_lossy(&output.stderr).trim()))),
        Err(error) => {
            (vec![], Some(format!("journalctl: {}; name a file with --log", error.kind())))
        }
    }
}

/// Lines in our own form, scrubbed; others are left out, since nobody knows what is in them.
fn lines(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ours = objects.filter(|line| line["level"].is_string() && line["target"].is_string());
    ours.flat_map(|line| format!("{}\n", scrub::value(line)).into_bytes()).collect()
}

fn archive(parts: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Failure> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(utc::now_ms() / 1000);
        archive.append_data(&mut header, format!("{FOLDER}/{name}"), content.as_slice())?;
    }
    Ok(archive.into_inner()?)
}

/// For this user alone; a file that is there is not overwritten.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Refused, format!("{}: is there already", out.display()))
        }
        _ => Failure::failed(format!("{}: {error}", out.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_only_lines_of_ours_pass_and_scrubbed() {
        let log = b"alice called from 203.0.113.9\n\
            {\"level\":\"INFO\",\"target\":\"x\",\"fields\":{\"message\":\"joined\",\"user\":\"alice\"}}\n\
            {\"user\":\"alice\"}\n{\"level\":\"INFO\",\"target\":";
        let text = String::from_utf8(lines(log)).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("joined") && text.contains("al***e"), "{text}");
        assert!(!text.contains("alice") && !text.contains("203"), "{text}");
    }

    #[test]
    fn a_bundle_does_not_overwrite_and_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("rl-bundle-{}.tar.zst", std::process::id()));
        write(&path, b"x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(write(&path, b"y").unwrap_err().code, Exit::Refused);
        assert_eq!(std::fs::read(&path).unwrap(), b"x");
        std::fs::remove_file(&path).unwrap();
    }
}
