//! What a stranger sends to the real node while a WebRTC publisher and viewer use it: nothing comes
//! back, and the members lose nothing. The same under the members' own addresses.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use roomlane_tests::netns::{Lab, NODE_IP, NetNs, PEER_IP, run, skip};
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
const EACH: u64 = 100_000;
/// Packets under way at most. The device's ring holds twice as many: what the kernel drops before the
/// node sees it, because a busy host does not let the node run, would be no fault of the node's.
const WINDOW: u64 = 4096;
const DEVICE: &str = "net_af_packet0,iface=media0,framecnt=8192";
/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(60);

/// What a stranger may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    StunUnsigned,
    StunForged,
    ClientHello,
    RtpUnknown,
    RtpForged,
    Rtcp,
    Garbage,
}

const CLASSES: [Class; 7] = [
    Class::StunUnsigned,
    Class::StunForged,
    Class::ClientHello,
    Class::RtpUnknown,
    Class::RtpForged,
    Class::Rtcp,
    Class::Garbage,
];

impl Class {
    /// One of its kind, other each time.
    fn packet(self, rng: &mut Rng, known: &mut Known) -> Vec<u8> {
        let noise =
            |rng: &mut Rng, len| -> Vec<u8> { (0..len).map(|_| rng.draw() as u8).collect() };
        let mut bytes = noise(rng, 200);
        match self {
            Class::StunUnsigned => return check(rng, known, false),
            Class::StunForged => return check(rng, known, true),
            // RFC 6347, sections 4.1 and 4.2.2: a record of the first epoch with a whole ClientHello.
            Class::ClientHello => {
                bytes[..13].copy_from_slice(&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 187]);
                bytes[13..25].copy_from_slice(&[1, 0, 0, 175, 0, 0, 0, 0, 0, 0, 0, 175]);
                bytes[25..27].copy_from_slice(&[0xfe, 0xfd]);
            }
            Class::RtpUnknown => bytes[..2].copy_from_slice(&[0x80, 111]),
            Class::RtpForged => {
                let ssrc = known.ssrcs[rng.below(known.ssrcs.len())];
                bytes[..2].copy_from_slice(&[0x80, 111]);
                bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
            }
            Class::Rtcp => bytes[..4].copy_from_slice(&[0x80, 200, 0, 6]),
            Class::Garbage => bytes.truncate(rng.below(bytes.len())),
        }
        bytes
    }
}

/// What a stranger has found out, and what it has said.
struct Known {
    /// The node's, of the publisher's session.
    ufrag: String,
    /// Declared by the publisher.
    ssrcs: Vec<u32>,
    /// Of its connectivity checks.
    transactions: HashSet<[u8; 12]>,
}

