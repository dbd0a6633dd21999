//! STUN (RFC 8489), writing: Binding requests, success and error responses, each with
//! MESSAGE-INTEGRITY and FINGERPRINT. What is written here, [`crate::stun::Message`] takes.
//!
//! The HMAC-SHA1 is the caller's: a function from the pieces to be hashed, in order, to the 20
//! bytes. There is no form without it, since nothing unauthenticated is answered.

use core::net::{IpAddr, SocketAddr};

use crate::crc32::crc32;
use crate::stun::{
    ATTRIBUTE_HEADER_LEN, FINGERPRINT_XOR, HEADER_LEN, INTEGRITY_LEN, MAGIC_COOKIE, Role,
    UNKNOWN_MAX, USERNAME_LEN_MAX, address_mask, attribute,
};
use crate::{Error, Result, bytes};

/// Longest reason phrase in bytes: short, and never longer than the request that it answers.
pub const REASON_LEN_MAX: usize = 32;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

/// Writes a Binding success response: XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY, FINGERPRINT. An
/// IPv4-mapped address is written as IPv4, which is what it is on the wire.
///
/// # Errors
/// `NoSpace`.
pub fn success(
    out: &mut [u8],
    transaction_id: [u8; 12],
    mapped: SocketAddr,
    hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_LEN],
) -> Result<usize> {
    let mut w = Writer::begin(out, BINDING_SUCCESS, transaction_id)?;
    let port = mapped.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let mut value = [0; 20];
    bytes::put(&mut value, 2, port.to_be_bytes());
    let (family, len) = match mapped.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes::put(&mut value, 4, (ip.to_bits() ^ MAGIC_COOKIE).to_be_bytes());
            (1, 8)
        }
        IpAddr::V6(ip) => {
            let mask = address_mask(transaction_id);
            bytes::put(&mut value, 4, (ip.to_bits() ^ mask).to_be_bytes());
            (2, 20)
        }
    };
    bytes::put(&mut value, 1, [family]);
    w.push(attribute::XOR_MAPPED_ADDRESS, bytes::range(&value, 0, len))?;
    w.finish(hmac)
}

/// An error response (RFC 8489 section 6.3.1.1 and 14.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorRepr<'a> {
    /// 300 to 699.
    pub code: u16,
    /// ASCII, at most [`REASON_LEN_MAX`] bytes.
    pub reason: &'a str,
    /// UNKNOWN-ATTRIBUTES, left out when empty; at most [`UNKNOWN_MAX`].
    pub unknown: &'a [u16],
}

impl<'a> ErrorRepr<'a> {
    /// 400: the request lacks what it must have.
    pub const BAD_REQUEST: ErrorRepr<'static> =
        ErrorRepr { code: 400, reason: "Bad Request", unknown: &[] };
    /// 487: both agents claim one role (RFC 8445 section 7.3.1.1).
    pub const ROLE_CONFLICT: ErrorRepr<'static> =
        ErrorRepr { code: 487, reason: "Role Conflict", unknown: &[] };

    /// 420: these attributes must be understood and are not.
    pub fn unknown_attributes(unknown: &'a [u16]) -> Self {
        ErrorRepr { code: 420, reason: "Unknown Attribute", unknown }
    }

    /// Writes a Binding error response: ERROR-CODE, UNKNOWN-ATTRIBUTES, MESSAGE-INTEGRITY,
    /// FINGERPRINT.
    ///
    /// # Errors
    /// `BadType` for a code outside 300 to 699, `BadLength` for too long a reason or list,
    /// `NoSpace`.
    pub fn emit(
        &self,
        out: &mut [u8],
        transaction_id: [u8; 12],
        hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_LEN],
    ) -> Result<usize> {
        if !(300..700).contains(&self.code) {
            return Err(Error::BadType);
        }
        if self.reason.len() > REASON_LEN_MAX || self.unknown.len() > UNKNOWN_MAX {
            return Err(Error::BadLength);
        }
        let mut w = Writer::begin(out, BINDING_ERROR, transaction_id)?;
        let value = w.reserve(attribute::ERROR_CODE, 4 + self.reason.len())?;
        bytes::put(value, 0, [0, 0, (self.code / 100) as u8, (self.code % 100) as u8]);
        bytes::put_slice(value, 4, self.reason.as_bytes());
        if !self.unknown.is_empty() {
            let value = w.reserve(attribute::UNKNOWN_ATTRIBUTES, 2 * self.unknown.len())?;
            for (place, kind) in value.chunks_exact_mut(2).zip(self.unknown) {
                place.copy_from_slice(&kind.to_be_bytes());
            }
        }
        w.finish(hmac)
    }
}

