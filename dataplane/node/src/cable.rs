//! Whether the port's link carries anything, and what its device counts: watched where the kernel or the
//! device's driver knows, told to consoles.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use config::{Config, PortType};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use port::dpdk::{DevStats, Dpdk};
use proto::port::{LINK_DOWN, LINK_UNKNOWN, LINK_UP, PortState, XSTATS_MAX, Xstat, Xstats};

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

/// The watching thread; it ends with this value, before the device does.
#[derive(Debug)]
pub struct Cable {
    /// Nothing is ever sent: that it is gone says enough.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Watches on a thread of its own. Of ports in memory nothing is told.
pub fn watch(
    config: &Config,
    about: &About,
    regions: &Arc<Regions>,
    device: Option<Arc<Dpdk>>,
) -> Cable {
    let addresses = config.port.addresses.iter().map(|cidr| cidr.addr).collect();
    let place = match &config.port.kind {
        PortType::Udp | PortType::Uring => Some(Place::Holding(addresses)),
        PortType::Dpdk { device, .. } => {
            let interface = device.as_ref().and_then(|device| device.argument("iface"));
            interface.map(|name| Place::Named(name.to_owned()))
        }
        PortType::Sim => None,
    };
    let (about, regions) = (about.clone(), Arc::clone(regions));
    let (stop, stopped) = channel();
    let watch = move || watch_on(place.as_ref(), device.as_deref(), &about, &regions, &stopped);
    let thread = std::thread::Builder::new().name("cable".to_owned()).spawn(watch);
    if let Err(error) = &thread {
        tracing::warn!(%error, "nobody watches the port's link");
    }
    Cable { stop: Some(stop), thread: thread.ok() }
}

fn watch_on(
    place: Option<&Place>,
    device: Option<&Dpdk>,
    about: &About,
    regions: &Regions,
    stopped: &Receiver<()>,
) {
    let Ok((mut cell, mut counters)) = regions.device() else { return };
    let mut state = PortState { link_since_ns: shm::clock::monotonic_ns(), ..PortState::default() };
    // What holds an address is remembered: a link that goes down may lose its addresses.
    let mut known = Vec::new();
    loop {
        let kernel = place.and_then(|place| carries(place, &interfaces(), &mut known));
        let link = device.and_then(|device| device.link().ok());
        if let Some(is_up) = both(kernel, link.map(|link| link.up)) {
            tell(&mut state, is_up, about, regions);
        }
        state.link_mbps = link.and_then(|link| link.mbps).unwrap_or_default().into();
        if let Some(stats) = device.and_then(|device| device.stats().ok()) {
            totals(&mut state, &stats);
        }
        cell.write(&state);
        if let Some(xstats) = device.and_then(|device| device.xstats().ok()) {
            counters.write(&table(&xstats));
        }
        if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Down if either says so: the driver of a virtual device may know less than the kernel, and a device that
/// was taken from the kernel is known to its driver alone.
fn both(kernel: Option<bool>, device: Option<bool>) -> Option<bool> {
    match (kernel, device) {
        (Some(kernel), Some(device)) => Some(kernel && device),
        (kernel, device) => kernel.or(device),
    }
}

/// Writes a change of the link down.
fn tell(state: &mut PortState, is_up: bool, about: &About, regions: &Regions) {
    let link = if is_up { LINK_UP } else { LINK_DOWN };
    if link == state.link {
        return;
    }
    match is_up {
        false => tracing::warn!("the port's link is down"),
        true => tracing::info!("the port's link is up"),
    }
    if state.link != LINK_UNKNOWN {
        state.link_changes += 1;
        state.link_since_ns = shm::clock::monotonic_ns();
    }
    state.link = link;
    if let Ok(mut cell) = regions.port_text() {
        cell.write(&about.with_link(is_up).port_text());
    }
}

fn totals(state: &mut PortState, stats: &DevStats) {
    state.has_totals = 1;
    (state.rx_packets, state.rx_bytes) = (stats.rx_packets, stats.rx_bytes);
    (state.tx_packets, state.tx_bytes) = (stats.tx_packets, stats.tx_bytes);
    (state.rx_missed, state.rx_errors) = (stats.rx_missed, stats.rx_errors);
    (state.tx_errors, state.rx_no_mbuf) = (stats.tx_errors, stats.rx_no_mbuf);
}

fn table(xstats: &[(String, u64)]) -> Box<Xstats> {
    let mut table = Box::new([Xstat::NONE; XSTATS_MAX]);
    table.iter_mut().zip(xstats).for_each(|(to, (name, value))| *to = Xstat::new(name, *value));
    table
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
    fn a_link_is_down_when_the_kernel_or_the_driver_says_so() {
        assert_eq!(both(Some(true), Some(true)), Some(true));
        assert_eq!(both(Some(false), Some(true)), Some(false), "net_af_xdp always says up");
        assert_eq!(both(Some(true), Some(false)), Some(false));
        assert_eq!(both(None, Some(false)), Some(false), "a NIC that the kernel does not see");
        assert_eq!(both(None, None), None);
    }

    #[test]
    fn this_hosts_loopback_carries() {
        let loopback = interfaces().into_iter().find(|(name, address, _)| {
            name == "lo" && address.is_some_and(|address| address.is_loopback())
        });
        assert!(loopback.is_some_and(|(_, _, is_up)| is_up));
    }
}
