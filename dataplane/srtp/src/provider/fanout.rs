//! AES-GCM by the fan-out kernel of `bindings/aead`: all copies of one payload in one call. AES-CM by the same
//! registers, its HMAC of two packets side by side, where the CPU has instructions for SHA-1.
//!
//! `ring` stays behind it three times: a kernel that does not seal and open what `ring` seals and opens is refused
//! at the start; one packet in [`CHECK_EVERY`] is opened by `ring` while the node runs, and a kernel that was
//! wrong once is not asked again; and what the kernel does not take (a header of more than 80 bytes) goes to it.

mod fast_cm;

use std::cell::Cell;

use aead::cm::{Cm, Message};
use aead::{AES_128, AES_256, Context, Kernel, Packet, Path, SealedPacket};
use arrayvec::ArrayVec;
use zeroize::Zeroizing;

use super::cm::{self, CmKey};
use super::gcm::{Gcm, GcmKey, IV, RingGcm, TAG, rtp_iv};
use super::{
    OpenError, OpenJob, Plaintext, Provider, RTCP_E, RTCP_HEADER, RTCP_WORD, RTP_HEADER_MIN,
    SealError, SealJob, peek_rtcp, prepare_rtcp,
};
use crate::index::{EgressIndex, EgressRtcpIndex, PacketIndex, RtcpIndex};
use crate::key::KeyMaterial;
use crate::profile::Profile;

/// Sealed packets between two that are opened by `ring` to see whether the kernel is right.
pub const CHECK_EVERY: u32 = 1 << 16;

/// Why there is no provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKernel {
    /// The CPU lacks the instructions.
    #[error("this CPU has no AES and carry-less multiplication instructions")]
    NoInstructions,
    /// The kernel sealed or opened something else than `ring`.
    #[error("the kernel on path {0} disagrees with ring")]
    Disagrees(&'static str),
}

/// AES-GCM by the kernel for one plaintext under many keys.
#[derive(Debug)]
pub struct FanoutProvider {
    kernel: Kernel,
    cm: Option<Cm>,
    /// Sealed packets until the next one that `ring` looks at.
    until_check: Cell<u32>,
    checks: Cell<u64>,
    /// It was wrong while the node ran: everything goes to `ring` from then on.
    is_refused: Cell<bool>,
}

impl FanoutProvider {
    /// The fastest path of this CPU that agrees with `ring`.
    ///
    /// # Errors
    /// [`NoKernel`], of the last path that was tried.
    pub fn detect() -> Result<FanoutProvider, NoKernel> {
        let mut found = Err(NoKernel::NoInstructions);
        for kernel in Path::ALL.into_iter().filter_map(Kernel::with) {
            found = FanoutProvider::checked(kernel);
            if found.is_ok() {
                break;
            }
        }
        found
    }

    /// This path, as operators and benchmarks ask for it by [`FanoutProvider::path`]'s words.
    ///
    /// # Errors
    /// [`NoKernel`]; there is no path of another name either.
    pub fn with_path(name: &str) -> Result<FanoutProvider, NoKernel> {
        let path = Path::ALL.into_iter().find(|path| path.name() == name);
        let kernel = path.and_then(Kernel::with).ok_or(NoKernel::NoInstructions)?;
        FanoutProvider::checked(kernel)
    }

    fn checked(kernel: Kernel) -> Result<FanoutProvider, NoKernel> {
        let provider = FanoutProvider {
            kernel,
            cm: Cm::beside(kernel),
            until_check: Cell::new(CHECK_EVERY),
            checks: Cell::new(0),
            is_refused: Cell::new(false),
        };
        match agrees(kernel) {
            true => Ok(provider),
            false => Err(NoKernel::Disagrees(kernel.path().name())),
        }
    }

