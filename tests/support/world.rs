//! A node in memory: shards, the rings between them, a clock, and a control plane that only counts.

use std::collections::HashMap;

use proto::command::LABEL_MAX;
use proto::{
    CodecId, Command, Endpoint, Event, Extension, ExtensionId, GrantWord, KeyMaterial, List,
    MediaKind, MemberNo, OpenSession, Path, Privileges, PublicationNo, PublicationSpec, Quota,
    RoomNo, SdkAppId, SessionId, ShardId, SlotCodec, SlotSpec, SrtpProfile,
};
use roomlane_core::{Burst, Datagram, Duration, Instant, Io, Now, Shard, ShardConfig};
use srtp::audit::{Audited, NonceAuditor};
use srtp::{FanoutProvider, Profile};

use crate::bundle::Bundle;
use crate::mem::MemIo;
use crate::peer::{Publisher, Subscriber, key};

/// Sessions per shard in the world.
pub const SESSIONS: u32 = 256;
/// Buffers per shard.
pub const BUFS: usize = 4096;

/// The node's own address.
pub const LOCAL: Endpoint = Endpoint::v4([198, 18, 1, 2], 8000);

type TestShard = Shard<Audited<FanoutProvider>>;

/// Everything between the publishers and the subscribers.
pub struct World {
    /// The one clock.
    pub now: Now,
    /// By number.
    pub shards: Vec<TestShard>,
    /// By number, like the shards; survives them.
    pub ios: Vec<MemIo>,
    /// Remembers every (key, IV).
    pub auditor: NonceAuditor,
    /// What was opened, to be replayed after a crash: by session.
    pub desired: HashMap<SessionId, OpenSession>,
    /// Keys of handshakes that are not finished, by session.
    pub handshakes: HashMap<SessionId, (KeyMaterial, KeyMaterial)>,
    /// Setting-up commands, to be replayed after a crash.
    pub setup: Vec<(usize, Command)>,
    /// Everything the shards told.
    pub events: Vec<Event>,
    next_number: u64,
    next_slot: Vec<u32>,
    profile: Profile,
}

/// The number of a profile on the ring.
pub fn number(profile: Profile) -> SrtpProfile {
    match profile {
        Profile::AeadAes128Gcm => SrtpProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => SrtpProfile::AeadAes256Gcm,
        Profile::AesCm128HmacSha1_80 => SrtpProfile::AesCm128HmacSha1_80,
    }
}

impl World {
    /// `shards` shards that speak `profile`.
    pub fn new(shards: usize, profile: Profile) -> Self {
        let auditor = NonceAuditor::new();
        let now = Now { mono: Instant(1_000_000_000), unix_ns: 1_700_000_000_000_000_000 };
        World {
            now,
            shards: (0..shards).map(|id| new_shard(id, &auditor, now)).collect(),
            ios: (0..shards).map(|_| MemIo::new(BUFS, SESSIONS as usize)).collect(),
            auditor,
            desired: HashMap::new(),
            handshakes: HashMap::new(),
            setup: vec![],
            events: vec![],
            next_number: 1,
            next_slot: vec![0; shards],
            profile,
        }
    }

    /// What all sessions of this world protect with.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// A number never given before.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Carries out a command on one shard and collects the events.
    pub fn command(&mut self, shard: usize, command: &Command) {
        self.shards[shard].command(self.now, &mut self.ios[shard], command);
        self.collect();
    }

    /// The same, remembered for a replay.
    pub fn set_up(&mut self, shard: usize, command: Command) {
        self.command(shard, &command);
        self.setup.push((shard, command));
    }

    /// An app and a room on every shard.
    pub fn open_room(&mut self, app: u32) -> RoomNo {
        let room = RoomNo(self.number());
        for shard in 0..self.shards.len() {
            self.set_up(shard, Command::SetApp { app: SdkAppId(app), quota: Quota::default() });
            let open =
                Command::OpenRoom { room, app: SdkAppId(app), epoch: 1, label: List::default() };
            self.set_up(shard, open);
        }
        room
    }

    /// A grant of the first epoch that ends `seconds` from now.
    pub fn grant(&self, seconds: u32, privileges: u8) -> GrantWord {
        let deadline = self.now.mono.seconds() as u32 + seconds;
        GrantWord::new(deadline, 1, Privileges(privileges))
    }