/// A connectivity check with the right user name and, where it is `signed`, another's signature.
fn check(rng: &mut Rng, known: &mut Known, signed: bool) -> Vec<u8> {
    let mut transaction_id = [0; 12];
    transaction_id.fill_with(|| rng.draw() as u8);
    known.transactions.insert(transaction_id);
    let username = format!("{}:them", known.ufrag);
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
    known: Known,
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
        let mut known = Known { ufrag: String::new(), ssrcs: vec![], transactions: HashSet::new() };
        for (name, role) in [("viewer", Role::View), ("camera", Role::Publish)] {
            let offer = peers.join(name, role, &clip);
            let answer = post(node, role, name, &offer);
            known.ufrag = value(&answer, "a=ice-ufrag:").to_owned();
            let ssrcs = offer.lines().filter_map(|line| line.strip_prefix("a=ssrc:"));
            let ssrcs = ssrcs.map(|rest| rest.split(' ').next().expect("a word").parse());
            known.ssrcs = ssrcs.collect::<Result<_, _>>().expect("numbers");
            peers.answer(name, &answer);
            until(node, &format!("the {name} is connected"), || {
                peers.member(name).seen().connected
            });
        }
        let call = Call { peers, clip, known, remote: SocketAddr::new(ip(NODE_IP), 8000) };
        assert!(!call.known.ssrcs.is_empty(), "the camera declares no SSRC");
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

fn ip(text: &str) -> IpAddr {
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

/// Sends [`EACH`] packets of `class` from these sockets in turn, as fast as the node takes them.
fn pour(node: &Node, class: Class, rng: &mut Rng, call: &mut Call, sockets: &[UdpSocket]) {
    let received = || node.show("node")["rx_packets"].as_u64().expect("a number");
    let before = received();
    for number in 0..EACH {
        let bytes = class.packet(rng, &mut call.known);
        let sent = sockets[number as usize % sockets.len()].send_to(&bytes, call.remote);
        assert_eq!(sent.expect("there is a route"), bytes.len(), "{class:?}");
        if (number + 1) % WINDOW == 0 || number + 1 == EACH {
            let goal = before + number + 1;
            until(node, &format!("{class:?} {number} has come"), || received() >= goal);
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

/// Received packets that were dropped, by reason.
fn dropped(node: &Node) -> BTreeMap<String, u64> {
    let shown = node.show("drops");
    let rows = shown["drops"].as_array().expect("a list").iter();
    let rows = rows.map(|row| {
        let reason = row["reason"].as_str().expect("a name").to_owned();
        (reason, row["received"].as_u64().unwrap_or_default())
    });
    rows.collect()
}

/// Drops that were not there `before`.
fn grown(node: &Node, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut all = dropped(node);
    all.retain(|reason, count| {
        *count -= before.get(reason).copied().unwrap_or_default();
        *count > 0
    });
    all
}

/// What tshark tells of `field` in each packet that `capture` has so far.
fn told(capture: &Capture, field: &str) -> Result<Vec<String>, String> {
    let path = capture.file.to_string_lossy();
    let text = run(&["tshark", "-n", "-r", &path, "-T", "fields", "-e", field])?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn lab() -> Option<(Lab, Node, Clip)> {
    let clip = Clip::new(1).map_err(|why| skip(&why)).ok()?;
    let (lab, node) = up(&NodeConfig::port(DEVICE))?;
    lab.peers.ip(&format!("addr add {STRANGER}/24 dev peer0"));
    Some((lab, node, clip))
}

fn capture(lab: &Lab, dir: &Path, filter: &str) -> Capture {
    let capture = Capture::start(&lab.peers, "peer0", filter, dir.join("seen.pcapng"));
    capture.unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn junk_of_every_class_is_not_answered_and_costs_members_nothing() {
    if let Err(why) = run(&["tshark", "--version"]) {
        return skip(&why);
    }
    let Some((lab, node, clip)) = lab() else { return };
    let filter = format!("ip and src host {NODE_IP} and dst host {STRANGER}");
    let mut capture = capture(&lab, &node.dir, &filter);
    let mut call = Call::start(&lab.peers, &node, clip);
    let sockets: Vec<_> = (0..SOCKETS).map(|_| lab.peers.udp(ip(STRANGER))).collect();
    let mut rng = Rng::new(3);
    for class in CLASSES {
        let before = dropped(&node);
        pour(&node, class, &mut rng, &mut call, &sockets);
        let count = || grown(&node, &before).values().sum::<u64>();
        until(&node, &format!("every {class:?} is accounted for"), || count() >= EACH);
        let reasons = grown(&node, &before);
        println!("{class:?}: {reasons:?}");
        assert_eq!(count(), EACH, "{class:?}: a member's packet was dropped, too: {reasons:?}");
        let heard = heard(&sockets);
        assert!(heard.is_empty(), "{class:?} was answered {} times", heard.len());
    }
    call.check(&node);
    // Pings are answered: the capture would have seen whatever else was, and has written it by then.
    let ping = ["ping", "-n", "-c", "3", "-i", "0.1", "-I", STRANGER, NODE_IP];
    lab.peers.exec(&ping).unwrap_or_else(|why| panic!("{why}"));
    // A file that is being written may end in the middle of a packet.
    let seen = || told(&capture, "_ws.col.Protocol").unwrap_or_default();
    let pings = || seen().iter().filter(|protocol| *protocol == "ICMP").count();
    until(&node, "the pings are in the capture", || pings() == 3);
    capture.end();
    let seen = told(&capture, "_ws.col.Protocol").unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(seen, ["ICMP"; 3], "the node spoke to a stranger");
}

#[test]
fn junk_under_a_members_own_address_is_not_answered_and_costs_members_nothing() {
    if let Err(why) = run(&["tshark", "--version"]) {
        return skip(&why);
    }
    let Some((lab, node, clip)) = lab() else { return };
    let mut call = Call::start(&lab.peers, &node, clip);
    // Answers to checks, and all DTLS, by the first byte (RFC 7983); members have shaken hands before.
    let kinds = "(udp[8] = 1 or (udp[8] >= 20 and udp[8] <= 63))";
    let filter = format!("src host {NODE_IP} and dst host {PEER_IP} and udp and {kinds}");
    let mut capture = capture(&lab, &node.dir, &filter);
    // The members' own sockets: nobody can tell the packets' addresses from theirs.
    let sockets = ["camera", "viewer"]
        .map(|name| call.peers.member(name).socket.try_clone().expect("a socket has handles"));
    let mut rng = Rng::new(4);
    for class in CLASSES {
        let before = dropped(&node);
        pour(&node, class, &mut rng, &mut call, &sockets);
        println!("{class:?}: {:?}", grown(&node, &before));
    }
    call.check(&node);
    let answers = || told(&capture, "stun.id").unwrap_or_default();
    // Consent goes on (RFC 7675): the capture sees what is answered.
    let count = answers().len();
    until(&node, "members' own checks are answered", || answers().len() > count + 1);
    capture.end();
    let answers = told(&capture, "stun.id").unwrap_or_else(|why| panic!("{why}"));
    let junk: HashSet<_> = call.known.transactions.iter().map(|id| hex(id)).collect();
    assert_eq!(junk.len() as u64, 2 * EACH, "checks were poured, each with an id of its own");
    let strange: Vec<_> =
        answers.iter().filter(|id| id.is_empty() || junk.contains(id.as_str())).collect();
    assert!(
        strange.is_empty(),
        "{} of {} were no answers to members",
        strange.len(),
        answers.len()
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let camera = peers.member("camera");
    until(&node, "the camera was told", || camera.seen().failed);
    assert!(!camera.seen().connected, "its handshake went through");
    let seen = peers.member("viewer").seen();
    assert_eq!((seen.opus.len(), seen.vp8.len()), (0, 0), "media came through");
}

/// Waits until the node has told of a handshake that it refused.
fn refused(node: &Node) {
    const WORDS: &str = "is not the one that its session description announced";
    until(node, "a refusal is told", || node.log().contains(WORDS));
}
