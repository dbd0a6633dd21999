//! Compares every offset, size and constant that Rust repeats with what the C compiler saw in the
//! headers.
#![cfg(dpdk)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::mem::{offset_of, size_of};

use dpdk_sys::*;

fn seen_by_c() -> BTreeMap<String, u64> {
    let mut facts = BTreeMap::new();
    for index in 0.. {
        let mut value = 0;
        // SAFETY: `value` is writable; any index is allowed.
        let name = unsafe { rl_fact(index, &mut value) };
        if name.is_null() {
            break;
        }
        // SAFETY: a non-null name is a string literal of the shim.
        let name = unsafe { CStr::from_ptr(name) };
        facts.insert(name.to_str().unwrap().to_owned(), value);
    }
    facts
}

macro_rules! facts {
    ($($rust:ident = $c:literal { $($field:ident)* })* ; $($constant:ident)*) => {
        BTreeMap::from([
            $((concat!("sizeof ", $c).to_owned(), size_of::<$rust>() as u64),
              $((concat!($c, ".", stringify!($field)).to_owned(),
                 offset_of!($rust, $field) as u64),)*)*
            $((stringify!($constant).to_owned(), $constant as u64),)*
        ])
    };
}

fn seen_by_rust() -> BTreeMap<String, u64> {
    facts! {
        RteMbuf = "rte_mbuf" {
            buf_addr data_off refcnt nb_segs port ol_flags pkt_len data_len buf_len
        }
        RlEthInfo = "rl_eth_info" {
            driver name rx_offloads tx_offloads rss_types socket link_mbps rx_queues_max
            tx_queues_max rx_desc_min rx_desc_max tx_desc_min tx_desc_max mtu mtu_min mtu_max mac
            link_up
        }
        RlEthConf = "rl_eth_conf" {
            rx_offloads tx_offloads queues rx_desc tx_desc mtu promiscuous allmulticast rss
        }
        RlEthStats = "rl_eth_stats" {
            rx_packets tx_packets rx_bytes tx_bytes rx_missed rx_errors tx_errors rx_no_mbuf
        }
        RlXstat = "rl_xstat" { name value };
        RL_NAME_MAX RL_STEP_NONE RL_STEP_INFO RL_STEP_CONFIGURE RL_STEP_MTU RL_STEP_RX_QUEUE
        RL_STEP_TX_QUEUE RL_STEP_START RTE_PKTMBUF_HEADROOM
        RTE_MBUF_F_RX_IP_CKSUM_MASK RTE_MBUF_F_RX_IP_CKSUM_BAD RTE_MBUF_F_RX_IP_CKSUM_GOOD
        RTE_MBUF_F_RX_IP_CKSUM_NONE RTE_MBUF_F_RX_L4_CKSUM_MASK RTE_MBUF_F_RX_L4_CKSUM_BAD
        RTE_MBUF_F_RX_L4_CKSUM_GOOD RTE_MBUF_F_RX_L4_CKSUM_NONE RTE_ETH_RX_OFFLOAD_IPV4_CKSUM
        RTE_ETH_RX_OFFLOAD_UDP_CKSUM RTE_ETH_TX_OFFLOAD_IPV4_CKSUM RTE_ETH_TX_OFFLOAD_UDP_CKSUM
        RTE_LOG_ERR RTE_LOG_WARNING RTE_LOG_NOTICE RTE_LOG_INFO RTE_LOG_DEBUG
        RTE_TEL_MAX_SINGLE_STRING_LEN RTE_TEL_MAX_DICT_ENTRIES RTE_TEL_MAX_STRING_LEN
    }
}

#[test]
fn rust_and_c_agree_on_every_offset_size_and_constant() {
    let (c, rust) = (seen_by_c(), seen_by_rust());
    assert!(c.len() > 60);
    for (name, value) in &c {
        assert_eq!(rust.get(name), Some(value), "{name}: left is Rust, right is C");
    }
    assert_eq!(rust.len(), c.len(), "Rust lists something the shim does not");
}
