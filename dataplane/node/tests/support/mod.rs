//! A room with one publisher and one viewer, as commands, and their side of SRTP.

#![allow(dead_code)] // each test file uses its part

pub mod bed;
pub mod control;
pub mod process;
pub mod room;

use proto::{
    CodecId, Command, Endpoint, GrantWord, KeyMaterial, Label, List, MediaKind, MemberNo,
    OpenSession, Privileges, PublicationNo, PublicationSpec, Quota, RoomNo, SdkAppId, SessionId,
    ShardId, SlotCodec, SlotSpec, SrtpProfile,
};
use srtp::{
    EgressIndex, Inbound, MasterKey, OpenJob, Outbound, PacketIndex, Plaintext, Profile, Provider,
    RingProvider, SealJob,
};

pub const APP: SdkAppId = SdkAppId(1_400_000_001);
pub const ROOM: RoomNo = RoomNo(1);
pub const PUBLICATION: PublicationNo = PublicationNo(77);
pub const PUBLISHER_SSRC: u32 = 0x1111_1111;
pub const VIEWER_SSRC: u32 = 0x2222_2222;
const OPUS: CodecId = CodecId(1);

/// Keys of both directions of one session, told apart by `seed`.
pub fn keys(seed: u8) -> (KeyMaterial, KeyMaterial) {
    let key = |tag: u8| {
        let bytes: Vec<u8> = (0..28).map(|i| i ^ seed.wrapping_mul(3) ^ tag).collect();
        KeyMaterial { bytes: List::from_slice(&bytes).expect("28 bytes fit") }
    };
    (key(0x55), key(0xaa))
}

fn session(slot: u32, shard: ShardId, room: RoomNo, seed: u8) -> OpenSession {
    let (rx_key, tx_key) = keys(seed);
    OpenSession {
        session: SessionId::new(shard, slot, 1),
        room,
        member: MemberNo(u64::from(slot) + 1),
        resource: slot + 1,
        app: APP,
        grant: GrantWord::new(u32::MAX, 1, Privileges::ALL),
        profile: SrtpProfile::AeadAes128Gcm,
        rx_key,
        tx_key,
        rtcp_ssrc: 0x4000_0000 | slot,
        label: Label::from_slice(b"t**t").expect("fits"),
        blob: List::from_slice(&[seed; 9]).expect("fits"),
        ..OpenSession::default()
    }
}

/// App and room.
pub fn open_room(room: RoomNo) -> [Command; 2] {
    let label = Label::from_slice(b"r**m").expect("fits");
    [
        Command::SetApp { app: APP, quota: Quota::default() },
        Command::OpenRoom { room, app: APP, epoch: 1, label },
    ]
}

fn spec() -> PublicationSpec {
    PublicationSpec {
        publication: PUBLICATION,
        ssrc: PUBLISHER_SSRC,
        kind: MediaKind::Audio,
        codec: OPUS,
        payload_type: 111,
        clock_rate: 48_000,
        ..PublicationSpec::default()
    }
}

/// A session that publishes one audio stream.
pub fn open_publisher(slot: u32, local: Endpoint, remote: Endpoint) -> Command {
    open_publisher_on(ShardId(0), slot, local, remote)
}

/// The same on another shard.
pub fn open_publisher_on(shard: ShardId, slot: u32, local: Endpoint, remote: Endpoint) -> Command {
    let mut open = session(slot, shard, ROOM, 1);
    (open.local, open.remote) = (local, remote);
    assert!(open.publications.push(spec()));
    Command::OpenSession(open)
}

/// A session with one audio slot.
pub fn open_viewer(slot: u32, local: Endpoint, remote: Endpoint) -> Command {
    open_viewer_on(ShardId(0), slot, local, remote)
}

/// The same on another shard.
pub fn open_viewer_on(shard: ShardId, slot: u32, local: Endpoint, remote: Endpoint) -> Command {
    let mut open = session(slot, shard, ROOM, 2);
    (open.local, open.remote) = (local, remote);
    let slot = SlotSpec {
        kind: MediaKind::Audio,
        ssrc: VIEWER_SSRC,
        first_sequence: 100,
        codecs: List::from_slice(&[SlotCodec {
            codec: OPUS,
            payload_type: 96,
            ..SlotCodec::default()
        }])
        .expect("fits"),
        ..SlotSpec::default()
    };
    assert!(open.slots.push(slot));
    Command::OpenSession(open)
}

/// The publication of `home` as another shard of the node knows it.
pub fn open_remote(home: ShardId) -> Command {
    Command::OpenRemote { room: ROOM, member: MemberNo(1), home, spec: spec() }
}

/// A peer's side of one session's SRTP.
pub struct Peer {
    outbound: Outbound<RingProvider>,
    inbound: Inbound<RingProvider>,
    sent: u16,
    highest: Option<PacketIndex>,
}

impl Peer {
    fn new(seed: u8) -> Self {
        let (ours, theirs) = keys(seed);
        let master = |key: &KeyMaterial| {
            MasterKey::new(Profile::AeadAes128Gcm, &key.bytes).expect("the right length")
        };
        let provider = RingProvider::new();
        Peer {
            outbound: Outbound::new(&provider, &master(&ours)),
            inbound: Inbound::new(&provider, &master(&theirs)),
            sent: 0,
            highest: None,
        }
    }

    /// Of [`open_publisher`].
    pub fn publisher() -> Self {
        Peer::new(1)
    }

    /// Of [`open_viewer`].
    pub fn viewer() -> Self {
        Peer::new(2)
    }

    /// The next packet of the publisher's stream, sealed.
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let mut packet = vec![0x80, 111];
        packet.extend(self.sent.to_be_bytes());
        packet.extend((u32::from(self.sent) * 960).to_be_bytes());
        packet.extend(PUBLISHER_SSRC.to_be_bytes());
        packet.resize(12 + payload.len() + 16, 0);
        let index = EgressIndex::new(PacketIndex::from_parts(0, self.sent));
        let payload = Plaintext::Shared(payload);
        let mut job = [SealJob::new(&self.outbound, PUBLISHER_SSRC, index, 12, &mut packet)];
        RingProvider::new().seal_many(payload, &mut job);
        assert!(job[0].result.is_ok());
        packet
    }

    /// Opens a packet of the viewer's slot: its index and payload. `None` for RTCP.
    pub fn open(&mut self, mut packet: Vec<u8>) -> Option<(u64, Vec<u8>)> {
        if (192..=223).contains(&packet[1]) {
            return None;
        }
        assert_eq!(packet[8..12], VIEWER_SSRC.to_be_bytes(), "the slot's SSRC");
        assert_eq!(packet[1] & 0x7f, 96, "the viewer's payload type");
        let mut header = 12 + 4 * usize::from(packet[0] & 15);
        if packet[0] & 0x10 != 0 {
            let words = u16::from_be_bytes([packet[header + 2], packet[header + 3]]);
            header += 4 + 4 * usize::from(words);
        }
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let index = srtp::index::estimate(self.highest, seq);
        self.highest = self.highest.max(Some(index));
        let mut job = [OpenJob::new(&self.inbound, VIEWER_SSRC, index, header, &mut packet)];
        RingProvider::new().open_many(&mut job);
        let payload = job[0].payload().expect("sealed with the viewer's key").to_vec();
        Some((index.value(), payload))
    }
}
