//! The bed on which the shard core is measured: rooms with one publisher and so many subscribers each,
//! a port, and the far ends that seal what arrives.

mod io;
mod memory_port;
mod source;
mod stream;

pub use io::PortIo;
pub use memory_port::MemoryPort;
pub use source::{Pace, Source};
pub use stream::{Stream, key};

use port::Port;
use proto::command::EXTENSIONS_MAX;
use proto::{
    CodecId, Command, Endpoint, Extension, ExtensionId, GrantWord, List, MediaKind, MemberNo,
    OpenSession, Path, Privileges, PublicationNo, PublicationSpec, Quota, RoomNo, SdkAppId,
    SessionId, ShardId, SlotCodec, SlotSpec, SrtpProfile,
};
use roomlane_core::{Burst, Duration, Instant, Now, Shard, ShardConfig};
use srtp::{FanoutProvider, Profile, Provider};

use crate::scenario::Shape;

/// The profile of all figures.
pub const PROFILE: Profile = Profile::AeadAes128Gcm;
/// The node's own address.
pub const LOCAL: Endpoint = Endpoint::v4([198, 18, 0, 2], 8000);

/// Whose all rooms are.
pub const APP: SdkAppId = SdkAppId(1);
/// Under which id publishers send an audio level.
pub const AUDIO_LEVEL: u8 = 1;
/// Payload type towards subscribers.
pub const OUT: u8 = 111;
/// UDP ports of one far host.
const PORTS: u32 = 50_000;

/// A shard with open rooms; it seals and opens as a node does unless told otherwise.
pub struct Bed<P: Port, C: Provider = FanoutProvider> {
    /// What is measured.
    pub shard: Shard<C>,
    /// Its outside.
    pub io: PortIo<P>,
    /// The publishers' far ends, one per room.
    pub streams: Vec<Stream>,
    /// The one clock; it moves when the bed says so.
    pub now: Now,
    shape: Shape,
    rx: Burst<P::Buf>,
}

/// The clock at the start.
pub const START: Now = Now { mono: Instant(1_000_000_000), unix_ns: 1_700_000_000_000_000_000 };

/// A shard of exactly that size, without rooms. Nobody is ever timed out: subscribers here are silent.
pub fn shard(sessions_max: u32, rooms_max: u32) -> Shard<FanoutProvider> {
    shard_with(kernel(), sessions_max, rooms_max)
}

/// The fan-out kernel on the fastest path of this CPU.
///
/// # Panics
/// Where a CPU has no AES instructions: no figure of this tool means anything there.
pub fn kernel() -> FanoutProvider {
    FanoutProvider::detect().expect("a CPU with AES instructions")
}

fn shard_with<C: Provider>(provider: C, sessions_max: u32, rooms_max: u32) -> Shard<C> {
    Shard::new(&config(ShardId(0), sessions_max, rooms_max), provider, START)
}

/// A shard of exactly that size in which nobody is timed out.
pub fn config(id: ShardId, sessions_max: u32, rooms_max: u32) -> ShardConfig {
    ShardConfig {
        id,
        seed: [7; 32],
        sessions_max,
        rooms_max,
        session_timeout: Duration::from_s(1_000_000),
        room_linger: Duration::from_s(1_000_000),
        history_packets: 24_576,
    }
}

impl<P: Port> Bed<P> {
    /// A shard with exactly the room that `shape` needs, and its rooms open.
    ///
    /// # Panics
    /// When the shard refuses a session: the bed is wrong then.
    pub fn open(shape: Shape, port: P) -> Bed<P> {
        Bed::open_with(kernel(), shape, port)
    }
}

impl<P: Port, C: Provider> Bed<P, C> {
    /// The same with another provider.
    pub fn open_with(provider: C, shape: Shape, port: P) -> Bed<P, C> {
        let shard = shard_with(provider, shape.sessions(), shape.rooms);
        let io = PortIo::new(port, shape.sessions() as usize);
        Bed::open_in(shard, io, shape)
    }

    /// The same in a shard that was made before.
    pub fn open_in(shard: Shard<C>, io: PortIo<P>, shape: Shape) -> Bed<P, C> {
        let mut bed = Bed { shard, io, streams: vec![], now: START, shape, rx: Burst::new() };
        bed.command(&Command::SetApp { app: APP, quota: Quota::default() });
        for room in 0..shape.rooms {
            let no = RoomNo(u64::from(room) + 1);
            bed.command(&Command::OpenRoom {
                room: no,
                app: APP,
                epoch: 1,
                label: List::default(),
            });
            let publisher = room * (shape.fanout + 1);
            let open = bed.publisher(publisher, room);
            let spec = open.publications.first().copied().expect("a publisher publishes");
            bed.streams.push(Stream::new(&open, &spec, AUDIO_LEVEL, shape.has_extension));
            bed.command(&Command::OpenSession(open));
            for subscriber in publisher + 1..=publisher + shape.fanout {
                let open = bed.subscriber(subscriber, room);
                bed.command(&Command::OpenSession(open));
            }
            bed.settle();
        }
        let counters = bed.shard.counters();
        assert_eq!((counters.commands_refused, counters.sessions), (0, shape.sessions().into()));
        assert_eq!(counters.subscriptions, u64::from(shape.rooms * shape.fanout));
        bed
    }

    /// Carries out a command.
    pub fn command(&mut self, command: &Command) {
        self.shard.command(self.now, &mut self.io, command);
    }

    /// One turn, as a worker takes it: receive, process, transmit. Returns the datagrams received.
    #[inline]
    pub fn turn(&mut self) -> usize {
        let received = self.io.port.rx_burst(self.now.mono, &mut self.rx);
        self.shard.process(self.now, &mut self.io, &mut self.rx);
        self.io.flush(self.now.mono);
        received
    }

