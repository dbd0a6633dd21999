//! Structures and constants shared with the shim. Offsets and values are compared with the headers
//! twice: by `_Static_assert` in shim.c and by tests/layout.rs.

use core::ffi::{c_char, c_int};

/// Bytes of a name, with its final NUL.
pub const RL_NAME_MAX: usize = 64;

/// A pool of packet buffers; opaque.
#[repr(C)]
pub struct RteMempool {
    _private: [u8; 0],
}

/// The answer a telemetry callback fills; opaque.
#[repr(C)]
pub struct RteTelData {
    _private: [u8; 0],
}

/// The fields of `struct rte_mbuf` that Rust reads or writes; the rest is padding here.
#[repr(C, align(64))]
pub struct RteMbuf {
    /// Start of the buffer.
    pub buf_addr: *mut u8,
    _iova: u64,
    /// Where the data starts, in bytes from `buf_addr`.
    pub data_off: u16,
    /// References to this buffer.
    pub refcnt: u16,
    /// Segments of the packet that starts here.
    pub nb_segs: u16,
    /// Device it was received on.
    pub port: u16,
    /// `RTE_MBUF_F_*`.
    pub ol_flags: u64,
    _packet_type: u32,
    /// Bytes in all segments.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    _vlan_and_hash: [u8; 12],
    /// Bytes of the buffer, headroom included.
    pub buf_len: u16,
    _rest: [u8; 72],
}

/// What a device is and can do.
#[repr(C)]
#[derive(Clone)]
pub struct RlEthInfo {
    /// Driver's name, NUL-terminated.
    pub driver: [c_char; RL_NAME_MAX],
    /// Device's name, NUL-terminated.
    pub name: [c_char; RL_NAME_MAX],
    /// `RTE_ETH_RX_OFFLOAD_*` it can do.
    pub rx_offloads: u64,
    /// `RTE_ETH_TX_OFFLOAD_*` it can do.
    pub tx_offloads: u64,
    /// `RTE_ETH_RSS_*` it can do.
    pub rss_types: u64,
    /// NUMA node, -1 when unknown.
    pub socket: i32,
    /// Link speed in Mbit/s; 0 or all ones when unknown.
    pub link_mbps: u32,
    /// Receive queues at most.
    pub rx_queues_max: u16,
    /// Transmit queues at most.
    pub tx_queues_max: u16,
    /// Receive descriptors at least.
    pub rx_desc_min: u16,
    /// Receive descriptors at most.
    pub rx_desc_max: u16,
    /// Transmit descriptors at least.
    pub tx_desc_min: u16,
    /// Transmit descriptors at most.
    pub tx_desc_max: u16,
    /// MTU in bytes.
    pub mtu: u16,
    /// Least MTU in bytes.
    pub mtu_min: u16,
    /// Largest MTU in bytes.
    pub mtu_max: u16,
    /// Link address.
    pub mac: [u8; 6],
    /// 1 when the link is up.
    pub link_up: u8,
    /// Unused.
    pub pad: [u8; 3],
}

/// What is asked of a device.
#[repr(C)]
#[derive(Debug, Clone, Default)]
pub struct RlEthConf {
    /// Receive offloads wanted; masked by what the device can do.
    pub rx_offloads: u64,
    /// Transmit offloads wanted; masked likewise.
    pub tx_offloads: u64,
    /// Queue pairs.
    pub queues: u16,
    /// Receive descriptors per queue; adjusted to the device's limits.
    pub rx_desc: u16,
    /// Transmit descriptors per queue; adjusted likewise.
    pub tx_desc: u16,
    /// MTU in bytes, 0 leaves it.
    pub mtu: u16,
    /// 1: receive every unicast address.
    pub promiscuous: u8,
    /// 1: receive every multicast address.
    pub allmulticast: u8,
    /// 1: spread packets over the queues by addresses and ports, when the device can.
    pub rss: u8,
    /// Unused.
    pub pad: [u8; 5],
}

/// A device's totals.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RlEthStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets the device dropped because its receive queue was full.
    pub rx_missed: u64,
    /// Erroneous packets.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets lost because the pool was empty.
    pub rx_no_mbuf: u64,
}

