//! Peers that share no line of code with the node: libsrtp on plain sockets, GStreamer, ffmpeg, the WebRTC
//! of aiortc, libwebrtc, GStreamer and str0m, and tshark as a reader of what is on the cable. The node is the
//! real one, in a namespace.
//!
//! What the host does not have is skipped loudly, with its own words.
#![forbid(unsafe_code)]

mod foreign;
mod headers;
mod hostile;
mod media;
mod members;
mod python;
mod str0m_members;
mod tools;
mod webrtc;

use roomlane_tests::netns::Lab;
use roomlane_tests::node::{Node, NodeConfig};

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
