//! Below UDP: what a DPDK port answers, tags, refuses and counts, against the kernel's own network stack.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use roomlane_tests::netns::{Lab, NODE_IP, NODE_IP6, PEER_IP, run, skip};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets};

use crate::{carries, demo, scene, up};

const DEVICE: &str = "net_af_packet0,iface=media0";
/// The kernel puts fragments together again before it gives them to net_af_packet.
const XDP: &str = "net_af_xdp0,iface=media0";

#[test]
fn arp_ndp_and_ping_are_answered_and_pings_have_a_limit() {
    let Some((lab, node)) = up(&NodeConfig::port(DEVICE)) else { return };
    assert_eq!(lab.peers.ping(NODE_IP, 5), 5);
    assert_eq!(lab.peers.ping(NODE_IP6, 5), 5);
    let mac = lab.node.ip("-br link show media0");
    let mac = mac.split_whitespace().nth(2).expect("a link address").to_owned();
    let neighbours = lab.peers.ip("neigh show dev peer0");
    for ip in [NODE_IP, NODE_IP6] {
        let line = neighbours.lines().find(|line| line.starts_with(&format!("{ip} ")));
        assert!(line.is_some_and(|line| line.contains(&mac)), "{ip} is not at {mac}: {neighbours}");
    }
    node.until("two resolutions and ten pings are counted", |node| {
        node.show("port")["queues"][0]["answered"].as_u64() >= Some(12)
    });
    // A flood: one process that does not wait for answers.
    let flood = ["ping", "-n", "-q", "-f", "-c", "3000", "-w", "5", NODE_IP];
    let _ = lab.peers.exec(&flood);
    node.until("pings over the limit are counted", |node| node.drops("ping_limit") > 0);
}

#[test]
fn vlan_tags_are_required_where_configured_and_written() {
    let config = NodeConfig {
        port: format!("type = \"dpdk\"\ndevice = \"{DEVICE}\"\nvlan = 5\n"),
        ..NodeConfig::port(DEVICE)
    };
    let Some((lab, node)) = up(&config) else { return };
    assert_eq!(lab.peers.ping(NODE_IP, 3), 0, "an untagged ping is not answered");
    node.until("untagged frames are counted", |node| node.drops("wrong_vlan") > 0);
    lab.peers.ip("addr flush dev peer0");
    let add =
        "ip -n NS link add link peer0 name peer0.5 type vlan id 5".replace("NS", &lab.peers.name);
    if let Err(why) = run(&add.split(' ').collect::<Vec<_>>()) {
        // `vhost` carries tagged media without the kernel's help.
        return skip(&why);
    }
    lab.peers.ip("link set peer0.5 up");
    lab.give("peer0.5");
    assert_eq!(lab.peers.ping(NODE_IP, 3), 3);
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
}

/// A plain socket of the peers', to the node's media port.
fn stranger(lab: &Lab) -> (UdpSocket, SocketAddr) {
    let socket = lab.peers.udp(PEER_IP.parse().expect("an address"));
    (socket, SocketAddr::new(NODE_IP.parse().expect("an address"), 8000))
}

#[test]
fn fragments_are_refused_and_what_exceeds_the_mtu_is_oversize_for_its_viewer_alone() {
    let config = NodeConfig {
        port: format!("type = \"dpdk\"\ndevice = \"{XDP}\"\nmtu = 1280\n"),
        ..NodeConfig::port(DEVICE)
    };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    // 2000 bytes leave the kernel as two fragments, neither over the node's MTU.
    lab.peers.ip("link set peer0 mtu 1280");
    let (socket, to) = stranger(&lab);
    let before = node.drops("fragment");
    socket.send_to(&[0x80; 2000], to).expect("sent");
    node.until("both fragments are counted", |node| node.drops("fragment") == before + 2);
    lab.peers.ip("link set peer0 mtu 1500");
    // The node's header has a CSRC as the publisher's has; with the tag it is 20 (IP) + 8 (UDP) + 16 +
    // 1220 + 16 = 1280 bytes: the largest that passes. One byte more does not.
    let mut exact = Scene::new(
        Sockets::new(&lab.peers, PEER_IP),
        node.api(),
        Options { payload_len: 1220, ..Options::default() },
    );
    exact.publish(&roomlane_tests::sdes::Tokens::new("exact", "camera"));
    exact.view(&roomlane_tests::sdes::Tokens::new("exact", "viewer"));
    carries(&mut exact, 20, &node);
    let mut over = Scene::new(
        Sockets::new(&lab.peers, PEER_IP),
        node.api(),
        Options { payload_len: 1221, ..Options::default() },
    );
    over.publish(&roomlane_tests::sdes::Tokens::new("over", "camera"));
    over.view(&roomlane_tests::sdes::Tokens::new("over", "viewer"));
    let before = node.drops("oversize");
    for _ in 0..10 {
        over.send_one(0);
    }
    node.until("oversize packets are counted", |node| node.drops("oversize") >= before + 10);
    over.drain(Duration::from_millis(100));
    assert_eq!(over.got(0), 0);
    carries(&mut scene, 20, &node);
}

#[test]
fn what_no_peer_would_send_is_dropped_counted_and_not_answered() {
    let Some((lab, node)) = up(&NodeConfig::port("net_af_xdp0,iface=media0")) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    let (socket, to) = stranger(&lab);
    let rtp = |ssrc: u8| {
        let mut bytes = vec![0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, ssrc];
        bytes.resize(100, 0x55);
        bytes
    };
    // Unknown class, unknown session, a truncated header; and a DTLS and a STUN packet from nowhere.
    let cases: [(&str, Vec<u8>); 3] = [
        ("unknown_class", vec![0xff; 40]),
        ("no_session", rtp(0xee)),
        ("malformed", vec![0x80, 111, 0]),
    ];
    for (reason, bytes) in &cases {
        let before = node.drops(reason);
        for _ in 0..5 {
            socket.send_to(bytes, to).expect("sent");
        }
        node.until(reason, |node| node.drops(reason) >= before + 5);
    }
    let closed = SocketAddr::new(to.ip(), 8001);
    let before = node.drops("no_port");
    socket.send_to(&rtp(1), closed).expect("sent");
    node.until("no_port", |node| node.drops("no_port") > before);
    // A forger on the publisher's own address and SSRC: counted, and the stream goes on.
    let (local, remote) = (scene.cameras[0].local, scene.cameras[0].remote);
    let mut forged = scene.cameras[0].end.packet_at(5000, 100, None);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let replayed = scene.cameras[0].end.packet_at(1005, 100, None);
    for (reason, bytes) in [("auth_failed", forged), ("replay", replayed)] {
        let before = node.drops(reason);
        use roomlane_tests::sdes::Wire;
        scene.wire().send(local, remote, &bytes);
        node.until(reason, |node| node.drops(reason) > before);
    }
    assert_eq!(
        socket.recv(&mut [0; 64]).map_err(|e| e.kind()),
        Err(std::io::ErrorKind::WouldBlock),
        "nothing is answered"
    );
    carries(&mut scene, 20, &node);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let Some(lab) = Lab::new() else { return };
    let config = NodeConfig::port("net_af_packet0,iface=nothere0");
    let Some(started) = Node::start(&lab.node, &config) else { return };
    let why = started.expect_err("there is no such interface");
    assert!(why.contains("net_af_packet0"), "{why}");
}
