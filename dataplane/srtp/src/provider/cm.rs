//! AES_CM_128_HMAC_SHA1_80 (RFC 3711 sections 4.1.1 and 4.2.1), by RustCrypto: `ring` has neither
//! AES-CTR nor a SHA-1 that uses the CPU's instructions.

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::{CtrCore, flavors::Ctr128BE};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{OpenError, RTCP_E, RTCP_HEADER, RTCP_WORD};
use crate::index::{PacketIndex, RtcpIndex};

/// Bytes of HMAC-SHA1 that go on the wire.
pub(crate) const TAG: usize = 10;
pub(crate) const SALT: usize = 14;

/// SRTP over one pair of AES-CM key and HMAC key.
pub(crate) struct CmKey {
    cipher: Aes128Enc,
    /// HMAC with both padded keys already hashed; cloned per packet.
    hmac: Hmac<Sha1>,
    salt: Zeroizing<[u8; SALT]>,
}

impl CmKey {
    pub(crate) fn new(key: &[u8], auth: &[u8], salt: &[u8]) -> CmKey {
        CmKey {
            cipher: Aes128Enc::new_from_slice(key).expect("16 bytes by the profile"),
            hmac: Hmac::new_from_slice(auth).expect("HMAC takes keys of any length"),
            salt: Zeroizing::new(salt.try_into().expect("14 bytes by the profile")),
        }
    }

    /// Seals the payload at `header_len..header_len + len`; the caller has checked the room.
    pub(crate) fn seal_rtp(
        &self,
        ssrc: u32,
        index: PacketIndex,
        header_len: usize,
        len: usize,
        out: &mut [u8],
    ) -> usize {
        let end = header_len + len;
        self.crypt(ssrc, index.value(), &mut out[header_len..end]);
        let (packet, tag) = out.split_at_mut(end);
        tag[..TAG].copy_from_slice(&self.tag(packet, &index.roc().to_be_bytes()));
        end + TAG
    }

    pub(crate) fn open_rtp(
        &self,
        ssrc: u32,
        index: PacketIndex,
        header_len: usize,
        buf: &mut [u8],
    ) -> Result<usize, OpenError> {
        let (packet, tag) = buf.split_last_chunk_mut::<TAG>().ok_or(OpenError::TooShort)?;
        if packet.len() < header_len {
            return Err(OpenError::TooShort);
        }
        self.verify(packet, &index.roc().to_be_bytes(), tag)?;
        self.crypt(ssrc, index.value(), &mut packet[header_len..]);
        Ok(packet.len() - header_len)
    }

    /// RFC 3711 section 3.4: header, ciphertext, word, tag. The caller has checked the room.
    pub(crate) fn seal_rtcp(
        &self,
        ssrc: u32,
        index: RtcpIndex,
        buf: &mut [u8],
        len: usize,
    ) -> usize {
        self.crypt(ssrc, u64::from(index.value()), &mut buf[RTCP_HEADER..len]);
        let end = len + RTCP_WORD;
        buf[len..end].copy_from_slice(&(index.value() | RTCP_E).to_be_bytes());
        let (packet, tag) = buf.split_at_mut(end);
        tag[..TAG].copy_from_slice(&self.tag(packet, &[]));
        end + TAG
    }

    pub(crate) fn open_rtcp(
        &self,
        ssrc: u32,
        index: RtcpIndex,
        buf: &mut [u8],
    ) -> Result<usize, OpenError> {
        let (packet, tag) = buf.split_last_chunk_mut::<TAG>().ok_or(OpenError::TooShort)?;
        self.verify(packet, &[], tag)?;
        let end = packet.len().checked_sub(RTCP_WORD).ok_or(OpenError::TooShort)?;
        let payload = packet.get_mut(RTCP_HEADER..end).ok_or(OpenError::TooShort)?;
        self.crypt(ssrc, u64::from(index.value()), payload);
        Ok(end)
    }

    /// Encrypts and decrypts: the key stream at (SSRC, index).
    fn crypt(&self, ssrc: u32, index: u64, in_out: &mut [u8]) {
        let iv = iv(*self.salt, ssrc, index);
        CtrCore::<_, Ctr128BE>::inner_iv_init(&self.cipher, &iv.into())
            .apply_keystream_partial(in_out.into());
    }

    fn verify(&self, packet: &[u8], roc: &[u8], tag: &[u8; TAG]) -> Result<(), OpenError> {
        holds(&self.tag(packet, roc), tag)
    }

    fn tag(&self, packet: &[u8], roc: &[u8]) -> [u8; TAG] {
        let mut hmac = self.hmac.clone();
        hmac.update(packet);
        hmac.update(roc);
        let full = hmac.finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&full[..TAG]);
        tag
    }
}

/// Whether a MAC begins with this tag, in constant time.
///
/// # Errors
/// [`OpenError::BadTag`].
pub(crate) fn holds(mac: &[u8], tag: &[u8]) -> Result<(), OpenError> {
    let held: bool = mac[..TAG].ct_eq(tag).into();
    if held { Ok(()) } else { Err(OpenError::BadTag) }
}

/// RFC 3711 section 4.1.1: salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
pub(crate) fn iv(salt: [u8; SALT], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
    iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
    iv.iter_mut().zip(salt).for_each(|(byte, salt)| *byte ^= salt);
    iv
}
