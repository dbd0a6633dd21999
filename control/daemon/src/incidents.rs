//! Incidents: what of the [security events](crate::security) somebody has to look after. An event of
//! severity `warning` or above opens one; more of the same kind about the same subject count in it until it
//! is closed. They survive this process in a [chained](crate::chain) file, and are bounded like it.
//!
//! Reports only change memory, and wait for no disk; the file is written by [`Incidents::flush`], each
//! second, and by acts.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use proto::SecurityEvent;
use proto::security::Severity;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::chain::{Chain, hash_of};
use crate::limits::{
    INCIDENT_COUNTS_INTERVAL, INCIDENT_FILE_BYTES_MAX, INCIDENT_REMARK_CHARS_MAX,
    INCIDENT_REMARKS_MAX, INCIDENT_SUBJECTS_MAX, INCIDENTS_MAX,
};
use crate::running::Refused;

/// Whom the incident is about of a kind that has too many subjects.
const OTHERS: &str = "others";

/// How far somebody has come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Nobody has looked.
    Open,
    /// Somebody is on it.
    Acked,
    /// It is done.
    Closed,
}

impl Stage {
    /// The word in answers.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::Acked => "acked",
            Stage::Closed => "closed",
        }
    }
}

/// An operator's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    unix_ms: u64,
    uid: u32,
    text: String,
}

/// Who did something, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    uid: u32,
    unix_ms: u64,
}

/// One incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    number: u64,
    event: String,
    /// Masked, as events are.
    subject: String,
    stage: Stage,
    count: u64,
    since_ms: u64,
    last_ms: u64,
    /// When what began it was seen to end.
    ended_ms: Option<u64>,
    acked: Option<Done>,
    closed: Option<Done>,
    remarks: Vec<Remark>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    list: Vec<Incident>,
    last: u64,
    /// Numbers of those that are not in the file as they are.
    changed: BTreeSet<u64>,
    /// The same where only the count has changed, which is written now and then.
    counted: BTreeSet<u64>,
    counted_at: Option<Instant>,
}

/// The file.
struct Kept {
    path: PathBuf,
    chain: Chain,
    /// Its length when it was written anew.
    shortest: u64,
}

/// See the module.
#[derive(Default)]
pub struct Incidents {
    /// Taken before the other one, by those who write.
    file: Mutex<Option<Kept>>,
    state: Mutex<State>,
}

/// What ends, when `event` is told.
fn ended_by(event: SecurityEvent) -> Option<SecurityEvent> {
    match event {
        SecurityEvent::FloodEnded => Some(SecurityEvent::FloodBegan),
        SecurityEvent::DataPlaneBack => Some(SecurityEvent::DataPlaneLost),
        _ => None,
    }
}