/// One extended statistic.
#[repr(C)]
#[derive(Clone)]
pub struct RlXstat {
    /// Name, NUL-terminated.
    pub name: [c_char; RL_NAME_MAX],
    /// Value.
    pub value: u64,
}

/// Receives one line of DPDK's log: level, text (not NUL-terminated), length.
pub type RlLogCb = extern "C" fn(level: c_int, text: *const c_char, len: usize);
/// Answers one telemetry command: command, parameters (may be null), answer.
pub type RlTelemetryCb = extern "C" fn(*const c_char, *const c_char, *mut RteTelData) -> c_int;

/// `rl_eth_start` succeeded.
pub const RL_STEP_NONE: c_int = 0;
/// `rl_eth_start` failed asking the device what it is.
pub const RL_STEP_INFO: c_int = 1;
/// It failed setting the number of queues or descriptors.
pub const RL_STEP_CONFIGURE: c_int = 2;
/// It failed setting the MTU.
pub const RL_STEP_MTU: c_int = 3;
/// It failed setting up a receive queue.
pub const RL_STEP_RX_QUEUE: c_int = 4;
/// It failed setting up a transmit queue.
pub const RL_STEP_TX_QUEUE: c_int = 5;
/// It failed starting the device.
pub const RL_STEP_START: c_int = 6;

/// Bytes in front of the data of a fresh buffer.
pub const RTE_PKTMBUF_HEADROOM: u16 = 128;
/// The two bits that hold the state of the IPv4 header checksum.
pub const RTE_MBUF_F_RX_IP_CKSUM_MASK: u64 = (1 << 4) | (1 << 7);
/// The IPv4 header checksum is wrong.
pub const RTE_MBUF_F_RX_IP_CKSUM_BAD: u64 = 1 << 4;
/// The IPv4 header checksum is right.
pub const RTE_MBUF_F_RX_IP_CKSUM_GOOD: u64 = 1 << 7;
/// The field does not hold the sum, but the header is intact.
pub const RTE_MBUF_F_RX_IP_CKSUM_NONE: u64 = (1 << 4) | (1 << 7);
/// The two bits that hold the state of the UDP checksum.
pub const RTE_MBUF_F_RX_L4_CKSUM_MASK: u64 = (1 << 3) | (1 << 8);
/// The UDP checksum is wrong.
pub const RTE_MBUF_F_RX_L4_CKSUM_BAD: u64 = 1 << 3;
/// The UDP checksum is right.
pub const RTE_MBUF_F_RX_L4_CKSUM_GOOD: u64 = 1 << 8;
/// The field does not hold the sum, but the datagram is intact (a local sender's partial sum).
pub const RTE_MBUF_F_RX_L4_CKSUM_NONE: u64 = (1 << 3) | (1 << 8);
/// The device can check IPv4 header checksums.
pub const RTE_ETH_RX_OFFLOAD_IPV4_CKSUM: u64 = 1 << 1;
/// The device can check UDP checksums.
pub const RTE_ETH_RX_OFFLOAD_UDP_CKSUM: u64 = 1 << 2;
/// The device can write IPv4 header checksums.
pub const RTE_ETH_TX_OFFLOAD_IPV4_CKSUM: u64 = 1 << 1;
/// The device can write UDP checksums.
pub const RTE_ETH_TX_OFFLOAD_UDP_CKSUM: u64 = 1 << 2;

/// Log level: errors.
pub const RTE_LOG_ERR: u32 = 4;
/// Log level: warnings.
pub const RTE_LOG_WARNING: u32 = 5;
/// Log level: notices.
pub const RTE_LOG_NOTICE: u32 = 6;
/// Log level: information.
pub const RTE_LOG_INFO: u32 = 7;
/// Log level: debugging.
pub const RTE_LOG_DEBUG: u32 = 8;

/// Bytes of a telemetry answer that is one string, with its NUL.
pub const RTE_TEL_MAX_SINGLE_STRING_LEN: usize = 8192;
/// Entries of a telemetry answer that is a dictionary.
pub const RTE_TEL_MAX_DICT_ENTRIES: usize = 256;
/// Bytes of a name or value in a dictionary, with its NUL.
pub const RTE_TEL_MAX_STRING_LEN: usize = 128;