    /// What both kinds of session have in common; the caller fills in the rest and calls `open`.
    pub fn session(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        member: MemberNo,
    ) -> OpenSession {
        let slot = self.next_slot[shard];
        self.next_slot[shard] += 1;
        let number_of = self.number();
        let port = 10_000 + number_of as u16;
        OpenSession {
            session: SessionId::new(ShardId(shard as u8), slot, 0),
            room,
            member,
            resource: number_of as u32,
            app: SdkAppId(app),
            grant: self.grant(3600, 255),
            profile: number(self.profile),
            rx_key: key(self.profile, 2 * number_of),
            tx_key: key(self.profile, 2 * number_of + 1),
            local: LOCAL,
            remote: Endpoint::v4([198, 18, 1, 1], port),
            rtcp_ssrc: 0x7000_0000 + number_of as u32,
            label: List::from_slice(&b"al***e"[..6.min(LABEL_MAX)]).expect("fits"),
            ..OpenSession::default()
        }
    }

    /// A stream of `kind` as the tests publish it.
    pub fn stream(&mut self, kind: MediaKind) -> PublicationSpec {
        let number = self.number() as u32;
        PublicationSpec {
            publication: PublicationNo(number),
            ssrc: 0x1000_0000 + number,
            kind,
            codec: CodecId(kind as u16),
            payload_type: 96,
            clock_rate: if kind == MediaKind::Audio { 48_000 } else { 90_000 },
            extensions: List::from_slice(&[
                ExtensionId { extension: Extension::AudioLevel, id: 1 },
                ExtensionId { extension: Extension::TransportCc, id: 3 },
                ExtensionId { extension: Extension::VideoOrientation, id: 4 },
            ])
            .expect("fits"),
            ..PublicationSpec::default()
        }
    }

    /// A slot for `kind` as the tests subscribe with.
    pub fn slot(&mut self, kind: MediaKind) -> SlotSpec {
        let number = self.number() as u32;
        SlotSpec {
            kind,
            ssrc: 0x2000_0000 + number,
            first_sequence: (number.wrapping_mul(7919) % (1 << 15)) as u16,
            timestamp_offset: number.wrapping_mul(0x9e37_79b9),
            codecs: List::from_slice(&[SlotCodec {
                codec: CodecId(kind as u16),
                payload_type: 111,
                rtx_payload_type: 0,
            }])
            .expect("fits"),
            extensions: List::from_slice(&[
                ExtensionId { extension: Extension::AudioLevel, id: 9 },
                ExtensionId { extension: Extension::TransportCc, id: 2 },
            ])
            .expect("fits"),
            ..SlotSpec::default()
        }
    }

    /// The same with retransmission negotiated.
    pub fn slot_with_rtx(&mut self, kind: MediaKind) -> SlotSpec {
        let mut slot = self.slot(kind);
        slot.rtx_ssrc = 0x3000_0000 + self.number() as u32;
        slot.codecs.iter_mut().for_each(|codec| codec.rtx_payload_type = 112);
        slot
    }

    /// Opens a session on its shard and remembers it.
    pub fn open(&mut self, open: OpenSession) {
        self.desired.insert(open.session, open);
        self.command(open.session.shard().0 as usize, &Command::OpenSession(open));
    }

    /// A publisher of one stream; `first` is its first index.
    pub fn publisher(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        kind: MediaKind,
        first: u64,
    ) -> Publisher {
        let spec = self.stream(kind);
        self.publisher_of(shard, room, app, spec, first)
    }

    /// A publisher of that stream.
    pub fn publisher_of(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        spec: PublicationSpec,
        first: u64,
    ) -> Publisher {
        let member = MemberNo(self.number());
        let mut open = self.session(shard, room, app, member);
        open.publications.push(spec);
        self.open(open);
        self.announce(shard, room, member, spec);
        let ids = (open.session, room, member);
        let keys = (&open.rx_key, &open.tx_key);
        Publisher::new(ids, spec, open.remote, self.profile, keys, first)
    }

    /// Relays a stream to all other shards.
    fn announce(&mut self, shard: usize, room: RoomNo, member: MemberNo, spec: PublicationSpec) {
        for other in (0..self.shards.len()).filter(|other| *other != shard) {
            let home = ShardId(shard as u8);
            self.set_up(other, Command::OpenRemote { room, member, home, spec });
            let add = Command::AddRelay { publication: spec.publication, to: ShardId(other as u8) };
            self.command(shard, &add);
        }
    }