impl Incidents {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, Option<Kept>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with what an earlier life of this process kept, and keeps everything there.
    ///
    /// # Errors
    /// The host's.
    pub fn keep(&self, path: &Path) -> io::Result<()> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut state = self.lock();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let kept = serde_json::from_str::<Value>(line).ok();
            let whole = kept.filter(|line| line["hash"] == hash_of(line).as_str());
            match whole.and_then(|line| serde_json::from_value(line["incident"].clone()).ok()) {
                Some(incident) => state.put(incident),
                None => tracing::error!("a line of the incidents is not as it was written"),
            }
        }
        drop(state);
        let (path, chain) = (path.to_owned(), Chain::open(path)?);
        *self.file() = Some(Kept { path, chain, shortest: 0 });
        Ok(())
    }

    /// Something happened, `count` times.
    pub fn report(&self, event: SecurityEvent, subject: &str, count: u64, unix_ms: u64) {
        if let Some(began) = ended_by(event) {
            return self.end(began, subject, unix_ms);
        }
        if event.severity() < Severity::Warning {
            return;
        }
        let mut state = self.lock();
        let same_kind = state.list.iter().filter(|it| it.event == event.name() && it.is_open());
        let is_full = same_kind.count() >= INCIDENT_SUBJECTS_MAX;
        let is_known = state.unclosed(event.name(), subject).is_some();
        let subject = if is_full && !is_known { OTHERS } else { subject };
        if let Some(incident) = state.unclosed(event.name(), subject) {
            incident.count = incident.count.saturating_add(count);
            incident.last_ms = unix_ms;
            incident.ended_ms = None;
            let number = incident.number;
            state.counted.insert(number);
            return;
        }
        state.last += 1;
        let incident = Incident {
            number: state.last,
            event: event.name().to_owned(),
            subject: subject.to_owned(),
            stage: Stage::Open,
            count,
            since_ms: unix_ms,
            last_ms: unix_ms,
            ended_ms: None,
            acked: None,
            closed: None,
            remarks: vec![],
        };
        state.changed.insert(incident.number);
        state.put(incident);
    }

    /// What was reported is no longer so; somebody still has to look why it was.
    pub fn end(&self, event: SecurityEvent, subject: &str, unix_ms: u64) {
        let mut state = self.lock();
        if let Some(incident) = state.unclosed(event.name(), subject)
            && incident.ended_ms.is_none()
        {
            incident.ended_ms = Some(unix_ms);
            let number = incident.number;
            state.changed.insert(number);
        }
    }

    /// Writes down what has changed. What could not be written is tried again the next time. Blocks.
    ///
    /// # Errors
    /// The host's.
    pub fn flush(&self) -> io::Result<()> {
        let mut file = self.file();
        let changed = self.lock().take_changed(false);
        self.write(&mut file, &changed)
    }

    /// As [`Incidents::flush`], and every count.
    ///
    /// # Errors
    /// The host's.
    pub fn flush_all(&self) -> io::Result<()> {
        let mut file = self.file();
        let changed = self.lock().take_changed(true);
        self.write(&mut file, &changed)
    }

    fn write(&self, file: &mut Option<Kept>, changed: &[Incident]) -> io::Result<()> {
        let Some(Kept { path, chain, shortest }) = file else { return Ok(()) };
        if changed.is_empty() {
            return Ok(());
        }
        let mut append = || {
            for incident in changed {
                chain.append(json!({ "incident": incident }))?;
            }
            chain.sync()?;
            if chain.len_bytes()? > INCIDENT_FILE_BYTES_MAX.max(*shortest * 2) {
                let list = self.lock().list.clone();
                *chain = shortened(path, &list)?;
                *shortest = chain.len_bytes()?;
            }
            Ok(())
        };
        append().inspect_err(|_| {
            self.lock().changed.extend(changed.iter().map(|incident| incident.number));
        })
    }

    fn act(
        &self,
        number: u64,
        change: impl FnOnce(&mut Incident, u64) -> Result<(), Refused>,
    ) -> Result<Value, Refused> {
        let mut file = self.file();
        let mut state = self.lock();
        let Some(incident) = state.list.iter_mut().find(|it| it.number == number) else {
            return Err(refused("not_found", format!("no incident {number}")));
        };
        let before = incident.clone();
        change(incident, shm::clock::unix_ns() / 1_000_000)?;
        let answer = incident.row();
        state.changed.insert(number);
        let changed = state.take_changed(false);
        drop(state);
        if let Err(error) = self.write(&mut file, &changed) {
            // Nobody is told that something is done which the next life of this process does not know.
            let mut state = self.lock();
            if let Some(incident) = state.list.iter_mut().find(|it| it.number == number) {
                let Incident { stage, acked, closed, remarks, .. } = before;
                (incident.stage, incident.acked, incident.closed) = (stage, acked, closed);
                incident.remarks = remarks;
            }
            let text = format!("nothing was done: the incidents cannot be written ({error})");
            return Err(refused("unavailable", text));
        }
        Ok(json!({ "incident": answer }))
    }

    /// Somebody is on it. Blocks.
    ///
    /// # Errors
    /// Somebody is already; it is closed; there is none.
    pub fn ack(&self, number: u64, uid: u32) -> Result<Value, Refused> {
        self.act(number, |incident, unix_ms| match (incident.stage, incident.acked) {
            (Stage::Closed, _) => Err(refused("conflict", "it is closed")),
            (Stage::Acked, Some(by)) => {
                Err(refused("conflict", format!("uid {} acknowledged it already", by.uid)))
            }
            _ => {
                (incident.stage, incident.acked) = (Stage::Acked, Some(Done { uid, unix_ms }));
                Ok(())
            }
        })
    }

    /// Adds words to it; what could write to a terminal is escaped. Blocks.
    ///
    /// # Errors
    /// It has as many as it may; they are too long or none; there is no such incident.
    pub fn remark(&self, number: u64, uid: u32, text: &str) -> Result<Value, Refused> {
        let text = remark(text)?;
        self.act(number, |incident, unix_ms| {
            if incident.remarks.len() >= INCIDENT_REMARKS_MAX {
                return Err(refused("limit", "it has as many notes as an incident may have"));
            }
            incident.remarks.push(Remark { unix_ms, uid, text });
            Ok(())
        })
    }

    /// It is done. What happens from now on opens another. Blocks.
    ///
    /// # Errors
    /// It is closed; there is none.
    pub fn close(&self, number: u64, uid: u32, text: Option<&str>) -> Result<Value, Refused> {
        let text = text.map(remark).transpose()?;
        self.act(number, |incident, unix_ms| {
            if incident.stage == Stage::Closed {
                return Err(refused("conflict", "it is closed"));
            }
            incident.remarks.extend(text.map(|text| Remark { unix_ms, uid, text }));
            (incident.stage, incident.closed) = (Stage::Closed, Some(Done { uid, unix_ms }));
            Ok(())
        })
    }

    /// All, the newest first.
    pub fn list(&self) -> Value {
        let state = self.lock();
        let rows: Vec<Value> = state.list.iter().rev().map(Incident::row).collect();
        json!({ "schema": "roomlane.incident.v1", "incidents": rows })
    }

    /// One, with its notes.
    ///
    /// # Errors
    /// There is none.
    pub fn show(&self, number: u64) -> Result<Value, Refused> {
        let state = self.lock();
        let Some(incident) = state.list.iter().find(|it| it.number == number) else {
            return Err(refused("not_found", format!("no incident {number}")));
        };
        let mut row = incident.row();
        row["remarks"] = json!(incident.remarks);
        Ok(json!({ "schema": "roomlane.incident.v1", "incident": row }))
    }
}

