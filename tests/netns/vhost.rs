//! Two processes, one cable of shared memory: the node serves net_vhost, and this test's other process
//! brings its peers on net_virtio_user, with the node's own Ethernet and IP below UDP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use roomlane_core::{Buf, Burst, Datagram, Instant, Pool, TxBurst};
use roomlane_tests::netns::{Lab, NODE_IP, PEER_IP, skip};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Api, Options, Scene, Wire};

use port::dpdk::{Dpdk, DpdkConfig, DpdkDevice, Memory};
use port::netif::Netif;
use port::{Port, PortConfig};

use crate::{SOON, demo};

/// The folder of the node, for the second process.
const NODE_DIR: &str = "ROOMLANE_TEST_NODE_DIR";
/// The VLAN of its frames, 0 for none.
const VLAN: &str = "ROOMLANE_TEST_VLAN";
/// Ports of the peers: 5000 and the next.
const PORTS: u16 = 4;
const PACKETS: u64 = 200;

/// Peers' datagrams on a DPDK device of this process.
struct Cable {
    port: Netif<DpdkDevice>,
    opened: u16,
    received: Vec<(SocketAddr, Vec<u8>)>,
    start: std::time::Instant,
}

impl Cable {
    fn now(&self) -> Instant {
        Instant(self.start.elapsed().as_nanos() as u64)
    }
}

impl Wire for Cable {
    fn open(&mut self) -> SocketAddr {
        let port = 5000 + self.opened;
        self.opened += 1;
        assert!(self.opened <= PORTS);
        SocketAddr::new(PEER_IP.parse().expect("an address"), port)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = self.now();
        let mut buf = self.port.alloc().expect("the pool has buffers");
        buf.append(bytes.len()).expect("fits").copy_from_slice(bytes);
        let path = proto::Path { local: from.into(), remote: to.into() };
        let mut tx = TxBurst::new();
        tx.push(Datagram { path, dscp: 0, buf });
        self.port.tx_burst(now, &mut tx);
        for datagram in tx {
            self.port.free(datagram.buf);
        }
    }

    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (now, mut rx) = (self.now(), Burst::new());
        self.port.rx_burst(now, &mut rx);
        for datagram in rx {
            let at = datagram.path.local.socket_addr();
            self.received.insert(0, (at, datagram.buf.bytes().to_vec()));
            self.port.free(datagram.buf);
        }
        self.received.pop()
    }
}

fn devices(socket: &Path) -> (String, String) {
    let socket = socket.display();
    let vhost = format!("net_vhost0,iface={socket},queues=1");
    (
        vhost,
        format!("net_virtio_user0,path={socket},queues=1,queue_size=1024,mac=02:00:00:00:00:11"),
    )
}

/// The second process.
fn peers(dir: &Path) {
    let (_, device) = devices(&dir.join("v.sock"));
    let config = DpdkConfig {
        memory: Memory::NoHuge,
        mbufs: 4095,
        telemetry: false,
        ..DpdkConfig::new(device)
    };
    let (_dpdk, mut queues) = Dpdk::open(&config).unwrap_or_else(|error| panic!("{error}"));
    let queue = queues.pop().expect("one queue");
    let _lcore = queue.register_thread().expect("an lcore");
    let config = PortConfig {
        addresses: vec![format!("{PEER_IP}/24").parse().expect("a prefix")],
        gateways: vec![],
        advertise: vec![],
        udp_base: 5000,
        shards: PORTS,
        vlan: std::env::var(VLAN).expect("told").parse().expect("a number"),
        mtu: 1500,
    };
    let port = Netif::new(queue, &config, [7; 16]).expect("a port");
    let start = std::time::Instant::now();
    let cable = Cable { port, opened: 0, received: vec![], start };
    let secret = std::fs::read_to_string(dir.join("secret")).expect("the secret");
    let api = Api::new(&dir.join("http.sock"), roomlane_tests::node::APP, &secret);
    let mut scene = Scene::new(cable, api, Options { payload_len: 1100, ..Options::default() });
    demo(&mut scene);
    let done = scene.flow(SOON, |scene| scene.got(0) >= PACKETS);
    assert!(done, "the viewer got {}", scene.got(0));
    scene.check();
    assert_eq!(scene.cameras[0].remote.ip().to_string(), NODE_IP);
    println!("CARRIED {}", scene.got(0));
}

#[test]
fn net_vhost_and_net_virtio_user_carry_media_between_two_processes() {
    two_processes("net_vhost_and_net_virtio_user_carry_media_between_two_processes", 0);
}

#[test]
fn media_flows_in_tagged_frames() {
    two_processes("media_flows_in_tagged_frames", 5);
}

fn two_processes(test: &str, vlan: u16) {
    if let Some(dir) = std::env::var_os(NODE_DIR) {
        return peers(&PathBuf::from(dir));
    }
    if port::dpdk::version().is_none() {
        return skip("built without DPDK");
    }
    // The namespaces only keep this node's processes apart from others.
    let Some(lab) = Lab::new() else { return };
    let socket = std::env::temp_dir().join(format!("rl-v{}-{vlan}", std::process::id()));
    std::fs::create_dir_all(&socket).expect("a folder");
    let (device, _) = devices(&socket.join("v.sock"));
    let mut config = NodeConfig::port(&device);
    config.port += &format!("vlan = {vlan}\n");
    let Some(node) = Node::start(&lab.node, &config) else { return };
    let node = node.unwrap_or_else(|why| panic!("the node did not start: {why}"));
    for file in ["secret", "http.sock"] {
        std::os::unix::fs::symlink(node.dir.join(file), socket.join(file)).expect("a link");
    }
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command
        .args(["--exact", &format!("vhost::{test}"), "--nocapture", "--test-threads=1"])
        .env(NODE_DIR, &socket)
        .env(VLAN, vlan.to_string());
    let out = command.stdin(Stdio::null()).output().expect("it starts");
    let words =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let _ = std::fs::remove_dir_all(&socket);
    assert!(out.status.success(), "{words}\n{}\n{}", node.all_drops(), node.log());
    assert!(words.contains("CARRIED "), "{words}");
}
