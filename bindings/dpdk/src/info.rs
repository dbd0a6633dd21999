//! What a device is and can do.

use std::ffi::{CStr, c_char};

use dpdk_sys::{self as sys, RL_NAME_MAX, RlEthInfo};

/// The state of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Whether it carries packets.
    pub up: bool,
    /// Its speed in Mbit/s; virtual devices make one up, some have none.
    pub mbps: Option<u32>,
}

/// What a device is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevInfo {
    /// Its name, such as `net_tap0` or a PCI address.
    pub name: String,
    /// Its driver, such as `net_tap`.
    pub driver: String,
    /// Its link address.
    pub mac: [u8; 6],
    /// Its MTU, in bytes.
    pub mtu: u16,
    /// The least MTU, in bytes.
    pub mtu_min: u16,
    /// The largest MTU, in bytes.
    pub mtu_max: u16,
    /// Queue pairs at most.
    pub queues_max: u16,
    /// NUMA node, when known.
    pub numa_node: Option<u32>,
    /// Its link, as last seen.
    pub link: Link,
    /// It can check IPv4 and UDP checksums.
    pub can_check_rx_checksum: bool,
    /// It can write IPv4 and UDP checksums.
    pub can_write_tx_checksum: bool,
    /// It can spread packets over its queues by address and port.
    pub can_spread: bool,
}

impl DevInfo {
    pub(crate) fn from_raw(raw: &RlEthInfo) -> DevInfo {
        const RX: u64 = sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | sys::RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
        const TX: u64 = sys::RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | sys::RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
        let mbps = Some(raw.link_mbps).filter(|mbps| *mbps != 0 && *mbps != u32::MAX);
        DevInfo {
            name: text(&raw.name),
            driver: text(&raw.driver),
            mac: raw.mac,
            mtu: raw.mtu,
            mtu_min: raw.mtu_min,
            mtu_max: raw.mtu_max,
            queues_max: raw.rx_queues_max.min(raw.tx_queues_max),
            numa_node: u32::try_from(raw.socket).ok(),
            link: Link { up: raw.link_up != 0, mbps },
            can_check_rx_checksum: raw.rx_offloads & RX == RX,
            can_write_tx_checksum: raw.tx_offloads & TX == TX,
            can_spread: raw.rss_types != 0,
        }
    }
}

/// Copies a name out of a fixed array.
pub(crate) fn text(name: &[c_char; RL_NAME_MAX]) -> String {
    // SAFETY: c_char and u8 have one size; the array is initialised.
    let bytes = unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), RL_NAME_MAX) };
    let name = CStr::from_bytes_until_nul(bytes).unwrap_or_default();
    name.to_string_lossy().into_owned()
}
