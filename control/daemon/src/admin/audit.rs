//! The audit file: one JSON line per act, each with a hash over itself and the line before, so that a
//! line that was changed or taken out of the middle shows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use proto::SecurityEvent;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shm::fdpass::Credentials;

use crate::export::Metrics;

/// How far back the last line is looked for, in bytes.
const TAIL_BYTES: u64 = 8192;

/// An append-only file of acts.
pub struct Audit {
    chain: Mutex<Chain>,
    /// Who is told of acts.
    metrics: Option<Arc<Metrics>>,
    /// The file ended in the middle of a line.
    was_cut: bool,
}

struct Chain {
    file: File,
    last: String,
}

impl Audit {
    /// Opens or makes the file (mode 0600) and goes on with its chain.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &Path) -> io::Result<Audit> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        (&mut file).take(TAIL_BYTES).read_to_end(&mut tail)?;
        let was_cut = !tail.is_empty() && tail.last() != Some(&b'\n');
        if was_cut {
            // A line that was cut off by a crash stays visible as such.
            file.write_all(b"\n")?;
        }
        let last = tail
            .split(|byte| *byte == b'\n')
            .rev()
            .find_map(|line| serde_json::from_slice::<Value>(line).ok())
            .and_then(|line| line["hash"].as_str().map(str::to_owned))
            .unwrap_or_default();
        Ok(Audit { chain: Mutex::new(Chain { file, last }), metrics: None, was_cut })
    }

    /// Acts are security events, too.
    pub fn reporting_to(self, metrics: Arc<Metrics>) -> Audit {
        if self.was_cut {
            metrics.security.report(SecurityEvent::AuditCut, "", 1);
        }
        Audit { metrics: Some(metrics), ..self }
    }

    /// Appends one act and waits until it is on the disk. Blocks.
    ///
    /// # Errors
    /// The host's.
    pub fn record(
        &self,
        who: Credentials,
        act: &str,
        target: &str,
        result: &str,
    ) -> io::Result<()> {
        let written = self.append(who, act, target, result);
        if let Some(metrics) = &self.metrics {
            let about = format!("{act} by uid {}: {result}", who.uid);
            let event = match (&written, result) {
                (Err(_), _) => SecurityEvent::AuditFailed,
                (Ok(()), "not_permitted") => SecurityEvent::ActRefused,
                _ => SecurityEvent::ActDone,
            };
            metrics.security.report(event, &about, 1);
        }
        written
    }

    fn append(&self, who: Credentials, act: &str, target: &str, result: &str) -> io::Result<()> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = json!({
            "unix_ms": shm::clock::unix_ns() / 1_000_000,
            "uid": who.uid,
            "gid": who.gid,
            "pid": who.pid,
            "act": act,
            "target": target,
            "result": result,
            "prev": chain.last,
        });
        let hash = hash_of(&line);
        line["hash"] = hash.as_str().into();
        let mut text = line.to_string();
        text.push('\n');
        let len = chain.file.metadata()?.len();
        if let Err(error) = chain.file.write_all(text.as_bytes()) {
            // A full disk may have taken a part of the line, and the next one would stand behind it.
            let _ = chain.file.set_len(len);
            return Err(error);
        }
        chain.last = hash;
        tracing::info!(target: "audit", uid = who.uid, pid = who.pid, act, about = target, result);
        chain.file.sync_data()
    }
}

/// SHA-256 over a line without its own hash, in hexadecimal.
pub fn hash_of(line: &Value) -> String {
    let mut line = line.clone();
    if let Some(members) = line.as_object_mut() {
        members.remove("hash");
    }
    Sha256::digest(line.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    #[test]
    fn the_chain_goes_on_over_restarts_and_shows_a_changed_line() {
        let dir = std::env::temp_dir().join(format!("roomlane-audit-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("audit.jsonl");
        let _ = std::fs::remove_file(&path);
        let who = Credentials { pid: 7, uid: 1000, gid: 1000 };
        let audit = Audit::open(&path).unwrap();
        audit.record(who, "session.kick", "s0-1-1", "ok").unwrap();
        audit.record(who, "room.end", "1/d***", "not_found").unwrap();
        drop(audit);
        // What a crash in the middle of a line leaves.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"unix").unwrap();
        Audit::open(&path).unwrap().record(who, "session.kick", "s0-2-1", "ok").unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 3);
        let mut last = String::new();
        for line in &lines {
            assert_eq!(line["prev"], last.as_str());
            assert_eq!(line["hash"], hash_of(line).as_str());
            last = line["hash"].as_str().unwrap().to_owned();
        }
        let mut changed = lines[1].clone();
        changed["uid"] = 0.into();
        assert_ne!(changed["hash"], hash_of(&changed).as_str());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