    /// The word of its path; `ring` once the kernel was found wrong.
    pub fn path(&self) -> &'static str {
        if self.is_refused.get() { "ring" } else { self.kernel.path().name() }
    }

    /// Seals jobs of one profile.
    fn seal_gcm<const R: usize>(
        &self,
        plaintext: Plaintext<'_>,
        jobs: &mut [SealJob<'_, FanoutKey>],
    ) where
        FanoutKey: Parts<R>,
    {
        let len = plaintext.len();
        let mut are_taken = len <= aead::PAYLOAD_MAX && !self.is_refused.get();
        for job in jobs.iter_mut() {
            // All keys are asked for before the first of them is needed.
            job.key.parts().1.prefetch();
            are_taken &= job.check(len, TAG).is_ok() && job.header_len <= aead::HEADER_MAX;
        }
        if !are_taken {
            return jobs.iter_mut().for_each(|job| self.seal_alone::<R>(plaintext, job));
        }
        match plaintext {
            Plaintext::Shared(plaintext) => self.kernel.seal(plaintext, jobs),
            Plaintext::InPlace(len) => {
                jobs.iter_mut().for_each(|job| self.kernel.seal_in_place(len, job));
            }
        }
        self.look_at::<R>(plaintext, jobs);
    }

    /// Seals a job that was checked, by `ring` if the kernel does not take it.
    #[cold]
    fn seal_alone<const R: usize>(&self, plaintext: Plaintext<'_>, job: &mut SealJob<'_, FanoutKey>)
    where
        FanoutKey: Parts<R>,
    {
        if job.result.is_err() {
            return;
        }
        let len = plaintext.len();
        let is_taken = job.header_len <= aead::HEADER_MAX && len <= aead::PAYLOAD_MAX;
        if let Plaintext::Shared(bytes) = plaintext {
            job.out[job.header_len..][..len].copy_from_slice(bytes);
        }
        if is_taken && !self.is_refused.get() {
            return self.kernel.seal_in_place(len, job);
        }
        let (salt, context) = job.key.parts();
        let key = GcmKey::from_parts(ring::<R>(context), *salt);
        key.seal_rtp(job.ssrc, job.index.index(), job.header_len, len, job.out);
    }

    /// Opens jobs of one profile.
    fn open_gcm<const R: usize>(&self, jobs: &mut [OpenJob<'_, FanoutKey>])
    where
        FanoutKey: Parts<R>,
    {
        let mut are_taken = !self.is_refused.get();
        for job in jobs.iter() {
            // All keys are asked for before the first of them is needed.
            job.key.parts().1.prefetch();
            are_taken &= is_taken(job);
        }
        match are_taken {
            true => self.kernel.open(jobs),
            false => jobs.iter_mut().for_each(|job| self.open_alone::<R>(job)),
        }
    }

    /// Opens a job, by `ring` if the kernel does not take it: what is too short is told by that too.
    #[cold]
    fn open_alone<const R: usize>(&self, job: &mut OpenJob<'_, FanoutKey>)
    where
        FanoutKey: Parts<R>,
    {
        if is_taken(job) && !self.is_refused.get() {
            return self.kernel.open(std::slice::from_mut(job));
        }
        let (salt, context) = job.key.parts();
        let key = GcmKey::from_parts(ring::<R>(context), *salt);
        job.result = match job.header_len < RTP_HEADER_MIN {
            true => Err(OpenError::TooShort),
            false => key.open_rtp(job.ssrc, job.index, job.header_len, job.buf),
        };
    }

    /// Lets `ring` open the last of `jobs` when its time has come. If that fails, none of them counts as
    /// sealed, and the kernel is not asked again.
    #[inline]
    fn look_at<const R: usize>(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, FanoutKey>])
    where
        FanoutKey: Parts<R>,
    {
        match self.until_check.get().checked_sub(jobs.len() as u32) {
            Some(left) => self.until_check.set(left),
            None => {
                self.until_check.set(CHECK_EVERY);
                self.checks.set(self.checks.get() + 1);
                if !jobs.last().is_some_and(|job| is_right::<R>(plaintext, job)) {
                    self.is_refused.set(true);
                    jobs.iter_mut().for_each(|job| job.result = Err(SealError::Refused));
                }
            }
        }
    }
}

impl Provider for FanoutProvider {
    type Key = FanoutKey;

    fn new_key(&self, material: &KeyMaterial) -> FanoutKey {
        let (key, auth, salt) = (material.key(), material.auth(), material.salt());
        let gcm_salt = || Zeroizing::new(salt.try_into().expect("12 bytes by the profile"));
        FanoutKey(match material.profile() {
            Profile::AeadAes128Gcm => {
                let key = key.try_into().expect("16 bytes by the profile");
                Cipher::Gcm128 { salt: gcm_salt(), context: self.kernel.aes_128(key) }
            }
            Profile::AeadAes256Gcm => {
                let key = key.try_into().expect("32 bytes by the profile");
                Cipher::Gcm256 { salt: gcm_salt(), context: self.kernel.aes_256(key) }
            }
            Profile::AesCm128HmacSha1_80 => match self.cm {
                Some(cm) => Cipher::FastCm {
                    salt: Zeroizing::new(salt.try_into().expect("14 bytes by the profile")),
                    context: cm.context(key.try_into().expect("16 bytes by the profile"), auth),
                },
                None => Cipher::Cm(CmKey::new(key, auth, salt)),
            },
        })
    }

    fn watched(&self) -> (u64, u64) {
        (self.checks.get(), u64::from(self.is_refused.get()))
    }

    fn open_many(&self, jobs: &mut [OpenJob<'_, FanoutKey>]) {
        for run in jobs.chunk_by_mut(|a, b| a.key.profile() == b.key.profile()) {
            match run[0].key.0 {
                Cipher::Gcm128 { .. } => self.open_gcm::<AES_128>(run),
                Cipher::Gcm256 { .. } => self.open_gcm::<AES_256>(run),
                Cipher::FastCm { .. } => self.open_fast_cm(run),
                Cipher::Cm(_) => run.iter_mut().for_each(open_cm),
            }
        }
    }

    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, FanoutKey>]) {
        for run in jobs.chunk_by_mut(|a, b| a.key.profile() == b.key.profile()) {
            match run[0].key.0 {
                Cipher::Gcm128 { .. } => self.seal_gcm::<AES_128>(plaintext, run),
                Cipher::Gcm256 { .. } => self.seal_gcm::<AES_256>(plaintext, run),
                Cipher::FastCm { .. } => self.seal_fast_cm(plaintext, run),
                Cipher::Cm(_) => run.iter_mut().for_each(|job| seal_cm(plaintext, job)),
            }
        }
    }

    fn seal_rtcp_with(
        &self,
        profile: Profile,
        key: &FanoutKey,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError> {
        let ssrc = prepare_rtcp(profile, buf, len)?;
        Ok(match &key.0 {
            Cipher::Gcm128 { salt, context } => {
                rtcp_key(salt, context).seal_rtcp(ssrc, index.index(), buf, len)
            }
            Cipher::Gcm256 { salt, context } => {
                rtcp_key(salt, context).seal_rtcp(ssrc, index.index(), buf, len)
            }
            Cipher::FastCm { salt, context } => {
                let Some(cm) = self.cm else { return Err(SealError::Refused) };
                let iv = cm::iv(**salt, ssrc, u64::from(index.index().value()));
                cm.crypt(context, &iv, &mut buf[RTCP_HEADER..len]);
                let end = len + RTCP_WORD;
                buf[len..end].copy_from_slice(&(index.index().value() | RTCP_E).to_be_bytes());
                let (bytes, tag) = buf.split_at_mut(end);
                let mac = cm.mac(Message { context, bytes, suffix: &[] });
                tag[..cm::TAG].copy_from_slice(&mac[..cm::TAG]);
                end + cm::TAG
            }
            Cipher::Cm(key) => key.seal_rtcp(ssrc, index.index(), buf, len),
        })
    }

    fn open_rtcp_with(
        &self,
        profile: Profile,
        key: &FanoutKey,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        let peek = peek_rtcp(profile, buf)?;
        let len = match &key.0 {
            Cipher::Gcm128 { salt, context } => {
                rtcp_key(salt, context).open_rtcp(peek.ssrc, peek.index, buf)?
            }
            Cipher::Gcm256 { salt, context } => {
                rtcp_key(salt, context).open_rtcp(peek.ssrc, peek.index, buf)?
            }
            Cipher::FastCm { salt, context } => {
                let cm = self.cm.ok_or(OpenError::Pending)?;
                let (bytes, tag) =
                    buf.split_last_chunk_mut::<{ cm::TAG }>().ok_or(OpenError::TooShort)?;
                let mac = cm.mac(Message { context, bytes, suffix: &[] });
                cm::holds(&mac, tag)?;
                let end = bytes.len().checked_sub(RTCP_WORD).ok_or(OpenError::TooShort)?;
                let payload = bytes.get_mut(RTCP_HEADER..end).ok_or(OpenError::TooShort)?;
                let iv = cm::iv(**salt, peek.ssrc, u64::from(peek.index.value()));
                cm.crypt(context, &iv, payload);
                end
            }
            Cipher::Cm(key) => key.open_rtcp(peek.ssrc, peek.index, buf)?,
        };
        Ok((len, peek.index))
    }
}

/// A key context of [`FanoutProvider`]: eight cache lines under every profile.
#[repr(align(64))]
pub struct FanoutKey(Cipher);

const _: () = assert!(size_of::<FanoutKey>() == 512 && size_of::<Option<FanoutKey>>() == 512);

// Salt and context side by side, not a record of their own: the tag then lies beside the salt.
#[allow(clippy::large_enum_variant)]
enum Cipher {
    Gcm128 { salt: Zeroizing<[u8; IV]>, context: Context<AES_128> },
    Gcm256 { salt: Zeroizing<[u8; IV]>, context: Context<AES_256> },
    FastCm { salt: Zeroizing<[u8; cm::SALT]>, context: aead::cm::Context },
    Cm(CmKey),
}

/// What a key for AES-GCM with `R` rounds is made of.
trait Parts<const R: usize> {
    /// Salt and context.
    ///
    /// # Panics
    /// If it is another key.
    fn parts(&self) -> (&[u8; IV], &Context<R>);
}

impl Parts<AES_128> for FanoutKey {
    #[inline(always)]
    fn parts(&self) -> (&[u8; IV], &Context<AES_128>) {
        let Cipher::Gcm128 { salt, context } = &self.0 else { unreachable!("a run of AES-128") };
        (salt, context)
    }
}

impl Parts<AES_256> for FanoutKey {
    #[inline(always)]
    fn parts(&self) -> (&[u8; IV], &Context<AES_256>) {
        let Cipher::Gcm256 { salt, context } = &self.0 else { unreachable!("a run of AES-256") };
        (salt, context)
    }
}

impl<'a, const R: usize> Packet<'a, R> for SealJob<'a, FanoutKey>
where
    FanoutKey: Parts<R>,
{
    #[inline(always)]
    fn context(&self) -> &'a Context<R> {
        self.key.parts().1
    }

    #[inline(always)]
    fn iv(&self) -> [u8; IV] {
        let (salt, _) = Parts::<R>::parts(self.key);
        rtp_iv(*salt, self.ssrc, self.index.index())
    }

    #[inline(always)]
    fn bytes(&mut self) -> (&mut [u8], usize) {
        (self.out, self.header_len)
    }
}

impl<'a, const R: usize> Packet<'a, R> for OpenJob<'a, FanoutKey>
where
    FanoutKey: Parts<R>,
{
    #[inline(always)]
    fn context(&self) -> &'a Context<R> {
        self.key.parts().1
    }

    #[inline(always)]
    fn iv(&self) -> [u8; IV] {
        let (salt, _) = Parts::<R>::parts(self.key);
        rtp_iv(*salt, self.ssrc, self.index)
    }

    #[inline(always)]
    fn bytes(&mut self) -> (&mut [u8], usize) {
        (self.buf, self.header_len)
    }
}

