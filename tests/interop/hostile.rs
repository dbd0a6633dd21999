//! What a stranger sends to the real node while a WebRTC publisher and viewer use it: nothing comes
//! back, and the members lose nothing.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use roomlane_tests::netns::{Lab, NODE_IP, NetNs, run, skip};
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::rng::Rng;
use roomlane_tests::sdes::Tokens;
use wire::stun::Role as IceRole;
use wire::stun_write::RequestRepr;

use crate::headers::Capture;
use crate::media::Clip;
use crate::members::{Members, Role};
use crate::str0m_members::{Seen, Str0m};
use crate::up;

/// The stranger's address, beside the peers' own.
const STRANGER: &str = "198.18.7.66";
/// Sockets of the stranger: few, as budgets per address would have it easiest.
const SOCKETS: usize = 8;
/// Packets of every class.
const EACH: usize = 100_000;
/// Packets that are sent at a time, and the time from one such to the next.
const BURST: (usize, Duration) = (20, Duration::from_millis(1));
/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(30);

/// What a stranger may send.
#[derive(Debug, Clone, Copy)]
enum Class {
    StunUnsigned,
    StunForged,
    ClientHello,
    Rtp,
    Rtcp,
    Garbage,
}

const CLASSES: [Class; 6] = [
    Class::StunUnsigned,
    Class::StunForged,
    Class::ClientHello,
    Class::Rtp,
    Class::Rtcp,
    Class::Garbage,
];

impl Class {
    /// One of its kind, other each time; `ufrag` is a real one of the node's.
    fn packet(self, rng: &mut Rng, ufrag: &str) -> Vec<u8> {
        let noise =
            |rng: &mut Rng, len| -> Vec<u8> { (0..len).map(|_| rng.draw() as u8).collect() };
        let mut bytes = noise(rng, 200);
        match self {
            Class::StunUnsigned => return check(rng, ufrag, false),
            Class::StunForged => return check(rng, ufrag, true),
            // RFC 6347, sections 4.1 and 4.2.2: a record of the first epoch with a whole ClientHello.
            Class::ClientHello => {
                bytes[..13].copy_from_slice(&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 187]);
                bytes[13..25].copy_from_slice(&[1, 0, 0, 175, 0, 0, 0, 0, 0, 0, 0, 175]);
                bytes[25..27].copy_from_slice(&[0xfe, 0xfd]);
            }
            Class::Rtp => bytes[..2].copy_from_slice(&[0x80, 111]),
            Class::Rtcp => bytes[..4].copy_from_slice(&[0x80, 200, 0, 6]),
            Class::Garbage => bytes.truncate(rng.below(bytes.len())),
        }
        bytes
    }
}

/// A connectivity check with the right user name and, where it is `signed`, another's signature.
fn check(rng: &mut Rng, ufrag: &str, signed: bool) -> Vec<u8> {
    let mut transaction_id = [0; 12];
    transaction_id.fill_with(|| rng.draw() as u8);
    let username = format!("{ufrag}:them");
    let repr = RequestRepr {
        transaction_id,
        username: username.as_bytes(),
        priority: 1,
        role: IceRole::Controlling(rng.draw()),
        use_candidate: true,
    };
    let mut bytes = vec![0; 200];
    let signature = [rng.draw() as u8; 20];
    let mut len = repr.emit(&mut bytes, |_| signature).expect("it fits");
    if !signed {
        // Without the 24 bytes of MESSAGE-INTEGRITY and the eight of FINGERPRINT.
        len -= 32;
        bytes[2..4].copy_from_slice(&((len - 20) as u16).to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A call of str0m's: who views was there before who publishes, so that all that is sent must come.
struct Call<'a> {
    peers: Str0m<'a>,
    clip: Clip,
    ufrag: String,
    remote: SocketAddr,
}

fn post(node: &Node, role: Role, name: &str, offer: &str) -> String {
    let (api, path) = (node.api(), format!("/{}/{APP}/call", role.verb()));
    let answer = api.request("POST", &path, &api.bearer(&Tokens::new("call", name)), offer);
    assert_eq!(answer.status, 201, "{name}: {}\n{offer}", answer.body);
    answer.body
}

/// The value behind `prefix` in a description.
fn value<'a>(sdp: &'a str, prefix: &str) -> &'a str {
    let found = sdp.lines().find_map(|line| line.strip_prefix(prefix));
    found.unwrap_or_else(|| panic!("no {prefix} in {sdp}")).trim()
}

