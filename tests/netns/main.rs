//! The real programs in network namespaces: `roomlane up` on every kind of port, with peers on ordinary
//! kernel sockets at the other end of a cable. A few hundred packets each, nothing leaves the namespaces.
//!
//! What the host does not let us do is skipped loudly, with the host's own words.
#![forbid(unsafe_code)]

mod bare_metal;
mod capture;
mod carry;
mod disk;
mod drill;
mod handshake;
mod life;
mod link;
mod operate;
mod ports;
mod shards;
mod terminal;
mod top;
mod vhost;
mod why;

use std::time::Duration;

use roomlane_tests::netns::{Lab, PEER_IP};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets, Tokens, Wire};

/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(30);

/// A lab with a node in it; `None`, said loudly, where the host or the build has no such thing.
fn up(config: &NodeConfig) -> Option<(Lab, Node)> {
    let lab = Lab::new()?;
    if !config.port.contains("dpdk") {
        lab.kernel_owns_the_nodes_end();
    }
    let node = Node::start(&lab.node, config)?;
    let node = node.unwrap_or_else(|why| panic!("the node did not start: {why}"));
    Some((lab, node))
}

/// Peers on kernel sockets of IPv4.
fn scene<'a>(lab: &'a Lab, node: &Node) -> Scene<Sockets<'a>> {
    Scene::new(Sockets::new(&lab.peers, PEER_IP), node.api(), Options::default())
}

/// A camera and a viewer in room `demo`.
fn demo(scene: &mut Scene<impl Wire>) {
    scene.publish(&Tokens::new("demo", "camera"));
    scene.view(&Tokens::new("demo", "viewer"));
}

/// Media flows until every viewer has `count` packets more.
fn carries(scene: &mut Scene<impl Wire>, count: u64, node: &Node) {
    let goals: Vec<u64> =
        (0..scene.viewers.len()).map(|viewer| scene.got(viewer) + count).collect();
    let done = scene.flow(SOON, |scene| {
        goals.iter().enumerate().all(|(viewer, goal)| scene.got(viewer) >= *goal)
    });
    let got: Vec<u64> = (0..scene.viewers.len()).map(|viewer| scene.got(viewer)).collect();
    assert!(
        done,
        "viewers have {got:?} of {goals:?} packets\n{}\n{}",
        node.all_drops(),
        node.log()
    );
    scene.check();
}
