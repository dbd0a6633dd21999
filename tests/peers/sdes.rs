//! Peers of a real node: they join over HTTP with tokens, offer RTP/SAVP with SDES keys, and send and
//! receive over whatever [`Wire`] carries datagrams.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proto::{KeyMaterial, List, MediaKind, MemberNo, PublicationSpec, RoomNo, SessionId};
use srtp::Profile;
use token::{Privileges, RoomId, Secret, UserId, make_private_map_key, make_user_sig};
use wire::demux::{Kind, classify};
use wire::rtcp::SenderInfo;
use wire::rtcp_write::Writer;
use wire::rtp::Rtp;

use crate::netns::NetNs;
use crate::peer::{Publisher, Subscriber, key};

/// Packets a second that a publisher sends.
const PACKETS_PER_S: u32 = 100;

/// A node's signalling, with the secret of its app.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
    app: u32,
    secret: String,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// `Location`, if any.
    pub location: String,
    /// Content.
    pub body: String,
}

impl Answer {
    /// From all that came until the connection was closed.
    ///
    /// # Panics
    /// When it is no answer.
    pub fn read(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let location = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
        });
        Answer {
            status: status.unwrap_or_else(|| panic!("no HTTP answer: {text}")),
            location: location.unwrap_or_default(),
            body: body.to_owned(),
        }
    }
}

/// A request with an SDP body; the connection is to be closed behind its answer.
pub fn request(method: &str, path: &str, bearer: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: {bearer}\r\nContent-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{body}"
    )
}

/// What a section says of a publisher that sends with this SSRC.
pub fn sends(ssrc: u32) -> String {
    format!("a=sendonly\r\na=ssrc:{ssrc} cname:x\r\n")
}

/// Tokens of one user for one room.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// Who.
    pub user: String,
    /// Where.
    pub room: String,
    /// For how long, in seconds from now.
    pub lifetime_s: u64,
    /// What is allowed.
    pub privileges: Privileges,
}

impl Tokens {
    /// For an hour.
    pub fn new(room: &str, user: &str) -> Tokens {
        let (user, room) = (user.to_owned(), room.to_owned());
        Tokens { user, room, lifetime_s: 3600, privileges: Privileges::ALL }
    }
}

impl Api {
    /// Signalling on a Unix socket.
    pub fn new(socket: &Path, app: u32, secret: &str) -> Api {
        Api { socket: socket.to_owned(), app, secret: secret.to_owned() }
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where joins by `verb`, `whip` or `whep`, are posted.
    pub fn path(&self, verb: &str, room: &str) -> String {
        format!("/{verb}/{}/{room}", self.app)
    }

    /// `Bearer <UserSig>.<PrivateMapKey>`.
    pub fn bearer(&self, tokens: &Tokens) -> String {
        let (sig, key) = self.tokens(tokens);
        format!("Bearer {sig}.{key}")
    }

    /// UserSig and PrivateMapKey.
    pub fn tokens(&self, tokens: &Tokens) -> (String, String) {
        let secret = Secret::from_file_content(self.secret.as_bytes()).expect("a secret");
        let user = UserId::new(&tokens.user).expect("a user id");
        let room = RoomId::text(&tokens.room).expect("a room");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let life = tokens.lifetime_s;
        let sig = make_user_sig(self.app, &secret, &user, now, life).expect("a token");
        let rights = tokens.privileges;
        let key = make_private_map_key(self.app, &secret, &user, &room, rights, now, life);
        (sig, key.expect("a token"))
    }

    /// One request; the connection is closed behind it.
    pub fn request(&self, method: &str, path: &str, bearer: &str, body: &str) -> Answer {
        let mut stream = UnixStream::connect(&self.socket).expect("signalling listens");
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
        let whole = request(method, path, bearer, body);
        // A refusal may come, and the connection end, before the content was read.
        let _ = stream.write_all(whole.as_bytes());
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("signalling answers");
        Answer::read(&text)
    }

    /// Joins by `verb`, `whip` or `whep`, and must succeed.
    pub fn join(&self, verb: &str, tokens: &Tokens, offer: &str) -> Answer {
        let path = self.path(verb, &tokens.room);
        let answer = self.request("POST", &path, &self.bearer(tokens), offer);
        assert_eq!(answer.status, 201, "{verb} {}: {}", tokens.user, answer.body);
        answer
    }
}

/// Carries datagrams between a peer's addresses and the node.
pub trait Wire {
    /// A new local address.
    fn open(&mut self) -> SocketAddr;
    /// Sends from one of them.
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]);
    /// What has arrived, and at which address; `None` when there is nothing.
    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)>;
}

