//! AES-GCM by two libraries behind one small trait, and SRTP on top of it (RFC 7714).

use aes::{Aes128Enc, Aes256Enc};
use aes_gcm::aead::consts::U12;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::{OpenError, RTCP_E, RTCP_HEADER, RTCP_WORD};
use crate::index::{PacketIndex, RtcpIndex};

pub(crate) const TAG: usize = 16;
pub(crate) const IV: usize = 12;

/// The tag did not hold.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTag;

/// AES-GCM with a 96-bit IV and a 128-bit tag.
pub trait Gcm: Sized {
    /// `key` has 16 or 32 bytes.
    fn new(key: &[u8]) -> Self;
    /// Encrypts in place and returns the tag.
    fn seal(&self, iv: [u8; IV], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG];
    /// Checks the tag and decrypts in place; undefined contents if it does not hold.
    fn open(
        &self,
        iv: [u8; IV],
        aad: &[u8],
        in_out: &mut [u8],
        tag: [u8; TAG],
    ) -> Result<(), BadTag>;
}

/// `ring`'s AES-GCM. Its keys lie inline (544 bytes) and are not wiped on drop: `ring` has no way
/// to do it, so the memory of a worker is locked and kept out of core dumps by the node.
pub struct RingGcm(LessSafeKey);

impl Gcm for RingGcm {
    fn new(key: &[u8]) -> RingGcm {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("16 or 32 bytes by the profile");
        RingGcm(LessSafeKey::new(key))
    }

    #[inline]
    fn seal(&self, iv: [u8; IV], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG] {
        let nonce = Nonce::assume_unique_for_key(iv);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), in_out);
        // It fails beyond 2^36 bytes only.
        let tag = sealed.expect("a datagram is shorter than the limit of GCM");
        tag.as_ref().try_into().expect("the tag of AES-GCM has 16 bytes")
    }

    #[inline]
    fn open(
        &self,
        iv: [u8; IV],
        aad: &[u8],
        in_out: &mut [u8],
        tag: [u8; TAG],
    ) -> Result<(), BadTag> {
        let nonce = Nonce::assume_unique_for_key(iv);
        self.0
            .open_in_place_separate_tag(nonce, Aad::from(aad), tag.into(), in_out, 0..)
            .map(drop)
            .map_err(|_| BadTag)
    }
}

/// RustCrypto's AES-GCM: portable, and the second opinion on every packet in the tests.
pub enum RustGcm {
    /// A key of 16 bytes.
    Aes128(AesGcm<Aes128Enc, U12>),
    /// A key of 32 bytes.
    Aes256(AesGcm<Aes256Enc, U12>),
}

impl Gcm for RustGcm {
    fn new(key: &[u8]) -> RustGcm {
        if key.len() == 32 {
            RustGcm::Aes256(AesGcm::new_from_slice(key).expect("32 bytes"))
        } else {
            RustGcm::Aes128(AesGcm::new_from_slice(key).expect("16 bytes by the profile"))
        }
    }

    fn seal(&self, iv: [u8; IV], aad: &[u8], in_out: &mut [u8]) -> [u8; TAG] {
        let sealed = match self {
            RustGcm::Aes128(key) => key.encrypt_inout_detached(&iv.into(), aad, in_out.into()),
            RustGcm::Aes256(key) => key.encrypt_inout_detached(&iv.into(), aad, in_out.into()),
        };
        sealed.expect("a datagram is shorter than the limit of GCM").into()
    }

    fn open(
        &self,
        iv: [u8; IV],
        aad: &[u8],
        in_out: &mut [u8],
        tag: [u8; TAG],
    ) -> Result<(), BadTag> {
        let (iv, tag) = (iv.into(), tag.into());
        match self {
            RustGcm::Aes128(key) => key.decrypt_inout_detached(&iv, aad, in_out.into(), &tag),
            RustGcm::Aes256(key) => key.decrypt_inout_detached(&iv, aad, in_out.into(), &tag),
        }
        .map_err(|_| BadTag)
    }
}

/// SRTP over one GCM key.
pub(crate) struct GcmKey<G> {
    cipher: G,
    salt: Zeroizing<[u8; IV]>,
}

impl<G: Gcm> GcmKey<G> {
    pub(crate) fn new(key: &[u8], salt: &[u8]) -> GcmKey<G> {
        GcmKey::from_parts(G::new(key), salt.try_into().expect("12 bytes by the profile"))
    }

    pub(crate) fn from_parts(cipher: G, salt: [u8; IV]) -> GcmKey<G> {
        GcmKey { cipher, salt: Zeroizing::new(salt) }
    }