impl<'a> Call<'a> {
    fn start(ns: &'a NetNs, node: &Node, clip: Clip) -> Call<'a> {
        let mut peers = Str0m::new(ns);
        let mut ufrag = String::new();
        for (name, role) in [("viewer", Role::View), ("camera", Role::Publish)] {
            let offer = peers.join(name, role, &clip);
            let answer = post(node, role, name, &offer);
            ufrag = value(&answer, "a=ice-ufrag:").to_owned();
            peers.answer(name, &answer);
            until(node, &format!("the {name} is connected"), || {
                peers.member(name).seen().connected
            });
        }
        let call = Call { peers, clip, ufrag, remote: SocketAddr::new(ip(NODE_IP), 8000) };
        until(node, "media flows", || call.seen("viewer").opus.len() > 50);
        call
    }

    fn seen(&self, name: &str) -> Seen {
        self.peers.member(name).seen()
    }

    /// Ends what is published, and compares it with what has come.
    fn check(&self, node: &Node) {
        self.peers.member("camera").fall_silent();
        let whole = || {
            let (sent, seen) = (self.seen("camera").sent, self.seen("viewer"));
            // The last picture is whole when the next one begins.
            (sent.1, sent.0 - 1) <= (seen.opus.len() as u64, seen.vp8.len() as u64)
        };
        until(node, "everything has come", whole);
        let (sent, seen) = (self.seen("camera"), self.seen("viewer"));
        assert_eq!((seen.gaps, seen.nacks, sent.nacks), (0, 0, 0), "something was lost on the way");
        let repeats = |all: &[Vec<u8>], of: &[Vec<u8>]| {
            all.iter().zip(of.iter().cycle()).position(|(got, sent)| got != sent)
        };
        assert_eq!(repeats(&seen.opus, &self.clip.opus), None, "this packet of sound is another");
        assert_eq!(repeats(&seen.vp8, &self.clip.vp8), None, "this picture is another");
        println!("{} packets of sound and {} pictures", seen.opus.len(), seen.vp8.len());
    }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

/// Waits until `look` says true.
fn until(node: &Node, what: &str, mut look: impl FnMut() -> bool) {
    let started = Instant::now();
    while !look() {
        let all = || format!("{}\n{}", node.all_drops(), node.log());
        assert!(started.elapsed() < SOON, "not within {SOON:?}: {what}\n{}", all());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends `count` packets of `class` from these sockets in turn, at an even rate.
fn pour(count: usize, class: Class, rng: &mut Rng, call: &Call, sockets: &[UdpSocket]) {
    let start = Instant::now();
    for (number, turn) in (0..count).step_by(BURST.0).zip(0_u32..) {
        let due = start + BURST.1 * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for at in number..number + BURST.0 {
            let bytes = class.packet(rng, &call.ufrag);
            let sent = sockets[at % sockets.len()].send_to(&bytes, call.remote);
            assert_eq!(sent.expect("there is a route"), bytes.len(), "{class:?}");
        }
    }
}

/// Everything that has come to these sockets.
fn heard(sockets: &[UdpSocket]) -> Vec<Vec<u8>> {
    let mut bytes = [0; 2048];
    let mut all = vec![];
    for socket in sockets {
        while let Ok((len, _)) = socket.recv_from(&mut bytes) {
            all.push(bytes[..len].to_vec());
        }
    }
    all
}

fn lab() -> Option<(Lab, Node, Clip)> {
    let clip = Clip::new(1).map_err(|why| skip(&why)).ok()?;
    let (lab, node) = up(&NodeConfig::port("net_af_packet0,iface=media0"))?;
    lab.peers.ip(&format!("addr add {STRANGER}/24 dev peer0"));
    Some((lab, node, clip))
}

#[test]
fn junk_of_every_class_is_not_answered_and_costs_members_nothing() {
    if let Err(why) = run(&["tshark", "--version"]) {
        return skip(&why);
    }
    let Some((lab, node, clip)) = lab() else { return };
    let filter = format!("ip and src host {NODE_IP} and dst host {STRANGER}");
    let capture = Capture::start(&lab.peers, "peer0", &filter, node.dir.join("seen.pcapng"));
    let mut capture = capture.unwrap_or_else(|why| panic!("{why}"));
    let call = Call::start(&lab.peers, &node, clip);
    let sockets: Vec<_> = (0..SOCKETS).map(|_| lab.peers.udp(ip(STRANGER))).collect();
    let mut rng = Rng::new(3);
    for class in CLASSES {
        pour(EACH, class, &mut rng, &call, &sockets);
        let heard = heard(&sockets);
        assert!(heard.is_empty(), "{class:?} was answered {} times", heard.len());
    }
    call.check(&node);
    // Pings are answered: the capture would have seen whatever else was.
    let ping = ["ping", "-n", "-c", "3", "-i", "0.1", "-I", STRANGER, NODE_IP];
    lab.peers.exec(&ping).unwrap_or_else(|why| panic!("{why}"));
    capture.end();
    let path = capture.file.to_string_lossy();
    let seen = run(&["tshark", "-n", "-r", &path, "-T", "fields", "-e", "_ws.col.Protocol"]);
    let seen = seen.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["ICMP"; 3], "the node spoke to a stranger");
    println!("{}", node.all_drops());
}

#[test]
fn junk_under_a_members_own_address_costs_members_nothing() {
    let Some((lab, node, clip)) = lab() else { return };
    let call = Call::start(&lab.peers, &node, clip);
    // The members' own sockets: nobody can tell the packets' addresses from theirs.
    let sockets = ["camera", "viewer"]
        .map(|name| call.peers.member(name).socket.try_clone().expect("a socket has handles"));
    let mut rng = Rng::new(4);
    for class in CLASSES {
        pour(EACH / 10, class, &mut rng, &call, &sockets);
    }
    call.check(&node);
    println!("{}", node.all_drops());
}

#[test]
fn a_certificate_that_the_offer_did_not_announce_is_not_let_in() {
    let Some((lab, node, clip)) = lab() else { return };
    let mut peers = Str0m::new(&lab.peers);
    for (name, role) in [("viewer", Role::View), ("camera", Role::Publish)] {
        let mut offer = peers.join(name, role, &clip);
        if name == "camera" {
            let print = value(&offer, "a=fingerprint:sha-256 ").to_owned();
            let last = if print.ends_with('0') { '1' } else { '0' };
            offer = offer.replace(&print, &format!("{}{last}", &print[..print.len() - 1]));
        }
        let answer = post(&node, role, name, &offer);
        peers.answer(name, &answer);
    }
    until(&node, "the viewer is connected", || peers.member("viewer").seen().connected);
    refused(&node);
    assert!(!peers.member("camera").seen().connected, "its handshake went through");
    let seen = peers.member("viewer").seen();
    assert_eq!((seen.opus.len(), seen.vp8.len()), (0, 0), "media came through");
}

/// Waits until the node has told of a handshake that it refused.
fn refused(node: &Node) {
    let log = || node.log();
    until(node, "a refusal is told", || log().contains("fingerprint"));
}
