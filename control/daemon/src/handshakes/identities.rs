//! Our certificate for DTLS, and when it gives way to the next.

use std::sync::{Arc, Mutex, PoisonError};

use dtls::{Identity, SetupError};

use crate::limits::{IDENTITY_ROTATES, IDENTITY_VALID};

/// The certificate that joins are answered with. A session keeps the one of its join.
pub struct Identities(Mutex<Current>);

struct Current {
    identity: Arc<Identity>,
    made_unix_s: u64,
}

impl Identities {
    /// With a fresh one. `unix_s` is the time.
    ///
    /// # Errors
    /// The library has no randomness or memory.
    pub fn new(unix_s: u64) -> Result<Identities, SetupError> {
        Ok(Identities(Mutex::new(Current::make(unix_s)?)))
    }

    /// The present one, made anew when it has served its time. Should that fail the old one serves on:
    /// it is valid for weeks still.
    pub fn current(&self, unix_s: u64) -> Arc<Identity> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes a new one as well.
        let age_s = unix_s.checked_sub(current.made_unix_s);
        if age_s.is_none_or(|age_s| age_s >= IDENTITY_ROTATES.as_secs()) {
            match Current::make(unix_s) {
                Ok(next) => *current = next,
                Err(error) => tracing::error!(%error, "no new certificate for DTLS"),
            }
        }
        Arc::clone(&current.identity)
    }
}

impl Current {
    fn make(unix_s: u64) -> Result<Current, SetupError> {
        let identity = Arc::new(Identity::generate(IDENTITY_VALID, unix_s)?);
        Ok(Current { identity, made_unix_s: unix_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_serves_for_its_time_and_then_another_does() {
        let start = 1_800_000_000;
        let identities = Identities::new(start).unwrap();
        let first = identities.current(start);
        let until = start + IDENTITY_ROTATES.as_secs();
        assert_eq!(identities.current(until - 1).fingerprint(), first.fingerprint());
        let second = identities.current(until);
        assert_ne!(second.fingerprint(), first.fingerprint());
        assert_eq!(second.expires_unix_s(), until + IDENTITY_VALID.as_secs());
        assert_eq!(identities.current(until + 1).fingerprint(), second.fingerprint());
        let set_back = identities.current(start - 10);
        assert_ne!(set_back.fingerprint(), second.fingerprint());
    }
}
