//! The ICE-lite agent of one session (RFC 8445 2.5): its credentials, the paths that authenticated
//! checks have validated, and which of them the peer nominated.
//!
//! A lite agent gathers nothing and checks nothing: it answers. What follows from that is decided here:
//!
//! - Media and RTCP are sent on the nominated path alone (RFC 8445 12.1). Before the first nomination
//!   only DTLS is answered, to the validated path that it came from.
//! - Consent (RFC 7675) is what the peer's packets show: an authentic check, or an authentic packet of
//!   SRTP or SRTCP, keeps its path for [`CONSENT`](crate::limits::CONSENT).
//! - STUN's short-term credentials have no nonce, so whoever overhears a check can send it again from
//!   elsewhere. The last [`CHECKS_REMEMBERED`] transactions add no path a second time. An older one
//!   could, until the peer's next check moves the path back; that takes somebody who reads the peer's
//!   traffic, and what it gets is encrypted. Nor can a lite agent ask an address whether it wants the
//!   packets: a member can point its own media at somebody else until consent ends, as with any lite
//!   agent.

use arrayvec::ArrayVec;
use proto::{Endpoint, IceCredentials, Path};
use srtp::IntegrityKey;

use crate::Instant;
use crate::limits::{CHECKS_REMEMBERED, ICE_GENERATIONS_MAX, PATHS_MAX};
use crate::policer::Bucket;

/// One set of credentials. The password is kept as the HMAC's key, which is wiped when dropped.
#[derive(Debug)]
struct Generation {
    number: u16,
    key: IntegrityKey,
}

/// A pair of addresses from which an authenticated check came.
#[derive(Debug, Clone, Copy)]
struct ValidPath {
    path: Path,
    /// Tells paths of one session apart for life.
    number: u32,
    /// When something authentic came over it; of the nominated one the session knows better.
    heard: Instant,
    generation: u16,
}

/// See the module.
#[derive(Debug)]
pub struct Agent {
    /// The present one, then the coming one.
    generations: ArrayVec<Generation, ICE_GENERATIONS_MAX>,
    paths: ArrayVec<ValidPath, PATHS_MAX>,
    /// Number of the path that media is sent to; zero before the first nomination.
    nominated: u32,
    last_number: u32,
    /// Transactions of authenticated checks, the last of them, by their digests.
    seen: ArrayVec<u32, CHECKS_REMEMBERED>,
    oldest_seen: usize,
    /// Where the last DTLS datagram came from.
    pub punt_path: Path,
    /// Answered checks.
    pub answers: Bucket,
    /// Checks of validated paths whose MESSAGE-INTEGRITY was wrong.
    pub failures: Bucket,
    /// DTLS datagrams handed to the control plane.
    pub punts: Bucket,
    /// Tells the installed keys from others.
    pub keys_tag: u64,
    /// The keys came by `InstallKeys` in this life of the shard, so their use is known from its start.
    pub keys_are_fresh: bool,
}

impl Agent {
    /// Without a path.
    pub fn new(ice: &IceCredentials) -> Self {
        let mut generations = ArrayVec::new();
        generations.push(Generation::new(ice));
        Agent {
            generations,
            paths: ArrayVec::new(),
            nominated: 0,
            last_number: 0,
            seen: ArrayVec::new(),
            oldest_seen: 0,
            punt_path: Path::default(),
            answers: Bucket::default(),
            failures: Bucket::default(),
            punts: Bucket::default(),
            keys_tag: 0,
            keys_are_fresh: false,
        }
    }

    /// Adds the coming generation; one that was announced before and not nominated gives way. `false`
    /// when its number is that of a living one.
    pub fn restart(&mut self, ice: &IceCredentials) -> bool {
        if self.key(ice.generation).is_some() {
            return false;
        }
        self.generations.truncate(1);
        self.generations.push(Generation::new(ice));
        true
    }

    /// The session ended: passwords go, paths stay, so that late packets are known as such.
    pub fn close(&mut self) {
        self.generations.clear();
    }

    /// What authenticates checks of a generation; `None` when it is not alive.
    pub fn key(&self, generation: u16) -> Option<&IntegrityKey> {
        self.generations.iter().find(|known| known.number == generation).map(|known| &known.key)
    }

    /// The generation that is current.
    pub fn generation(&self) -> u16 {
        self.generations.first().map_or(0, |present| present.number)
    }

    fn find(&self, path: Path) -> Option<usize> {
        self.paths.iter().position(|valid| valid.path == path)
    }

    /// Whether an authenticated check came over exactly this path.
    pub fn is_valid(&self, path: Path) -> bool {
        self.find(path).is_some()
    }

    /// Whether a path of this agent has that remote end.
    pub fn has_remote(&self, remote: Endpoint) -> bool {
        self.paths.iter().any(|valid| valid.path.remote == remote)
    }

