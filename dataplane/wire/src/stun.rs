//! STUN (RFC 8489), reading: the header, the attributes, and of a Binding message what ICE
//! (RFC 8445 section 7) wants to know. Writing is in [`crate::stun_write`].
//!
//! [`Stun`] looks at the header only and tells STUN from other datagrams. [`Message`] checks every
//! attribute and the FINGERPRINT; it computes no HMAC, but gives what is to be hashed
//! ([`Message::integrity`]). Nothing in a message may be believed before that is verified.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::crc32::crc32;
use crate::{Error, Result, bytes};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;
/// The magic cookie (section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_a442;
/// The method Binding (section 3).
pub const METHOD_BINDING: u16 = 1;
/// Length of the HMAC-SHA1 in a MESSAGE-INTEGRITY in bytes.
pub const INTEGRITY_LEN: usize = 20;
/// How many unknown attributes a [`Message`] names.
pub const UNKNOWN_MAX: usize = 8;
/// Longest USERNAME in bytes (section 14.3).
pub const USERNAME_LEN_MAX: usize = 508;

/// Length of an attribute's type and length in bytes.
pub(crate) const ATTRIBUTE_HEADER_LEN: usize = 4;
/// What the CRC-32 is XORed with in a FINGERPRINT (section 14.7).
pub(crate) const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Attribute types: RFC 8489 section 18.3, RFC 8445 section 20.1.
pub mod attribute {
    /// Reflexive address in the clear.
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    /// Who asks.
    pub const USERNAME: u16 = 0x0006;
    /// HMAC-SHA1 of what stands before it.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// Why a request failed.
    pub const ERROR_CODE: u16 = 0x0009;
    /// What a 420 is about.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    /// Realm of long-term credentials.
    pub const REALM: u16 = 0x0014;
    /// Nonce of long-term credentials.
    pub const NONCE: u16 = 0x0015;
    /// HMAC-SHA256 of what stands before it.
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    /// Password algorithm of long-term credentials.
    pub const PASSWORD_ALGORITHM: u16 = 0x001d;
    /// Hashed user name of long-term credentials.
    pub const USERHASH: u16 = 0x001e;
    /// Reflexive address.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// Priority that a peer-reflexive candidate would get.
    pub const PRIORITY: u16 = 0x0024;
    /// Nominates the pair.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// Name and version of the software.
    pub const SOFTWARE: u16 = 0x8022;
    /// CRC-32 of the message.
    pub const FINGERPRINT: u16 = 0x8028;
    /// The sender is the controlled agent.
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// The sender is the controlling agent.
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// The class of a message (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A request: expects an answer.
    Request,
    /// An indication: expects none.
    Indication,
    /// A success response.
    Success,
    /// An error response.
    Error,
}

/// A STUN message whose header is sound and whose length equals the datagram's.
#[derive(Clone, Copy, Debug)]
pub struct Stun<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Stun<T> {
    /// Checks the two zero bits, the cookie and the length.
    ///
    /// # Errors
    /// `Truncated` below 20 bytes, `BadType` when it is not STUN by its first bits or its cookie,
    /// `BadLength` when the length is no multiple of four or not that of the datagram.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let b = buffer.as_ref();
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if bytes::u8_at(b, 0) & 0xc0 != 0 || bytes::u32_at(b, 4) != MAGIC_COOKIE {
            return Err(Error::BadType);
        }
        let len = usize::from(bytes::u16_at(b, 2));
        if !len.is_multiple_of(4) || len + HEADER_LEN != b.len() {
            return Err(Error::BadLength);
        }
        Ok(Stun { buffer })
    }

    /// The class.
    pub fn class(&self) -> Class {
        let t = bytes::u16_at(self.buffer.as_ref(), 0);
        match (t & 0x0100 != 0, t & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        }
    }

    /// The 12-bit method; [`METHOD_BINDING`] is 1.
    pub fn method(&self) -> u16 {
        let t = bytes::u16_at(self.buffer.as_ref(), 0);
        t & 0x000f | (t & 0x00e0) >> 1 | (t & 0x3e00) >> 2
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> [u8; 12] {
        bytes::array_at(self.buffer.as_ref(), 8)
    }

    /// The attributes in order, not looked at yet.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes { message: self.buffer.as_ref(), at: HEADER_LEN }
    }
}

/// One attribute (section 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The type, one of [`attribute`] or any other.
    pub kind: u16,
    /// The value without its padding.
    pub value: &'a [u8],
    /// Where the attribute's type starts in the message.
    pub offset: usize,
}

