//! Wire formats, one file per format: checked views over bytes, and emitters.
//!
//! Layers, outermost first: [`ethernet`] (with one 802.1Q tag) carries [`arp`], [`ipv4`] or
//! [`ipv6`]; those carry [`icmp`] (whose v6 form carries [`ndp`]) or [`udp`]; a UDP payload is told
//! apart by [`demux`] and is then [`stun`], [`dtls`], [`rtp`] (with [`rtp_ext`], [`rtx`] and
//! [`marks`]) or [`rtcp`] (with [`twcc`] and [`remb`]). [`checksum`] serves the IP family.
//!
//! **The contract.** A view is made by `new_checked`, which looks at every length, version and
//! count that an accessor relies on. If it succeeds, no accessor of that view panics and none reads
//! outside the buffer, whatever the bytes are. A `Repr` is the small valid form: what can be
//! constructed can be emitted, unless the caller's buffer is too short or a stated length limit is
//! passed, both of which are errors and never panics.
//!
//! Nothing here allocates, keeps state, reads a clock or knows a peer; the crate is `no_std`, so
//! that cannot change by accident. Indexing that could panic is refused by lint; field access goes
//! through `bytes`, which is total.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]
#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used))]
#![cfg_attr(not(test), deny(clippy::panic, clippy::unreachable))]

pub mod arp;
mod bytes;
pub mod checksum;
mod crc32;
pub mod demux;
pub mod dtls;
pub mod ethernet;
#[doc(hidden)]
pub mod fuzzing;
pub mod headers;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod marks;
pub mod ndp;
pub mod remb;
pub mod rtcp;
pub mod rtcp_write;
pub mod rtp;
pub mod rtp_ext;
pub mod rtp_ext_values;
pub mod rtx;
pub mod stun;
pub mod stun_write;
pub mod twcc;
pub mod udp;
pub mod xr;

pub use ethernet::Mac;

/// Why bytes were refused, or why a form could not be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the format's fixed part, or than a length inside promises.
    Truncated,
    /// The version field is not the one this format has.
    BadVersion,
    /// A length or count contradicts another length, or is not a legal value.
    BadLength,
    /// The padding count is zero, or larger than what could be padding.
    BadPadding,
    /// A checksum that covers these bytes does not match.
    BadChecksum,
    /// A type, code, operation or identifier that this format does not allow here.
    BadType,
    /// A fragment of an IP packet (RFC 791, RFC 8200 section 4.5); fragments are never reassembled.
    Fragment,
    /// An IPv6 extension header other than a fragment's (RFC 8200 section 4); none is processed.
    ExtensionHeader,
    /// The caller's buffer is too short for what should be written.
    NoSpace,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Error::Truncated => "fewer bytes than promised",
            Error::BadVersion => "wrong version",
            Error::BadLength => "impossible length",
            Error::BadPadding => "impossible padding",
            Error::BadChecksum => "wrong checksum",
            Error::BadType => "type not allowed here",
            Error::Fragment => "fragmented packet",
            Error::ExtensionHeader => "extension header",
            Error::NoSpace => "buffer too short",
        })
    }
}

impl core::error::Error for Error {}

/// The result of parsing or emitting.
pub type Result<T> = core::result::Result<T, Error>;

/// An IP protocol number, the "next header" of IPv6 too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: Protocol = Protocol(1);
    /// UDP (RFC 768).
    pub const UDP: Protocol = Protocol(17);
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: Protocol = Protocol(58);
}
