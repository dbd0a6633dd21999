//! What an operator says of a port, as plain typed data. The node reads it from its file; `check`
//! holds the rules that do not depend on a device.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Smallest MTU in bytes: the least that IPv6 requires of a link (RFC 8200 section 5), used for
/// IPv4 too.
pub const MTU_MIN: usize = 1280;
/// Largest MTU in bytes: a received packet must fit one buffer.
pub const MTU_MAX: usize = roomlane_core::buf::BUF_CAPACITY - 22;
/// Most addresses of a port.
pub const ADDRESSES_MAX: usize = 8;
/// Largest VLAN id; 4095 is reserved.
pub const VLAN_MAX: u16 = 4094;

/// An address with the length of its on-link prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The address itself.
    pub ip: IpAddr,
    /// Bits of the prefix, at most 32 or 128.
    pub len: u8,
}

impl Prefix {
    /// Whether `other` is of the same family and has the same first `len` bits.
    pub fn contains(&self, other: IpAddr) -> bool {
        // In words of each family's own width: every datagram that leaves asks.
        let host = |bits: u32| bits.saturating_sub(u32::from(self.len));
        match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(host(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(host(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.len)
    }
}

impl FromStr for Prefix {
    type Err = ConfigError;

    /// Reads `198.18.1.2/24`; without a length the prefix is the address alone.
    fn from_str(s: &str) -> Result<Self, ConfigError> {
        let bad = || ConfigError::Prefix { text: s.to_owned() };
        let (ip, len) = s.split_once('/').map_or((s, None), |(ip, len)| (ip, Some(len)));
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let len_max = if ip.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => len_max,
            // `parse` alone would take "+24".
            Some(len) if len.bytes().all(|b| b.is_ascii_digit()) => {
                len.parse().map_err(|_| bad())?
            }
            Some(_) => return Err(bad()),
        };
        if len > len_max { Err(bad()) } else { Ok(Prefix { ip, len }) }
    }
}

/// A port's addresses and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Our addresses with their on-link prefixes.
    pub addresses: Vec<Prefix>,
    /// Next hops for what is not on-link; the first of a family serves that family.
    pub gateways: Vec<IpAddr>,
    /// Replaces the addresses in candidates and answers (1:1 NAT); a port itself never uses it.
    pub advertise: Vec<IpAddr>,
    /// Shard `i` listens on `udp_base + i`.
    pub udp_base: u16,
    /// How many shards listen.
    pub shards: u16,
    /// The 802.1Q VLAN of every frame, 0 for untagged.
    pub vlan: u16,
    /// Largest IP packet in bytes.
    pub mtu: usize,
}

/// What is wrong with a `PortConfig`: the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Not an address with a prefix length.
    #[error("`{text}` is no address with a prefix length, such as 198.18.1.2/24")]
    Prefix {
        /// As written.
        text: String,
    },
    /// None, or more than `ADDRESSES_MAX`.
    #[error("`addresses` has {count} entries; 1 to {ADDRESSES_MAX} are allowed")]
    AddressCount {
        /// As given.
        count: usize,
    },
    /// An address that no single host can have.
    #[error("{ip} cannot be the address of a node")]
    NotUnicast {
        /// The address.
        ip: IpAddr,
    },
    /// A gateway that none of the prefixes contains.
    #[error("gateway {ip} is in no prefix of `addresses`")]
    GatewayOffLink {
        /// The gateway.
        ip: IpAddr,
    },
    /// UDP ports that do not exist.
    #[error("`udp_base` {base} with {shards} shards leaves the ports 1 to 65535")]
    UdpPorts {
        /// First port.
        base: u16,
        /// How many.
        shards: u16,
    },
    /// A VLAN id above 4094.
    #[error("`vlan` is {vlan}; 0 (none) to {VLAN_MAX} are allowed")]
    Vlan {
        /// As given.
        vlan: u16,
    },
    /// An MTU below IPv6's minimum or above a buffer.
    #[error("`mtu` is {mtu}; {MTU_MIN} to {MTU_MAX} are allowed")]
    Mtu {
        /// As given, in bytes.
        mtu: usize,
    },
}