/// The attributes of a message in order. After one that runs over the end of the message the
/// iterator yields an error and ends.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (message, offset) = (self.message, self.at);
        if offset >= message.len() {
            return None;
        }
        let start = offset + ATTRIBUTE_HEADER_LEN;
        let len = usize::from(bytes::u16_at(message, offset + 2));
        let end = start + len.next_multiple_of(4);
        if end > message.len() {
            self.at = message.len();
            return Some(Err(Error::Truncated));
        }
        self.at = end;
        let value = bytes::range(message, start, start + len);
        Some(Ok(Attribute { kind: bytes::u16_at(message, offset), value, offset }))
    }
}

/// Which ICE role the sender claims, with its tie-breaker (RFC 8445 section 7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// ICE-CONTROLLING.
    Controlling(u64),
    /// ICE-CONTROLLED.
    Controlled(u64),
}

/// What a MESSAGE-INTEGRITY covers and what it claims (section 14.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integrity<'a> {
    /// The header with its length as if the message ended with the MESSAGE-INTEGRITY.
    pub header: [u8; HEADER_LEN],
    /// The attributes before it.
    pub attributes: &'a [u8],
    /// The HMAC-SHA1 over `header` and then `attributes` that the sender computed.
    pub claimed: &'a [u8; INTEGRITY_LEN],
    /// Where the MESSAGE-INTEGRITY starts in the message.
    pub offset: usize,
}

/// Unknown attributes that must be understood, the first [`UNKNOWN_MAX`] of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unknown {
    kinds: [u16; UNKNOWN_MAX],
    len: usize,
}

/// A Binding message, every attribute of which was checked, and whose FINGERPRINT is right.
///
/// Of an attribute that appears more than once the first counts (section 14). Attributes behind the
/// MESSAGE-INTEGRITY are ignored (section 14.5), and so is MESSAGE-INTEGRITY-SHA256: ICE's password
/// is short-term, where the responder may choose HMAC-SHA1 (section 9.1.3).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    stun: Stun<&'a [u8]>,
    username: Option<&'a [u8]>,
    priority: Option<u32>,
    use_candidate: bool,
    role: Option<Role>,
    mapped_address: Option<SocketAddr>,
    error_code: Option<u16>,
    integrity: Option<(usize, &'a [u8; INTEGRITY_LEN])>,
    unknown: Unknown,
}

impl<'a> Message<'a> {
    /// Checks header, attributes and FINGERPRINT; cheapest first, so the CRC comes last.
    ///
    /// # Errors
    /// As [`Stun::new_checked`]; `BadType` for another method than Binding; `Truncated` for an
    /// attribute over the end; `BadLength` for a value that is not as long as its type demands;
    /// `BadChecksum` when FINGERPRINT is missing, wrong, or not the last attribute.
    pub fn new_checked(data: &'a [u8]) -> Result<Self> {
        let stun = Stun::new_checked(data)?;
        if stun.method() != METHOD_BINDING {
            return Err(Error::BadType);
        }
        let mut message = Message {
            stun,
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped_address: None,
            error_code: None,
            integrity: None,
            unknown: Unknown::default(),
        };
        let mut fingerprint = None;
        for found in (Attributes { message: data, at: HEADER_LEN }) {
            let found = found?;
            if fingerprint.is_some() {
                return Err(Error::BadChecksum);
            }
            if found.kind == attribute::FINGERPRINT {
                fingerprint = Some((found.offset, u32::from_be_bytes(*exact(found.value)?)));
            } else if message.integrity.is_none() {
                message.take(found)?;
            }
        }
        let (offset, claimed) = fingerprint.ok_or(Error::BadChecksum)?;
        if crc32(bytes::range(data, 0, offset)) ^ FINGERPRINT_XOR != claimed {
            return Err(Error::BadChecksum);
        }
        Ok(message)
    }

