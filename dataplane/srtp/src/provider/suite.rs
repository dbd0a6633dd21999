//! The profiles put together: AES-GCM by the library of choice, AES-CM by RustCrypto.

use std::marker::PhantomData;

use super::cm::CmKey;
use super::gcm::{Gcm, GcmKey, RingGcm, RustGcm};
use super::{
    OpenError, OpenJob, Plaintext, Provider, RTP_HEADER_MIN, SealError, SealJob, peek_rtcp,
    prepare_rtcp,
};
use crate::index::{EgressRtcpIndex, RtcpIndex};
use crate::key::KeyMaterial;
use crate::profile::Profile;

/// AES-GCM by `ring`: the fastest of the libraries for whole packets, and the one that opens.
pub type RingProvider = Suite<RingGcm>;
/// AES-GCM by RustCrypto's `aes-gcm`: the portable one and the second oracle.
pub type AesGcmProvider = Suite<RustGcm>;

/// One packet after the other by an AES-GCM library; see [`RingProvider`], [`AesGcmProvider`].
pub struct Suite<G>(PhantomData<fn() -> G>);

impl<G> Suite<G> {
    /// A provider; it has no state.
    pub const fn new() -> Suite<G> {
        Suite(PhantomData)
    }
}

impl<G> Default for Suite<G> {
    fn default() -> Suite<G> {
        Suite::new()
    }
}

impl<G> Clone for Suite<G> {
    fn clone(&self) -> Suite<G> {
        *self
    }
}

impl<G> Copy for Suite<G> {}

/// A key context of [`Suite`].
pub struct SuiteKey<G>(Cipher<G>);

// No box: it would be a cache miss per packet. With `ring` the GCM key is the larger of the two.
#[allow(clippy::large_enum_variant)]
enum Cipher<G> {
    Gcm(GcmKey<G>),
    Cm(CmKey),
}

impl<G> SuiteKey<G> {
    fn rtp_tag_len(&self) -> usize {
        match self.0 {
            Cipher::Gcm(_) => Profile::AeadAes128Gcm.rtp_tag_len(),
            Cipher::Cm(_) => Profile::AesCm128HmacSha1_80.rtp_tag_len(),
        }
    }
}

impl<G: Gcm> Provider for Suite<G> {
    type Key = SuiteKey<G>;

    fn new_key(&self, material: &KeyMaterial) -> SuiteKey<G> {
        let (key, auth, salt) = (material.key(), material.auth(), material.salt());
        SuiteKey(match material.profile() {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Cipher::Gcm(GcmKey::new(key, salt)),
            Profile::AesCm128HmacSha1_80 => Cipher::Cm(CmKey::new(key, auth, salt)),
        })
    }

    fn open_many(&self, jobs: &mut [OpenJob<'_, Self::Key>]) {
        for job in jobs {
            job.result = open_one(job);
        }
    }

    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, Self::Key>]) {
        for job in jobs {
            job.result = seal_one(plaintext, job);
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
        let ssrc = prepare_rtcp(profile, buf, len)?;
        Ok(match &key.0 {
            Cipher::Gcm(key) => key.seal_rtcp(ssrc, index.index(), buf, len),
            Cipher::Cm(key) => key.seal_rtcp(ssrc, index.index(), buf, len),
        })
    }

    fn open_rtcp_with(
        &self,
        profile: Profile,
        key: &Self::Key,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        let peek = peek_rtcp(profile, buf)?;
        let len = match &key.0 {
            Cipher::Gcm(key) => key.open_rtcp(peek.ssrc, peek.index, buf)?,
            Cipher::Cm(key) => key.open_rtcp(peek.ssrc, peek.index, buf)?,
        };
        Ok((len, peek.index))
    }
}

#[inline]
fn open_one<G: Gcm>(job: &mut OpenJob<'_, SuiteKey<G>>) -> Result<usize, OpenError> {
    if job.header_len < RTP_HEADER_MIN {
        return Err(OpenError::TooShort);
    }
    match &job.key.0 {
        Cipher::Gcm(key) => key.open_rtp(job.ssrc, job.index, job.header_len, job.buf),
        Cipher::Cm(key) => key.open_rtp(job.ssrc, job.index, job.header_len, job.buf),
    }
}

#[inline]
fn seal_one<G: Gcm>(
    plaintext: Plaintext<'_>,
    job: &mut SealJob<'_, SuiteKey<G>>,
) -> Result<usize, SealError> {
    let index = job.prepare(plaintext, job.key.rtp_tag_len())?;
    let len = plaintext.len();
    Ok(match &job.key.0 {
        Cipher::Gcm(key) => key.seal_rtp(job.ssrc, index, job.header_len, len, job.out),
        Cipher::Cm(key) => key.seal_rtp(job.ssrc, index, job.header_len, len, job.out),
    })
}
