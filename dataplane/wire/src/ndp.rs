//! Neighbour solicitation and advertisement (RFC 4861 sections 4.3 and 4.4), inside ICMPv6.
//!
//! `parse` checks what the message itself shows (sections 7.1.1 and 7.1.2). Hop limit 255, the
//! checksum and the rule for an unspecified source need the IPv6 header and are the caller's.

use core::net::Ipv6Addr;

use crate::{Error, Mac, Result, bytes, checksum::Sum};

/// The hop limit every message must have, so that no router forwarded it.
pub const HOP_LIMIT: u8 = 255;
/// Length of a message with a link-layer address option in bytes.
pub const LEN_WITH_MAC: usize = FIXED_LEN + OPTION_MAC_LEN;

const FIXED_LEN: usize = 24;
const OPTION_MAC_LEN: usize = 8;
const TYPE_SOLICIT: u8 = 135;
const TYPE_ADVERT: u8 = 136;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;

/// A message as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Who has `target`?
    Solicit {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's MAC; absent while it checks its own address for duplicates.
        source_mac: Option<Mac>,
    },
    /// The sender has `target`.
    Advert {
        /// The sender is a router.
        router: bool,
        /// It answers a solicitation.
        solicited: bool,
        /// It replaces what a cache holds.
        overrides: bool,
        /// The address told about.
        target: Ipv6Addr,
        /// Its MAC; may be absent in an answer to a unicast solicitation.
        target_mac: Option<Mac>,
    },
}

/// Whether an ICMPv6 type is one of the two messages read here.
pub fn is_ndp(icmp_type: u8) -> bool {
    matches!(icmp_type, TYPE_SOLICIT | TYPE_ADVERT)
}

/// The group that the owner of `target` listens to (RFC 4291 section 2.7.1).
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let low = bytes::array_at::<3>(&target.octets(), 13);
    let [a, b, c] = low;
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
    Ipv6Addr::from(group)
}

/// The Ethernet group of an IPv6 group (RFC 2464 section 7).
pub fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [a, b, c, d] = bytes::array_at::<4>(&group.octets(), 12);
    Mac([0x33, 0x33, a, b, c, d])
}

impl Ndp {
    /// Reads an ICMPv6 message.
    ///
    /// # Errors
    /// `Truncated`; `BadType` for another type, a code other than zero or a multicast target;
    /// `BadLength` for an option of length zero or over the end (section 4.6: the message must be
    /// discarded).
    pub fn parse(b: &[u8]) -> Result<Ndp> {
        if b.len() < FIXED_LEN {
            return Err(Error::Truncated);
        }
        let kind = bytes::u8_at(b, 0);
        if !is_ndp(kind) || bytes::u8_at(b, 1) != 0 {
            return Err(Error::BadType);
        }
        let target = Ipv6Addr::from(bytes::array_at::<16>(b, 8));
        if target.is_multicast() {
            return Err(Error::BadType);
        }
        let (source_mac, target_mac) = options(bytes::tail(b, FIXED_LEN))?;
        if kind == TYPE_SOLICIT {
            return Ok(Ndp::Solicit { target, source_mac });
        }
        let flags = bytes::u8_at(b, 4);
        Ok(Ndp::Advert {
            router: flags & 0x80 != 0,
            solicited: flags & 0x40 != 0,
            overrides: flags & 0x20 != 0,
            target,
            target_mac,
        })
    }

    /// Length of the emitted message in bytes.
    pub fn message_len(&self) -> usize {
        match self {
            Ndp::Solicit { source_mac: Some(_), .. } | Ndp::Advert { target_mac: Some(_), .. } => {
                LEN_WITH_MAC
            }
            _ => FIXED_LEN,
        }
    }

    /// Writes the message with its checksum to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr, out: &mut [u8]) -> Result<usize> {
        let len = self.message_len();
        let out = out.get_mut(..len).ok_or(Error::NoSpace)?;
        let (kind, flags, target, option, mac) = match *self {
            Ndp::Solicit { target, source_mac } => {
                (TYPE_SOLICIT, 0, target, OPTION_SOURCE_MAC, source_mac)
            }
            Ndp::Advert { router, solicited, overrides, target, target_mac } => {
                let (r, s, o) = (u8::from(router), u8::from(solicited), u8::from(overrides));
                (TYPE_ADVERT, r << 7 | s << 6 | o << 5, target, OPTION_TARGET_MAC, target_mac)
            }
        };
        bytes::put(out, 0, [kind, 0, 0, 0, flags, 0, 0, 0]);
        bytes::put(out, 8, target.octets());
        if let Some(mac) = mac {
            bytes::put(out, FIXED_LEN, [option, 1]);
            bytes::put(out, FIXED_LEN + 2, mac.0);
        }
        let sum = Sum::pseudo_v6(src, dst, crate::Protocol::ICMPV6, len as u32).with(out);
        bytes::put(out, 2, sum.checksum().to_be_bytes());
        Ok(len)
    }
}