impl PortConfig {
    /// Checks the rules that hold for every kind of port.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let count = self.addresses.len();
        if count == 0 || count > ADDRESSES_MAX {
            return Err(ConfigError::AddressCount { count });
        }
        let ours = self.addresses.iter().map(|a| a.ip);
        for ip in ours.chain(self.gateways.iter().copied()).chain(self.advertise.iter().copied()) {
            if !is_unicast(ip) {
                return Err(ConfigError::NotUnicast { ip });
            }
        }
        for &ip in &self.gateways {
            let is_on_link = |a: &Prefix| a.contains(ip) || is_link_local_v6(ip) && a.ip.is_ipv6();
            if !self.addresses.iter().any(is_on_link) {
                return Err(ConfigError::GatewayOffLink { ip });
            }
        }
        let (base, shards) = (self.udp_base, self.shards);
        let last = u32::from(base) + u32::from(shards);
        if base == 0 || shards == 0 || last > 65_536 {
            return Err(ConfigError::UdpPorts { base, shards });
        }
        if self.vlan > VLAN_MAX {
            return Err(ConfigError::Vlan { vlan: self.vlan });
        }
        if !(MTU_MIN..=MTU_MAX).contains(&self.mtu) {
            return Err(ConfigError::Mtu { mtu: self.mtu });
        }
        Ok(())
    }

    /// The shard that listens on `udp_port`.
    pub fn shard_of(&self, udp_port: u16) -> Option<u16> {
        udp_port.checked_sub(self.udp_base).filter(|shard| *shard < self.shards)
    }
}

/// Whether the address is of every link (fe80::/10), whatever prefixes there are.
pub(crate) fn is_link_local_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// Whether one host can have the address. An IPv4-mapped IPv6 address is another spelling and
/// refused: one address has one form (loopback is allowed, for the portable ports).
pub fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.octets()[0] >= 240),
        IpAddr::V6(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> PortConfig {
        PortConfig {
            addresses: vec!["198.18.1.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
            gateways: vec!["198.18.1.1".parse().unwrap()],
            advertise: vec![],
            udp_base: 8000,
            shards: 2,
            vlan: 0,
            mtu: 1500,
        }
    }

    fn broken(change: impl FnOnce(&mut PortConfig)) -> ConfigError {
        let mut config = good();
        change(&mut config);
        config.check().unwrap_err()
    }

    #[test]
    fn a_sound_config_passes_and_each_broken_rule_is_named() {
        use ConfigError as E;
        assert_eq!(good().check(), Ok(()));
        assert_eq!(broken(|c| c.addresses.clear()), E::AddressCount { count: 0 });
        assert_eq!(broken(|c| c.addresses = vec![c.addresses[0]; 9]), E::AddressCount { count: 9 });
        for ip in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:1.2.3.4"] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(broken(|c| c.addresses[0].ip = ip), E::NotUnicast { ip });
        }
        let far: IpAddr = "198.18.2.1".parse().unwrap();
        assert_eq!(broken(|c| c.gateways[0] = far), E::GatewayOffLink { ip: far });
        // A router's link-local address is on-link where there is IPv6 at all.
        let router: IpAddr = "fe80::1".parse().unwrap();
        assert_eq!(PortConfig { gateways: vec![router], ..good() }.check(), Ok(()));
        let v4_only = |c: &mut PortConfig| {
            c.addresses.truncate(1);
            c.gateways = vec![router];
        };
        assert_eq!(broken(v4_only), E::GatewayOffLink { ip: router });
        assert!(matches!(broken(|c| c.udp_base = 0), E::UdpPorts { .. }));
        assert!(matches!(broken(|c| c.shards = 0), E::UdpPorts { .. }));
        assert!(matches!(broken(|c| c.udp_base = 65_535), E::UdpPorts { .. }));
        assert_eq!(broken(|c| c.vlan = 4095), E::Vlan { vlan: 4095 });
        assert!(matches!(broken(|c| c.mtu = 1279), E::Mtu { .. }));
        assert!(matches!(broken(|c| c.mtu = MTU_MAX + 1), E::Mtu { .. }));
    }

    #[test]
    fn prefixes_are_read_and_compared_by_bits() {
        let p: Prefix = "198.18.1.2/23".parse().unwrap();
        assert!(p.contains("198.18.0.9".parse().unwrap()));
        assert!(!p.contains("198.18.2.1".parse().unwrap()));
        assert!(!p.contains("::ffff:198.18.0.9".parse().unwrap()));
        let all: Prefix = "::1/0".parse().unwrap();
        assert!(all.contains("2001:db8::".parse().unwrap()));
        let one: Prefix = "2001:db8::2".parse().unwrap();
        assert_eq!((one.len, one.contains(one.ip)), (128, true));
        assert!(!one.contains("2001:db8::3".parse().unwrap()));
        for bad in ["", "198.18.1.2/33", "::1/129", "198.18.1.2/+4", "1.2.3/8", "::1/", "::1/1/1"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
        assert_eq!(p.to_string(), "198.18.1.2/23");
    }

    #[test]
    fn shards_follow_the_base_port() {
        let c = good();
        assert_eq!([7999, 8000, 8001, 8002].map(|p| c.shard_of(p)), [None, Some(0), Some(1), None]);
    }
}
