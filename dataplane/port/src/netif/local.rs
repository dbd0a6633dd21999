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
        if self.addresses.iter().any(|a| a.contains(remote)) || is_link_local_v6(remote) {
            return Some(remote);
        }
        match remote {
            IpAddr::V4(_) => self.gateway_v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.gateway_v6.map(IpAddr::V6),
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