/// The source and target link-layer addresses among the options; other options are skipped.
fn options(mut b: &[u8]) -> Result<(Option<Mac>, Option<Mac>)> {
    let (mut source, mut target) = (None, None);
    while !b.is_empty() {
        let len = usize::from(bytes::u8_at(b, 1)) * 8;
        if len == 0 || len > b.len() {
            return Err(Error::BadLength);
        }
        let mac = Some(Mac(bytes::array_at(b, 2)));
        match bytes::u8_at(b, 0) {
            OPTION_SOURCE_MAC if len == OPTION_MAC_LEN => source = source.or(mac),
            OPTION_TARGET_MAC if len == OPTION_MAC_LEN => target = target.or(mac),
            _ => {}
        }
        b = bytes::tail(b, len);
    }
    Ok((source, target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn groups_are_those_of_rfc_4291_and_rfc_2464() {
        // The example of RFC 4291 section 2.7.1.
        let target = "4037::01:800:200e:8c6c".parse().unwrap();
        let group = solicited_node(target);
        assert_eq!(group, "ff02::1:ff0e:8c6c".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(group), Mac([0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c]));
    }

    #[test]
    fn messages_survive_emit_and_parse_and_sum_up() {
        let adverts = (0..8).map(|bits| Ndp::Advert {
            router: bits & 1 != 0,
            solicited: bits & 2 != 0,
            overrides: bits & 4 != 0,
            target: ip(2),
            target_mac: (bits != 3).then_some(MAC),
        });
        let solicits =
            [Some(MAC), None].map(|source_mac| Ndp::Solicit { target: ip(2), source_mac });
        for message in adverts.chain(solicits) {
            let mut out = [0xff; 40];
            let len = message.emit(ip(1), ip(2), &mut out).unwrap();
            assert_eq!(len, message.message_len());
            assert_eq!(Ndp::parse(&out[..len]), Ok(message));
            let sum = Sum::pseudo_v6(ip(1), ip(2), crate::Protocol::ICMPV6, len as u32);
            assert!(sum.with(&out[..len]).is_valid());
        }
    }

    #[test]
    fn a_message_cut_anywhere_is_refused() {
        let mut out = [0; 32];
        let message = Ndp::Solicit { target: ip(2), source_mac: Some(MAC) };
        message.emit(ip(1), ip(2), &mut out).unwrap();
        for len in (0..32).filter(|len| *len != 24) {
            let want = if len < 24 { Error::Truncated } else { Error::BadLength };
            assert_eq!(Ndp::parse(&out[..len]), Err(want), "{len}");
        }
        assert_eq!(message.emit(ip(1), ip(2), &mut out[..31]), Err(Error::NoSpace));
    }

    #[test]
    fn a_zero_length_option_a_code_and_a_multicast_target_are_refused() {
        let mut good = [0; 32];
        Ndp::Solicit { target: ip(2), source_mac: Some(MAC) }
            .emit(ip(1), ip(2), &mut good)
            .unwrap();
        for (at, value, want) in
            [(25, 0, Error::BadLength), (1, 1, Error::BadType), (8, 0xff, Error::BadType)]
        {
            let mut b = good;
            b[at] = value;
            assert_eq!(Ndp::parse(&b), Err(want));
        }
    }

    #[test]
    fn unknown_options_are_skipped_and_the_first_address_counts() {
        let mut b = vec![0; 24];
        b[0] = TYPE_SOLICIT;
        b.extend([14, 1, 0, 0, 0, 0, 0, 0]);
        b.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        b.extend([1, 1, 2, 0, 0, 0, 0, 9]);
        let target = Ipv6Addr::UNSPECIFIED;
        assert_eq!(Ndp::parse(&b), Ok(Ndp::Solicit { target, source_mac: Some(MAC) }));
    }
}
