//! A browser's handshake through the rings: DTLS comes up, answers go down behind the keys.

mod support;

use node::worker::{COMMANDS_TURN_MAX, Worker, WorkerParts};
use port::sim::SimPort;
use proto::ufrag::{self, UfragKey};
use proto::{Command, IceCredentials, KeyMaterial, List, SessionId, ShardId, SrtpProfile};
use srtp::{RingProvider, hmac_sha1};
use support::bed::{
    Control, LOCAL, NODE, PEERS, PUBLISHER, SIZES, VIEWER, at_ms, parts, receive, send, sim,
};
use support::{Peer, ROOM, keys, open_publisher, open_room, open_viewer};
use wire::stun::{Message, Role};
use wire::stun_write::RequestRepr;

const KEY: UfragKey = UfragKey([9; 16]);
const PASSWORD: &[u8] = b"a password of 24 letters";
const HELLO: [u8; 64] = {
    let mut record = [0xe7; 64];
    (record[0], record[1], record[2]) = (22, 254, 253);
    (record[11], record[12]) = (0, 64 - 13);
    record
};

/// A node whose viewer is a browser that has not shaken hands yet.
struct Bed {
    worker: Worker<SimPort, RingProvider>,
    peers: SimPort,
    control: Control,
    viewer: SessionId,
}

fn bed() -> Bed {
    let (port, peers) = port::sim::pair(sim(NODE), sim(PEERS));
    let mut mailboxes = vec![];
    let mut control = Control::of(SIZES, &mut mailboxes);
    let parts = WorkerParts {
        mailbox: mailboxes.pop(),
        ledger: control.regions.ledger(0).expect("ledger"),
        ..parts(port, 0)
    };
    let worker = Worker::new(parts, at_ms(0));
    control.tell(&Command::SetUfragKey { key: KEY });
    open_room(ROOM).iter().for_each(|command| control.tell(command));
    control.tell(&open_publisher(0, LOCAL, PUBLISHER));
    let Command::OpenSession(mut open) = open_viewer(1, LOCAL, VIEWER) else { unreachable!() };
    let password = List::from_slice(PASSWORD).expect("fits");
    open.ice = Some(IceCredentials { generation: 3, password });
    open.remote = proto::Endpoint::default();
    (open.rx_key, open.tx_key) = (KeyMaterial::default(), KeyMaterial::default());
    control.tell(&Command::OpenSession(open));
    let mut bed = Bed { worker, peers, control, viewer: open.session };
    bed.turn(1);
    bed
}

impl Bed {
    fn turn(&mut self, ms: u64) -> bool {
        self.worker.turn(at_ms(ms))
    }

    /// A nominating check from the viewer, answered.
    fn check(&mut self, ms: u64) {
        let named = SessionId::new(ShardId(0), self.viewer.slot(), 3);
        let mut username = ufrag::mint(&KEY, named).to_vec();
        username.extend(b":far");
        let request = RequestRepr {
            transaction_id: [ms as u8; 12],
            username: &username,
            priority: 1,
            role: Role::Controlling(1),
            use_candidate: true,
        };
        let mut check = [0; 200];
        let len = request.emit(&mut check, |parts| hmac_sha1(PASSWORD, parts)).expect("fits");
        send(&mut self.peers, at_ms(ms), VIEWER, LOCAL, &check[..len]);
        assert!(self.turn(ms));
        let answers = receive(&mut self.peers, at_ms(ms), VIEWER);
        let answer = Message::new_checked(&answers[0]).expect("STUN");
        assert_eq!(answer.mapped_address(), Some(VIEWER.socket_addr()));
    }

    fn install_keys(&mut self) {
        let (rx_key, tx_key) = keys(2);
        let (session, profile) = (self.viewer, SrtpProfile::AeadAes128Gcm);
        self.control.tell(&Command::InstallKeys { session, profile, rx_key, tx_key });
    }

    fn at_viewer(&mut self, ms: u64) -> Vec<Vec<u8>> {
        receive(&mut self.peers, at_ms(ms), VIEWER)
    }
}

