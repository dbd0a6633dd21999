//! Draining: new sessions are refused, those that are there go on, and at the deadline what is left ends.
//! It outlives a restart of this process by a file beside the sockets; `roomlane up` removes that.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use proto::link::DRAIN_FILE;
use serde_json::{Value, json};

use super::{Refused, Running, unix_s};
use crate::link::hub::{Closing, Hub};

/// Whether, and until when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drain {
    /// New sessions are refused.
    is_on: bool,
    /// When the rest ends, in Unix seconds.
    deadline_unix_s: Option<u64>,
}

impl Drain {
    /// What an earlier life of this process was told.
    pub(super) fn resumed(run_dir: &Path, hub: &Hub) -> Drain {
        let Ok(text) = std::fs::read_to_string(run_dir.join(DRAIN_FILE)) else {
            return Drain::default();
        };
        hub.set_draining(true);
        tracing::warn!("still draining: see roomlane undrain");
        Drain { is_on: true, deadline_unix_s: text.trim().parse().ok() }
    }
}

impl Running {
    fn drain_state(&self) -> std::sync::MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses new sessions from now on; in `deadline_s` seconds the others end.
    ///
    /// # Errors
    /// It could not be written down, so that a restart would forget it.
    pub fn drain(&self, deadline_s: Option<u64>) -> Result<Value, Refused> {
        let deadline_unix_s = deadline_s.map(|seconds| unix_s().saturating_add(seconds));
        let text = deadline_unix_s.map_or_else(|| "none\n".to_owned(), |at| format!("{at}\n"));
        let path = self.drain_file();
        std::fs::write(&path, text)
            .map_err(|error| Refused::new("failed", format!("{}: {error}", path.display())))?;
        *self.drain_state() = Drain { is_on: true, deadline_unix_s };
        self.api.hub.set_draining(true);
        tracing::warn!(?deadline_s, "draining: new sessions are refused");
        Ok(self.draining())
    }

    /// Takes new sessions again.
    ///
    /// # Errors
    /// A file could not be removed.
    pub fn undrain(&self) -> Result<Value, Refused> {
        let path = self.drain_file();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Refused::new("failed", format!("{}: {error}", path.display())));
            }
            _ => {}
        }
        *self.drain_state() = Drain::default();
        self.api.hub.set_draining(false);
        tracing::info!("new sessions are taken again");
        Ok(self.draining())
    }

    /// How far draining is.
    pub fn draining(&self) -> Value {
        let (drain, totals) = (*self.drain_state(), self.api.hub.totals());
        let left_s = drain.deadline_unix_s.map(|at| at.saturating_sub(unix_s()));
        json!({
            "draining": drain.is_on, "deadline_s": left_s, "rooms": totals.rooms,
            "sessions": totals.sessions,
        })
    }

    /// At the deadline: everything that is left, told to end.
    pub fn overdue(&self) -> Option<Closing> {
        let drain = *self.drain_state();
        let is_over = drain.is_on && drain.deadline_unix_s.is_some_and(|at| at <= unix_s());
        if !is_over || self.api.hub.totals().rooms == 0 {
            return None;
        }
        let closing = self.api.hub.end_rooms(None);
        tracing::warn!(sessions = closing.sessions.len(), "the deadline of draining has passed");
        Some(closing)
    }

    fn drain_file(&self) -> PathBuf {
        self.run_dir.join(DRAIN_FILE)
    }
}
