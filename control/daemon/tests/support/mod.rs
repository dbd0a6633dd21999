//! A stand-in for the data plane at the other end of the rings, and a node's API around it. It keeps
//! the link's protocol and the table of sessions; it moves no media.
#![allow(dead_code)] // each test program uses its part

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use daemon::api::rates::Rates;
use daemon::api::{Api, AppAccess, Live, Peer, router};
use daemon::directory::{Directory, Settings, SystemEntropy};
use daemon::export::Metrics;
use daemon::handshakes::Service;
use daemon::handshakes::identities::Identities;
use daemon::limits::EVENT_STREAMS_MAX;
use daemon::link::Link;
use daemon::link::hub::{Hub, Status};
use daemon::logs::LogLimit;
use daemon::signalling::address::MediaAddresses;
use proto::codec::{self, MESSAGE_MAX};
use proto::link::{DATAPLANE_SOCKET, Hello, Welcome};
use proto::region::{LAYOUT_VERSION, PUNT_RING_BYTES, RING_BYTES, Sizes};
use proto::{
    CloseReason, Command, Event, KeyMaterial, OpenSession, Quota, Refusal, SdkAppId, SessionId,
    SlotState, SrtpProfile, punt,
};
use shm::event::Event as WakeUp;
use shm::fdpass::{self, Listener};
use shm::region::{Kind, Region, RegionSpec};
use shm::ring::{Consumer, Producer, RingSpec};
use shm::words::Span;
use token::{AppKeys, Privileges, RoomId, Secret, UserId};
use tokio::sync::Semaphore;
use tower::ServiceExt;

const COMMANDS: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX).secret();
const PUNTS: RingSpec = RingSpec::new(PUNT_RING_BYTES / 2, punt::MESSAGE_MAX);
const EVENTS: RingSpec = RingSpec::new(RING_BYTES / 2, MESSAGE_MAX);

/// What a finished handshake gives: the profile, the peer's key and ours.
pub type Keys = (SrtpProfile, KeyMaterial, KeyMaterial);

/// What a test sees and sets of the stand-in.
#[derive(Default)]
pub struct Seen {
    pub sessions: BTreeMap<u64, OpenSession>,
    pub rooms: HashMap<u64, u32>,
    pub commands: Vec<Command>,
    /// Answer of the next sessions.
    pub refuse: Option<Refusal>,
    /// No answers at all.
    pub silent: bool,
    /// Events to be told next.
    pub tell: Vec<Event>,
    /// Under which ufrag tokens are minted.
    pub ufrag_key: Option<[u8; 16]>,
    /// Handshake datagrams for the ring to the control plane.
    pub punts: VecDeque<(SessionId, Vec<u8>)>,
    /// Handshake datagrams that came back, and the session's keys at that time.
    pub injected: Vec<(SessionId, Vec<u8>, Option<Keys>)>,
    /// Keys by session: of the last command.
    pub keys: HashMap<u64, Keys>,
    /// Connections so far, and whether each brought a ledger.
    pub hellos: Vec<bool>,
}

/// The stand-in, with one shard.
pub struct RingPeer {
    pub seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RingPeer {
    pub fn start(run_dir: &Path, instance: u64) -> RingPeer {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let listener = Listener::bind(&run_dir.join(DATAPLANE_SOCKET), 0o600).expect("bind");
        let (for_thread, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || serve(&listener, instance, &for_thread, &stopped));
        RingPeer { seen, stop, thread: Some(thread) }
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap())
    }
}

impl Drop for RingPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            if !std::thread::panicking() {
                result.expect("the stand-in panicked");
            }
        }
    }
}

const SIZES: Sizes = Sizes { shards: 1, sessions_max: 32, rooms_max: 8 };

fn region(kind: Kind) -> Region {
    Region::create(RegionSpec {
        name: "test",
        kind,
        layout_version: u64::from(LAYOUT_VERSION),
        payload_bytes: SIZES.control_bytes(),
        epoch: 1,
    })
    .expect("region")
}