/// Kernel sockets in a namespace.
#[derive(Debug)]
pub struct Sockets<'a> {
    ns: &'a NetNs,
    ip: IpAddr,
    sockets: HashMap<SocketAddr, UdpSocket>,
}

impl<'a> Sockets<'a> {
    /// Sockets on `ip` in `ns`.
    pub fn new(ns: &'a NetNs, ip: &str) -> Sockets<'a> {
        Sockets { ns, ip: ip.parse().expect("an address"), sockets: HashMap::new() }
    }
}

impl Wire for Sockets<'_> {
    fn open(&mut self) -> SocketAddr {
        let socket = self.ns.udp(self.ip);
        let addr = socket.local_addr().expect("bound");
        self.sockets.insert(addr, socket);
        addr
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        // A refusal belongs to an earlier packet: the node was away for a moment.
        let _ = self.sockets[&from].send_to(bytes, to);
    }

    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let mut bytes = [0; 2048];
        self.sockets.iter().find_map(|(addr, socket)| {
            let (len, _) = socket.recv_from(&mut bytes).ok()?;
            Some((*addr, bytes[..len].to_vec()))
        })
    }
}

/// A publishing peer.
pub struct Camera {
    /// Its end of the stream.
    pub end: Publisher,
    /// Where it sends from.
    pub local: SocketAddr,
    /// Where it sends to.
    pub remote: SocketAddr,
    /// Its resource.
    pub location: String,
    /// Whether [`Scene::flow`] sends its packets.
    pub on: bool,
    /// Packets sent.
    pub sent: u64,
}

/// A viewing peer.
pub struct Viewer {
    /// Its end of the stream.
    pub end: Subscriber,
    /// Where it receives.
    pub local: SocketAddr,
    /// Its resource.
    pub location: String,
    /// (SSRC, sequence number) of media and (SSRC, index) of RTCP that came more than once. The test
    /// stays within one cycle of sequence numbers, so that these are the indices of the nonces.
    pub repeated: Vec<(u32, u32)>,
    seen: HashSet<(bool, u32, u32)>,
}

/// Options of a peer.
#[derive(Debug, Clone)]
pub struct Options {
    /// Crypto suite.
    pub profile: Profile,
    /// Payload bytes of each packet.
    pub payload_len: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { profile: Profile::AeadAes128Gcm, payload_len: 160 }
    }
}

/// Peers of one node, and their wire.
pub struct Scene<W> {
    wire: W,
    api: Api,
    options: Options,
    /// Publishers.
    pub cameras: Vec<Camera>,
    /// Viewers.
    pub viewers: Vec<Viewer>,
    started: Instant,
    ticks: u32,
    keys: u64,
}

impl<W: Wire> Scene<W> {
    /// Nobody yet.
    pub fn new(wire: W, api: Api, options: Options) -> Scene<W> {
        let (cameras, viewers) = (vec![], vec![]);
        Scene { wire, api, options, cameras, viewers, started: Instant::now(), ticks: 0, keys: 0 }
    }

    /// The wire, for what no peer would send.
    pub fn wire(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Joins a publisher of one opus stream; `room` and the number of the camera are in its payloads.
    pub fn publish(&mut self, tokens: &Tokens) {
        let number = self.cameras.len() as u32;
        let (local, ssrc) = (self.wire.open(), 0x1000 + number);
        let ours = self.new_key();
        let offer = self.offer(local, &ours, &sends(ssrc));
        let answer = self.api.join("whip", tokens, &offer);
        let (remote, theirs, _) = read_answer(&answer.body);
        let spec = PublicationSpec {
            publication: proto::PublicationNo(number),
            ssrc,
            kind: MediaKind::Audio,
            payload_type: 111,
            clock_rate: 48_000,
            ..PublicationSpec::default()
        };
        let ids = (SessionId(0), room_no(&tokens.room), MemberNo(number.into()));
        let profile = self.options.profile;
        let end = Publisher::new(ids, spec, local.into(), profile, (&ours, &theirs), 1000);
        let location = answer.location;
        self.cameras.push(Camera { end, local, remote, location, on: true, sent: 0 });
    }

    /// Joins a viewer with one opus slot.
    pub fn view(&mut self, tokens: &Tokens) {
        let number = self.viewers.len() as u64;
        let local = self.wire.open();
        let ours = self.new_key();
        let offer = self.offer(local, &ours, "a=recvonly\r\n");
        let answer = self.api.join("whep", tokens, &offer);
        let (_, theirs, ssrc) = read_answer(&answer.body);
        assert!(ssrc.is_some(), "a slot's SSRC is told: {}", answer.body);
        let ids = (SessionId(0), room_no(&tokens.room), MemberNo(number));
        let profile = self.options.profile;
        let end = Subscriber::new(ids, vec![], local.into(), profile, (&ours, &theirs));
        let location = answer.location;
        let (repeated, seen) = (vec![], HashSet::new());
        self.viewers.push(Viewer { end, local, location, repeated, seen });
    }

    fn new_key(&mut self) -> KeyMaterial {
        self.keys += 1;
        key(self.options.profile, self.keys)
    }

    fn offer(&self, local: SocketAddr, ours: &KeyMaterial, lines: &str) -> String {
        let family = if local.is_ipv4() { "IP4" } else { "IP6" };
        let (ip, port, suite) = (local.ip(), local.port(), self.options.profile);
        let key = STANDARD.encode(&*ours.bytes);
        format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n\
             a=crypto:1 {suite} inline:{key}\r\n{lines}"
        )
    }

