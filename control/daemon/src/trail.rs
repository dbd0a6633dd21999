//! What happened lately to whom: joins, refusals, ends, acts and drops, masked, in a ring that forgets the
//! oldest. It lives in memory alone and ends with this process; what must last is in the audit file.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proto::SessionId;
use serde_json::{Value, json};
use stats::Snapshot;

use crate::limits::{TRAIL_ANSWER_MAX, TRAIL_MAX, TRAIL_REPEATS};
use crate::mask;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody came in.
    Join,
    /// Somebody was refused.
    Refusal,
    /// A session's path, grant or state changed.
    Change,
    /// A session ended.
    End,
    /// An operator acted, or tried to.
    Act,
    /// Packets were dropped or lost.
    Drop,
}

impl Kind {
    /// The word in answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Join => "join",
            Kind::Refusal => "refusal",
            Kind::Change => "change",
            Kind::End => "end",
            Kind::Act => "act",
            Kind::Drop => "drop",
        }
    }
}

/// Whom it is about: masked names, and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// Tenant.
    pub app: Option<u32>,
    /// Masked room; empty when none.
    pub room: String,
    /// Masked user; empty when none.
    pub user: String,
    /// Session.
    pub session: Option<SessionId>,
    /// Masked address; empty when none.
    pub source: String,
}

/// One thing that happened, perhaps several times in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When first, in milliseconds of Unix time.
    pub unix_ms: u64,
    /// When last.
    pub until_ms: u64,
    /// How often.
    pub count: u64,
    /// What kind.
    pub kind: Kind,
    /// Whom.
    pub about: About,
    /// In words or by its code; nothing of a person.
    pub what: String,
}

#[derive(Default)]
struct Ring {
    notes: VecDeque<Note>,
    /// Whose sessions there are.
    sessions: HashMap<SessionId, About>,
}

/// See the module.
#[derive(Default)]
pub struct Trail(Mutex<Ring>);

/// Whose trail is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Everybody.
    All,
    /// A session by its id.
    Session(SessionId),
    /// An app by its number.
    App(u32),
    /// A user, a room or an address, by its mask.
    Masked(String),
}

impl Subject {
    /// Reads what an operator typed; a name in the clear is masked here and goes no further.
    pub fn read(text: &str) -> Subject {
        if text == "*" {
            return Subject::All;
        }
        if let Ok(session) = text.parse() {
            return Subject::Session(session);
        }
        if let Some(app) = text.strip_prefix("app:").and_then(|app| app.parse().ok()) {
            return Subject::App(app);
        }
        if let Ok(ip) = text.parse() {
            return Subject::Masked(mask::address(ip));
        }
        let of_address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
        let prefix = text.strip_suffix(".x").or(text.strip_suffix(":x"));
        let is_address = prefix.is_some_and(|prefix| prefix.chars().all(of_address));
        match is_address || text.contains("***") {
            true => Subject::Masked(text.chars().filter(char::is_ascii_graphic).collect()),
            false => Subject::Masked(mask::identity(text)),
        }
    }

    fn fits(&self, about: &About) -> bool {
        match self {
            Subject::All => true,
            Subject::Session(session) => about.session == Some(*session),
            Subject::App(app) => about.app == Some(*app),
            Subject::Masked(mask) => {
                [&about.user, &about.room, &about.source].contains(&mask) && !mask.is_empty()
            }
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Subject::All => f.write_str("*"),
            Subject::Session(session) => session.fmt(f),
            Subject::App(app) => write!(f, "app:{app}"),
            Subject::Masked(mask) => f.write_str(mask),
        }
    }
}

impl Trail {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what happened now, `count` times.
    pub fn note(&self, kind: Kind, about: About, what: &str, count: u64) {
        self.lock().note(kind, about, what, count);
    }

    /// A session was opened for somebody.
    pub fn joined(&self, session: SessionId, about: About, what: &str) {
        let mut ring = self.lock();
        ring.sessions.insert(session, about.clone());
        ring.note(Kind::Join, about, what, 1);
    }

    /// Something about a session whose owner may be known.
    pub fn of_session(&self, kind: Kind, session: SessionId, what: &str, count: u64) {
        let mut ring = self.lock();
        let about = ring.owner(session);
        if kind == Kind::End {
            ring.sessions.remove(&session);
        }
        ring.note(kind, about, what, count);
    }

    /// The sessions there are, with their owners; others are no longer.
    pub fn owners(&self, owners: HashMap<SessionId, About>) {
        self.lock().sessions = owners;
    }

    /// Drops and losses that sessions have had between two snapshots of one data plane.
    pub fn compare(&self, old: &Snapshot, new: &Snapshot) {
        if old.node.instance != new.node.instance {
            return;
        }
        let before: HashMap<u64, _> = old
            .sessions
            .iter()
            .map(|session| (session.row.session_plus_one, &session.row))
            .collect();
        for session in &new.sessions {
            let Some(then) = before.get(&session.row.session_plus_one) else { continue };
            let forged = session.row.auth_failures.saturating_sub(then.auth_failures);
            let lost = session.row.rx_lost.saturating_sub(then.rx_lost);
            for (count, what) in [(forged, "auth_failed"), (lost, "lost on the way to the node")] {
                if count > 0 {
                    self.of_session(Kind::Drop, session.id(), what, count);
                }
            }
        }
    }

