//! No cipher at all: what a benchmark subtracts. Never in a node's build.

use super::{
    OpenError, OpenJob, Plaintext, Provider, RTCP_E, RTCP_WORD, SealError, SealJob, peek_rtcp,
    prepare_rtcp,
};
use crate::index::{EgressRtcpIndex, RtcpIndex};
use crate::key::KeyMaterial;
use crate::profile::Profile;

/// Moves lengths as the profile would, copies payloads, leaves the tag as it is and accepts
/// every packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullProvider;

impl Provider for NullProvider {
    type Key = Profile;

    fn new_key(&self, material: &KeyMaterial) -> Profile {
        material.profile()
    }

    fn open_many(&self, jobs: &mut [OpenJob<'_, Self::Key>]) {
        for job in jobs {
            let around = job.header_len + job.key.rtp_tag_len();
            job.result = job.buf.len().checked_sub(around).ok_or(OpenError::TooShort);
        }
    }

    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, Self::Key>]) {
        for job in jobs {
            // The result is set by it.
            let _ = job.prepare(plaintext, job.key.rtp_tag_len());
        }
    }

    fn seal_rtcp_with(
        &self,
        profile: Profile,
        _key: &Self::Key,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError> {
        prepare_rtcp(profile, buf, len)?;
        let total = len + profile.rtcp_overhead();
        let at = match profile {
            Profile::AesCm128HmacSha1_80 => len,
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => total - RTCP_WORD,
        };
        let word = index.index().value() | RTCP_E;
        buf[at..at + RTCP_WORD].copy_from_slice(&word.to_be_bytes());
        Ok(total)
    }

    fn open_rtcp_with(
        &self,
        profile: Profile,
        _key: &Self::Key,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        let peek = peek_rtcp(profile, buf)?;
        Ok((buf.len() - profile.rtcp_overhead(), peek.index))
    }
}
