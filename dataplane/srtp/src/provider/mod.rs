//! The seam to the ciphers: calls take a whole burst, so that a provider may interleave keys.
//!
//! A job's packet is one slice: the RTP header first, then the payload, then room for the tag.
//! The header is authenticated as it stands and never encrypted.

mod cm;
mod fanout;
mod gcm;
#[cfg(feature = "null")]
mod null;
mod suite;
#[cfg(test)]
mod tests;

pub use fanout::{FanoutKey, FanoutProvider, NoKernel};
#[cfg(feature = "null")]
pub use null::NullProvider;
pub use suite::{AesGcmProvider, RingProvider};

use crate::index::{EgressIndex, EgressRtcpIndex, PacketIndex, RtcpIndex};
use crate::key::KeyMaterial;
use crate::profile::Profile;
use crate::transform::{Inbound, Outbound};

/// Bytes of an RTP header without CSRCs and extensions.
pub const RTP_HEADER_MIN: usize = 12;
/// Bytes of an RTCP compound that SRTCP leaves in the clear: the first header and SSRC.
pub(crate) const RTCP_HEADER: usize = 8;
/// The E flag in the last word of SRTCP.
pub(crate) const RTCP_E: u32 = 1 << 31;
/// Bytes of the word that holds the E flag and the index.
pub(crate) const RTCP_WORD: usize = 4;

/// Why a packet did not open. The contents of its buffer are then undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No provider has worked on this job yet.
    #[error("packet not opened yet")]
    Pending,
    /// Shorter than header and tag.
    #[error("packet too short for its protection profile")]
    TooShort,
    /// The tag does not hold: forged, damaged, another key, or another rollover counter.
    #[error("authentication failed")]
    BadTag,
    /// SRTCP with the E flag clear; we never agree to unencrypted RTCP.
    #[error("SRTCP packet is not encrypted")]
    NotEncrypted,
}

/// Why a packet was not sealed: each is a mistake of the caller, not of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No provider has worked on this job yet.
    #[error("packet not sealed yet")]
    Pending,
    /// The job was given twice; its index is used up.
    #[error("the job's index is spent")]
    Spent,
    /// The buffer does not hold header, payload and tag.
    #[error("no room for payload and tag")]
    NoRoom,
    /// Header shorter than an RTP or RTCP header.
    #[error("header too short")]
    TooShort,
    /// SSRC or sequence number in the header are not the job's: nobody could open it.
    #[error("header and job disagree on SSRC or sequence number")]
    HeaderMismatch,
    /// Another library did not open what was sealed; it does the work from now on.
    #[error("the cipher kernel was found wrong")]
    Refused,
}

/// One packet to open in place.
pub struct OpenJob<'a, K> {
    pub(crate) key: &'a K,
    pub(crate) ssrc: u32,
    pub(crate) index: PacketIndex,
    pub(crate) header_len: usize,
    pub(crate) buf: &'a mut [u8],
    /// Length of the payload, which then stands at `header_len`.
    pub result: Result<usize, OpenError>,
}

impl<'a, K> OpenJob<'a, K> {
    /// `buf` is the whole packet with its tag; `header_len` counts CSRCs and extensions
    /// (in bytes); `index` is an estimate that passed the replay check.
    #[inline]
    pub fn new<P: Provider<Key = K>>(
        inbound: &'a Inbound<P>,
        ssrc: u32,
        index: PacketIndex,
        header_len: usize,
        buf: &'a mut [u8],
    ) -> OpenJob<'a, K> {
        let key = &inbound.rtp;
        OpenJob { key, ssrc, index, header_len, buf, result: Err(OpenError::Pending) }
    }

    /// The index this job was made with, for the replay commit.
    pub fn index(&self) -> PacketIndex {
        self.index
    }

    /// The opened payload; `None` unless the job succeeded.
    pub fn payload(&self) -> Option<&[u8]> {
        let len = self.result.ok()?;
        self.buf.get(self.header_len..self.header_len.checked_add(len)?)
    }
}

/// Where the payload of packets to seal comes from.
#[derive(Clone, Copy, Debug)]
pub enum Plaintext<'a> {
    /// Somewhere else, unchanged: one publisher's payload for many subscribers.
    Shared(&'a [u8]),
    /// So many bytes that already stand in each packet behind its header.
    InPlace(usize),
}

impl Plaintext<'_> {
    /// Length of the payload in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Plaintext::Shared(bytes) => bytes.len(),
            Plaintext::InPlace(len) => *len,
        }
    }

    /// Whether there is no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One packet to seal.
pub struct SealJob<'a, K> {
    pub(crate) key: &'a K,
    pub(crate) index: EgressIndex,
    pub(crate) ssrc: u32,
    pub(crate) header_len: usize,
    pub(crate) out: &'a mut [u8],
    /// Length of the whole sealed packet in `out`; pending as long as the index is not spent.
    pub result: Result<usize, SealError>,
}