    /// A publisher of several streams over one transport.
    pub fn bundle(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        specs: &[PublicationSpec],
    ) -> Bundle {
        let member = MemberNo(self.number());
        let mut open = self.session(shard, room, app, member);
        open.publications = List::from_slice(specs).expect("eight at most");
        self.open(open);
        for spec in specs {
            self.announce(shard, room, member, *spec);
        }
        let ids = (open.session, room, member);
        Bundle::new(ids, open.remote, self.profile, (&open.rx_key, &open.tx_key))
    }

    /// A subscriber with one slot per stream, each able to take its codec.
    pub fn viewer(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        specs: &[PublicationSpec],
    ) -> Subscriber {
        let member = MemberNo(self.number());
        let mut open = self.session(shard, room, app, member);
        for spec in specs {
            let mut slot = self.slot(spec.kind);
            slot.codecs[0].codec = spec.codec;
            open.slots.push(slot);
        }
        self.open(open);
        self.receiver(&open)
    }

    /// A subscriber with one slot per kind.
    pub fn subscriber(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        kinds: &[MediaKind],
    ) -> Subscriber {
        let slots: Vec<_> = kinds.iter().map(|kind| self.slot(*kind)).collect();
        self.subscriber_of(shard, room, app, &slots)
    }

    /// A subscriber with those slots.
    pub fn subscriber_of(
        &mut self,
        shard: usize,
        room: RoomNo,
        app: u32,
        slots: &[SlotSpec],
    ) -> Subscriber {
        let member = MemberNo(self.number());
        let mut open = self.session(shard, room, app, member);
        open.slots = List::from_slice(slots).expect("fits");
        self.open(open);
        self.receiver(&open)
    }

    /// The far end of a subscribing session.
    pub fn receiver(&self, open: &OpenSession) -> Subscriber {
        let ids = (open.session, open.room, open.member);
        let keys = (&open.rx_key, &open.tx_key);
        Subscriber::new(ids, open.slots.to_vec(), open.remote, self.profile, keys)
    }

    /// Brings a burst of datagrams from one endpoint to a shard.
    pub fn arrive(&mut self, shard: usize, from: Endpoint, packets: &[Vec<u8>]) {
        self.arrive_over(shard, Path { local: LOCAL, remote: from }, packets);
    }

    /// The same over a path whose near end is another address of the node.
    pub fn arrive_over(&mut self, shard: usize, path: Path, packets: &[Vec<u8>]) {
        for packets in packets.chunks(32) {
            let mut burst = Burst::new();
            for packet in packets {
                let mut buf = self.ios[shard].alloc().expect("pool large enough for the test");
                buf_fill(&mut buf, packet);
                burst.push(Datagram { path, dscp: 0, buf });
            }
            self.shards[shard].process(self.now, &mut self.ios[shard], &mut burst);
            assert!(burst.is_empty());
        }
        self.exchange();
        self.collect();
    }