    /// Lets time pass: housekeeping when due, and nobody listens to events.
    pub fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.unix_ns += span.0;
        if self.now.mono >= self.shard.next_tick() {
            self.shard.tick(self.now, &mut self.io);
        }
        self.settle();
    }

    /// What a worker does between turns: transmits, and takes the events.
    pub fn settle(&mut self) {
        self.io.flush(self.now.mono);
        while self.shard.pop_event().is_some() {}
    }

    /// The command that opens session `slot`, a publisher of room number `room`.
    pub fn publisher(&self, slot: u32, room: u32) -> OpenSession {
        publisher(self.shape, slot, room)
    }

    /// The command that opens session `slot`, a subscriber of room number `room`.
    pub fn subscriber(&self, slot: u32, room: u32) -> OpenSession {
        subscriber(self.shape, slot, room)
    }
}

/// The command that opens session `slot`, a publisher of room number `room`, in rooms of this shape.
pub fn publisher(shape: Shape, slot: u32, room: u32) -> OpenSession {
    let kind = kind(shape);
    let spec = PublicationSpec {
        publication: PublicationNo(slot + 1),
        ssrc: 0x1000_0000 + slot,
        kind,
        codec: CodecId(1),
        payload_type: 96,
        clock_rate: if kind == MediaKind::Audio { 48_000 } else { 90_000 },
        extensions: extensions(shape, AUDIO_LEVEL),
        ..PublicationSpec::default()
    };
    OpenSession { publications: one(spec), ..session(slot, room) }
}

/// The command that opens session `slot`, a subscriber of room number `room`, in rooms of this shape.
pub fn subscriber(shape: Shape, slot: u32, room: u32) -> OpenSession {
    let spec = SlotSpec {
        kind: kind(shape),
        ssrc: 0x2000_0000 + slot,
        first_sequence: (slot % 0x7fff) as u16,
        timestamp_offset: slot.wrapping_mul(0x9e37_79b9),
        codecs: one(SlotCodec { codec: CodecId(1), payload_type: OUT, ..SlotCodec::default() }),
        extensions: extensions(shape, AUDIO_LEVEL + 1),
        ..SlotSpec::default()
    };
    OpenSession { slots: one(spec), ..session(slot, room) }
}

/// Payloads up to 400 bytes pass for sound.
fn kind(shape: Shape) -> MediaKind {
    if shape.payload <= 400 { MediaKind::Audio } else { MediaKind::Video }
}

fn extensions(shape: Shape, id: u8) -> List<ExtensionId, EXTENSIONS_MAX> {
    let level = ExtensionId { extension: Extension::AudioLevel, id };
    if shape.has_extension { one(level) } else { List::default() }
}

impl<C: Provider> Bed<MemoryPort, C> {
    /// Seals the next packet of room `room`, for later: its path and its bytes.
    pub fn make(&mut self, room: usize) -> (Path, Vec<u8>) {
        let stream = &mut self.streams[room];
        let mut packet = vec![0; 2048];
        let len = stream.seal_next(self.shape.payload, &mut packet);
        packet.truncate(len);
        (Path { local: LOCAL, remote: stream.remote() }, packet)
    }

    /// Seals the next packet of room `room` and puts it into the port; false when no buffer is free.
    pub fn arrive(&mut self, room: usize) -> bool {
        let stream = &mut self.streams[room];
        let path = Path { local: LOCAL, remote: stream.remote() };
        self.io.port.arrive(path, |out| stream.seal_next(self.shape.payload, out))
    }
}

fn one<T: Copy + Default, const N: usize>(item: T) -> List<T, N> {
    List::from_slice(&[item]).expect("room for one")
}

fn session(slot: u32, room: u32) -> OpenSession {
    let deadline_s = START.mono.seconds() as u32 + 10_000_000;
    let host = [198, 18, 1 + (slot / PORTS) as u8, 1];
    OpenSession {
        session: SessionId::new(ShardId(0), slot, 0),
        room: RoomNo(u64::from(room) + 1),
        member: MemberNo(u64::from(slot) + 1),
        resource: slot,
        app: APP,
        grant: GrantWord::new(deadline_s, 1, Privileges::ALL),
        profile: SrtpProfile::AeadAes128Gcm,
        rx_key: key(2 * u64::from(slot)),
        tx_key: key(2 * u64::from(slot) + 1),
        local: LOCAL,
        remote: Endpoint::v4(host, 10_000 + (slot % PORTS) as u16),
        rtcp_ssrc: 0x7000_0000 + slot,
        ..OpenSession::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_that_arrives_leaves_to_every_subscriber_and_no_buffer_stays() {
        let shape = Shape { rooms: 3, fanout: 5, payload: 160, has_extension: true };
        let mut bed = Bed::open(shape, MemoryPort::new(256, 64));
        for turn in 0..2000 {
            for room in 0..3 {
                assert!(bed.arrive(room), "turn {turn}");
            }
            assert_eq!(bed.turn(), 3);
            bed.pass(Duration::from_ms(1));
        }
        let counters = bed.shard.counters();
        assert_eq!((counters.forwarded, counters.tx_packets), (6000, 30_000));
        assert_eq!(counters.egress_drops.iter().sum::<u64>(), 0);
        assert!(counters.balances());
        assert_eq!(roomlane_core::Pool::in_use(&bed.io.port), 0);
        // Header, one CSRC, an extension of one word with its head, payload, tag.
        assert!(bed.io.port.sent_bytes() >= 30_000 * (12 + 4 + 8 + 160 + 16));
    }
}
