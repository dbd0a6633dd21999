//! What no command can bring about, tried all the same: a session whose tables were damaged so that it
//! stands in another room or app. The packet path checks again and lets nothing through.

use proto::command::LABEL_MAX;
use proto::{
    CodecId, Command, DropReason, Endpoint, GrantWord, KeyMaterial, List, MediaKind, MemberNo,
    OpenSession, Path, Privileges, PublicationNo, PublicationSpec, Quota, RoomNo, SdkAppId,
    SessionId, ShardId, SlotCodec, SlotSpec,
};
use srtp::{
    EgressIndex, MasterKey, Outbound, PacketIndex, Plaintext, Profile, Provider, RingProvider,
    SealJob,
};

use crate::{
    Buf, Burst, Datagram, Duration, Instant, Io, Now, RelayFeedback, RelayPacket, Shard,
    ShardConfig,
};

/// A buffer on the heap; headroom is whatever the vector can give.
struct VecBuf {
    bytes: Vec<u8>,
    start: usize,
}

impl Buf for VecBuf {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }
    fn headroom(&self) -> usize {
        self.start
    }
    fn tailroom(&self) -> usize {
        2048
    }
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(n)?;
        Some(&mut self.bytes[self.start..self.start + n])
    }
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = self.bytes.len();
        self.bytes.resize(len + n, 0);
        Some(&mut self.bytes[len..])
    }
    fn advance(&mut self, n: usize) {
        self.start = (self.start + n).min(self.bytes.len());
    }
    fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start + len);
    }
}

#[derive(Default)]
struct Outside {
    sent: usize,
}

impl Io for Outside {
    type Buf = VecBuf;
    fn alloc(&mut self) -> Option<VecBuf> {
        Some(VecBuf { bytes: vec![0; 128], start: 128 })
    }
    fn free(&mut self, _: VecBuf) {}
    fn send(&mut self, _: Datagram<VecBuf>) {
        self.sent += 1;
    }
    fn relay(&mut self, _: ShardId, _: &RelayPacket<'_>) -> bool {
        false
    }
    fn relay_feedback(&mut self, _: ShardId, _: RelayFeedback) -> bool {
        false
    }
    fn punt(&mut self, _: SessionId, _: &[u8]) -> bool {
        false
    }
    fn ledger_load(&self, _: u32, _: usize) -> u64 {
        0
    }
    fn ledger_store(&mut self, _: u32, _: usize, _: u64) {}
}

const KEY: [u8; 28] = [7; 28];
const PUBLISHER: Endpoint = Endpoint::v4([198, 18, 1, 1], 1);
const SUBSCRIBER: Endpoint = Endpoint::v4([198, 18, 1, 1], 2);

struct Bed {
    shard: Shard<RingProvider>,
    io: Outside,
    now: Now,
    next: u64,
}

impl Bed {
    /// A publisher and a subscriber in a room of app 1, and an empty room of each app.
    fn new() -> Bed {
        let now = Now { mono: Instant(1_000_000_000), unix_ns: 0 };
        let config = ShardConfig {
            id: ShardId(0),
            seed: [1; 32],
            sessions_max: 8,
            rooms_max: 8,
            session_timeout: Duration::from_s(90),
            room_linger: Duration::from_s(90),
            history_packets: 64,
        };
        let shard = Shard::new(&config, RingProvider::new(), now);
        let mut bed = Bed { shard, io: Outside::default(), now, next: 0 };
        let label = List::from_slice(&[b'r'; LABEL_MAX]).unwrap();
        for (room, app) in [(1, 1), (2, 1), (3, 2)] {
            let (room, app) = (RoomNo(room), SdkAppId(app));
            bed.command(&Command::SetApp { app, quota: Quota::default() });
            bed.command(&Command::OpenRoom { room, app, epoch: 1, label });
        }
        let publication = PublicationSpec {
            publication: PublicationNo(5),
            ssrc: 55,
            kind: MediaKind::Video,
            codec: CodecId(1),
            payload_type: 96,
            clock_rate: 90_000,
            ..PublicationSpec::default()
        };
        let codec = SlotCodec { codec: CodecId(1), payload_type: 96, ..SlotCodec::default() };
        let slot = SlotSpec {
            kind: MediaKind::Video,
            ssrc: 66,
            codecs: List::from_slice(&[codec]).unwrap(),
            ..SlotSpec::default()
        };
        let mut open = bed.session(0, PUBLISHER);
        open.publications.push(publication);
        bed.command(&Command::OpenSession(open));
        let mut open = bed.session(1, SUBSCRIBER);
        open.slots.push(slot);
        bed.command(&Command::OpenSession(open));
        assert_eq!(bed.shard.sessions(), 2);
        bed.io.sent = 0;
        bed
    }

