//! Addresses with a prefix length, as operators write them.

use std::net::IpAddr;

/// An address and the length of its network's prefix: `198.18.1.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address as written, host bits included.
    pub addr: IpAddr,
    /// Bits of the network part.
    pub prefix: u8,
}

impl Cidr {
    /// Whether `ip` lies in the network. Families never match each other.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                u32::from(net).checked_shr(shift) == u32::from(ip).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                u128::from(net).checked_shr(shift) == u128::from(ip).checked_shr(shift)
            }
            _ => false,
        }
    }

    /// Bits of an address of this family.
    pub fn bits_max(ip: IpAddr) -> u8 {
        if ip.is_ipv4() { 32 } else { 128 }
    }
}

impl std::str::FromStr for Cidr {
    type Err = &'static str;

    /// `a.b.c.d/n`, `x::y/n`, or an address alone, which means itself only.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| "not an IP address")?;
        let prefix = match prefix {
            None => Self::bits_max(addr),
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_err(|_| "not a prefix length")?
            }
            Some(_) => return Err("not a prefix length"),
        };
        if prefix > Self::bits_max(addr) {
            return Err("a prefix longer than the address");
        }
        Ok(Cidr { addr, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        assert!(cidr("198.18.1.2/24").contains("198.18.1.255".parse().unwrap()));
        assert!(!cidr("198.18.1.2/24").contains("198.18.2.0".parse().unwrap()));
        assert!(cidr("0.0.0.0/0").contains("203.0.113.9".parse().unwrap()));
        assert!(!cidr("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(cidr("2001:db8::2/64").contains("2001:db8::ffff".parse().unwrap()));
        assert!(cidr("::/0").contains("2001:db8::1".parse().unwrap()));
        assert!(!cidr("192.0.2.1").contains("192.0.2.2".parse().unwrap()));
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in ["", "198.18.1.2/33", "198.18.1/24", "2001:db8::/129", "1.2.3.4/+8", "1.2.3.4/"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