fn refused(code: &'static str, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into(), errors: vec![] }
}

/// An operator's words, without anything that moves a terminal's cursor or turns the order of letters.
fn remark(text: &str) -> Result<String, Refused> {
    if text.trim().is_empty() || text.chars().count() > INCIDENT_REMARK_CHARS_MAX {
        return Err(refused("invalid", "a note has 1 to 500 characters"));
    }
    let is_sly = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    Ok(text.trim().chars().fold(String::new(), |mut shown, c| {
        match is_sly(c) {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
        shown
    }))
}

impl State {
    fn unclosed(&mut self, event: &str, subject: &str) -> Option<&mut Incident> {
        let mut open = self.list.iter_mut().filter(|it| it.is_open());
        open.find(|it| it.event == event && it.subject == subject)
    }

    /// Takes the place of the one with its number, or the next place; when there is none left, the oldest
    /// that is closed goes, or the oldest.
    fn put(&mut self, incident: Incident) {
        self.last = self.last.max(incident.number);
        if let Some(place) = self.list.iter_mut().find(|it| it.number == incident.number) {
            *place = incident;
            return;
        }
        if self.list.len() >= INCIDENTS_MAX {
            let oldest = self.list.iter().position(|it| !it.is_open()).unwrap_or(0);
            let gone = self.list.remove(oldest);
            self.changed.remove(&gone.number);
        }
        self.list.push(incident);
    }

    /// What is to be written; it counts as written from here on.
    fn take_changed(&mut self, with_counts: bool) -> Vec<Incident> {
        let is_due = self.counted_at.is_none_or(|at| at.elapsed() >= INCIDENT_COUNTS_INTERVAL);
        if with_counts || is_due {
            self.counted_at = Some(Instant::now());
            self.changed.append(&mut self.counted);
        }
        let numbers = std::mem::take(&mut self.changed);
        self.list.iter().filter(|it| numbers.contains(&it.number)).cloned().collect()
    }
}

/// A new file with what is kept, in the place of the old one, of which one is kept beside it.
fn shortened(path: &Path, list: &[Incident]) -> io::Result<Chain> {
    let beside = |end: &str| path.with_extension(format!("jsonl.{end}"));
    let (new, old) = (beside("new"), beside("1"));
    let gone = |path: &Path| match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    gone(&new)?;
    let mut chain = Chain::open(&new)?;
    for incident in list {
        chain.append(json!({ "incident": incident }))?;
    }
    chain.sync()?;
    gone(&old)?;
    std::fs::hard_link(path, &old)?;
    std::fs::rename(&new, path)?;
    Ok(chain)
}

impl Incident {
    fn is_open(&self) -> bool {
        self.stage != Stage::Closed
    }

    /// As it stands in answers, without the words of its notes.
    fn row(&self) -> Value {
        let known = SecurityEvent::ALL.iter().find(|event| event.name() == self.event);
        let of = |say: fn(&SecurityEvent) -> &'static str| known.map(say);
        json!({
            "incident": self.number, "state": self.stage.name(), "event": self.event,
            "severity": of(|event| event.severity().name()),
            "category": of(|event| event.category().name()),
            "about": self.subject, "count": self.count,
            "since_unix_ms": self.since_ms, "last_unix_ms": self.last_ms,
            "ended_unix_ms": self.ended_ms,
            "acked_by_uid": self.acked.map(|by| by.uid),
            "acked_unix_ms": self.acked.map(|by| by.unix_ms),
            "closed_by_uid": self.closed.map(|by| by.uid),
            "closed_unix_ms": self.closed.map(|by| by.unix_ms),
            "notes": self.remarks.len(),
            "what": of(|event| event.sentence()), "action": of(|event| event.action()),
            "runbook": known.map(|event| format!("docs/runbooks.md#{}", event.runbook())),
        })
    }
}

#[cfg(test)]
mod tests;
