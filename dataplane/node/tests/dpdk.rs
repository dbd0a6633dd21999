//! The program on DPDK's virtual devices, in namespaces that the test makes and removes: media, the user it
//! becomes, telemetry, and what it leaves behind. Needs root and `ip`; says so and passes without.

mod support;

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use proto::{Endpoint, ShardId};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use shm::fdpass;
use support::control::{Control, PATIENCE};
use support::process::{DataPlane, Folder};
use support::room::Room;

/// Two namespaces and a cable between them.
struct Lab {
    id: String,
    node: String,
    peers: String,
}

fn ip(args: &str) -> bool {
    let done = Command::new("ip").args(args.split(' ')).stderr(Stdio::null()).status();
    done.is_ok_and(|status| status.success())
}

impl Lab {
    /// `None` without the right to make one.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (node, peers) = (format!("rl-node-{id}"), format!("rl-peer-{id}"));
        let lab = Lab { id, node, peers };
        let made = port::dpdk::AVAILABLE
            && node::privileges::is_root()
            && ip(&format!("netns add {}", lab.node))
            && ip(&format!("netns add {}", lab.peers));
        if !made {
            eprintln!("skipped: this test needs root, `ip` and a build with DPDK");
            return None;
        }
        let (node, peers) = (&lab.node, &lab.peers);
        for step in [
            format!("-n {node} link add media0 type veth peer name eth0 netns {peers}"),
            format!("-n {node} link set media0 up"),
            format!("-n {node} link set lo up"),
            format!("-n {peers} addr add 198.18.1.1/24 dev eth0"),
            format!("-n {peers} link set eth0 up"),
        ] {
            assert!(ip(&step), "ip {step}");
        }
        Some(lab)
    }

    /// A socket of the peers' namespace.
    fn socket(&self) -> UdpSocket {
        let path = format!("/run/netns/{}", self.peers);
        let bind = move || {
            let namespace = std::fs::File::open(path).expect("the namespace");
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).expect("entered");
            UdpSocket::bind("198.18.1.1:0").expect("bound")
        };
        // A thread of its own: it stays in the namespace, and the socket too.
        std::thread::spawn(bind).join().expect("the thread")
    }

    fn start(&self, config: &std::path::Path) -> DataPlane {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.node]).arg(env!("CARGO_BIN_EXE_roomlane-dataplane"));
        DataPlane::start_as(command, config, Stdio::piped())
    }

    fn links(&self) -> String {
        let show = Command::new("ip").args(["-n", &self.node, "link", "show"]).output();
        String::from_utf8_lossy(&show.expect("ip").stdout).into_owned()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.node));
        ip(&format!("netns del {}", self.peers));
    }
}

fn config(lab: &Lab, folder: &Folder, device: &str, rest: &str) -> std::path::PathBuf {
    folder.config(&format!(
        "name = \"{}\"\n[port]\ntype = \"dpdk\"\ndevice = \"{device}\"\n\
         addresses = [\"198.18.1.2/24\"]\nudp_base = 8000\nmtu = 1500\nmempool_buffers = 8191\n\
         [limits]\nsessions_max = 64\nrooms_max = 16\n{rest}",
        lab.id
    ))
}

/// The first packets wait for the peers' link address; a room is warm when one came through.
fn warm_up(room: &mut Room) {
    for _ in 0..50 {
        room.send(&[0; 40]);
        if room.hear().is_some() {
            while room.hear().is_some() {}
            return;
        }
    }
    panic!("nothing came through");
}

/// One question to DPDK's telemetry socket.
fn telemetry(lab: &Lab, command: &str) -> serde_json::Value {
    let path = format!("/run/dpdk/roomlane-{}/dpdk_telemetry.v2", lab.id);
    let socket = fdpass::connect(path.as_ref()).expect("the telemetry socket");
    let mut bytes = vec![0; 64 << 10];
    fdpass::recv(&socket, &mut bytes).expect("its greeting");
    fdpass::send(&socket, command.as_bytes(), &[]).expect("asked");
    let len = fdpass::recv(&socket, &mut bytes).expect("answered").len_bytes;
    let answer: serde_json::Value = serde_json::from_slice(&bytes[..len]).expect("JSON");
    let name = command.split(',').next().expect("a name");
    answer[name].clone()
}