#[test]
fn a_handshake_goes_up_and_down_through_the_rings_and_media_follows() {
    let mut bed = bed();
    bed.check(2);
    send(&mut bed.peers, at_ms(3), VIEWER, LOCAL, &HELLO);
    bed.turn(3);
    assert_eq!(bed.control.punted(), [(bed.viewer, HELLO.to_vec())]);
    bed.install_keys();
    bed.control.inject(bed.viewer, b"the last flight");
    assert!(bed.turn(4));
    assert_eq!(bed.at_viewer(4), [b"the last flight".to_vec()]);
    let (mut publisher, mut viewer) = (Peer::publisher(), Peer::viewer());
    send(&mut bed.peers, at_ms(5), PUBLISHER, LOCAL, &publisher.seal(&[8; 50]));
    bed.turn(5);
    let heard: Vec<_> = bed.at_viewer(5).into_iter().filter_map(|p| viewer.open(p)).collect();
    assert_eq!(heard[0].1, [8; 50]);
    let counters = bed.worker.shard().counters();
    assert_eq!((counters.punted, counters.injected), (1, 1));
    assert!(counters.balances());
    assert_eq!(roomlane_core::Pool::in_use(bed.worker.port_mut()), 0, "every buffer is back");
}

#[test]
fn a_datagram_is_not_sent_before_the_keys_that_were_ordered_first() {
    let mut bed = bed();
    bed.check(2);
    for _ in 0..COMMANDS_TURN_MAX {
        bed.control.tell(&Command::Drain { draining: false });
    }
    bed.install_keys();
    bed.control.inject(bed.viewer, b"finished");
    assert!(bed.turn(3));
    assert_eq!(bed.at_viewer(3), [[0; 0]; 0], "the keys are still in the ring");
    assert!(bed.turn(4));
    assert_eq!(bed.at_viewer(4), [b"finished".to_vec()]);
}

#[test]
fn a_full_ring_drops_handshakes_and_nothing_else() {
    let mut bed = bed();
    bed.check(2);
    let mut long = HELLO.to_vec();
    long.resize(1400, 1);
    // Nobody reads; the ring holds 128 KiB, and a session may fill a little of it each second.
    let mut second = 0;
    let full = proto::DropReason::PuntFull as usize;
    while bed.worker.shard().counters().drops[full] == 0 {
        second += 1;
        assert!(second < 60, "the ring never filled");
        for _ in 0..30 {
            send(&mut bed.peers, at_ms(second * 1000), VIEWER, LOCAL, &long);
            bed.turn(second * 1000);
        }
    }
    let (mut publisher, before) = (Peer::publisher(), bed.worker.shard().counters().rx_packets);
    send(&mut bed.peers, at_ms(60_000), PUBLISHER, LOCAL, &publisher.seal(&[1; 50]));
    bed.turn(60_000);
    let counters = bed.worker.shard().counters();
    assert!(counters.balances() && counters.rx_packets == before + 1);
    let taken = bed.control.punted();
    assert_eq!(taken.len() as u64, bed.worker.shard().counters().punted);
    assert!(taken.iter().all(|(session, datagram)| *session == bed.viewer && *datagram == long));
}

#[test]
fn what_control_injects_for_nobody_is_counted_and_sent_nowhere() {
    let mut bed = bed();
    bed.control.inject(SessionId::new(ShardId(0), 5, 5), b"to nobody");
    bed.control.inject(SessionId::new(ShardId(0), 0, 1), b"to a peer without ICE");
    bed.control.inject(bed.viewer, b"to a browser that has not checked yet");
    assert!(bed.turn(2));
    let counters = bed.worker.shard().counters();
    let dropped = |reason: proto::DropReason| counters.egress_drops[reason as usize];
    let reasons =
        [proto::DropReason::NoSession, proto::DropReason::NotServed, proto::DropReason::NoPath];
    assert_eq!(reasons.map(dropped), [1, 1, 1]);
    assert_eq!(counters.injected, 0);
    assert_eq!((bed.at_viewer(2), receive(&mut bed.peers, at_ms(2), PUBLISHER)), (vec![], vec![]));
}
