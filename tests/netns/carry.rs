//! Every kind of port carries media from a publisher to a viewer, sealed anew for the viewer.

use rustix::net::{AddressFamily, SocketType};

use roomlane_tests::netns::{Lab, PEER_IP, PEER_IP6, run, skip};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets};
use srtp::Profile;

use crate::{carries, demo, scene, up};

/// AF_XDP (linux/socket.h).
const AF_XDP: u16 = 44;

/// Whether the host has sockets of this family; if not, its own error is said.
fn has_family(family: AddressFamily, name: &str) -> bool {
    match rustix::net::socket(family, SocketType::RAW, None) {
        Ok(_) => true,
        Err(error) => {
            skip(&format!("{name}: {error}"));
            false
        }
    }
}

fn carry_on_veth(device: &str) -> Option<()> {
    let (lab, node) = up(&NodeConfig::port(device))?;
    let offloads = lab.peers.exec(&["ethtool", "-k", "peer0"]).expect("ethtool is installed");
    assert!(
        offloads.contains("tx-checksumming: on"),
        "peers must send partial checksums: {offloads}"
    );
    let driver = device.split(['0', ',']).next().unwrap_or_default();
    let about = &node.show("port")["about"];
    assert_eq!(about["driver"], driver, "{about}");
    for profile in Profile::ALL {
        let sockets = Sockets::new(&lab.peers, PEER_IP);
        let options = Options { profile, payload_len: 1100 };
        let mut scene = Scene::new(sockets, node.api(), options);
        demo(&mut scene);
        carries(&mut scene, 50, &node);
        for location in scene
            .cameras
            .iter()
            .map(|c| &c.location)
            .chain(scene.viewers.iter().map(|v| &v.location))
        {
            assert_eq!(node.api().request("DELETE", location, "Bearer x", "").status, 200);
        }
    }
    node.until("every session is closed", |node| {
        let shown = node.show("session");
        let sessions = shown["sessions"].as_array().expect("a list");
        sessions.iter().all(|session| session["state"] == "closed")
    });
    Some(())
}

#[test]
fn net_af_xdp_carries_media_in_every_suite() {
    if has_family(AddressFamily::from_raw(AF_XDP), "net_af_xdp") {
        carry_on_veth("net_af_xdp0,iface=media0");
    }
}

#[test]
fn net_af_packet_carries_media_in_every_suite() {
    if has_family(AddressFamily::PACKET, "net_af_packet") {
        carry_on_veth("net_af_packet0,iface=media0");
    }
}

#[test]
fn udp_carries_media_in_every_suite() {
    carry_on_veth("udp");
}

#[test]
fn uring_carries_media_in_every_suite() {
    if let Err(why) = uring_works() {
        return skip(&format!("uring: {why}"));
    }
    carry_on_veth("uring");
}

/// Kernels may have io_uring switched off by the administrator.
fn uring_works() -> Result<(), String> {
    match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
        Ok(text) if text.trim() == "2" => Err("kernel.io_uring_disabled = 2".to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn net_tap_carries_media() {
    if let Err(error) = std::fs::File::open("/dev/net/tun") {
        return skip(&format!("net_tap: /dev/net/tun: {error}"));
    }
    let Some(lab) = Lab::new() else { return };
    let Some(node) = Node::start(&lab.node, &NodeConfig::port("net_tap0,iface=tap0")) else {
        return;
    };
    let node = node.unwrap_or_else(|why| panic!("the node did not start: {why}"));
    // The tap is the cable: its kernel end takes the place of the veth's.
    lab.peers.ip("addr flush dev peer0");
    run(&["ip", "-n", &lab.node.name, "link", "set", "tap0", "netns", &lab.peers.name])
        .expect("moved");
    lab.peers.ip("link set tap0 up");
    lab.give("tap0");
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 100, &node);
}

#[test]
fn media_flows_over_ipv6_on_a_dpdk_port() {
    let Some((lab, node)) = up(&NodeConfig::port("net_af_packet0,iface=media0")) else { return };
    let sockets = Sockets::new(&lab.peers, PEER_IP6);
    let mut scene = Scene::new(sockets, node.api(), Options::default());
    demo(&mut scene);
    carries(&mut scene, 100, &node);
    assert!(scene.cameras[0].remote.is_ipv6() && scene.viewers[0].local.is_ipv6());
}