fn carries_media(device: &str, user: &str) {
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let rest = if user.is_empty() { String::new() } else { format!("[workers]\n{user}\n") };
    let node = lab.start(&config(&lab, &folder, device, &rest));
    let driver = device.split(['0', ',']).next().expect("a name");
    assert_eq!(node.ready["driver"], driver);
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    let mut room = Room::new(Endpoint::v4([198, 18, 1, 2], 8000), lab.socket(), lab.socket());
    room.open(&mut control);
    warm_up(&mut room);
    room.play(100);
    if !user.is_empty() {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", node.pid())).expect("tasks");
        let status = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.expect("task").path().join("status")).expect("status")
        };
        for status in tasks.map(status) {
            assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
            assert!(!status.contains("Uid:\t0"), "{status}");
        }
    }
    let workers = telemetry(&lab, "/roomlane/workers");
    assert_eq!(workers["worker_0/sessions"], 2, "{workers}");
    assert!(workers["worker_0/tx_packets"].as_u64() >= Some(1), "{workers}");
    assert!(telemetry(&lab, "/roomlane/drops,0").get("replay").is_some());
    assert!(telemetry(&lab, "/roomlane/rooms").get("shard_0/room_1").is_some());
    node.signal(rustix::process::Signal::TERM);
    let errors = node.errors();
    assert!(errors.contains("stopped"), "{errors}");
    if device.starts_with("net_af_xdp") && !user.is_empty() {
        // The price of having no rights at the end; whoever started the node has them.
        assert!(errors.contains("ip link set dev media0 xdp off"), "{errors}");
    } else {
        assert!(!lab.links().contains("xdp"), "nothing stays attached: {}", lab.links());
    }
}

#[test]
fn an_xdp_port_carries_media_and_is_detached() {
    carries_media("net_af_xdp0,iface=media0", "");
}

#[test]
fn an_xdp_port_carries_media_without_any_capability() {
    carries_media("net_af_xdp0,iface=media0", "user = \"nobody\"");
}

#[test]
fn a_packet_socket_port_carries_media_without_any_capability() {
    carries_media("net_af_packet0,iface=media0", "user = \"nobody\"");
}

#[test]
fn one_worker_does_the_io_for_the_shard_of_another() {
    let cores = shm::affinity::cores().expect("cores");
    if cores.len() < 2 {
        eprintln!("skipped: this test needs two cores");
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let folder = Folder::new();
    let rest = format!("[workers]\ncores = [{}, {}]\n", cores[0], cores[1]);
    let node = lab.start(&config(&lab, &folder, "net_af_xdp0,iface=media0", &rest));
    let mut control = Control::connect(&folder.run_dir(), None).expect("greeted");
    assert_eq!(control.welcome.shards, 2);
    let mut room = Room::new(Endpoint::v4([198, 18, 1, 2], 8001), lab.socket(), lab.socket());
    room.open_on(ShardId(1), &mut control);
    warm_up(&mut room);
    room.play(100);
    // The owner wakes the other one; counters come ten times a second.
    let end = std::time::Instant::now() + PATIENCE;
    let workers = loop {
        let workers = telemetry(&lab, "/roomlane/workers,1");
        let counted = workers["worker_1/forwarded"].as_u64().is_some_and(|count| count >= 100);
        if counted || std::time::Instant::now() > end {
            break workers;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert_eq!(workers["worker_1/io_worker"], 0, "{workers}");
    assert!(workers["worker_1/forwarded"].as_u64() >= Some(100), "{workers}");
    assert_eq!(telemetry(&lab, "/roomlane/workers,0")["worker_0/rx_packets"], 0);
    assert!(node.stop().success());
}