    /// Lets time pass, with housekeeping when it is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while self.now.mono < end {
            let step = Duration::from_ms(10).0.min(end.0 - self.now.mono.0);
            self.now.mono = Instant(self.now.mono.0 + step);
            self.now.unix_ns += step;
            for (shard, io) in self.shards.iter_mut().zip(&mut self.ios) {
                if self.now.mono >= shard.next_tick() {
                    shard.tick(self.now, io);
                }
            }
            self.exchange();
        }
        self.collect();
    }

    /// Moves relayed copies and wishes between shards until none is left.
    fn exchange(&mut self) {
        for from in 0..self.ios.len() {
            while let Some((to, packet)) = self.ios[from].relays.pop_front() {
                let to = to.0 as usize;
                self.shards[to].relay_in(self.now, &mut self.ios[to], &packet.view());
            }
            while let Some((to, feedback)) = self.ios[from].feedback.pop_front() {
                let to = to.0 as usize;
                self.shards[to].feedback_in(self.now, &mut self.ios[to], feedback);
            }
        }
    }

    fn collect(&mut self) {
        for shard in &mut self.shards {
            while let Some(event) = shard.pop_event() {
                if let Event::PathMoved { session, path } = event
                    && let Some(open) = self.desired.get_mut(&session)
                    && open.ice.is_some()
                {
                    (open.local, open.remote) = (path.local, path.remote);
                }
                self.events.push(event);
            }
        }
    }

    /// Takes everything sent so far: destination and bytes.
    pub fn take_sent(&mut self) -> Vec<(Endpoint, Vec<u8>)> {
        let from_here = |(path, bytes): (Path, Vec<u8>)| {
            assert_eq!(path.local, LOCAL);
            (path.remote, bytes)
        };
        self.take_datagrams().into_iter().map(from_here).collect()
    }

    /// Takes everything sent so far: both ends and bytes.
    pub fn take_datagrams(&mut self) -> Vec<(Path, Vec<u8>)> {
        let mut sent = vec![];
        for io in &mut self.ios {
            while let Some(datagram) = io.sent.pop_front() {
                sent.push((datagram.path, buf_bytes(&datagram.buf)));
                io.free(datagram.buf);
            }
        }
        sent
    }

    /// Delivers everything sent so far to those it was sent to; the rest is returned.
    pub fn deliver(&mut self, subscribers: &mut [&mut Subscriber]) -> Vec<(Endpoint, Vec<u8>)> {
        let mut others = vec![];
        for (to, packet) in self.take_sent() {
            match subscribers.iter_mut().find(|subscriber| subscriber.remote == to) {
                Some(subscriber) => subscriber.receive(&packet),
                None => others.push((to, packet)),
            }
        }
        others
    }

    /// Kills a shard and puts a fresh one in its place: only the ledger and control's wishes survive.
    pub fn crash(&mut self, shard: usize) {
        self.shards[shard] = new_shard(shard, &self.auditor, self.now);
        let setup: Vec<Command> =
            self.setup.iter().filter(|(at, _)| *at == shard).map(|(_, c)| *c).collect();
        for command in setup {
            self.command(shard, &command);
        }
        let mut sessions: Vec<OpenSession> = self
            .desired
            .values()
            .filter(|o| o.session.shard().0 as usize == shard)
            .copied()
            .collect();
        sessions.sort_by_key(|open| open.session);
        for open in sessions {
            self.command(shard, &Command::OpenSession(open));
            for spec in open.publications.iter() {
                for other in (0..self.shards.len()).filter(|other| *other != shard) {
                    let to = ShardId(other as u8);
                    self.command(shard, &Command::AddRelay { publication: spec.publication, to });
                }
            }
        }
    }

    /// The oracles that hold at any moment between two calls.
    pub fn check(&self) {
        assert_eq!(self.auditor.repeats(), 0, "a (key, IV) was used twice");
        for (shard, io) in self.shards.iter().zip(&self.ios) {
            assert!(
                shard.counters().balances(),
                "the books do not balance: {:?}",
                shard.counters()
            );
            let waiting = io.sent.len();
            assert_eq!(roomlane_core::Pool::in_use(&io.pool), waiting, "buffers leaked");
        }
    }

    /// A shard's count of drops for one reason.
    pub fn drops(&self, shard: usize, reason: proto::DropReason) -> u64 {
        self.shards[shard].counters().drops[reason as usize]
    }

    /// A shard's count of copies not sent for one reason.
    pub fn egress_drops(&self, shard: usize, reason: proto::DropReason) -> u64 {
        self.shards[shard].counters().egress_drops[reason as usize]
    }
}

fn new_shard(id: usize, auditor: &NonceAuditor, now: Now) -> TestShard {
    let config = ShardConfig {
        id: ShardId(id as u8),
        seed: [id as u8 + 1; 32],
        sessions_max: SESSIONS,
        rooms_max: 64,
        session_timeout: Duration::from_s(90),
        room_linger: Duration::from_s(10),
        history_packets: 2048,
    };
    // What a node runs with on this CPU.
    let provider = FanoutProvider::detect().expect("a CPU with AES instructions");
    Shard::new(&config, Audited::new(provider, auditor), now)
}

fn buf_fill(buf: &mut impl roomlane_core::Buf, bytes: &[u8]) {
    buf.append(bytes.len()).expect("a datagram fits").copy_from_slice(bytes);
}

fn buf_bytes(buf: &impl roomlane_core::Buf) -> Vec<u8> {
    buf.bytes().to_vec()
}
