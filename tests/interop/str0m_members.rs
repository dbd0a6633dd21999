//! str0m as many publishers and viewers, a thread and a socket for each.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use roomlane_tests::netns::{NetNs, PEER_IP};
use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaData, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::media::{Clip, FPS, Pictures, decode, hz};
use crate::members::{Members, Role};

/// Longest time that a thread sleeps.
const NAP: Duration = Duration::from_millis(5);
/// Samples of a packet of ours.
const SAMPLES: u64 = 960;
/// All pictures of a viewer are decoded each time when so many more have come.
const DECODED: usize = 45;

/// What has happened to a member so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// ICE and DTLS have succeeded.
    pub connected: bool,
    /// The other side has ended it.
    pub failed: bool,
    /// Pictures, as they were encoded.
    pub vp8: Vec<Vec<u8>>,
    /// Packets of sound, likewise.
    pub opus: Vec<Vec<u8>>,
    /// Pictures and packets of sound before which something was missing.
    pub gaps: u64,
    /// Retransmissions that it asked for, or was asked for.
    pub nacks: u64,
    /// Pictures and packets of sound that it has published.
    pub sent: (u64, u64),
    /// Datagrams that came to its socket.
    pub datagrams: u64,
}

/// A member.
pub struct Member {
    /// Its name.
    pub name: String,
    /// A second handle of its socket, for what only an enemy would send from there.
    pub socket: UdpSocket,
    seen: Arc<Mutex<Seen>>,
    pictures: Option<Pictures>,
    state: State,
    quiet: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

enum State {
    Offering(Box<(Rtc, SdpPendingOffer, Peer)>),
    Running(JoinHandle<()>),
    Gone,
}

/// Members in a namespace.
pub struct Str0m<'a> {
    ns: &'a NetNs,
    /// All of them.
    pub members: Vec<Member>,
    /// Clips whose packets of sound it knows when it hears them.
    pub known: Vec<Clip>,
}

impl<'a> Str0m<'a> {
    /// Nobody yet.
    pub fn new(ns: &'a NetNs) -> Str0m<'a> {
        // Another test of this process may have come first.
        let _ = std::panic::catch_unwind(|| {
            str0m::crypto::from_feature_flags().install_process_default()
        });
        Str0m { ns, members: vec![], known: vec![] }
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> &Member {
        let found = self.members.iter().find(|member| member.name == name);
        found.unwrap_or_else(|| panic!("nobody is called {name}"))
    }
}

impl Member {
    /// What has happened so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().expect("its thread has not panicked").clone()
    }

    /// Stops publishing, and stays.
    pub fn fall_silent(&self) {
        self.quiet.store(true, Ordering::Relaxed);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let State::Running(thread) = std::mem::replace(&mut self.state, State::Gone) {
            let _ = thread.join();
        }
    }
}

impl Members for Str0m<'_> {
    fn join(&mut self, name: &str, role: Role, clip: &Clip) -> String {
        let socket = self.ns.udp(PEER_IP.parse().expect("an address"));
        socket.set_nonblocking(false).expect("a socket can block");
        let config = Rtc::builder().clear_codecs().enable_opus(true, false).enable_vp8(true);
        let mut rtc =
            config.set_stats_interval(Some(Duration::from_millis(200))).build(Instant::now());
        let at = socket.local_addr().expect("bound");
        rtc.add_local_candidate(Candidate::host(at, "udp").expect("an ordinary address"));
        let way = if role == Role::Publish { Direction::SendOnly } else { Direction::RecvOnly };
        let mut changes = rtc.sdp_api();
        let mids = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| changes.add_media(kind, way, None, None, None));
        let (offer, pending) = changes.apply().expect("there are changes");
        let clip = (role == Role::Publish).then(|| clip.clone());
        let (seen, quiet, stop) = <(Arc<Mutex<Seen>>, Arc<_>, Arc<_>)>::default();
        let other = socket.try_clone().expect("a socket has handles");
        let peer = Peer {
            socket,
            mids,
            clip,
            start: None,
            sent: (0, 0),
            seen: Arc::clone(&seen),
            quiet: Arc::clone(&quiet),
            stop: Arc::clone(&stop),
        };
        let state = State::Offering(Box::new((rtc, pending, peer)));
        let (name, socket, pictures) = (name.to_owned(), other, None);
        self.members.push(Member { name, socket, seen, pictures, state, quiet, stop });
        offer.to_sdp_string()
    }

    fn answer(&mut self, name: &str, sdp: &str) {
        let member = self.members.iter_mut().find(|member| member.name == name).expect("joined");
        let State::Offering(it) = std::mem::replace(&mut member.state, State::Gone) else {
            panic!("{name} has its answer");
        };
        let (mut rtc, pending, peer) = *it;
        let answer = SdpAnswer::from_sdp_string(sdp);
        let answer = answer.unwrap_or_else(|why| panic!("str0m cannot read it: {why}\n{sdp}"));
        let taken = rtc.sdp_api().accept_answer(pending, answer);
        taken.unwrap_or_else(|why| panic!("str0m does not take it: {why}\n{sdp}"));
        member.state = State::Running(std::thread::spawn(move || peer.run(rtc)));
    }

    fn look(&mut self) -> Value {
        let mut members = serde_json::Map::new();
        for member in &mut self.members {
            let seen = member.seen();
            let state = match (seen.failed, seen.connected) {
                (true, _) => "failed",
                (false, true) => "connected",
                (false, false) => "new",
            };
            let next = member.pictures.map_or(0, |all| all.frames) + DECODED;
            if seen.vp8.len() >= next {
                member.pictures = decode(&seen.vp8).ok();
            }
            let pictures = member.pictures;
            // Sound is not decoded here: a packet is known again, or it is not.
            let heard = |clip: &&Clip| seen.opus.last().is_some_and(|it| clip.opus.contains(it));
            let tone = self.known.iter().find(heard).map(|clip| hz(clip.mark));
            let told = json!({
                "state": state, "lost": seen.gaps, "seconds": seen.opus.len() as f64 * 0.02, "hz": tone,
                "frames": pictures.map_or(0, |all| all.frames),
                "moved": pictures.map_or(0, |all| all.moved), "cb": pictures.and_then(|all| all.cb),
            });
            members.insert(member.name.clone(), told);
        }
        json!({ "members": members })
    }
}

