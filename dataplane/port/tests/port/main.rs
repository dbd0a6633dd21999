//! Claims about ports, one module per part.
#![forbid(unsafe_code)]

mod fault;
mod golden;
mod netif;
mod netif_refuses;
mod pcap;
mod sim;
mod steer;
mod support;
mod udp;
