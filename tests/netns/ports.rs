//! A DPDK port whose link goes down and comes back: told by tables, metrics and dashboard, with what the
//! device counts.

use roomlane_tests::netns::skip;
use roomlane_tests::node::{Node, NodeConfig};
use serde_json::Value;

use crate::{carries, demo, scene, up};

/// What `show port` says of the device.
fn device(node: &Node) -> Value {
    node.show("port")["device"].clone()
}

/// The counters of the driver.
fn xstats(node: &Node) -> Vec<(String, u64)> {
    let out = node.roomlane(&["show", "port", "xstats", "--json"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let shown: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let row = |row: &Value| Some((row["counter"].as_str()?.to_owned(), row["value"].as_u64()?));
    shown["xstats"].as_array().expect("a list").iter().filter_map(row).collect()
}

fn link_changes_are_told(port: &str, interface: &str) {
    let Some((lab, node)) = up(&NodeConfig::port(port)) else { return };
    let metrics = || {
        let ask = ["curl", "-sS", "--fail", "-m", "5", "http://127.0.0.1:8081/metrics"];
        lab.node.exec(&ask).unwrap_or_else(|why| panic!("{why}"))
    };
    let told = |line: &str| metrics().lines().any(|found| found == line);
    node.until("the link is up", |node| device(node)["link"] == "up");
    assert_eq!(device(&node)["link_changes"], 0);
    assert!(told("roomlane_port_up 1"), "{}", metrics());
    lab.node.ip(&format!("link set {interface} down"));
    node.until("the link is down", |node| device(node)["link"] == "down");
    assert_eq!(device(&node)["link_changes"], 1);
    assert!(told("roomlane_port_up 0") && told("roomlane_port_link_changes_total 1"));
    let people = node.roomlane(&["show", "port"]);
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(people.contains("after 1 change"), "{people}");
    let frame = node.roomlane(&["top", "--once"]);
    let frame = String::from_utf8_lossy(&[frame.stdout, frame.stderr].concat()).into_owned();
    assert!(frame.contains("port down: its link carries nothing"), "{frame}");
    lab.node.ip(&format!("link set {interface} up"));
    node.until("the link is back", |node| device(node)["link"] == "up");
    assert_eq!(device(&node)["link_changes"], 2);
    assert!(told("roomlane_port_up 1"), "{}", metrics());
}

#[test]
fn a_link_that_goes_down_under_net_af_packet_is_told_everywhere() {
    link_changes_are_told("net_af_packet0,iface=media0", "media0");
}

#[test]
fn a_link_that_goes_down_under_net_tap_is_told_everywhere() {
    if let Err(error) = std::fs::File::open("/dev/net/tun") {
        return skip(&format!("net_tap: /dev/net/tun: {error}"));
    }
    link_changes_are_told("net_tap0,iface=tap0", "tap0");
}

#[test]
fn what_the_device_counts_is_shown_in_full_and_in_the_drivers_words() {
    let Some((lab, node)) = up(&NodeConfig::port("net_af_packet0,iface=media0")) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 100, &node);
    node.until("the device's totals are told", |node| {
        device(node)["ipackets"].as_u64() >= Some(100)
    });
    let device = device(&node);
    for total in ["imissed", "ierrors", "rx_nombuf", "oerrors"] {
        assert_eq!(device[total], 0, "{device}");
    }
    assert!(device["opackets"].as_u64() >= Some(100), "{device}");
    let xstats = xstats(&node);
    let value = |name: &str| {
        let found = xstats.iter().find(|(found, _)| found == name);
        found.unwrap_or_else(|| panic!("no {name}: {xstats:?}")).1
    };
    assert!(value("rx_good_packets") >= 100 && value("tx_good_packets") >= 100, "{xstats:?}");
    for zero in ["rx_missed_errors", "rx_errors", "rx_mbuf_allocation_errors", "tx_errors"] {
        assert_eq!(value(zero), 0, "{xstats:?}");
    }
    let people = node.roomlane(&["show", "port"]);
    let people = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(people.contains("imissed 0, ierrors 0, rx_nombuf 0, oerrors 0"), "{people}");
}

#[test]
fn a_port_of_kernel_sockets_has_a_link_and_no_counters_of_a_device() {
    let Some((_lab, node)) = up(&NodeConfig::port("udp")) else { return };
    node.until("the link is up", |node| device(node)["link"] == "up");
    assert!(device(&node)["imissed"].is_null(), "{}", device(&node));
    assert!(xstats(&node).is_empty());
}
