//! A small model of the shards, and guests who join: what the tests of the directory share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ::dtls::Identity;
use proto::link::Welcome;
use proto::{Command, Event, OpenSession, Refusal};

use super::super::replay::{SurvivingSlot, Survivor};
use super::super::*;
use crate::problem::Problem;
use crate::signalling::offer::{self, Offer, Terms};

/// Numbers that only differ: tests repeat themselves.
pub(super) struct Counting(u64);

impl Entropy for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            chunk.copy_from_slice(&self.0.rotate_right(32).to_le_bytes()[..chunk.len()]);
        }
    }
}

pub(super) const APPS: [u32; 2] = [1, 2];

pub(super) fn settings() -> Settings {
    let quota = Quota { sessions: 0, rooms: 0, ..Quota::default() };
    Settings {
        apps: APPS.iter().map(|app| (SdkAppId(*app), quota)).collect(),
        media: MediaAddresses { own: vec!["198.18.1.2/24".parse().unwrap()], ..Default::default() },
        udp_base: 8000,
        room_sessions_per_shard: 3,
        blob_key: super::super::BlobKey::new(&mut Counting(7)),
    }
}

/// `adopted`: a data plane that goes on with the ledger of the one before it.
pub(super) fn welcome(shards: u32, sessions_max: u32, adopted: bool) -> Welcome {
    Welcome {
        layout_version: 1,
        instance: 7,
        shards,
        sessions_max,
        rooms_max: 8,
        udp_base: 8000,
        adopted,
        resync: false,
    }
}

/// What a shard keeps: it refuses what the real one refuses.
#[derive(Default)]
pub(super) struct ModelShard {
    pub(super) rooms: HashMap<RoomNo, SdkAppId>,
    pub(super) sessions: BTreeMap<u32, OpenSession>,
    pub(super) remotes: HashSet<PublicationNo>,
    pub(super) relays: HashSet<(PublicationNo, ShardId)>,
}

pub(super) struct World {
    pub(super) directory: Directory,
    pub(super) shards: Vec<ModelShard>,
    pub(super) open: Vec<ResourceId>,
    /// Events that the directory has not seen yet.
    pub(super) events: Vec<(ShardId, Event)>,
    /// Control planes that there were: each has randomness and a start of its own.
    pub(super) lives: u64,
}

impl World {
    pub(super) fn new(shards: u32, sessions_max: u32) -> World {
        let mut directory = Directory::new(settings(), Box::new(Counting(1)), 1_700_000_000);
        let mut orders = Orders::default();
        directory.attach(&welcome(shards, sessions_max, false), &[], &mut orders);
        let models = (0..shards).map(|_| ModelShard::default()).collect();
        let mut world =
            World { directory, shards: models, open: Vec::new(), events: Vec::new(), lives: 1 };
        world.obey(orders);
        world
    }

    pub(super) fn obey(&mut self, mut orders: Orders) {
        for (id, command) in orders.decode() {
            let shard = &mut self.shards[id.0 as usize];
            match command {
                Command::OpenRoom { room, app, .. } => {
                    assert_eq!(*shard.rooms.entry(room).or_insert(app), app);
                }
                Command::OpenSession(open) => {
                    assert_eq!(shard.rooms.get(&open.room), Some(&open.app), "room of another app");
                    let slot = open.session.slot();
                    assert!(!shard.sessions.contains_key(&slot), "slot {slot} is given out twice");
                    let taken = |other: &OpenSession| {
                        !open.remote.is_unset() && other.remote == open.remote
                    };
                    assert!(!shard.sessions.values().any(taken), "two sessions have one address");
                    shard.sessions.insert(slot, open);
                    self.events.push((id, Event::Opened { session: open.session }));
                }
                Command::CloseSession { session, reason } => {
                    match shard.sessions.get(&session.slot()) {
                        Some(open) if open.session == session => {
                            shard.sessions.remove(&session.slot());
                            let (rx_packets, tx_packets) = (0, 0);
                            let event = Event::Closed { session, reason, rx_packets, tx_packets };
                            self.events.push((id, event));
                        }
                        _ => {
                            let (room, why) = (RoomNo(0), Refusal::Unknown);
                            self.events.push((id, Event::Refused { session, room, why }));
                        }
                    }
                }
                Command::OpenRemote { spec, room, .. } => {
                    assert!(shard.rooms.contains_key(&room));
                    shard.remotes.insert(spec.publication);
                }
                Command::CloseRemote { publication } => {
                    shard.remotes.remove(&publication);
                }
                Command::AddRelay { publication, to } => {
                    shard.relays.insert((publication, to));
                }
                Command::RemoveRelay { publication, to } => {
                    shard.relays.remove(&(publication, to));
                }
                _ => {}
            }
        }
    }

