//! Security events as they happen: counted, logged within bounds, kept for a while, handed to the
//! webhook. What they are is in the table of [`SecurityEvent`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use proto::SecurityEvent;
use proto::security::Severity;
use tokio::sync::mpsc;

use crate::incidents::Incidents;
use crate::limits::SECURITY_RECORDS_MAX;
use crate::logs::LogLimit;

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When, in milliseconds of Unix time.
    pub unix_ms: u64,
    /// What.
    pub event: SecurityEvent,
    /// Whom or what it is about, masked: a source, an app, a worker.
    pub about: String,
    /// How many of it, where it stands for several.
    pub count: u64,
}

/// Takes events from everywhere in the process.
pub struct Security {
    counts: [AtomicU64; SecurityEvent::COUNT],
    /// Of each event its own: one kind cannot hide another.
    limits: [LogLimit; SecurityEvent::COUNT],
    recent: Mutex<VecDeque<Record>>,
    /// What of it somebody has to look after.
    pub incidents: Arc<Incidents>,
    webhook: OnceLock<mpsc::Sender<Record>>,
    /// What became of records for the webhook: sent, failed, no place on their way.
    sent: [AtomicU64; SENT.len()],
}

/// What becomes of a record for the webhook.
pub const SENT: [&str; 3] = ["sent", "failed", "dropped"];

impl Default for Security {
    fn default() -> Self {
        Security {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            limits: std::array::from_fn(|_| LogLimit::default()),
            recent: Mutex::new(VecDeque::new()),
            incidents: Arc::default(),
            webhook: OnceLock::new(),
            sent: Default::default(),
        }
    }
}

impl Security {
    /// Something happened, `count` times. `about` must be masked already.
    pub fn report(&self, event: SecurityEvent, about: &str, count: u64) {
        self.counts[event as usize].fetch_add(count, Ordering::Relaxed);
        let unix_ms = shm::clock::unix_ns() / 1_000_000;
        self.incidents.report(event, about, count, unix_ms);
        let Some(suppressed) = self.limits[event as usize].allow() else { return };
        let (name, category) = (event.name(), event.category().name());
        let (severity, action) = (event.severity().name(), event.action());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(target: "security", event = name, category, severity, action,
                    about, count, suppressed, "{}", event.sentence())
            };
        }
        match event.severity() {
            Severity::Notice => line!(info),
            Severity::Warning => line!(warn),
            Severity::Critical => line!(error),
        }
        self.keep(Record { unix_ms, event, about: about.to_owned(), count });
    }

    /// What was reported is no longer so.
    pub fn ended(&self, event: SecurityEvent, about: &str) {
        self.incidents.end(event, about, shm::clock::unix_ns() / 1_000_000);
    }

    fn keep(&self, record: Record) {
        if record.event.severity() >= Severity::Warning
            && let Some(webhook) = self.webhook.get()
            && webhook.try_send(record.clone()).is_err()
        {
            self.notified(2);
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == SECURITY_RECORDS_MAX {
            recent.pop_front();
        }
        recent.push_back(record);
    }

    /// Whatever is reported from now on, notices apart, goes there, too. Only the first call counts.
    pub fn notify(&self, webhook: mpsc::Sender<Record>) {
        let _ = self.webhook.set(webhook);
    }

    /// The last occurrences that were logged, oldest first.
    pub fn recent(&self) -> Vec<Record> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().cloned().collect()
    }

    /// How often an event was reported since the start.
    pub fn count(&self, event: SecurityEvent) -> u64 {
        self.counts[event as usize].load(Ordering::Relaxed)
    }

    /// A record has come to one of the ends of [`SENT`].
    pub fn notified(&self, end: usize) {
        self.sent[end].fetch_add(1, Ordering::Relaxed);
    }

    /// How many came to each of [`SENT`]; `None` without a webhook.
    pub fn notifications(&self) -> Option<[u64; SENT.len()]> {
        self.webhook.get()?;
        Some(self.sent.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_counted_whole_and_hides_no_other() {
        let security = Security::default();
        for _ in 0..1000 {
            security.report(SecurityEvent::TokensRefused, "203.0.113.x", 1);
        }
        security.report(SecurityEvent::DtlsPeerMismatch, "app 7", 1);
        assert_eq!(security.count(SecurityEvent::TokensRefused), 1000);
        let recent = security.recent();
        assert!(recent.len() < 20, "{}", recent.len());
        assert_eq!(recent.last().unwrap().event, SecurityEvent::DtlsPeerMismatch);
    }

    #[test]
    fn what_nobody_fetches_is_counted_and_the_oldest_is_forgotten() {
        let security = Security::default();
        let (sender, mut records) = mpsc::channel(2);
        security.notify(sender);
        for number in 0..SECURITY_RECORDS_MAX as u64 + 3 {
            let event = SecurityEvent::FloodBegan;
            security.keep(Record { unix_ms: number, event, about: String::new(), count: 1 });
        }
        let notice = SecurityEvent::FloodEnded;
        let about = String::new();
        security.keep(Record { unix_ms: 0, event: notice, about, count: 1 });
        let dropped = SECURITY_RECORDS_MAX as u64 + 1;
        assert_eq!(security.notifications(), Some([0, 0, dropped]), "a notice is not sent");
        assert_eq!(records.try_recv().unwrap().unix_ms, 0);
        assert_eq!(security.recent().len(), SECURITY_RECORDS_MAX);
        assert_eq!(security.recent()[0].unix_ms, 4);
    }
}
