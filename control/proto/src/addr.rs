//! Addresses as plain bytes: equal bytes mean the same endpoint, whatever the family.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use bincode::{Decode, Encode};

/// An IP address and a UDP port. IPv4 is kept as an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2), so
/// that one address has one spelling only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Default)]
pub struct Endpoint {
    /// Network byte order.
    pub ip: [u8; 16],
    /// Host byte order.
    pub port: u16,
}

impl Endpoint {
    /// The canonical form of `ip` and `port`.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        let ip = match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Endpoint { ip, port }
    }

    /// An IPv4 endpoint.
    pub const fn v4(a: [u8; 4], port: u16) -> Self {
        let ip = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]];
        Endpoint { ip, port }
    }

    /// The IPv4 octets when this is an IPv4 endpoint.
    pub fn as_v4(&self) -> Option<[u8; 4]> {
        let bits = u128::from_be_bytes(self.ip);
        (bits >> 32 == 0xffff).then(|| (bits as u32).to_be_bytes())
    }

    /// The address in its shortest family.
    pub fn ip(&self) -> IpAddr {
        self.as_v4().map_or(IpAddr::V6(self.ip.into()), |v4| IpAddr::V4(v4.into()))
    }

    /// No address yet.
    pub fn is_unset(&self) -> bool {
        self.ip == [0; 16] && self.port == 0
    }

    /// For the standard library's sockets.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), self.port)
    }
}

/// All bytes in one piece: every packet asks for it, and a keyed hash takes its time for each piece.
impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..].copy_from_slice(&self.port.to_ne_bytes());
        state.write(&bytes);
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Endpoint::new(addr.ip(), addr.port())
    }
}

/// Addresses are personal data: `Debug` shows the family and the port only.
impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", if self.as_v4().is_some() { "v4" } else { "v6" }, self.port)
    }
}

/// Both ends of a UDP exchange, seen from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Default)]
pub struct Path {
    /// Ours.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_plain_ipv4_are_one_endpoint() {
        let plain = Endpoint::new("192.0.2.7".parse().unwrap(), 9);
        let mapped = Endpoint::new("::ffff:192.0.2.7".parse().unwrap(), 9);
        assert_eq!(plain, mapped);
        assert_eq!(plain, Endpoint::v4([192, 0, 2, 7], 9));
        assert_eq!(plain.as_v4(), Some([192, 0, 2, 7]));
        assert_eq!(plain.socket_addr().to_string(), "192.0.2.7:9");
    }

    #[test]
    fn debug_hides_the_address() {
        assert_eq!(format!("{:?}", Endpoint::v4([192, 0, 2, 7], 9)), "v4:9");
    }
}
