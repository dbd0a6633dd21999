//! Whether the port's link carries anything: watched where the kernel knows, told to consoles.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use config::{Config, PortType};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::describe::About;
use crate::regions::Regions;

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Which interface the port stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The one with this name.
    Named(String),
    /// Those with these addresses.
    Holding(Vec<IpAddr>),
}

/// An interface of the kernel's: name, address, whether it is up and carries.
type Interface = (String, Option<IpAddr>, bool);

/// Watches on a thread of its own until the regions are gone. Ports that the kernel does not see (a device
/// taken from it, a port in memory) have no watcher, and nothing is told of their link.
pub fn watch(config: &Config, about: &About, regions: &Arc<Regions>) {
    let addresses = config.port.addresses.iter().map(|cidr| cidr.addr).collect();
    let place = match &config.port.kind {
        PortType::Udp | PortType::Uring => Place::Holding(addresses),
        PortType::Dpdk { device, .. } => match device.as_ref().and_then(|d| d.argument("iface")) {
            Some(name) => Place::Named(name.to_owned()),
            None => return,
        },
        PortType::Sim => return,
    };
    let (about, regions) = (about.clone(), Arc::downgrade(regions));
    let watch = move || watch_on(&place, &about, &regions);
    if let Err(error) = std::thread::Builder::new().name("cable".to_owned()).spawn(watch) {
        tracing::warn!(%error, "nobody watches the port's link");
    }
}

fn watch_on(place: &Place, about: &About, regions: &Weak<Regions>) {
    let mut told = None;
    // What holds an address is remembered: a link that goes down may lose its addresses.
    let mut known = Vec::new();
    while let Some(regions) = regions.upgrade() {
        let is_up = carries(place, &interfaces(), &mut known);
        if is_up.is_some() && is_up != told {
            told = is_up;
            match is_up {
                Some(false) => tracing::warn!("the port's link is down"),
                _ => tracing::info!("the port's link is up"),
            }
            if let Ok(mut cell) = regions.port_text() {
                cell.write(&about.with_link(is_up == Some(true)).port_text());
            }
        }
        drop(regions);
        std::thread::sleep(LOOK);
    }
}

fn interfaces() -> Vec<Interface> {
    let Ok(all) = getifaddrs() else { return vec![] };
    let carries = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    all.map(|entry| {
        let address = entry.address.and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        });
        (entry.interface_name, address, entry.flags.contains(carries))
    })
    .collect()
}

/// Whether every interface of the place carries; `None` while there is none.
fn carries(place: &Place, interfaces: &[Interface], known: &mut Vec<String>) -> Option<bool> {
    match place {
        Place::Named(name) if known.is_empty() => known.push(name.clone()),
        Place::Named(_) => {}
        Place::Holding(addresses) => {
            let holding = interfaces.iter().filter(|(_, address, _)| {
                address.is_some_and(|address| addresses.contains(&address))
            });
            for (name, ..) in holding {
                if !known.contains(name) {
                    known.push(name.clone());
                }
            }
        }
    }
    if known.is_empty() {
        return None;
    }
    let is_up = |name: &String| interfaces.iter().any(|(other, _, is_up)| other == name && *is_up);
    Some(known.iter().all(is_up))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_by_its_address_and_known_when_it_lost_that() {
        let address: IpAddr = "198.18.7.2".parse().unwrap();
        let place = Place::Holding(vec![address]);
        let interface = |name: &str, address, is_up| (name.to_owned(), address, is_up);
        let mut known = vec![];
        let other = interface("lo", Some("127.0.0.1".parse().unwrap()), true);
        assert_eq!(carries(&place, std::slice::from_ref(&other), &mut known), None);
        let up = [other.clone(), interface("media0", Some(address), true)];
        assert_eq!(carries(&place, &up, &mut known), Some(true));
        let bare = [other, interface("media0", None, false)];
        assert_eq!(carries(&place, &bare, &mut known), Some(false));
        assert_eq!(carries(&place, &[], &mut known), Some(false), "the interface is gone");
        let named = Place::Named("media0".to_owned());
        assert_eq!(carries(&named, &bare, &mut vec![]), Some(false));
    }

    #[test]
    fn this_hosts_loopback_carries() {
        let loopback = interfaces().into_iter().find(|(name, address, _)| {
            name == "lo" && address.is_some_and(|address| address.is_loopback())
        });
        assert!(loopback.is_some_and(|(_, _, is_up)| is_up));
    }
}
