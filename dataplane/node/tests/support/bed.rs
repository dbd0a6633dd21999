//! A worker over a port in memory, with its peers and the control plane's ends of its rings.

use std::net::IpAddr;
use std::sync::Arc;

use node::idle::Poll;
use node::ledger::Ledger;
use node::mailbox::{Broken, Mailbox};
use node::regions::{COMMAND_RING, EVENT_RING, PUNT_RING, Regions};
use node::relay::Relays;
use node::worker::WorkerParts;
use port::Port;
use port::sim::{SimConfig, SimPort};
use proto::codec::{self, MESSAGE_MAX};
use proto::region::Sizes;
use proto::{Command, Endpoint, Event, SessionId, ShardId, punt};
use roomlane_core::{Burst, Datagram, Duration, Instant, Now, Path, Pool, ShardConfig, TxBurst};
use shm::event::Event as WakeUp;
use shm::ring::{Consumer, Producer};
use srtp::RingProvider;

pub const NODE: [u8; 4] = [198, 18, 1, 2];
pub const PEERS: [u8; 4] = [198, 18, 1, 9];
pub const LOCAL: Endpoint = Endpoint::v4(NODE, 8000);
pub const PUBLISHER: Endpoint = Endpoint::v4(PEERS, 5001);
pub const VIEWER: Endpoint = Endpoint::v4(PEERS, 5002);

pub fn at_ms(ms: u64) -> Now {
    Now { mono: Instant(1_000_000_000 + ms * 1_000_000), unix_ns: 1_800_000_000_000_000_000 }
}

pub fn shard(id: u8) -> ShardConfig {
    ShardConfig {
        id: ShardId(id),
        seed: [7; 32],
        sessions_max: 8,
        rooms_max: 4,
        session_timeout: Duration::from_s(60),
        room_linger: Duration::from_s(0),
        history_packets: 64,
    }
}

pub fn parts<P: Port>(port: P, id: u8) -> WorkerParts<P, RingProvider> {
    WorkerParts {
        shard: shard(id),
        provider: RingProvider::new,
        port,
        bufs_total: 4096,
        ledger: Ledger::in_memory(8),
        relays: Relays::alone(),
        mailbox: None,
        wake: None,
        publisher: None,
        link: None,
        poll: Poll::Busy,
        time_turns: false,
        core: None,
        io_worker: usize::from(id),
    }
}

pub fn sim(address: [u8; 4]) -> SimConfig {
    SimConfig::new(IpAddr::from(address))
}

/// Sends a datagram from a peer into the network.
pub fn send(peers: &mut SimPort, now: Now, from: Endpoint, to: Endpoint, payload: &[u8]) {
    let mut buf = peers.alloc().expect("a buffer");
    let len = payload.len();
    roomlane_core::Buf::append(&mut buf, len).expect("room").copy_from_slice(payload);
    let mut tx = TxBurst::new();
    tx.push(Datagram { path: Path { local: from, remote: to }, dscp: 0, buf });
    assert_eq!(peers.tx_burst(now.mono, &mut tx), 1);
}

/// What has arrived at a peer.
pub fn receive(peers: &mut SimPort, now: Now, at: Endpoint) -> Vec<Vec<u8>> {
    let mut arrived = vec![];
    let mut rx = Burst::new();
    while peers.rx_burst(now.mono, &mut rx) > 0 {
        for datagram in rx.drain(..) {
            if datagram.path.local == at {
                arrived.push(roomlane_core::Buf::bytes(&datagram.buf).to_vec());
            }
            peers.free(datagram.buf);
        }
    }
    arrived
}

/// The control plane's ends of a worker's rings.
pub struct Control {
    pub regions: Arc<Regions>,
    commands: Producer,
    events: Consumer,
    injects: Producer,
    punts: Consumer,
}

impl Control {
    pub fn of(sizes: Sizes, mailboxes: &mut Vec<Mailbox>) -> Self {
        let regions = Arc::new(Regions::create(sizes, 1).expect("regions"));
        for shard in 0..sizes.shards as usize {
            let wake = WakeUp::new().expect("eventfd");
            let broken = Broken::default();
            mailboxes.push(Mailbox::attach(&regions, shard, wake, broken).expect("mailbox"));
        }
        let commands = Producer::attach(regions.command_ring(0).expect("ring"), COMMAND_RING);
        let events = Consumer::attach(regions.event_ring(0).expect("ring"), EVENT_RING);
        let injects = Producer::attach(regions.inject_ring(0).expect("ring"), PUNT_RING);
        let punts = Consumer::attach(regions.punt_ring(0).expect("ring"), PUNT_RING);
        Control {
            commands: commands.expect("fresh"),
            events: events.expect("fresh"),
            injects: injects.expect("fresh"),
            punts: punts.expect("fresh"),
            regions,
        }
    }

    pub fn tell(&mut self, command: &Command) {
        let mut bytes = [0; MESSAGE_MAX];
        let len = codec::encode(command, &mut bytes).expect("encode");
        self.commands.push(&bytes[..len]).expect("room");
    }

    /// Has a datagram sent to a session's peer.
    pub fn inject(&mut self, session: SessionId, datagram: &[u8]) {
        let mut bytes = [0; punt::MESSAGE_MAX];
        let len = punt::encode(session, datagram, &mut bytes).expect("fits");
        self.injects.push(&bytes[..len]).expect("room");
    }

    /// Datagrams that peers sent for us.
    pub fn punted(&mut self) -> Vec<(SessionId, Vec<u8>)> {
        let (mut punted, mut bytes) = (vec![], [0; punt::MESSAGE_MAX]);
        while let Some(len) = self.punts.pop(&mut bytes).expect("intact") {
            let (session, datagram) = punt::decode(&bytes[..len]).expect("a punt");
            punted.push((session, datagram.to_vec()));
        }
        punted
    }

    pub fn hear(&mut self) -> Vec<Event> {
        let (mut events, mut bytes) = (vec![], [0; MESSAGE_MAX]);
        while let Some(len) = self.events.pop(&mut bytes).expect("intact") {
            events.push(codec::decode(&bytes[..len]).expect("an event"));
        }
        events
    }
}

pub const SIZES: Sizes = Sizes { shards: 1, sessions_max: 8, rooms_max: 4 };