    /// A subject's notes, oldest first.
    pub fn of(&self, subject: &Subject) -> Vec<Note> {
        let ring = self.lock();
        let fits = ring.notes.iter().filter(|note| subject.fits(&note.about)).cloned();
        let mut notes: Vec<Note> = fits.collect();
        notes.drain(..notes.len().saturating_sub(TRAIL_ANSWER_MAX));
        notes
    }

    /// All notes, oldest first.
    pub fn all(&self) -> Vec<Note> {
        self.lock().notes.iter().cloned().collect()
    }

    /// An answer for operators.
    pub fn answer(&self, subject: &Subject) -> Value {
        let notes: Vec<Value> = self.of(subject).iter().map(Note::json).collect();
        let ring = self.lock();
        json!({
            "schema": "roomlane.trail.v1",
            "subject": subject.to_string(),
            "kept": ring.notes.len(),
            "kept_max": TRAIL_MAX,
            "since_unix_ms": ring.notes.front().map(|note| note.unix_ms),
            "notes": notes,
        })
    }
}

impl Note {
    /// As it stands in answers.
    pub fn json(&self) -> Value {
        json!({
            "unix_ms": self.unix_ms, "until_ms": self.until_ms, "count": self.count,
            "kind": self.kind.name(), "what": self.what,
            "app": self.about.app, "room": self.about.room, "user": self.about.user,
            "session": self.about.session.map(|session| session.to_string()),
            "source": self.about.source,
        })
    }
}

impl Ring {
    fn owner(&self, session: SessionId) -> About {
        let known = self.sessions.get(&session).cloned();
        known.unwrap_or(About { session: Some(session), ..About::default() })
    }

    /// What repeats itself becomes one note, so that a loud one does not push all others out.
    fn note(&mut self, kind: Kind, about: About, what: &str, count: u64) {
        let unix_ms = shm::clock::unix_ns() / 1_000_000;
        let same = |note: &&mut Note| note.kind == kind && note.about == about && note.what == what;
        if let Some(note) = self.notes.iter_mut().rev().take(TRAIL_REPEATS).find(same) {
            note.count += count;
            note.until_ms = unix_ms;
            return;
        }
        if self.notes.len() == TRAIL_MAX {
            self.notes.pop_front();
        }
        let (until_ms, what) = (unix_ms, what.to_owned());
        self.notes.push_back(Note { unix_ms, until_ms, count, kind, about, what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::ShardId;

    const SESSION: SessionId = SessionId::new(ShardId(0), 1, 1);

    fn about(user: &str) -> About {
        let (app, room) = (Some(7), "d***".to_owned());
        About { app, room, user: user.to_owned(), session: Some(SESSION), source: String::new() }
    }

    #[test]
    fn a_trail_has_what_happened_to_its_subject_in_order_and_nothing_else() {
        let trail = Trail::default();
        trail.joined(SESSION, about("al***e"), "publish");
        let other = About { session: None, ..about("b***") };
        trail.note(Kind::Refusal, other, "app_quota", 1);
        trail.of_session(Kind::Drop, SESSION, "auth_failed", 3);
        trail.of_session(Kind::Drop, SESSION, "auth_failed", 4);
        trail.of_session(Kind::End, SESSION, "kicked", 1);
        trail.of_session(Kind::Change, SESSION, "late", 1);
        let kinds = |subject: &str| -> Vec<_> {
            let notes = trail.of(&Subject::read(subject));
            notes.iter().map(|note| (note.kind.name(), note.count)).collect()
        };
        let own = [("join", 1), ("drop", 7), ("end", 1)];
        assert_eq!(kinds("al***e"), own);
        assert_eq!(kinds("alice"), own, "a clear name is masked before it is looked for");
        assert_eq!(kinds("s0-1-1"), [&own[..], &[("change", 1)]].concat());
        assert_eq!(kinds("app:7").len(), 4);
        assert_eq!(kinds("d***").len(), 4);
        assert_eq!(kinds("b***"), [("refusal", 1)]);
        assert_eq!(kinds(""), []);
        assert_eq!(kinds("*").len(), 5);
    }

    #[test]
    fn the_oldest_is_forgotten_and_what_repeats_takes_one_place() {
        let trail = Trail::default();
        for number in 0..TRAIL_MAX + 5 {
            trail.note(Kind::Refusal, about(&format!("u{number}***")), "busy", 1);
            trail.note(Kind::Refusal, About::default(), "loud", 1);
        }
        let notes = trail.all();
        assert_eq!(notes.len(), TRAIL_MAX);
        assert!(trail.of(&Subject::Masked("u0***".into())).is_empty());
        let loud = notes.iter().filter(|note| note.what == "loud");
        let counts: Vec<u64> = loud.map(|note| note.count).collect();
        assert!(counts.len() <= TRAIL_MAX / (TRAIL_REPEATS - 1) + 1, "{}", counts.len());
        assert_eq!(trail.of(&Subject::App(7)).len(), TRAIL_ANSWER_MAX);
    }

    #[test]
    fn no_name_in_the_clear_comes_back() {
        for (typed, masked) in [
            ("alice", "al***e"),
            ("al***e", "al***e"),
            ("203.0.113.9", "203.0.113.x"),
            ("203.0.113.x", "203.0.113.x"),
            ("app:x", "ap***x"),
            ("s0-1-1", "s0-1-1"),
        ] {
            assert_eq!(Subject::read(typed).to_string(), masked);
        }
    }
}