/// What a thread owns.
struct Peer {
    socket: UdpSocket,
    /// Of sound and picture.
    mids: [Mid; 2],
    clip: Option<Clip>,
    start: Option<Instant>,
    sent: (u64, u64),
    seen: Arc<Mutex<Seen>>,
    quiet: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Peer {
    fn run(mut self, mut rtc: Rtc) {
        let mut bytes = vec![0; 2048];
        while !self.stop.load(Ordering::Relaxed) && rtc.is_alive() && !self.has_failed() {
            match rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => {
                    self.publish(&mut rtc);
                    self.wait(&mut rtc, at, &mut bytes);
                }
                Output::Transmit(it) => {
                    self.socket.send_to(&it.contents, it.destination).expect("there is a route");
                }
                Output::Event(event) => self.note(event),
            }
        }
    }

    fn wait(&self, rtc: &mut Rtc, at: Instant, bytes: &mut [u8]) {
        let nap = at.saturating_duration_since(Instant::now()).min(NAP);
        self.socket.set_read_timeout(Some(nap.max(Duration::from_micros(200)))).expect("a timeout");
        let input = match self.socket.recv_from(bytes) {
            Ok((len, source)) => {
                self.seen.lock().expect("nobody panicked").datagrams += 1;
                // What no WebRTC peer understands is dropped here as there.
                let Ok(contents) = bytes[..len].try_into() else { return };
                let destination = self.socket.local_addr().expect("bound");
                let receive = Receive { proto: Protocol::Udp, source, destination, contents };
                Input::Receive(Instant::now(), receive)
            }
            Err(_) => Input::Timeout(Instant::now()),
        };
        // An alert is an error of its DTLS; so is a handshake that cannot go on.
        if rtc.handle_input(input).is_err() {
            self.seen.lock().expect("nobody panicked").failed = true;
        }
    }

    fn has_failed(&self) -> bool {
        self.seen.lock().expect("nobody panicked").failed
    }

    fn note(&self, event: Event) {
        let mut seen = self.seen.lock().expect("nobody panicked");
        match event {
            Event::Connected => seen.connected = true,
            Event::MediaData(MediaData { mid, contiguous, data, .. }) => {
                seen.gaps += u64::from(!contiguous);
                match mid == self.mids[0] {
                    true => seen.opus.push(data.to_vec()),
                    false => seen.vp8.push(data.to_vec()),
                }
            }
            // These are sums since the beginning.
            Event::MediaIngressStats(stats) => seen.nacks = seen.nacks.max(stats.nacks),
            Event::MediaEgressStats(stats) => seen.nacks = seen.nacks.max(stats.nacks),
            _ => {}
        }
    }

    /// Sends what is due by now.
    fn publish(&mut self, rtc: &mut Rtc) {
        let connected = self.seen.lock().expect("nobody panicked").connected;
        let Some(clip) = self.clip.as_ref().filter(|_| connected) else { return };
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let elapsed = now.duration_since(*self.start.get_or_insert(now)).as_millis() as u64;
        let (frames, packets) = self.sent;
        if elapsed >= packets * 20 {
            let data = clip.opus[packets as usize % clip.opus.len()].clone();
            let time = MediaTime::new(packets * SAMPLES, str0m::media::Frequency::FORTY_EIGHT_KHZ);
            write(rtc, self.mids[0], Codec::Opus, time, data);
            self.sent.1 += 1;
        }
        if elapsed >= frames * 1000 / u64::from(FPS) {
            let data = clip.vp8[frames as usize % clip.vp8.len()].clone();
            let time = MediaTime::from_90khz(frames * 90_000 / u64::from(FPS));
            write(rtc, self.mids[1], Codec::Vp8, time, data);
            self.sent.0 += 1;
        }
        self.seen.lock().expect("nobody panicked").sent = self.sent;
    }
}

fn write(rtc: &mut Rtc, mid: Mid, codec: Codec, time: MediaTime, data: Vec<u8>) {
    // A section that was declined has no writer.
    let Some(writer) = rtc.writer(mid) else { return };
    let params = writer.payload_params().find(|params| params.spec().codec == codec);
    let Some(number) = params.map(|params| params.pt()) else { return };
    writer.write(number, Instant::now(), time, data).expect("str0m takes it");
}