fn serve(listener: &Listener, instance: u64, seen: &Mutex<Seen>, stop: &AtomicBool) {
    let (control, stats) = (region(Kind::Control), region(Kind::Stats));
    let (wake_shard, wake_control) = (WakeUp::new().unwrap(), WakeUp::new().unwrap());
    let span = |offset: usize| Span { offset_words: offset / 8, len_words: RING_BYTES / 8 };
    let words = |offset| control.words(span(offset)).expect("inside");
    let mut commands = Consumer::attach(words(SIZES.command_ring(0)), COMMANDS).unwrap();
    let mut events = Producer::attach(words(SIZES.event_ring(0)), EVENTS)
        .unwrap()
        .with_event(wake_control.try_clone().unwrap());
    let span = |offset: usize| Span { offset_words: offset / 8, len_words: PUNT_RING_BYTES / 8 };
    let words = |offset| control.words(span(offset)).expect("inside");
    let mut punts = Producer::attach(words(SIZES.punt_ring(0)), PUNTS)
        .unwrap()
        .with_event(wake_control.try_clone().unwrap());
    let mut injects = Consumer::attach(words(SIZES.inject_ring(0)), PUNTS).unwrap();
    let mut peer: Option<OwnedFd> = None;
    let mut greeted = false;
    while !stop.load(Ordering::Acquire) {
        if readable(listener.as_fd()) {
            let socket = listener.accept().unwrap();
            let mut bytes = [0; 64];
            let received = fdpass::recv(&socket, &mut bytes).unwrap();
            let hello: Hello = codec::decode(&bytes[..received.len_bytes]).unwrap();
            assert_eq!(hello.has_ledger, !received.descriptors.is_empty());
            seen.lock().unwrap().hellos.push(hello.has_ledger);
            let welcome = Welcome {
                layout_version: LAYOUT_VERSION,
                instance,
                shards: SIZES.shards,
                sessions_max: SIZES.sessions_max,
                rooms_max: SIZES.rooms_max,
                udp_base: 8000,
                adopted: hello.has_ledger,
                resync: greeted,
            };
            greeted = true;
            let len = codec::encode(&welcome, &mut bytes).unwrap();
            let descriptors =
                [control.as_fd(), stats.as_fd(), wake_shard.as_fd(), wake_control.as_fd()];
            fdpass::send(&socket, &bytes[..len], &descriptors).unwrap();
            peer = Some(socket);
        }
        if peer.as_ref().is_some_and(|peer| readable(peer.as_fd())) {
            peer = None;
        }
        let mut bytes = [0; MESSAGE_MAX];
        while let Some(len) = commands.pop(&mut bytes).unwrap() {
            let command: Command = codec::decode(&bytes[..len]).expect("a command");
            for event in obey(&mut seen.lock().unwrap(), command) {
                let len = codec::encode(&event, &mut bytes).unwrap();
                events.push(&bytes[..len]).unwrap();
            }
            events.wake().unwrap();
        }
        carry_handshakes(&mut seen.lock().unwrap(), &mut commands, &mut punts, &mut injects);
        let told = std::mem::take(&mut seen.lock().unwrap().tell);
        for event in &told {
            let len = codec::encode(event, &mut bytes).unwrap();
            events.push(&bytes[..len]).unwrap();
        }
        if !told.is_empty() {
            events.wake().unwrap();
        }
        // A poll of its own, so that lost wake-ups of the daemon do not hide.
        if commands.arm().unwrap() && wake_shard.wait(Duration::from_millis(2)).unwrap() {
            wake_shard.drain().unwrap();
        }
        commands.disarm();
    }
}

/// As a worker does: a datagram is read when no command waits.
fn carry_handshakes(
    seen: &mut Seen,
    commands: &mut Consumer,
    punts: &mut Producer,
    injects: &mut Consumer,
) {
    let mut bytes = [0; punt::MESSAGE_MAX];
    while let Some((session, datagram)) = seen.punts.pop_front() {
        let len = punt::encode(session, &datagram, &mut bytes).expect("a short datagram");
        punts.push(&bytes[..len]).expect("room for a test");
    }
    punts.wake().unwrap();
    while !injects.is_empty().unwrap() && commands.is_empty().unwrap() {
        let len = injects.pop(&mut bytes).unwrap().expect("there was one");
        let (session, datagram) = punt::decode(&bytes[..len]).expect("a datagram");
        let keys = seen.keys.get(&session.0).copied();
        seen.injected.push((session, datagram.to_vec(), keys));
    }
}

fn readable(fd: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&now)).unwrap() > 0
}

fn obey(seen: &mut Seen, command: Command) -> Vec<Event> {
    seen.commands.push(command);
    if seen.silent {
        return Vec::new();
    }
    match command {
        Command::OpenRoom { room, app, .. } => {
            seen.rooms.insert(room.0, app.0);
            Vec::new()
        }
        Command::InstallKeys { session, profile, rx_key, tx_key } => {
            assert!(seen.sessions.contains_key(&session.0), "keys of a session that is not there");
            seen.keys.insert(session.0, (profile, rx_key, tx_key));
            Vec::new()
        }
        Command::SetUfragKey { key } => {
            seen.ufrag_key = Some(key.0);
            Vec::new()
        }
        Command::OpenSession(open) => {
            let (session, room) = (open.session, open.room);
            if let Some(why) = seen.refuse {
                return vec![Event::Refused { session, room, why }];
            }
            assert!(seen.rooms.contains_key(&room.0), "a session without a room");
            assert!(seen.sessions.insert(session.0, open).is_none(), "opened twice");
            vec![Event::Opened { session }]
        }
        Command::CloseSession { session, reason } => match seen.sessions.remove(&session.0) {
            Some(_) => vec![Event::Closed { session, reason, rx_packets: 0, tx_packets: 0 }],
            None => {
                let (room, why) = (proto::RoomNo(0), Refusal::Unknown);
                vec![Event::Refused { session, room, why }]
            }
        },
        Command::SetGrant { session, grant } => {
            seen.sessions.get_mut(&session.0).expect("open").grant = grant;
            Vec::new()
        }
        Command::Resync => {
            let told = seen.sessions.values().flat_map(told);
            let count = seen.sessions.len() as u32;
            told.chain([Event::ResyncDone { sessions: count }]).collect()
        }
        _ => Vec::new(),
    }
}

