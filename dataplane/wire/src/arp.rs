//! ARP for IPv4 over Ethernet (RFC 826), the only pair of address kinds it is used for here.

use core::net::Ipv4Addr;

use crate::{Error, Mac, Result, bytes};

/// Length of a message in bytes.
pub const LEN: usize = 28;
/// Hardware type 1, protocol type 0x0800, address lengths 6 and 4.
const ETHERNET_IPV4: u64 = 0x0001_0800_0604;

/// What a message asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// A message as values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// The sender's MAC.
    pub sender_mac: Mac,
    /// The sender's address.
    pub sender_ip: Ipv4Addr,
    /// The target's MAC; meaningless in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads a message from the start of `b`; Ethernet's padding behind it is ignored.
    ///
    /// # Errors
    /// `Truncated`, or `BadType` for other address kinds and other operations.
    pub fn parse(b: &[u8]) -> Result<Arp> {
        if b.len() < LEN {
            return Err(Error::Truncated);
        }
        let kinds_and_operation = bytes::u64_at(b, 0);
        if kinds_and_operation >> 16 != ETHERNET_IPV4 {
            return Err(Error::BadType);
        }
        let operation = match kinds_and_operation & 0xffff {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Error::BadType),
        };
        Ok(Arp {
            operation,
            sender_mac: Mac(bytes::array_at(b, 8)),
            sender_ip: Ipv4Addr::from(bytes::array_at::<4>(b, 14)),
            target_mac: Mac(bytes::array_at(b, 18)),
            target_ip: Ipv4Addr::from(bytes::array_at::<4>(b, 24)),
        })
    }

    /// Writes the message to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        if out.len() < LEN {
            return Err(Error::NoSpace);
        }
        let operation = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes::put(out, 0, (ETHERNET_IPV4 << 16 | operation).to_be_bytes());
        bytes::put(out, 8, self.sender_mac.0);
        bytes::put(out, 14, self.sender_ip.octets());
        bytes::put(out, 18, self.target_mac.0);
        bytes::put(out, 24, self.target_ip.octets());
        Ok(LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] =
        [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 198, 18, 1, 1, 0, 0, 0, 0, 0, 0, 198, 18, 1, 2];

    #[test]
    fn a_request_is_read_and_written() {
        let arp = Arp::parse(&REQUEST).unwrap();
        assert_eq!(arp.operation, Operation::Request);
        assert_eq!(arp.sender_mac, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(arp.sender_ip, Ipv4Addr::new(198, 18, 1, 1));
        assert_eq!(arp.target_ip, Ipv4Addr::new(198, 18, 1, 2));
        let mut out = [0xff; 28];
        assert_eq!(arp.emit(&mut out), Ok(28));
        assert_eq!(out, REQUEST);
        let reply = Arp { operation: Operation::Reply, ..arp };
        reply.emit(&mut out).unwrap();
        assert_eq!((out[7], Arp::parse(&out)), (2, Ok(reply)));
    }

    #[test]
    fn other_kinds_and_operations_and_cut_messages_are_refused() {
        for at in 0..8 {
            let mut b = REQUEST;
            b[at] ^= 0x40;
            assert_eq!(Arp::parse(&b), Err(Error::BadType), "{at}");
        }
        for len in 0..LEN {
            assert_eq!(Arp::parse(&REQUEST[..len]), Err(Error::Truncated));
        }
        assert_eq!(Arp::parse(&REQUEST).unwrap().emit(&mut [0; 27]), Err(Error::NoSpace));
    }
}
