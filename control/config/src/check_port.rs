//! The rules of `[port]`.

use std::net::IpAddr;

use toml::Spanned;

use crate::check::Checker;
use crate::model::{Device, Port, PortType};
use crate::net::Cidr;
use crate::raw::RawPort;

/// Addresses of a port, and addresses told to peers.
const ADDRESSES_MAX: usize = 8;
/// Largest IP packet that fits a packet buffer behind its link header.
const MTU_MAX: u64 = 2000;
/// Smallest packet every IPv6 link must carry (RFC 8200, section 5).
const MTU_MIN_V6: u64 = 1280;

const TYPES: &str = "udp, uring, dpdk, sim";

pub(crate) fn port(c: &mut Checker<'_>, raw: &RawPort, shards: usize) -> Port {
    let kind = kind(c, raw);
    let is_dpdk = matches!(kind, PortType::Dpdk { .. });
    let addresses = addresses(c, raw, is_dpdk);
    let gateways = gateways(c, raw, &addresses);
    let advertise = advertise(c, raw);
    let udp_base = udp_base(c, raw, shards);
    let vlan = c.number(&raw.vlan, "port.vlan", 0..=4094, 0) as u16;
    let v6 = addresses.iter().any(|cidr| cidr.addr.is_ipv6());
    let mtu_min = if v6 { MTU_MIN_V6 } else { 576 };
    let mtu = c.number(&raw.mtu, "port.mtu", mtu_min..=MTU_MAX, 1500) as u16;
    let memory_mb = c.number(&raw.memory_mb, "port.memory_mb", 64..=65_536, 256) as u32;
    let buffers = c.number(&raw.mempool_buffers, "port.mempool_buffers", 1024..=1_048_576, 16_384);
    if !is_dpdk {
        unused(c, raw, kind.name(), vlan != 0);
    }
    let vlan = Some(vlan).filter(|tag| *tag != 0);
    let mempool_buffers = buffers as u32;
    Port { kind, addresses, gateways, advertise, udp_base, vlan, mtu, memory_mb, mempool_buffers }
}

fn kind(c: &mut Checker<'_>, raw: &RawPort) -> PortType {
    let Some(value) = &raw.r#type else {
        if let Some(device) = &raw.device {
            c.refuse(
                Some(device.span()),
                "port.device",
                "only a dpdk port has a device",
                "type = \"dpdk\"",
            );
        }
        return PortType::Udp;
    };
    let kind = match value.get_ref().as_str() {
        "udp" => PortType::Udp,
        "uring" => PortType::Uring,
        "sim" => PortType::Sim,
        "dpdk" => return dpdk(c, raw, value),
        other => {
            c.refuse(Some(value.span()), "port.type", format!("unknown value {other:?}"), TYPES);
            return PortType::Udp;
        }
    };
    if let Some(device) = &raw.device {
        let what = format!("a {} port has no device", kind.name());
        c.refuse(Some(device.span()), "port.device", what, "no device, or type = \"dpdk\"");
    }
    kind
}