    /// Reads one attribute that the MESSAGE-INTEGRITY covers, or that one itself.
    fn take(&mut self, found: Attribute<'a>) -> Result<()> {
        let value = found.value;
        match found.kind {
            attribute::USERNAME if value.len() > USERNAME_LEN_MAX => return Err(Error::BadLength),
            attribute::USERNAME => first(&mut self.username, value),
            attribute::PRIORITY => first(&mut self.priority, u32::from_be_bytes(*exact(value)?)),
            attribute::USE_CANDIDATE => {
                let [] = exact(value)?;
                self.use_candidate = true;
            }
            attribute::ICE_CONTROLLING => {
                first(&mut self.role, Role::Controlling(u64::from_be_bytes(*exact(value)?)));
            }
            attribute::ICE_CONTROLLED => {
                first(&mut self.role, Role::Controlled(u64::from_be_bytes(*exact(value)?)));
            }
            attribute::MESSAGE_INTEGRITY => self.integrity = Some((found.offset, exact(value)?)),
            attribute::XOR_MAPPED_ADDRESS => {
                let address = self.address(value)?;
                first(&mut self.mapped_address, address);
            }
            attribute::ERROR_CODE => first(&mut self.error_code, error_code(value)?),
            // Known, and of no use to ICE: section 6.3 has them ignored where unexpected.
            attribute::MAPPED_ADDRESS
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::REALM
            | attribute::NONCE
            | attribute::MESSAGE_INTEGRITY_SHA256
            | attribute::PASSWORD_ALGORITHM
            | attribute::USERHASH => {}
            // Section 14: types below 0x8000 must be understood.
            kind if kind < 0x8000 => {
                if let Some(free) = self.unknown.kinds.get_mut(self.unknown.len) {
                    *free = kind;
                    self.unknown.len += 1;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Section 14.2: port and address XORed with the cookie and the transaction id.
    fn address(&self, value: &[u8]) -> Result<SocketAddr> {
        let port = bytes::u16_at(value, 2) ^ (MAGIC_COOKIE >> 16) as u16;
        let ip: IpAddr = match (bytes::u8_at(value, 1), value.len()) {
            (1, 8) => Ipv4Addr::from_bits(bytes::u32_at(value, 4) ^ MAGIC_COOKIE).into(),
            (2, 20) => {
                let mask = address_mask(self.stun.transaction_id());
                Ipv6Addr::from_bits(u128::from_be_bytes(bytes::array_at(value, 4)) ^ mask).into()
            }
            _ => return Err(Error::BadLength),
        };
        Ok(SocketAddr::new(ip, port))
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.stun.class()
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> [u8; 12] {
        self.stun.transaction_id()
    }

    /// USERNAME.
    pub fn username(&self) -> Option<&'a [u8]> {
        self.username
    }

    /// The two halves of an ICE check's USERNAME (RFC 8445 section 7.2.2): the ufrag of who
    /// receives it, and that of who sent it.
    pub fn ufrags(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|byte| *byte == b':')?;
        Some((bytes::range(username, 0, colon), bytes::tail(username, colon + 1)))
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        self.priority
    }

    /// Whether USE-CANDIDATE is there.
    pub fn use_candidate(&self) -> bool {
        self.use_candidate
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED, the first of them.
    pub fn role(&self) -> Option<Role> {
        self.role
    }

    /// XOR-MAPPED-ADDRESS of a success response.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        self.mapped_address
    }

    /// ERROR-CODE of an error response, 300 to 699.
    pub fn error_code(&self) -> Option<u16> {
        self.error_code
    }

    /// What MESSAGE-INTEGRITY covers and claims, if it is there.
    pub fn integrity(&self) -> Option<Integrity<'a>> {
        let (offset, claimed) = self.integrity?;
        let message = self.stun.buffer;
        let mut header = bytes::array_at(message, 0);
        // The offset lies inside a datagram whose length had 16 bits, so the sum has too.
        let len = offset - HEADER_LEN + ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN;
        bytes::put(&mut header, 2, (len as u16).to_be_bytes());
        Some(Integrity {
            header,
            attributes: bytes::range(message, HEADER_LEN, offset),
            claimed,
            offset,
        })
    }

    /// Attributes before the MESSAGE-INTEGRITY that must be understood and are not (section 6.3.1),
    /// at most [`UNKNOWN_MAX`]: what a 420 tells.
    pub fn unknown(&self) -> &[u16] {
        self.unknown.kinds.get(..self.unknown.len).unwrap_or(&[])
    }
}

/// What an IPv6 address is XORed with (section 14.2).
pub(crate) fn address_mask(transaction_id: [u8; 12]) -> u128 {
    let mut mask = [0; 16];
    bytes::put(&mut mask, 0, MAGIC_COOKIE.to_be_bytes());
    bytes::put(&mut mask, 4, transaction_id);
    u128::from_be_bytes(mask)
}

/// Section 14.8: the hundreds in three bits, the rest as a number below 100.
fn error_code(value: &[u8]) -> Result<u16> {
    if value.len() < 4 {
        return Err(Error::BadLength);
    }
    let (hundreds, rest) = (bytes::u8_at(value, 2) & 7, bytes::u8_at(value, 3));
    if !(3..=6).contains(&hundreds) || rest > 99 {
        return Err(Error::BadType);
    }
    Ok(u16::from(hundreds) * 100 + u16::from(rest))
}

/// The value as an array, if it has exactly that length.
fn exact<const N: usize>(value: &[u8]) -> Result<&[u8; N]> {
    value.try_into().map_err(|_| Error::BadLength)
}

/// Keeps the first of several.
fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

#[cfg(test)]
mod tests;