impl<'a, const R: usize> SealedPacket<'a, R> for OpenJob<'a, FanoutKey>
where
    FanoutKey: Parts<R>,
{
    #[inline(always)]
    fn set_authentic(&mut self, is_authentic: bool) {
        let len = self.buf.len() - self.header_len - TAG;
        self.result = if is_authentic { Ok(len) } else { Err(OpenError::BadTag) };
    }
}

impl FanoutKey {
    #[inline]
    fn profile(&self) -> Profile {
        match self.0 {
            Cipher::Gcm128 { .. } => Profile::AeadAes128Gcm,
            Cipher::Gcm256 { .. } => Profile::AeadAes256Gcm,
            Cipher::FastCm { .. } | Cipher::Cm(_) => Profile::AesCm128HmacSha1_80,
        }
    }
}

fn ring<const R: usize>(context: &Context<R>) -> RingGcm {
    let mut room = Zeroizing::new([0; 32]);
    RingGcm::new(context.key(&mut room))
}

/// RTCP is authenticated over what stands in front of it and behind it, which the kernel does not do.
fn rtcp_key<const R: usize>(salt: &[u8; IV], context: &Context<R>) -> GcmKey<RingGcm> {
    GcmKey::from_parts(ring(context), *salt)
}

/// Whether the kernel takes it.
fn is_taken(job: &OpenJob<'_, FanoutKey>) -> bool {
    job.header_len >= RTP_HEADER_MIN && aead::payload_len(job.buf.len(), job.header_len).is_some()
}