    /// Lets all events arrive.
    pub(super) fn settle(&mut self) {
        while !self.events.is_empty() {
            for (shard, event) in std::mem::take(&mut self.events) {
                let mut orders = Orders::default();
                self.directory.event(shard, &event, &mut orders);
                self.obey(orders);
            }
        }
        self.open.retain(|id| self.directory.resource(*id).is_some());
    }

    pub(super) fn join(&mut self, request: &JoinRequest<'_>) -> Result<Joined, Problem> {
        let mut orders = Orders::default();
        let joined = self.directory.join(request, &mut orders);
        assert!(joined.is_ok() || orders.is_empty(), "a refused join ordered something");
        self.obey(orders);
        if let Ok(joined) = &joined {
            self.open.push(joined.resource);
        }
        joined
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &OpenSession> {
        self.shards.iter().flat_map(|shard| shard.sessions.values())
    }

    pub(super) fn check(&self) {
        let mut ssrcs = HashSet::new();
        let mut publications = HashSet::new();
        let mut keys = HashSet::new();
        for open in self.sessions() {
            assert_ne!(open.session, SessionId(0));
            for ssrc in open.slots.iter().map(|slot| slot.ssrc).chain([open.rtcp_ssrc]) {
                assert!(ssrc != 0 && ssrcs.insert(ssrc), "an SSRC of ours is used twice");
            }
            for spec in open.publications.iter() {
                assert!(
                    publications.insert(spec.publication),
                    "a publication number is used twice"
                );
            }
            assert!(keys.insert(open.tx_key.bytes.to_vec()), "a key of ours is used twice");
            assert!(open.slots.iter().all(|slot| slot.first_sequence < 1 << 15));
        }
        // Nothing crosses apps: a room number belongs to one app on all shards.
        let mut apps: HashMap<RoomNo, SdkAppId> = HashMap::new();
        for open in self.sessions() {
            assert_eq!(*apps.entry(open.room).or_insert(open.app), open.app);
        }
        self.check_relays();
        let totals = self.directory.totals();
        assert_eq!(totals.sessions, self.sessions().count());
        assert_eq!(totals.publishing + totals.subscribing, self.open.len());
    }

    /// Every publication of a room is known on every shard that has sessions of the room.
    pub(super) fn check_relays(&self) {
        for open in self.sessions() {
            let home = open.session.shard();
            for spec in open.publications.iter() {
                for (index, shard) in self.shards.iter().enumerate() {
                    let there = ShardId(index as u8);
                    let present = shard.sessions.values().any(|other| other.room == open.room);
                    if there != home && present {
                        let relayed = (spec.publication, there);
                        assert!(shard.remotes.contains(&spec.publication), "no remote {there:?}");
                        assert!(self.shards[home.0 as usize].relays.contains(&relayed));
                    }
                }
            }
        }
        let live: HashSet<_> = self
            .sessions()
            .flat_map(|open| open.publications.iter().map(|p| p.publication))
            .collect();
        for shard in &self.shards {
            assert!(shard.remotes.is_subset(&live), "a remote publication outlives its home");
        }
    }

    /// The same data plane, a new control plane.
    pub(super) fn restart_control(&mut self, shards: u32, sessions_max: u32) {
        let survivors: Vec<Survivor> = self
            .sessions()
            .map(|open| Survivor {
                session: open.session,
                room: open.room,
                member: open.member,
                grant: open.grant,
                blob: open.blob.to_vec(),
                publications: open.publications.to_vec(),
                slots: open.slots.iter().map(surviving).collect(),
            })
            .collect();
        self.lives += 1;
        let (entropy, start) = (Counting(self.lives), 1_700_000_000 + self.lives);
        self.directory = Directory::new(settings(), Box::new(entropy), start);
        let mut orders = Orders::default();
        self.directory.attach(
            &Welcome { resync: true, ..welcome(shards, sessions_max, false) },
            &survivors,
            &mut orders,
        );
        self.obey(orders);
        self.settle();
    }

    /// The same control plane, a new data plane.
    pub(super) fn restart_data_plane(&mut self, shards: u32, sessions_max: u32) {
        self.replace_data_plane(shards, sessions_max, true);
    }

    /// The same, with or without the ledger of the one before it.
    pub(super) fn replace_data_plane(&mut self, shards: u32, sessions_max: u32, adopted: bool) {
        self.shards = (0..shards).map(|_| ModelShard::default()).collect();
        self.events.clear();
        for resource in self.directory.opening() {
            self.directory.abandon(resource, &mut Orders::default());
        }
        let mut orders = Orders::default();
        self.directory.attach(&welcome(shards, sessions_max, adopted), &[], &mut orders);
        self.obey(orders);
        self.settle();
    }
}

fn surviving(slot: &proto::SlotSpec) -> SurvivingSlot {
    let (ssrcs, state) = ((slot.ssrc, slot.rtx_ssrc), SlotState::Off);
    SurvivingSlot { mid: slot.mid, kind: slot.kind, ssrcs, state }
}

pub(super) const KEY: &str = "inline:MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3OA==";

pub(super) fn offer(role: Role, port: u16, kinds: &[&str]) -> Offer {
    let direction = if role == Role::Publish { "sendonly" } else { "recvonly" };
    let mut text = "v=0\r\nc=IN IP4 192.0.2.1\r\n".to_owned();
    for (index, kind) in kinds.iter().enumerate() {
        let (media, codec) =
            if *kind == "audio" { ("audio", "opus/48000/2") } else { ("video", "VP8/90000") };
        let content = if *kind == "slides" { "a=content:slides\r\n" } else { "" };
        let port = if port == 9 { 9 } else { port + index as u16 };
        text.push_str(&format!(
            "m={media} {port} RTP/SAVP 96\r\na=rtpmap:96 {codec}\r\na={direction}\r\n{content}\
             a=rtcp-mux\r\na=ssrc:{}\r\na=crypto:1 AEAD_AES_128_GCM {KEY}\r\n",
            7 + index
        ));
    }
    offer::parse(text.as_bytes(), Terms { role, stream: Stream::Main, substream: None })
        .expect("the test's offer is legal")
}

pub(super) struct Guest {
    pub(super) app: u32,
    pub(super) room: RoomId,
    pub(super) user: UserId,
    pub(super) privileges: u8,
    pub(super) identity: Arc<Identity>,
}

pub(super) fn guest(user: &str) -> Guest {
    let room = RoomId::text("r").unwrap();
    let identity = Identity::generate(Duration::from_secs(3600), 1_800_000_000).unwrap();
    let (user, identity) = (UserId::new(user).unwrap(), Arc::new(identity));
    Guest { app: 1, room, user, privileges: 255, identity }
}

impl Guest {
    pub(super) fn request<'a>(&'a self, role: Role, offer: &'a Offer) -> JoinRequest<'a> {
        JoinRequest {
            app: SdkAppId(self.app),
            room: &self.room,
            user: &self.user,
            privileges: Privileges(self.privileges),
            deadline_s: 1000,
            role,
            stream: Stream::Main,
            publisher: None,
            offer,
            identity: &self.identity,
            client: Some("192.0.2.1".parse().unwrap()),
        }
    }
}

pub(super) fn publish(world: &mut World, guest: &Guest, port: u16) -> Result<Joined, Problem> {
    let offer = offer(Role::Publish, port, &["audio"]);
    world.join(&guest.request(Role::Publish, &offer))
}

pub(super) fn subscribe(world: &mut World, guest: &Guest, port: u16) -> Result<Joined, Problem> {
    let offer = offer(Role::Subscribe, port, &["audio"]);
    world.join(&guest.request(Role::Subscribe, &offer))
}

pub(super) fn code<T>(result: Result<T, Problem>) -> &'static str {
    result.map(|_| ()).expect_err("must be refused").code
}