/// A connectivity check (RFC 8445 section 7.2.2). A node of ours sends none: test peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRepr<'a> {
    /// Chosen at random by the sender.
    pub transaction_id: [u8; 12],
    /// "receiver's ufrag:sender's ufrag", at most [`USERNAME_LEN_MAX`] bytes.
    pub username: &'a [u8],
    /// PRIORITY.
    pub priority: u32,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Role,
    /// USE-CANDIDATE.
    pub use_candidate: bool,
}

impl RequestRepr<'_> {
    /// Writes the request, with MESSAGE-INTEGRITY and FINGERPRINT behind the attributes.
    ///
    /// # Errors
    /// `BadLength` for too long a user name, `NoSpace`.
    pub fn emit(
        &self,
        out: &mut [u8],
        hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_LEN],
    ) -> Result<usize> {
        if self.username.len() > USERNAME_LEN_MAX {
            return Err(Error::BadLength);
        }
        let mut w = Writer::begin(out, BINDING_REQUEST, self.transaction_id)?;
        w.push(attribute::USERNAME, self.username)?;
        w.push(attribute::PRIORITY, &self.priority.to_be_bytes())?;
        let (kind, tie_breaker) = match self.role {
            Role::Controlling(tie_breaker) => (attribute::ICE_CONTROLLING, tie_breaker),
            Role::Controlled(tie_breaker) => (attribute::ICE_CONTROLLED, tie_breaker),
        };
        w.push(kind, &tie_breaker.to_be_bytes())?;
        if self.use_candidate {
            w.push(attribute::USE_CANDIDATE, &[])?;
        }
        w.finish(hmac)
    }
}

/// A message under way in a caller's buffer.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    fn begin(out: &'a mut [u8], kind: u16, transaction_id: [u8; 12]) -> Result<Self> {
        if out.len() < HEADER_LEN {
            return Err(Error::NoSpace);
        }
        bytes::put(out, 0, kind.to_be_bytes());
        bytes::put(out, 4, MAGIC_COOKIE.to_be_bytes());
        bytes::put(out, 8, transaction_id);
        Ok(Writer { out, len: HEADER_LEN })
    }

    /// Appends an attribute with its padding and gives its value, zeroed, for filling in.
    fn reserve(&mut self, kind: u16, len: usize) -> Result<&mut [u8]> {
        let value_len = u16::try_from(len).map_err(|_| Error::BadLength)?;
        let end = self.len + ATTRIBUTE_HEADER_LEN + len.next_multiple_of(4);
        let space = self.out.get_mut(self.len..end).ok_or(Error::NoSpace)?;
        self.len = end;
        space.fill(0);
        bytes::put(space, 0, kind.to_be_bytes());
        bytes::put(space, 2, value_len.to_be_bytes());
        let value = ATTRIBUTE_HEADER_LEN..ATTRIBUTE_HEADER_LEN + len;
        space.get_mut(value).ok_or(Error::NoSpace)
    }

    fn push(&mut self, kind: u16, value: &[u8]) -> Result<()> {
        self.reserve(kind, value.len())?.copy_from_slice(value);
        Ok(())
    }

    /// Writes the length as if the message ended `more` bytes behind what is written (sections 14.5
    /// and 14.7: the attribute that follows is counted), and gives what is written.
    fn covered(&mut self, more: usize) -> Result<&[u8]> {
        let len = u16::try_from(self.len - HEADER_LEN + more).map_err(|_| Error::BadLength)?;
        bytes::put(self.out, 2, len.to_be_bytes());
        Ok(bytes::range(self.out, 0, self.len))
    }

    /// Appends MESSAGE-INTEGRITY and FINGERPRINT and gives the message's length.
    fn finish(mut self, hmac: impl FnOnce(&[&[u8]]) -> [u8; INTEGRITY_LEN]) -> Result<usize> {
        let tag = hmac(&[self.covered(ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN)?]);
        self.push(attribute::MESSAGE_INTEGRITY, &tag)?;
        let crc = crc32(self.covered(ATTRIBUTE_HEADER_LEN + 4)?);
        self.push(attribute::FINGERPRINT, &(crc ^ FINGERPRINT_XOR).to_be_bytes())?;
        Ok(self.len)
    }
}
