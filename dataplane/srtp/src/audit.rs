//! Proof that no (key, IV) is used twice: a provider around a provider that writes down every
//! seal. For simulations and crash tests (feature `audit`), never in a node's build: it allocates
//! and locks.
//!
//! The IV is computed here as the RFCs define it, from salt, SSRC and index, and not taken from
//! the provider. One [`NonceAuditor`] may be shared by many shards, and lives on when a shard is
//! thrown away: that is how a repeated index after a restart is found.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use crate::index::{EgressIndex, EgressRtcpIndex, RtcpIndex};
use crate::key::KeyMaterial;
use crate::profile::Profile;
use crate::provider::{OpenError, OpenJob, Plaintext, Provider, SealError, SealJob, word_at};

/// IVs that share a bitmap: those that differ in their last 10 bits only.
const BLOCK: u32 = 1024;

/// Every (key, IV) ever sealed with. Clones share one memory.
#[derive(Clone, Default)]
pub struct NonceAuditor(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    keys: HashMap<[u8; 32], u32>,
    /// By key and upper bits of the IV, one bit per IV; 1e8 consecutive seals take some 20 MB.
    blocks: HashMap<(u32, u128), [u64; BLOCK as usize / 64]>,
    seals: u64,
    repeats: u64,
}

impl NonceAuditor {
    /// Nothing seen yet.
    pub fn new() -> NonceAuditor {
        NonceAuditor::default()
    }

    /// How often something was sealed.
    pub fn seals(&self) -> u64 {
        self.with(|seen| seen.seals)
    }

    /// How often a (key, IV) was used again. Anything but 0 is a broken promise.
    pub fn repeats(&self) -> u64 {
        self.with(|seen| seen.repeats)
    }

    /// A number for a session key; the same key gets the same number, whoever made the context.
    fn key_id(&self, key: [u8; 32]) -> u32 {
        self.with(|seen| {
            let next = seen.keys.len() as u32;
            *seen.keys.entry(key).or_insert(next)
        })
    }

    fn note(&self, key: u32, iv: u128) {
        self.with(|seen| {
            let low = (iv % u128::from(BLOCK)) as usize;
            let block = match seen.blocks.entry((key, iv / u128::from(BLOCK))) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => place.insert([0; BLOCK as usize / 64]),
            };
            let bit = 1 << (low % 64);
            seen.repeats += u64::from(block[low / 64] & bit != 0);
            block[low / 64] |= bit;
            seen.seals += 1;
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Seen) -> T) -> T {
        // A panic in a shard is part of the tests; what was noted before it stays true.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seals and opens with `P`, and tells the auditor each (key, IV) before it is used.
pub struct Audited<P> {
    inner: P,
    auditor: NonceAuditor,
}

impl<P: Provider> Audited<P> {
    /// All providers of one test share the auditor.
    pub fn new(inner: P, auditor: &NonceAuditor) -> Audited<P> {
        Audited { inner, auditor: auditor.clone() }
    }
}

/// A key context of [`Audited`].
pub struct AuditedKey<K> {
    inner: K,
    id: u32,
    /// The salt as the upper bytes of 16.
    salt: u128,
    aead: bool,
}

impl<K> AuditedKey<K> {
    /// RFC 7714 sections 8.1 and 9.1 and RFC 3711 section 4.1.1, RTP and RTCP alike, as a number
    /// without the zeros that AES-CM has below for its counter.
    fn iv(&self, ssrc: u32, index: u64) -> u128 {
        let iv = (u128::from(ssrc) << 48) | u128::from(index);
        iv ^ (self.salt >> if self.aead { 32 } else { 16 })
    }
}

impl<P: Provider> Provider for Audited<P> {
    type Key = AuditedKey<P::Key>;

    fn new_key(&self, material: &KeyMaterial) -> AuditedKey<P::Key> {
        let mut salt = [0; 16];
        salt[..material.salt().len()].copy_from_slice(material.salt());
        AuditedKey {
            inner: self.inner.new_key(material),
            id: self.auditor.key_id(material.key),
            salt: u128::from_be_bytes(salt),
            aead: material.auth().is_empty(),
        }
    }

    fn open_many(&self, jobs: &mut [OpenJob<'_, Self::Key>]) {
        let mut inner = Vec::with_capacity(jobs.len());
        for job in jobs.iter_mut() {
            inner.push(OpenJob {
                key: &job.key.inner,
                ssrc: job.ssrc,
                index: job.index,
                header_len: job.header_len,
                buf: &mut *job.buf,
                result: job.result,
            });
        }
        self.inner.open_many(&mut inner);
        let results: Vec<_> = inner.iter().map(|job| job.result).collect();
        jobs.iter_mut().zip(results).for_each(|(job, result)| job.result = result);
    }

    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, Self::Key>]) {
        let mut inner = Vec::with_capacity(jobs.len());
        let mut noted = Vec::with_capacity(jobs.len());
        for job in jobs.iter_mut() {
            let index = job.index.index();
            // What was spent before uses no IV again, and neither does what is refused.
            let is_new = job.result == Err(SealError::Pending);
            noted.push(is_new.then(|| (job.key.id, job.key.iv(job.ssrc, index.value()))));
            inner.push(SealJob {
                key: &job.key.inner,
                index: EgressIndex::new(index),
                ssrc: job.ssrc,
                header_len: job.header_len,
                out: &mut *job.out,
                result: job.result,
            });
        }
        self.inner.seal_many(plaintext, &mut inner);
        let results: Vec<_> = inner.iter().map(|job| job.result).collect();
        for ((job, result), noted) in jobs.iter_mut().zip(results).zip(noted) {
            job.result = result;
            if let (Ok(_), Some((key, iv))) = (result, noted) {
                self.auditor.note(key, iv);
            }
        }
    }

    fn seal_rtcp_with(
        &self,
        profile: Profile,
        key: &Self::Key,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError> {
        let number = u64::from(index.index().value());
        let total = self.inner.seal_rtcp_with(profile, &key.inner, index, buf, len)?;
        self.auditor.note(key.id, key.iv(word_at(buf, 4), number));
        Ok(total)
    }

    fn open_rtcp_with(
        &self,
        profile: Profile,
        key: &Self::Key,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        self.inner.open_rtcp_with(profile, &key.inner, buf)
    }
}