fn dpdk(c: &mut Checker<'_>, raw: &RawPort, r#type: &Spanned<String>) -> PortType {
    let allowed = "a PCI address such as \"0000:3b:00.0\", or a virtual device such as \
                   \"net_af_xdp0,iface=media0\"";
    let mut eal_args = vec![];
    for arg in raw.eal_args.iter().flatten() {
        if arg.get_ref().is_empty() || arg.get_ref().contains('\0') {
            c.refuse(Some(arg.span()), "port.eal_args", "an empty argument", "arguments of EAL");
        }
        eal_args.push(arg.get_ref().clone());
    }
    let device = match &raw.device {
        Some(value) => {
            let parsed = device(value.get_ref());
            match &parsed {
                None => {
                    let what = format!("{:?} is no device", value.get_ref());
                    c.refuse(Some(value.span()), "port.device", what, allowed);
                }
                Some(device) if device.driver() == "net_memif" => c.warn(
                    Some(value.span()),
                    "port.device",
                    "net_memif is for benches only: when its peer goes away, the survivor can crash",
                ),
                Some(_) => {}
            }
            if !eal_args.is_empty() {
                c.warn(Some(value.span()), "port.device", "port.eal_args replaces it");
            }
            parsed
        }
        None if eal_args.is_empty() => {
            c.refuse(Some(r#type.span()), "port.device", "is missing", allowed);
            None
        }
        None => None,
    };
    PortType::Dpdk { device, eal_args }
}

/// A PCI address, with or without its domain, or `net_DRIVER[N][,key=value...]`.
fn device(text: &str) -> Option<Device> {
    if let Some(pci) = pci(text) {
        return Some(Device::Pci(pci));
    }
    let name = text.split(',').next()?.strip_prefix("net_")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let argument = |arg: &str| arg.split_once('=').is_some_and(|(key, _)| !key.is_empty());
    let well_formed = !name.is_empty()
        && name.bytes().all(plain)
        && text.split(',').skip(1).all(argument)
        && text.bytes().all(|b| b.is_ascii_graphic());
    well_formed.then(|| Device::Vdev(text.to_owned()))
}

fn pci(text: &str) -> Option<String> {
    let full =
        if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.to_owned() };
    let (rest, function) = full.split_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let [domain, bus, slot] = parts[..] else { return None };
    let ok = hex(domain, 4) && hex(bus, 2) && hex(slot, 2) && function.len() == 1;
    (ok && function.bytes().all(|b| (b'0'..=b'7').contains(&b))).then(|| full.to_lowercase())
}

fn addresses(c: &mut Checker<'_>, raw: &RawPort, is_dpdk: bool) -> Vec<Cidr> {
    let key = "port.addresses";
    let Some(list) = &raw.addresses else {
        if is_dpdk {
            let span = raw.r#type.as_ref().map(Spanned::span);
            c.refuse(span, key, "is missing", "our addresses, such as [\"198.18.1.2/24\"]");
        }
        return vec![Cidr { addr: IpAddr::from([127, 0, 0, 1]), prefix: 8 }];
    };
    if list.get_ref().is_empty() || list.get_ref().len() > ADDRESSES_MAX {
        let what = format!("{} addresses", list.get_ref().len());
        c.refuse(Some(list.span()), key, what, &format!("1 to {ADDRESSES_MAX}"));
    }
    let mut addresses: Vec<Cidr> = vec![];
    for value in list.get_ref() {
        let text = value.get_ref();
        let problem = match text.parse::<Cidr>() {
            Err(why) => Some(why),
            Ok(cidr) if unusable(cidr.addr) => Some("no address of a host"),
            Ok(cidr) if is_network_or_broadcast(cidr) => Some("a network's or a broadcast address"),
            Ok(cidr) if addresses.iter().any(|a| a.addr == cidr.addr) => Some("there already"),
            Ok(_) if is_dpdk && !text.contains('/') => Some("without a prefix"),
            Ok(cidr) => {
                addresses.push(cidr);
                None
            }
        };
        if let Some(why) = problem {
            let allowed = "\"address/prefix\" of a host, each once";
            c.refuse(Some(value.span()), key, format!("{text:?} is {why}"), allowed);
        }
    }
    addresses
}

/// Never an address of ours or of a next hop.
fn unusable(ip: IpAddr) -> bool {
    ip.is_unspecified()
        || ip.is_multicast()
        || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
        || matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn is_network_or_broadcast(cidr: Cidr) -> bool {
    let IpAddr::V4(v4) = cidr.addr else { return false };
    if cidr.prefix >= 31 || v4.is_loopback() {
        return false;
    }
    let host_bits = u32::MAX.checked_shr(u32::from(cidr.prefix)).unwrap_or(0);
    let host = u32::from(v4) & host_bits;
    host == 0 || host == host_bits
}

fn gateways(c: &mut Checker<'_>, raw: &RawPort, addresses: &[Cidr]) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = vec![];
    for value in raw.gateway.iter().flatten() {
        let text = value.get_ref();
        let problem = match text.parse::<IpAddr>() {
            Err(_) => Some("not an IP address"),
            Ok(ip) if unusable(ip) => Some("no address of a router"),
            Ok(ip) if addresses.iter().any(|cidr| cidr.addr == ip) => Some("our own address"),
            Ok(ip) if gateways.iter().any(|g| g.is_ipv4() == ip.is_ipv4()) => {
                Some("the second of its family")
            }
            Ok(ip) if !on_link(ip, addresses) => Some("in no network of port.addresses"),
            Ok(ip) => {
                gateways.push(ip);
                None
            }
        };
        if let Some(why) = problem {
            let allowed = "one router per family, inside a network of port.addresses";
            c.refuse(Some(value.span()), "port.gateway", format!("{text:?} is {why}"), allowed);
        }
    }
    gateways
}

fn on_link(ip: IpAddr, addresses: &[Cidr]) -> bool {
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    link_local || addresses.iter().any(|cidr| cidr.contains(ip))
}

fn advertise(c: &mut Checker<'_>, raw: &RawPort) -> Vec<IpAddr> {
    let mut advertise = vec![];
    for value in raw.advertise.iter().flatten() {
        match value.get_ref().parse::<IpAddr>() {
            Ok(ip)
                if !unusable(ip) && advertise.len() < ADDRESSES_MAX && !advertise.contains(&ip) =>
            {
                advertise.push(ip);
            }
            _ => {
                let what = format!("{:?} cannot be advertised", value.get_ref());
                let allowed = format!("up to {ADDRESSES_MAX} addresses of a host, each once");
                c.refuse(Some(value.span()), "port.advertise", what, &allowed);
            }
        }
    }
    advertise
}

fn udp_base(c: &mut Checker<'_>, raw: &RawPort, shards: usize) -> u16 {
    let last = 65_536 - shards as u64;
    c.number(&raw.udp_base, "port.udp_base", 1..=last, 8000) as u16
}

/// Keys that only a DPDK port obeys: kernel sockets leave routes, tags and memory to the kernel.
fn unused(c: &mut Checker<'_>, raw: &RawPort, kind: &str, vlan: bool) {
    let spans = [
        ("port.eal_args", raw.eal_args.as_ref().and_then(|args| args.first()).map(Spanned::span)),
        ("port.gateway", raw.gateway.as_ref().and_then(|list| list.first()).map(Spanned::span)),
        ("port.vlan", raw.vlan.as_ref().filter(|_| vlan).map(Spanned::span)),
    ];
    for (key, span) in spans {
        if span.is_some() && kind != "sim" {
            c.warn(span, key, format!("has no effect on a {kind} port: the kernel decides it"));
        }
    }
}