    fn session(&self, slot: u32, remote: Endpoint) -> OpenSession {
        OpenSession {
            session: SessionId::new(ShardId(0), slot, 1),
            room: RoomNo(1),
            member: MemberNo(u64::from(slot) + 1),
            app: SdkAppId(1),
            grant: GrantWord::new(100, 1, Privileges::ALL),
            rx_key: KeyMaterial { bytes: List::from_slice(&KEY).unwrap() },
            tx_key: KeyMaterial { bytes: List::from_slice(&KEY).unwrap() },
            remote,
            rtcp_ssrc: 77 + slot,
            ..OpenSession::default()
        }
    }

    fn command(&mut self, command: &Command) {
        self.shard.command(self.now, &mut self.io, command);
    }

    /// Brings the publisher's next packet.
    fn publish(&mut self) {
        let master = MasterKey::new(Profile::AeadAes128Gcm, &KEY).unwrap();
        let provider = RingProvider::new();
        let outbound = Outbound::new(&provider, &master);
        let mut packet = vec![0; 12 + 40 + 16];
        packet[..2].copy_from_slice(&[0x80, 96]);
        packet[2..4].copy_from_slice(&(self.next as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&55u32.to_be_bytes());
        let index = EgressIndex::new(PacketIndex::new(self.next).unwrap());
        self.next += 1;
        let plaintext = Plaintext::Shared(&[3; 40]);
        let mut jobs = [SealJob::new(&outbound, 55, index, 12, &mut packet)];
        provider.seal_many(plaintext, &mut jobs);
        assert!(jobs[0].result.is_ok());
        let mut bytes = vec![0; 128];
        bytes.extend_from_slice(&packet);
        let path = Path { local: Endpoint::default(), remote: PUBLISHER };
        let mut rx = Burst::new();
        rx.push(Datagram { path, dscp: 0, buf: VecBuf { bytes, start: 128 } });
        self.shard.process(self.now, &mut self.io, &mut rx);
        assert!(self.shard.counters().balances());
    }

    fn room(&self, no: u64) -> u32 {
        self.shard.room_by_no.get(&RoomNo(no)).unwrap()
    }
}

#[test]
fn an_undamaged_shard_forwards() {
    let mut bed = Bed::new();
    bed.publish();
    assert_eq!(bed.io.sent, 1);
}

#[test]
fn a_session_in_a_room_of_another_app_is_refused() {
    let mut bed = Bed::new();
    bed.shard.sessions[0].room = bed.room(3);
    bed.publish();
    assert_eq!(bed.shard.counters().drops[DropReason::ForeignApp as usize], 1);
    assert_eq!(bed.io.sent, 0);
}

#[test]
fn a_stream_of_another_room_is_refused_in_both_directions() {
    let mut bed = Bed::new();
    bed.shard.sessions[0].room = bed.room(2);
    bed.publish();
    assert_eq!(bed.shard.counters().drops[DropReason::ForeignRoom as usize], 1);
    let mut bed = Bed::new();
    bed.shard.sessions[1].room = bed.room(2);
    bed.publish();
    assert_eq!(bed.shard.counters().egress_drops[DropReason::ForeignRoom as usize], 1);
    assert_eq!(bed.io.sent, 0);
}

#[test]
fn copies_without_an_address_or_a_ring_are_counted() {
    let mut bed = Bed::new();
    bed.command(&Command::AddRelay { publication: PublicationNo(5), to: ShardId(1) });
    bed.publish();
    assert_eq!(bed.shard.counters().egress_drops[DropReason::RelayFull as usize], 1);
    bed.shard.sessions[1].path.remote = Endpoint::default();
    bed.publish();
    assert_eq!(bed.shard.counters().egress_drops[DropReason::NoPath as usize], 1);
}