    /// Remote ends of all paths; one may come twice, with different local ends.
    pub fn remotes(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.paths.iter().map(|valid| valid.path.remote)
    }

    /// Whether this transaction was seen before, whichever path it came over. One in 2^27 new ones passes
    /// for seen; the peer's next check then takes its place.
    pub fn was_seen(&self, transaction: [u8; 12]) -> bool {
        self.seen.contains(&digest(transaction))
    }

    /// Takes note of an authentic packet over a validated path. `false` when there is no such path.
    pub fn heard(&mut self, now: Instant, path: Path) -> bool {
        let Some(at) = self.find(path) else { return false };
        self.paths[at].heard = self.paths[at].heard.max(now);
        true
    }

    /// When something authentic came from a remote end, as far as the agent knows.
    pub fn last_heard(&self, remote: Endpoint) -> Instant {
        let from = self.paths.iter().filter(|valid| valid.path.remote == remote);
        from.map(|valid| valid.heard).max().unwrap_or_default()
    }

    /// Takes note of an authenticated check, and of its path if that is new. A full table loses the path
    /// that was silent longest and is not nominated; that one is returned.
    pub fn checked(
        &mut self,
        now: Instant,
        path: Path,
        generation: u16,
        transaction: [u8; 12],
    ) -> Option<Path> {
        let mut evicted = None;
        let at = self.find(path).unwrap_or_else(|| {
            if self.paths.is_full() {
                let idle = (0..self.paths.len()).filter(|at| !self.is_nominated(*at));
                let oldest =
                    idle.min_by_key(|at| self.paths[*at].heard).expect("one is nominated at most");
                evicted = Some(self.paths.swap_remove(oldest).path);
            }
            self.last_number += 1;
            let (number, heard) = (self.last_number, now);
            self.paths.push(ValidPath { path, number, heard, generation });
            self.paths.len() - 1
        });
        let valid = &mut self.paths[at];
        valid.heard = valid.heard.max(now);
        valid.generation = generation;
        self.remember(transaction);
        evicted
    }

    fn remember(&mut self, transaction: [u8; 12]) {
        if self.was_seen(transaction) {
            return;
        }
        if let Err(full) = self.seen.try_push(digest(transaction)) {
            self.seen[self.oldest_seen] = full.element();
            self.oldest_seen = (self.oldest_seen + 1) % CHECKS_REMEMBERED;
        }
    }

    fn is_nominated(&self, at: usize) -> bool {
        self.paths[at].number == self.nominated
    }

    /// Selects a validated path; generations older than its own end with that. True when another path
    /// was selected before, or none.
    pub fn nominate(&mut self, path: Path) -> bool {
        let Some(at) = self.find(path) else { return false };
        let generation = self.paths[at].generation;
        if self.generations.get(1).is_some_and(|coming| coming.number == generation) {
            self.generations.remove(0);
        }
        let moved = !self.is_nominated(at);
        self.nominated = self.paths[at].number;
        moved
    }

    /// Goes on with the path that an earlier life of the shard had selected.
    pub fn resume(&mut self, now: Instant, path: Path) {
        self.last_number += 1;
        let (number, generation) = (self.last_number, self.generation());
        self.paths.push(ValidPath { path, number, heard: now, generation });
        self.nominated = number;
    }

    /// Gives up all paths to a remote end, which another session has now.
    pub fn forget(&mut self, remote: Endpoint) {
        self.paths.retain(|valid| valid.path.remote != remote);
        if self.punt_path.remote == remote {
            self.punt_path = Path::default();
        }
    }
}

/// 32 bits that stand for a transaction: the same check has the same ones, whoever sends it. All of its 96
/// bits count, since not every agent draws them all at random.
fn digest(transaction: [u8; 12]) -> u32 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (first, last) = transaction.split_at(8);
    let first = u64::from_be_bytes(first.try_into().expect("eight bytes of twelve"));
    let last = u32::from_be_bytes(last.try_into().expect("four bytes of twelve"));
    let mixed = first.wrapping_mul(ODD);
    let mixed = (mixed ^ mixed >> 32).wrapping_add(last.into());
    (mixed.wrapping_mul(ODD) >> 32) as u32
}

impl Generation {
    fn new(ice: &IceCredentials) -> Self {
        Generation { number: ice.generation, key: IntegrityKey::new(&ice.password) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_transaction_counts() {
        let of = |bit: Option<usize>| {
            let mut transaction = [0x5a; 12];
            if let Some(bit) = bit {
                transaction[bit / 8] ^= 1 << (bit % 8);
            }
            digest(transaction)
        };
        for bit in 0..96 {
            assert_ne!(of(Some(bit)), of(None), "bit {bit}");
            assert!((0..bit).all(|other| of(Some(other)) != of(Some(bit))), "bit {bit}");
        }
    }
}