fn open_cm(job: &mut OpenJob<'_, FanoutKey>) {
    let Cipher::Cm(key) = &job.key.0 else { return };
    job.result = match job.header_len < RTP_HEADER_MIN {
        true => Err(OpenError::TooShort),
        false => key.open_rtp(job.ssrc, job.index, job.header_len, job.buf),
    };
}

fn seal_cm(plaintext: Plaintext<'_>, job: &mut SealJob<'_, FanoutKey>) {
    let Cipher::Cm(key) = &job.key.0 else { return };
    let prepared = job.prepare(plaintext, Profile::AesCm128HmacSha1_80.rtp_tag_len());
    job.result = prepared
        .map(|index| key.seal_rtp(job.ssrc, index, job.header_len, plaintext.len(), job.out));
}

/// Whether `ring` opens what the kernel sealed.
#[cold]
fn is_right<const R: usize>(plaintext: Plaintext<'_>, job: &SealJob<'_, FanoutKey>) -> bool
where
    FanoutKey: Parts<R>,
{
    let (salt, context) = job.key.parts();
    let Some(packet) = job.packet() else { return false };
    let mut copy = [0; aead::HEADER_MAX + aead::PAYLOAD_MAX + TAG];
    let copy = &mut copy[..packet.len()];
    copy.copy_from_slice(packet);
    let key = GcmKey::from_parts(ring::<R>(context), *salt);
    match (key.open_rtp(job.ssrc, job.index.index(), job.header_len, copy), plaintext) {
        (Ok(len), Plaintext::Shared(payload)) => copy[job.header_len..][..len] == *payload,
        (Ok(_), Plaintext::InPlace(_)) => true,
        (Err(_), _) => false,
    }
}

