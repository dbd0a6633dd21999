//! The audit file: one JSON line per act, in a [chain](crate::chain).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::SecurityEvent;
use serde_json::json;
use shm::fdpass::Credentials;

use crate::chain::Chain;
use crate::export::Metrics;

/// An append-only file of acts.
pub struct Audit {
    chain: Mutex<Chain>,
    /// Who is told of acts.
    metrics: Option<Arc<Metrics>>,
}

impl Audit {
    /// Opens or makes the file (mode 0600) and goes on with its chain.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &Path) -> io::Result<Audit> {
        Ok(Audit { chain: Mutex::new(Chain::open(path)?), metrics: None })
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts are security events, too.
    pub fn reporting_to(self, metrics: Arc<Metrics>) -> Audit {
        if self.chain().was_cut() {
            metrics.security.report(SecurityEvent::AuditCut, "", 1);
        }
        Audit { metrics: Some(metrics), ..self }
    }

    /// Sees to it that the next act can be written down, before anything is done. Blocks.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn prepare(&self, who: Credentials, act: &str) -> io::Result<()> {
        let prepared = self.chain().reserve();
        if let (Err(_), Some(metrics)) = (&prepared, &self.metrics) {
            let about = format!("{act} by uid {}: refused", who.uid);
            metrics.security.report(SecurityEvent::AuditFailed, &about, 1);
        }
        prepared
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
        let mut chain = self.chain();
        let written = chain.append(json!({
            "unix_ms": shm::clock::unix_ns() / 1_000_000,
            "uid": who.uid,
            "gid": who.gid,
            "pid": who.pid,
            "act": act,
            "target": target,
            "result": result,
        }));
        tracing::info!(target: "audit", uid = who.uid, pid = who.pid, act, about = target, result);
        written.and_then(|()| chain.sync())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use serde_json::Value;

    use super::*;
    use crate::chain::hash_of;

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
