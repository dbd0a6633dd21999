//! A publisher and a viewer with real sockets.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use proto::{Endpoint, Event, ShardId};

use super::control::Control;
use super::{Peer, ROOM, open_publisher_on, open_room, open_viewer_on};

/// A publisher, a viewer and their sockets.
pub struct Room {
    node: Endpoint,
    publisher: (UdpSocket, Peer),
    viewer: (UdpSocket, Peer),
    /// Indexes that the viewer has seen under its key.
    pub seen: BTreeSet<u64>,
}

impl Room {
    /// Both peers on loopback, the node as well.
    pub fn on_loopback(udp_base: u16) -> Self {
        let socket = || UdpSocket::bind("127.0.0.1:0").expect("a port");
        Room::new(Endpoint::v4([127, 0, 0, 1], udp_base), socket(), socket())
    }

    /// Peers with sockets of any kind.
    pub fn new(node: Endpoint, publisher: UdpSocket, viewer: UdpSocket) -> Self {
        viewer.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        Room {
            node,
            publisher: (publisher, Peer::publisher()),
            viewer: (viewer, Peer::viewer()),
            seen: BTreeSet::new(),
        }
    }

    /// Opens both sessions and waits until they are.
    pub fn open(&self, control: &mut Control) {
        self.open_on(ShardId(0), control);
    }

    /// The same on another shard.
    pub fn open_on(&self, shard: ShardId, control: &mut Control) {
        let at = usize::from(shard.0);
        let address = |socket: &UdpSocket| Endpoint::from(socket.local_addr().expect("bound"));
        open_room(ROOM).iter().for_each(|command| control.tell(at, command));
        control.tell(at, &open_publisher_on(shard, 0, self.node, address(&self.publisher.0)));
        control.tell(at, &open_viewer_on(shard, 1, self.node, address(&self.viewer.0)));
        for _ in 0..2 {
            control.await_event(at, |e| matches!(e, Event::Opened { .. }).then_some(()));
        }
    }

    pub fn send(&mut self, payload: &[u8]) {
        let packet = self.publisher.1.seal(payload);
        self.publisher.0.send_to(&packet, self.node.socket_addr()).expect("sent");
    }

    /// The next payload that the viewer hears, within the socket's timeout.
    pub fn hear(&mut self) -> Option<Vec<u8>> {
        let mut packet = [0; 2048];
        loop {
            let len = self.viewer.0.recv(&mut packet).ok()?;
            let Some((index, payload)) = self.viewer.1.open(packet[..len].to_vec()) else {
                continue;
            };
            assert!(self.seen.insert(index), "index {index} came twice under one key");
            return Some(payload);
        }
    }

    /// Sends and hears `count` packets, one after the other.
    pub fn play(&mut self, count: u8) {
        for i in 0..count {
            self.send(&[i; 120]);
            assert_eq!(self.hear(), Some(vec![i; 120]), "packet {i}");
        }
    }
}