    /// Sends one packet of a camera.
    pub fn send_one(&mut self, camera: usize) {
        let camera = &mut self.cameras[camera];
        let bytes = camera.end.packet(self.options.payload_len);
        camera.sent += 1;
        self.wire.send(camera.local, camera.remote, &bytes);
    }

    /// Sends a sender report of a camera.
    fn report(&mut self, camera: usize) {
        let elapsed = self.started.elapsed();
        let camera = &mut self.cameras[camera];
        let info = SenderInfo {
            ntp: ((elapsed.as_micros() << 32) / 1_000_000) as u64,
            rtp_timestamp: (camera.end.next as u32).wrapping_mul(960),
            packets: camera.sent as u32,
            bytes: camera.sent as u32 * self.options.payload_len as u32,
        };
        let mut bytes = [0; 100];
        let mut writer = Writer::new(&mut bytes);
        writer.sender_report(camera.end.spec.ssrc, &info, &[]).expect("fits");
        let len = writer.finish();
        let sealed = camera.end.rtcp(&bytes[..len]);
        self.wire.send(camera.local, camera.remote, &sealed);
    }

    /// Sends a hundred packets a second from every camera that is on, and receives, until `done`.
    /// False when that did not happen within `timeout`.
    pub fn flow(&mut self, timeout: Duration, mut done: impl FnMut(&Scene<W>) -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        // What was missed while nobody called is not made up for.
        let period = Duration::from_secs(1) / PACKETS_PER_S;
        self.ticks = (self.started.elapsed().as_nanos() / period.as_nanos()) as u32;
        while Instant::now() < deadline {
            if self.started.elapsed() >= period * self.ticks {
                self.ticks += 1;
                for camera in 0..self.cameras.len() {
                    if self.cameras[camera].on {
                        self.send_one(camera);
                        if self.ticks.is_multiple_of(PACKETS_PER_S) {
                            self.report(camera);
                        }
                    }
                }
            }
            self.receive();
            if done(self) {
                return true;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        false
    }

    /// Receives until nothing has come for `quiet`.
    pub fn drain(&mut self, quiet: Duration) {
        let mut last = Instant::now();
        while last.elapsed() < quiet {
            if self.receive() > 0 {
                last = Instant::now();
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Takes what is there.
    pub fn receive(&mut self) -> usize {
        let mut count = 0;
        while let Some((at, bytes)) = self.wire.receive() {
            count += 1;
            let Some(viewer) = self.viewers.iter_mut().find(|viewer| viewer.local == at) else {
                continue;
            };
            let index = index_of(&bytes, viewer_profile(&self.options));
            if let Some((rtcp, ssrc, index)) = index
                && !viewer.seen.insert((rtcp, ssrc, index))
            {
                viewer.repeated.push((ssrc, index));
            }
            viewer.end.receive(&bytes);
        }
        count
    }

    /// Media packets that a viewer could open.
    pub fn got(&self, viewer: usize) -> u64 {
        self.viewers[viewer].end.got.len() as u64
    }

    /// Asserts what holds for every viewer at any time: it opened all it got, each packet once and
    /// from its own room, and egress numbers follow ingress numbers.
    pub fn check(&self) {
        for (number, viewer) in self.viewers.iter().enumerate() {
            assert_eq!(viewer.repeated, [], "viewer {number} got an index twice");
            assert_eq!(viewer.end.refused, 0, "viewer {number} could not open something");
            let foreign = viewer.end.got.iter().filter(|got| got.mark.room != viewer.end.room.0);
            assert_eq!(foreign.count(), 0, "viewer {number} hears another room");
            for pair in viewer.end.got.windows(2) {
                let same_camera = pair[0].mark.publication == pair[1].mark.publication;
                let ordered = pair[0].egress < pair[1].egress
                    && (pair[0].mark.index < pair[1].mark.index || !same_camera);
                assert!(ordered, "viewer {number}: {:?} came before {:?}", pair[0], pair[1]);
            }
        }
    }
}

fn viewer_profile(options: &Options) -> Profile {
    options.profile
}

/// Whether it is RTCP, its SSRC, and the number its nonce is made of.
fn index_of(bytes: &[u8], profile: Profile) -> Option<(bool, u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match classify(bytes) {
        Kind::Rtp => {
            let header = Rtp::new_sealed(bytes).ok()?;
            Some((false, header.ssrc(), header.sequence().into()))
        }
        Kind::Rtcp => {
            // RFC 3711 3.4 has the index before the tag, RFC 7714 9 behind it.
            let behind = match profile {
                Profile::AesCm128HmacSha1_80 => profile.rtp_tag_len(),
                _ => 0,
            };
            let at = bytes.len().checked_sub(4 + behind)?;
            Some((true, word(4)?, word(at)? & 0x7fff_ffff))
        }
        _ => None,
    }
}

/// The room as it stands in payloads.
fn room_no(room: &str) -> RoomNo {
    RoomNo(room.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(131).wrapping_add(byte.into())))
}

/// Where the node is, its key, and the SSRC of the slot.
///
/// # Panics
/// When something is missing.
pub fn read_answer(sdp: &str) -> (SocketAddr, KeyMaterial, Option<u32>) {
    let value = |prefix: &str| {
        sdp.lines().filter_map(|line| line.strip_prefix(prefix)).next_back().map(str::trim)
    };
    let fail = || panic!("the answer is incomplete: {sdp}");
    let ip = value("c=IN ").and_then(|c| c.split(' ').nth(1)).and_then(|ip| ip.parse().ok());
    let port = value("m=audio ").and_then(|m| m.split(' ').next()?.parse().ok());
    let inline = value("a=crypto:").and_then(|c| c.split("inline:").nth(1));
    // Some pad a key of 28 bytes, some do not.
    let key = inline.map(|text| text.trim_end_matches('='));
    let key = key.and_then(|text| STANDARD_NO_PAD.decode(text).ok());
    let key = key.and_then(|bytes| List::from_slice(&bytes));
    let ssrc = value("a=ssrc:").and_then(|s| s.split(' ').next()?.parse().ok());
    let (Some(ip), Some(port), Some(bytes)) = (ip, port, key) else { fail() };
    (SocketAddr::new(ip, port), KeyMaterial { bytes }, ssrc)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wire that only brings what it was given.
    struct Given(Vec<(SocketAddr, Vec<u8>)>);

    impl Wire for Given {
        fn open(&mut self) -> SocketAddr {
            SocketAddr::from(([198, 18, 7, 1], 5000))
        }
        fn send(&mut self, _: SocketAddr, _: SocketAddr, _: &[u8]) {}
        fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
            self.0.pop()
        }
    }

    #[test]
    fn an_index_that_comes_twice_is_seen_for_media_and_reports_of_every_suite() {
        for profile in Profile::ALL {
            let keys = (key(profile, 1), key(profile, 2));
            let at = SocketAddr::from(([198, 18, 7, 1], 5000));
            let spec = PublicationSpec { ssrc: 9, ..PublicationSpec::default() };
            let ids = (SessionId(0), RoomNo(1), MemberNo(1));
            let node = Publisher::new(ids, spec, at.into(), profile, (&keys.1, &keys.0), 7);
            let mut again = Publisher::new(ids, spec, at.into(), profile, (&keys.1, &keys.0), 7);
            let mut node = node;
            // The same numbers with other content, as a data plane that forgot would send them.
            let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
            let packets = vec![
                (at, again.rtcp(&report)),
                (at, again.packet(80)),
                (at, node.rtcp(&report)),
                (at, node.packet(60)),
            ];
            let api = Api::new(Path::new("/nowhere"), 1, "");
            let options = Options { profile, payload_len: 60 };
            let mut scene = Scene::new(Given(packets), api, options);
            let end = Subscriber::new(ids, vec![], at.into(), profile, (&keys.0, &keys.1));
            let (location, repeated, seen) = (String::new(), vec![], HashSet::new());
            scene.viewers.push(Viewer { end, local: at, location, repeated, seen });
            assert_eq!(scene.receive(), 4);
            assert_eq!(scene.viewers[0].repeated, [(9, 7), (9, 0)], "{profile}");
            assert!(
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.check())).is_err()
            );
        }
    }
}
