//! The media address rule: to whom a peer may make us send.
//!
//! The address in an offer must be the HTTP client's own, or lie in a network that the operator allows.
//! Special addresses are never allowed, whoever names them; IPv4 inside IPv6 is judged as IPv4, and
//! forms of IPv6 that hide another IPv4 address (NAT64, 6to4, Teredo) are special.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use config::Cidr;
use proto::Endpoint;

/// What the rule needs to know of the node.
#[derive(Debug, Clone, Default)]
pub struct MediaAddresses {
    /// The port's addresses, with their networks.
    pub own: Vec<Cidr>,
    /// What peers are told instead.
    pub advertise: Vec<IpAddr>,
    /// The port owns its addresses alone: no peer can live on one (DPDK).
    pub exclusive: bool,
    /// Networks that any client may name.
    pub allow: Vec<Cidr>,
    /// UDP ports of the shards.
    pub udp: std::ops::Range<u16>,
}

impl MediaAddresses {
    /// Whether media may be sent to `ip` and `port` for a client at `client` (unknown on a Unix
    /// socket). Returns the canonical endpoint.
    pub fn judge(&self, ip: IpAddr, port: u16, client: Option<IpAddr>) -> Option<Endpoint> {
        let ip = ip.to_canonical();
        let client = client.map(|client| client.to_canonical());
        let named = client == Some(ip) || self.allow.iter().any(|net| net.contains(ip));
        let fit = named && port != 0 && !is_special(ip) && !self.is_own(ip, port);
        (fit && !self.is_broadcast(ip)).then(|| Endpoint::new(ip, port))
    }

    /// One of our own sockets: media would loop.
    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        let ours = self.own.iter().map(|net| net.addr).chain(self.advertise.iter().copied());
        let address_is_ours = ours.map(|own| own.to_canonical()).any(|own| own == ip);
        let wildcard = self.own.iter().any(|net| net.addr.is_unspecified());
        if address_is_ours && self.exclusive {
            return true;
        }
        let reaches_us = address_is_ours || ip.is_loopback() || wildcard;
        reaches_us && self.udp.contains(&port)
    }

    /// The last address of one of the port's own IPv4 networks.
    fn is_broadcast(&self, ip: IpAddr) -> bool {
        let IpAddr::V4(ip) = ip else { return false };
        self.own.iter().any(|net| match net.addr {
            IpAddr::V4(own) if net.prefix < 31 => {
                let hosts = u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
                u32::from(ip) == u32::from(own) | hosts
            }
            _ => false,
        })
    }

    /// Our addresses in the family of `peer`: the one that our packets carry, and the one the peer is
    /// told. `None` when the port has none in that family.
    pub fn local(&self, peer: IpAddr, port: u16) -> Option<(Endpoint, SocketAddr)> {
        let same_family = |ip: &IpAddr| ip.is_ipv4() == peer.to_canonical().is_ipv4();
        let own = self.own.iter().map(|net| net.addr).find(same_family)?;
        let told = self.advertise.iter().copied().find(same_family).unwrap_or(own);
        Some((Endpoint::new(own, port), SocketAddr::new(told, port)))
    }

    /// Where a peer with ICE can reach us: every address that it may be told.
    pub fn candidates(&self, port: u16) -> Vec<SocketAddr> {
        let own = || self.own.iter().map(|net| net.addr).collect();
        let told = if self.advertise.is_empty() { own() } else { self.advertise.clone() };
        let told = told.into_iter().filter(|ip| !ip.is_unspecified());
        told.map(|ip| SocketAddr::new(ip, port)).collect()
    }
}

/// Never a peer's address.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => is_special_v6(v6),
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    let [a, ..] = ip.octets();
    // 0/8 this network, 224/4 multicast, 240/4 reserved with the broadcast address in it.
    a == 0 || a >= 224 || ip.is_link_local()
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    if ip.is_loopback() {
        return false;
    }
    let low = segments[..6].iter().all(|segment| *segment == 0);
    let link_or_site_local = segments[0] & 0xff80 == 0xfe80;
    let discard = segments[..4] == [0x100, 0, 0, 0];
    let nat64 = segments[..2] == [0x64, 0xff9b];
    let teredo = segments[..2] == [0x2001, 0];
    let six_to_four = segments[0] == 0x2002;
    // ::/96 holds the unspecified address and the retired IPv4-compatible form.
    low || ip.is_multicast() || link_or_site_local || discard || nat64 || teredo || six_to_four
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