/// A session and its streams, as a shard tells them.
pub fn told(open: &OpenSession) -> Vec<Event> {
    let session = open.session;
    let (room, member, grant, blob) = (open.room, open.member, open.grant, open.blob);
    let mut events = vec![Event::Session { session, room, member, grant, blob }];
    let publications = open.publications.iter();
    events.extend(publications.map(|spec| Event::Publication { session, spec: *spec }));
    events.extend(open.slots.iter().enumerate().map(|(at, slot)| Event::SlotOpen {
        session,
        slot: at as u8,
        mid: slot.mid,
        kind: slot.kind,
        ssrcs: (slot.ssrc, slot.rtx_ssrc),
        state: SlotState::Off,
    }));
    events
}

pub const APP: u32 = 1_400_000_001;
/// Demands a PrivateMapKey.
pub const STRICT_APP: u32 = 1_400_000_002;
/// One join a second.
pub const SLOW_APP: u32 = 1_400_000_003;

pub fn secret(app: u32) -> Secret {
    Secret::from_file_content(secret_text(app).as_bytes()).unwrap()
}

pub fn secret_text(app: u32) -> String {
    format!("{app:064}")
}

pub fn now() -> u64 {
    shm::clock::unix_ns() / 1_000_000_000
}

pub fn user_sig(app: u32, user: &str) -> String {
    let user = UserId::new(user).unwrap();
    token::make_user_sig(app, &secret(app), &user, now(), 600).unwrap()
}

pub fn map_key(app: u32, user: &str, room: &RoomId, bits: u8) -> String {
    let user = UserId::new(user).unwrap();
    let privileges = Privileges::from_bits(bits);
    token::make_private_map_key(app, &secret(app), &user, room, privileges, now(), 300).unwrap()
}

/// A control process without its listeners.
pub struct Control {
    pub api: Arc<Api>,
    pub hub: Arc<Hub>,
    pub metrics: Arc<Metrics>,
    pub identities: Arc<Identities>,
    pub router: Router,
    link: Option<Link>,
    handshakes: Option<Service>,
}

