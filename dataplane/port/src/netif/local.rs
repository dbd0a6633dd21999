//! What is ours on the link: MAC, VLAN, addresses, UDP ports; and which next hop a destination has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use wire::{Mac, ndp};

use crate::PortConfig;
use crate::config::{ADDRESSES_MAX, Prefix, is_link_local_v6};

/// The fixed facts of a port; nothing here changes after the start.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) mac: Mac,
    /// The tag every frame must have, if any.
    pub(super) vlan: Option<u16>,
    /// Largest IP packet in bytes.
    pub(super) mtu: usize,
    addresses: ArrayVec<Prefix, ADDRESSES_MAX>,
    /// Networks that our IPv4 addresses are on, as masks and what is left under them.
    nets_v4: ArrayVec<(u32, u32), ADDRESSES_MAX>,
    gateway_v4: Option<Ipv4Addr>,
    gateway_v6: Option<Ipv6Addr>,
    udp_base: u16,
    shards: u16,
}

impl Local {
    /// Takes over a checked configuration.
    pub(super) fn new(config: &PortConfig, mac: Mac, mtu: usize) -> Self {
        let gateways = || config.gateways.iter();
        Local {
            mac,
            vlan: (config.vlan != 0).then_some(config.vlan),
            mtu,
            addresses: config.addresses.iter().copied().take(ADDRESSES_MAX).collect(),
            nets_v4: nets_v4(config).take(ADDRESSES_MAX).collect(),
            gateway_v4: gateways().find_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            }),
            gateway_v6: gateways().find_map(|ip| match ip {
                IpAddr::V4(_) => None,
                IpAddr::V6(ip) => Some(*ip),
            }),
            udp_base: config.udp_base,
            shards: config.shards,
        }
    }

    /// Whether the address is one of ours.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.ip == ip)
    }

    /// Whether the frame's tag is the configured one. A tag of VLAN 0 carries a priority and no
    /// VLAN.
    pub(super) fn accepts_vlan(&self, vlan: Option<u16>) -> bool {
        vlan.filter(|id| *id != 0) == self.vlan
    }

    /// Whether the Ethernet group is one that neighbours ask for our IPv6 addresses with.
    pub(super) fn listens_to(&self, group: Mac) -> bool {
        self.addresses.iter().any(|a| match a.ip {
            IpAddr::V6(ip) => ndp::multicast_mac(ndp::solicited_node(ip)) == group,
            IpAddr::V4(_) => false,
        })
    }

    /// Whether a shard listens on the UDP port.
    pub(super) fn has_shard(&self, udp_port: u16) -> bool {
        udp_port.checked_sub(self.udp_base).is_some_and(|shard| shard < self.shards)
    }

    /// The neighbour that takes packets for `remote`: itself when on-link, else the family's
    /// gateway.
    pub(super) fn next_hop(&self, remote: IpAddr) -> Option<IpAddr> {
        match remote {
            IpAddr::V4(ip) => {
                let bits = ip.to_bits();
                let is_on_link = self.nets_v4.iter().any(|(mask, net)| bits & mask == *net);
                if is_on_link { Some(remote) } else { self.gateway_v4.map(IpAddr::V4) }
            }
            IpAddr::V6(_) => {
                let is_on_link = self.addresses.iter().any(|a| a.contains(remote));
                match is_on_link || is_link_local_v6(remote) {
                    true => Some(remote),
                    false => self.gateway_v6.map(IpAddr::V6),
                }
            }
        }
    }

    /// The gateways of both families.
    pub(super) fn gateways(&self) -> [Option<IpAddr>; 2] {
        [self.gateway_v4.map(IpAddr::V4), self.gateway_v6.map(IpAddr::V6)]
    }

    /// The address of ours from which to ask for `neighbour`: one on its prefix, else one of its
    /// family.
    pub(super) fn source_for(&self, neighbour: IpAddr) -> Option<IpAddr> {
        let of_family = |a: &&Prefix| a.ip.is_ipv4() == neighbour.is_ipv4();
        let on_link = self.addresses.iter().find(|a| a.contains(neighbour));
        on_link.or_else(|| self.addresses.iter().find(of_family)).map(|a| a.ip)
    }
}

/// What decides for each datagram, by two instructions.
fn nets_v4(config: &PortConfig) -> impl Iterator<Item = (u32, u32)> {
    config.addresses.iter().filter_map(|prefix| match prefix.ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.len)).unwrap_or(0);
            Some((mask, ip.to_bits() & mask))
        }
        IpAddr::V6(_) => None,
    })
}