    /// Seals the payload at `header_len..header_len + len`; the caller has checked the room.
    #[inline]
    pub(crate) fn seal_rtp(
        &self,
        ssrc: u32,
        index: PacketIndex,
        header_len: usize,
        len: usize,
        out: &mut [u8],
    ) -> usize {
        let (header, rest) = out.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(len);
        let sealed = self.cipher.seal(rtp_iv(*self.salt, ssrc, index), header, payload);
        tag[..TAG].copy_from_slice(&sealed);
        header_len + len + TAG
    }

    #[inline]
    pub(crate) fn open_rtp(
        &self,
        ssrc: u32,
        index: PacketIndex,
        header_len: usize,
        buf: &mut [u8],
    ) -> Result<usize, OpenError> {
        let (header, rest) = buf.split_at_mut_checked(header_len).ok_or(OpenError::TooShort)?;
        let (payload, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(OpenError::TooShort)?;
        let iv = rtp_iv(*self.salt, ssrc, index);
        self.cipher.open(iv, header, payload, *tag).map_err(|BadTag| OpenError::BadTag)?;
        Ok(payload.len())
    }

    /// RFC 7714 section 9.2: header, ciphertext, tag, word. The caller has checked the room.
    pub(crate) fn seal_rtcp(
        &self,
        ssrc: u32,
        index: RtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> usize {
        let word = (index.value() | RTCP_E).to_be_bytes();
        let (header, rest) = buf.split_at_mut(RTCP_HEADER);
        let (payload, trailer) = rest.split_at_mut(len - RTCP_HEADER);
        let iv = rtcp_iv(*self.salt, ssrc, index);
        let tag = self.cipher.seal(iv, &rtcp_aad(header, word), payload);
        trailer[..TAG].copy_from_slice(&tag);
        trailer[TAG..TAG + RTCP_WORD].copy_from_slice(&word);
        len + TAG + RTCP_WORD
    }

    pub(crate) fn open_rtcp(
        &self,
        ssrc: u32,
        index: RtcpIndex,
        buf: &mut [u8],
    ) -> Result<usize, OpenError> {
        let short = OpenError::TooShort;
        let (header, rest) = buf.split_at_mut_checked(RTCP_HEADER).ok_or(short)?;
        let (rest, word) = rest.split_last_chunk_mut::<RTCP_WORD>().ok_or(short)?;
        let (payload, tag) = rest.split_last_chunk_mut::<TAG>().ok_or(short)?;
        let iv = rtcp_iv(*self.salt, ssrc, index);
        self.cipher
            .open(iv, &rtcp_aad(header, *word), payload, *tag)
            .map_err(|BadTag| OpenError::BadTag)?;
        Ok(RTCP_HEADER + payload.len())
    }
}

/// RFC 7714 section 8.1: two zero bytes, SSRC, ROC, SEQ, all XOR the salt.
///
/// Made as a word of 8 bytes and one of 4, because the cipher loads it so: a load that spans several
/// younger stores waits until all stores before them, a payload's copy too, have left the core.
#[inline]
pub(crate) fn rtp_iv(salt: [u8; IV], ssrc: u32, index: PacketIndex) -> [u8; IV] {
    let high = u64::from(ssrc) << 16 | index.value() >> 32;
    let low = index.value() as u32;
    let (salt_high, salt_low) = salt.split_at(8);
    let salt_high = u64::from_be_bytes(salt_high.try_into().expect("8 of 12 bytes"));
    let salt_low = u32::from_be_bytes(salt_low.try_into().expect("4 of 12 bytes"));
    let mut iv = [0; IV];
    iv[..8].copy_from_slice(&(high ^ salt_high).to_be_bytes());
    iv[8..].copy_from_slice(&(low ^ salt_low).to_be_bytes());
    iv
}

/// RFC 7714 section 9.1: two zero bytes, SSRC, two zero bytes, the 31-bit index, XOR the salt.
pub(crate) fn rtcp_iv(salt: [u8; IV], ssrc: u32, index: RtcpIndex) -> [u8; IV] {
    let mut iv = [0; IV];
    iv[2..6].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..12].copy_from_slice(&index.value().to_be_bytes());
    xor(iv, salt)
}

/// RFC 7714 section 9.2: the first 8 bytes and the word with E flag and index.
fn rtcp_aad(header: &[u8], word: [u8; RTCP_WORD]) -> [u8; RTCP_HEADER + RTCP_WORD] {
    let mut aad = [0; RTCP_HEADER + RTCP_WORD];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(&word);
    aad
}

fn xor(mut iv: [u8; IV], salt: [u8; IV]) -> [u8; IV] {
    iv.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    iv
}