pub fn folder(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("roomlane-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

impl Control {
    pub fn start(run_dir: &Path, source_joins_per_s: u32) -> Control {
        Control::start_with(run_dir, source_joins_per_s, |_| {})
    }

    /// With an API of the test's making.
    pub fn start_with(
        run_dir: &Path,
        source_joins_per_s: u32,
        change: impl FnOnce(&mut Api),
    ) -> Control {
        let apps = [APP, STRICT_APP, SLOW_APP];
        let settings = Settings {
            apps: apps.iter().map(|app| (SdkAppId(*app), Quota::default())).collect(),
            media: MediaAddresses {
                own: vec!["198.18.1.2/24".parse().unwrap(), "2001:db8:1::2/64".parse().unwrap()],
                exclusive: true,
                ..MediaAddresses::default()
            },
            udp_base: 8000,
            room_sessions_per_shard: 100,
            blob_key: daemon::directory::BlobKey::keep(run_dir, &mut SystemEntropy).unwrap(),
        };
        let directory = Directory::new(settings, Box::new(SystemEntropy), now());
        let hub = Arc::new(Hub::new(directory).unwrap());
        let metrics = Arc::new(Metrics::new(run_dir.to_owned()).unwrap());
        let access = |app: u32| AppAccess {
            keys: AppKeys::new(app, vec![secret(app)]).unwrap(),
            private_map_key_required: app == STRICT_APP,
            joins_per_s: u32::from(app == SLOW_APP),
            is_suspended: false,
            digest: [0; 32],
        };
        let identities = Arc::new(Identities::new(now()).unwrap());
        let handshakes = Service::start(Arc::clone(&hub), Arc::clone(&metrics)).unwrap();
        let mut api = Api {
            hub: Arc::clone(&hub),
            identities: Arc::clone(&identities),
            live: RwLock::new(Arc::new(Live {
                apps: apps.iter().map(|app| (*app, access(*app))).collect(),
                skew_s: 5,
                ..Live::default()
            })),
            rates: Rates::new(source_joins_per_s, [(SLOW_APP, 1)]),
            metrics: Arc::clone(&metrics),
            log: LogLimit::default(),
            streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            cors: Arc::default(),
        };
        change(&mut api);
        let api = Arc::new(api);
        let link = Some(Link::start(Arc::clone(&hub), run_dir.to_owned()).unwrap());
        Control {
            hub,
            metrics,
            identities,
            router: router(Arc::clone(&api)),
            api,
            link,
            handshakes: Some(handshakes),
        }
    }

    /// With something else of what a reload exchanges.
    pub fn start_live(run_dir: &Path, change: impl FnOnce(&mut Live)) -> Control {
        Control::start_with(run_dir, 0, |api| {
            let mut live = (*api.live()).clone();
            change(&mut live);
            api.set_live(Arc::new(live));
        })
    }

    /// With a data plane.
    pub async fn up(run_dir: &Path, source_joins_per_s: u32) -> Control {
        let control = Control::start(run_dir, source_joins_per_s);
        control.is_up().await;
        control
    }

    /// Waits for the data plane.
    pub async fn is_up(&self) {
        self.wait_for(|control| matches!(control.hub.status(), Status::Up { .. })).await;
    }

    pub async fn wait_for(&self, condition: impl Fn(&Control) -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !condition(self) {
            assert!(Instant::now() < end, "waited in vain");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(handshakes) = self.handshakes.take() {
            handshakes.stop();
        }
        if let Some(link) = self.link.take() {
            link.stop();
        }
    }
}

pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem document, whose form is checked.
    pub fn problem(&self) -> (u16, String) {
        let kind = self.header("content-type");
        assert!(kind.starts_with("application/problem+json"), "{} {}", self.status, self.text);
        let document: serde_json::Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(document["status"], self.status);
        let code = document["code"].as_str().unwrap().to_owned();
        assert_eq!(document["type"], format!("urn:roomlane:problem:{code}"));
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()));
        (self.status, code)
    }
}

pub const CLIENT: &str = "192.0.2.7";

pub struct Ask(pub axum::http::request::Builder);

pub fn ask(method: &str, uri: &str) -> Ask {
    let peer = Peer(Some(CLIENT.parse().unwrap()));
    Ask(Request::builder().method(method).uri(uri).extension(peer))
}

impl Ask {
    pub fn header(self, name: &str, value: &str) -> Ask {
        Ask(self.0.header(name, value))
    }

    pub fn bearer(self, credential: &str) -> Ask {
        self.header("authorization", &format!("Bearer {credential}"))
    }

    pub fn sdp(self, text: &str) -> Request<Body> {
        let builder = self.0.header("content-type", "application/sdp");
        builder.body(Body::from(text.to_owned())).unwrap()
    }

    pub fn fragment(self, text: &str) -> Request<Body> {
        let builder = self.0.header("content-type", "application/trickle-ice-sdpfrag");
        builder.body(Body::from(text.to_owned())).unwrap()
    }

    pub fn empty(self) -> Request<Body> {
        self.0.body(Body::empty()).unwrap()
    }
}

/// Chromium 156: a microphone and a camera with three layers; two transceivers to watch with.
pub const CHROMIUM_CAMERA: &str = include_str!("../offers/chromium_offer_simulcast.sdp");
pub const CHROMIUM_VIEWER: &str = include_str!("../offers/chromium_offer_recvonly.sdp");

pub const KEY: &str = "inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==";

pub fn publisher(ssrc: u32) -> String {
    format!(
        "v=0\r\no=- 0 0 IN IP4 {CLIENT}\r\ns=-\r\nc=IN IP4 {CLIENT}\r\nt=0 0\r\n\
         m=audio 9 RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\na=sendonly\r\na=rtcp-mux\r\n\
         a=ssrc:{ssrc} cname:x\r\na=crypto:1 AEAD_AES_128_GCM {KEY}\r\n"
    )
}

pub fn viewer(port: u16) -> String {
    format!(
        "v=0\r\no=- 0 0 IN IP4 {CLIENT}\r\ns=-\r\nc=IN IP4 {CLIENT}\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\na=recvonly\r\na=rtcp-mux\r\n\
         a=crypto:1 AEAD_AES_128_GCM {KEY}\r\n"
    )
}

/// Why the sessions of a stand-in were closed.
pub fn close_reasons(peer: &RingPeer) -> Vec<CloseReason> {
    peer.with(|seen| {
        let reason = |command: &Command| match command {
            Command::CloseSession { reason, .. } => Some(*reason),
            _ => None,
        };
        seen.commands.iter().filter_map(reason).collect()
    })
}