/// Whether a kernel seals to the bytes that `ring` seals to, opens them, and refuses what was changed: every
/// number of blocks that the code treats in its own way, with headers of one block and of several.
fn agrees(kernel: Kernel) -> bool {
    let salt = || Zeroizing::new([0x3c; IV]);
    let small = kernel.aes_128(&core::array::from_fn(|at| at as u8 ^ 0xa5));
    let small = FanoutKey(Cipher::Gcm128 { salt: salt(), context: small });
    let large = kernel.aes_256(&core::array::from_fn(|at| at as u8 ^ 0x5a));
    let large = FanoutKey(Cipher::Gcm256 { salt: salt(), context: large });
    let lens = (0..=260).chain([399, 400, 401, 1199, 1200, 1201, 1500]);
    lens.into_iter().all(|len| {
        [12, 16, 20, 33, 80].into_iter().all(|header| {
            agrees_on::<AES_128>(kernel, &small, header, len)
                && agrees_on::<AES_256>(kernel, &large, header, len)
        })
    })
}

/// By jobs, as packets come: the kernel is compiled for them, and that is what is looked at.
fn agrees_on<const R: usize>(kernel: Kernel, key: &FanoutKey, header: usize, len: usize) -> bool
where
    FanoutKey: Parts<R>,
{
    let mut bytes = [0; aead::HEADER_MAX + 1500 + TAG];
    let expected = &mut bytes[..header + len + TAG];
    expected.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 7 + len) as u8);
    let mut rooms = [[0; aead::HEADER_MAX + 1500 + TAG]; 3];
    let (ssrc, index) = (0x9000_0001, PacketIndex::from_parts(7, len as u16));
    let mut jobs = ArrayVec::<SealJob<'_, FanoutKey>, 3>::new();
    for room in &mut rooms {
        let out = &mut room[..expected.len()];
        out[..header].copy_from_slice(&expected[..header]);
        let (index, result) = (EgressIndex::new(index), Err(SealError::Pending));
        jobs.push(SealJob { key, index, ssrc, header_len: header, out, result });
    }
    kernel.seal(&expected[header..header + len], &mut jobs);
    drop(jobs);
    let mut plaintext = [0; 1500];
    plaintext[..len].copy_from_slice(&expected[header..header + len]);
    let (head, rest) = expected.split_at_mut(header);
    let (payload, tag) = rest.split_at_mut(len);
    let (salt, context) = Parts::<R>::parts(key);
    tag.copy_from_slice(&ring(context).seal(rtp_iv(*salt, ssrc, index), head, payload));
    let is_right = rooms.iter().all(|room| room.starts_with(expected));
    rooms[2][header + len] ^= 1;
    let mut jobs = ArrayVec::<OpenJob<'_, FanoutKey>, 3>::new();
    for room in &mut rooms {
        let (buf, result) = (&mut room[..expected.len()], Err(OpenError::Pending));
        jobs.push(OpenJob { key, ssrc, index, header_len: header, buf, result });
    }
    kernel.open(&mut jobs);
    let held = jobs.iter().map(|job| job.result).eq([Ok(len), Ok(len), Err(OpenError::BadTag)]);
    drop(jobs);
    let opens = rooms[..2].iter().all(|room| room[header..].starts_with(&plaintext[..len]));
    is_right && held && opens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SessionKeys;
    use crate::transform::Outbound;

    #[test]
    fn every_path_of_this_cpu_agrees_with_ring() {
        let found: Vec<_> = Path::ALL.into_iter().filter_map(Kernel::with).collect();
        assert!(found.into_iter().all(agrees));
        assert!(FanoutProvider::with_path("abacus").is_err());
    }

    #[test]
    fn a_kernel_that_was_wrong_once_is_not_asked_again() {
        let Ok(provider) = FanoutProvider::detect() else { return };
        let material =
            |fill| KeyMaterial::from_parts(Profile::AeadAes128Gcm, &[fill; 16], &[], &[7; 12]);
        let keys = |fill| {
            let keys = SessionKeys { rtp: material(fill), rtcp: material(fill) };
            Outbound::from_session_keys(&provider, keys)
        };
        let good = keys(1);
        let seal = |keys: &Outbound<FanoutProvider>, out: &mut [u8]| {
            let index = PacketIndex::new(5).unwrap();
            out[2..4].copy_from_slice(&index.seq().to_be_bytes());
            let shared = Plaintext::Shared(b"sound");
            let mut job = [SealJob::new(keys, 0, EgressIndex::new(index), 12, out)];
            provider.seal_many(shared, &mut job);
            job[0].result
        };
        let (mut first, mut second) = ([0; 40], [0; 40]);
        provider.until_check.set(0);
        assert_eq!(seal(&good, &mut first), Ok(33));
        assert_eq!((provider.watched(), provider.path() == "ring"), ((1, 0), false));
        // A context whose round keys are not those of its key: what a broken kernel looks like.
        let mut bad = keys(1);
        let FanoutKey(Cipher::Gcm128 { context, .. }) = &mut bad.rtp else { unreachable!() };
        *context = context.damaged();
        provider.until_check.set(0);
        assert_eq!(seal(&bad, &mut second), Err(SealError::Refused));
        assert_eq!((provider.watched(), provider.path()), ((2, 1), "ring"));
        // From now on `ring` seals, and to the same bytes.
        assert_eq!(seal(&good, &mut second), Ok(33));
        assert_eq!(first, second);
    }
}
