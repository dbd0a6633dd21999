//! Two workers, two cores, two shards: rooms live apart, and a device with one queue serves both.

use std::collections::BTreeSet;
use std::time::Duration;

use roomlane_tests::netns::{Lab, skip};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::Tokens;

use crate::{carries, scene, up};

/// Two cores that this process may use.
fn cores() -> Option<[usize; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("Linux");
    let mut cores = vec![];
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.parse::<usize>().expect("a number");
        cores.extend(number(first)..=number(last));
    }
    match cores[..] {
        [first, second, ..] => Some([first, second]),
        _ => {
            skip(&format!("two workers need two cores; here are {cores:?}"));
            None
        }
    }
}

fn two_workers(device: &str) -> Option<(Lab, Node)> {
    let [first, second] = cores()?;
    let workers = format!("cores = [{first}, {second}]\n");
    let (lab, node) = up(&NodeConfig { workers, ..NodeConfig::port(device) })?;
    let shown = node.show("worker");
    let pins: Vec<_> = (0..2).map(|worker| shown["workers"][worker]["core"].as_u64()).collect();
    assert_eq!(pins, [Some(first as u64), Some(second as u64)], "pins are read back: {shown}");
    Some((lab, node))
}

fn rooms_are_served(device: &str, io_worker_of_the_second: u64) {
    let Some((lab, node)) = two_workers(device) else { return };
    assert_eq!(node.show("worker")["workers"][1]["io_worker"], io_worker_of_the_second);
    let mut scene = scene(&lab, &node);
    for room in ["red", "green", "blue", "white"] {
        scene.publish(&Tokens::new(room, &format!("{room}-camera")));
        scene.view(&Tokens::new(room, &format!("{room}-viewer")));
        scene.view(&Tokens::new(room, &format!("{room}-second")));
    }
    let ports: BTreeSet<u16> = scene.cameras.iter().map(|camera| camera.remote.port()).collect();
    assert_eq!(ports, BTreeSet::from([8000, 8001]), "both shards have rooms");
    carries(&mut scene, 100, &node);
    for camera in &mut scene.cameras {
        camera.on = false;
    }
    scene.drain(Duration::from_millis(200));
    node.until_counted();
    for viewer in 0..scene.viewers.len() {
        let sent = scene.cameras[viewer / 2].sent;
        let (got, lost) = (scene.got(viewer), sent - scene.got(viewer));
        // The first packets may find the viewer's link address unresolved.
        assert!(
            lost <= node.drops("no_neighbour"),
            "viewer {viewer} got {got} of {sent}\n{}",
            node.all_drops()
        );
    }
    let workers = node.show("worker");
    for worker in 0..2 {
        assert!(workers["workers"][worker]["rooms"].as_u64() > Some(0), "{workers}");
    }
}

#[test]
fn two_workers_share_the_one_queue_of_a_dpdk_port() {
    rooms_are_served("net_af_packet0,iface=media0", 0);
}

#[test]
fn two_workers_have_sockets_of_their_own_on_a_uring_port() {
    rooms_are_served("uring", 1);
}

#[test]
fn two_workers_on_one_core_are_refused() {
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    let config = NodeConfig { workers: "cores = [0, 0]\n".to_owned(), ..NodeConfig::port("udp") };
    let Some(started) = Node::start(&lab.node, &config) else { return };
    let why = started.expect_err("two workers on one core");
    assert!(why.contains("workers.cores") && why.contains("two workers on one core"), "{why}");
}