impl<'a, K> SealJob<'a, K> {
    /// `out` begins with the finished header of `header_len` bytes and has room for payload and
    /// tag behind it. The index is spent by this job, whether or not it succeeds.
    #[inline]
    pub fn new<P: Provider<Key = K>>(
        outbound: &'a Outbound<P>,
        ssrc: u32,
        index: EgressIndex,
        header_len: usize,
        out: &'a mut [u8],
    ) -> SealJob<'a, K> {
        let (key, result) = (&outbound.rtp, Err(SealError::Pending));
        SealJob { key, index, ssrc, header_len, out, result }
    }

    /// The sealed packet; `None` unless the job succeeded.
    pub fn packet(&self) -> Option<&[u8]> {
        self.out.get(..self.result.ok()?)
    }

    /// Spends the index, checks what every provider must check and puts the payload in its place.
    /// Returns the index.
    #[inline]
    pub(crate) fn prepare(
        &mut self,
        plaintext: Plaintext<'_>,
        tag_len: usize,
    ) -> Result<PacketIndex, SealError> {
        self.check(plaintext.len(), tag_len)?;
        if let Plaintext::Shared(bytes) = plaintext {
            self.out[self.header_len..][..bytes.len()].copy_from_slice(bytes);
        }
        Ok(self.index.index())
    }

    /// Spends the index and checks what every provider must check; the result is then an error, or the length
    /// that the packet is going to have.
    #[inline]
    pub(crate) fn check(&mut self, len: usize, tag_len: usize) -> Result<usize, SealError> {
        self.result = self.checked(len, tag_len);
        self.result
    }

    #[inline]
    fn checked(&self, len: usize, tag_len: usize) -> Result<usize, SealError> {
        if self.result != Err(SealError::Pending) {
            return Err(SealError::Spent);
        }
        let start = self.header_len;
        let total = start.checked_add(len).and_then(|sum| sum.checked_add(tag_len));
        let total = total.filter(|total| *total <= self.out.len()).ok_or(SealError::NoRoom)?;
        if start < RTP_HEADER_MIN {
            return Err(SealError::TooShort);
        }
        let index = self.index.index();
        if self.out[2..4] != index.seq().to_be_bytes() || self.out[8..12] != self.ssrc.to_be_bytes()
        {
            return Err(SealError::HeaderMismatch);
        }
        Ok(total)
    }
}

/// SRTP and SRTCP by some cipher library. A type parameter of the shard core, never a trait object.
pub trait Provider: Sized {
    /// A prepared key context, for RTP or for RTCP of one direction. It remembers its profile and
    /// salt, prints nothing, and wipes itself as far as its library does.
    type Key;

    /// Prepares a context, without an allocation: it is done for each RTCP packet.
    fn new_key(&self, material: &KeyMaterial) -> Self::Key;

    /// How many sealed packets another library has looked at to watch this one, and how many of them it did not
    /// open.
    fn watched(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Opens each packet in place and sets each job's `result`. Does not touch replay state.
    fn open_many(&self, jobs: &mut [OpenJob<'_, Self::Key>]);

    /// Seals the same payload into each packet and sets each job's `result`.
    fn seal_many(&self, plaintext: Plaintext<'_>, jobs: &mut [SealJob<'_, Self::Key>]);

    /// The work of [`Provider::seal_rtcp`], with the direction's context.
    ///
    /// # Errors
    /// As [`Provider::seal_rtcp`].
    fn seal_rtcp_with(
        &self,
        profile: Profile,
        key: &Self::Key,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError>;

    /// The work of [`Provider::open_rtcp`], with the direction's context.
    ///
    /// # Errors
    /// As [`Provider::open_rtcp`].
    fn open_rtcp_with(
        &self,
        profile: Profile,
        key: &Self::Key,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError>;

    /// Seals the RTCP compound in `buf[..len]`; `buf` has [`Profile::rtcp_overhead`] bytes to
    /// spare. Returns the length of the SRTCP packet.
    ///
    /// # Errors
    /// [`SealError::NoRoom`], [`SealError::TooShort`].
    fn seal_rtcp(
        &self,
        outbound: &Outbound<Self>,
        index: EgressRtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> Result<usize, SealError> {
        let key = self.new_key(outbound.rtcp());
        self.seal_rtcp_with(outbound.profile(), &key, index, buf, len)
    }

    /// Opens the SRTCP packet that is the whole of `buf`, in place. Returns the length of the
    /// compound and its index, for the replay commit. The replay check comes before, with
    /// [`peek_rtcp`].
    ///
    /// # Errors
    /// [`OpenError`]; a packet without the E flag is refused.
    fn open_rtcp(
        &self,
        inbound: &Inbound<Self>,
        buf: &mut [u8],
    ) -> Result<(usize, RtcpIndex), OpenError> {
        let key = self.new_key(inbound.rtcp());
        self.open_rtcp_with(inbound.profile(), &key, buf)
    }
}

/// What an SRTCP packet says about itself before it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtcpPeek {
    /// The sender of the first RTCP packet.
    pub ssrc: u32,
    /// The SRTCP index.
    pub index: RtcpIndex,
}

/// Reads SSRC and index of an SRTCP packet, for lookup and replay check.
///
/// # Errors
/// [`OpenError::TooShort`], [`OpenError::NotEncrypted`].
pub fn peek_rtcp(profile: Profile, packet: &[u8]) -> Result<RtcpPeek, OpenError> {
    if packet.len() < RTCP_HEADER + profile.rtcp_overhead() {
        return Err(OpenError::TooShort);
    }
    // RFC 7714 section 9.2 puts the word last, behind the tag; RFC 3711 section 3.4 before it.
    let end = match profile {
        Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => packet.len(),
        Profile::AesCm128HmacSha1_80 => packet.len() - profile.rtp_tag_len(),
    };
    let word = word_at(packet, end - RTCP_WORD);
    if word & RTCP_E == 0 {
        return Err(OpenError::NotEncrypted);
    }
    Ok(RtcpPeek { ssrc: word_at(packet, 4), index: RtcpIndex::from_word(word) })
}

/// What every provider checks before it seals RTCP. Returns the SSRC.
pub(crate) fn prepare_rtcp(profile: Profile, buf: &[u8], len: usize) -> Result<u32, SealError> {
    if len < RTCP_HEADER {
        return Err(SealError::TooShort);
    }
    if len.checked_add(profile.rtcp_overhead()).is_none_or(|total| total > buf.len()) {
        return Err(SealError::NoRoom);
    }
    Ok(word_at(buf, 4))
}

/// The big-endian word at `at`; the caller has checked the length.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
