//! A stream in, as its subscribers see it: what was negotiated, whom it fans out to, and which of the
//! SSRCs that its publisher sends is forwarded at present.

use proto::{CodecId, Extension, MemberNo, PublicationSpec, ShardId};

use wire::marks;

use crate::Instant;
use crate::fanout::FanOut;
use crate::history::Handles;
use crate::room::Links;
use crate::slab::NONE;

/// A stream that a session of this shard, or of another one, publishes.
#[derive(Debug, Clone)]
pub struct Publication {
    /// It belongs to a room and may be forwarded; false once its session closed.
    pub live: bool,
    /// Number, SSRC, kind, codec, extensions.
    pub spec: PublicationSpec,
    /// Index of its session; `NONE` when it lives on another shard.
    pub session: u32,
    /// Its place in the session's list.
    pub position: u8,
    /// The shard that opens its packets, when it is another one.
    pub home: Option<ShardId>,
    /// Index of its room.
    pub room: u32,
    /// Whose it is.
    pub member: MemberNo,
    /// Index of the ingress stream that is forwarded; `NONE` while no SSRC is known, and for a
    /// publication of another shard.
    pub active: u32,
    /// Index of the ingress stream of a higher layer that is to be forwarded from its next keyframe on;
    /// or `NONE`.
    pub wanted: u32,
    /// The SSRC that the copies from another shard had last.
    pub relayed_ssrc: Option<u32>,
    /// Where to look for keyframes in its payloads.
    pub marks: Option<marks::Codec>,
    /// The last sender report of that stream: NTP time on the node's clock, and RTP timestamp. Zero
    /// before the first.
    pub report: (u64, u32),
    /// The negotiated id of the transport-wide sequence number; zero without.
    pub transport_cc_id: u8,
    /// Who receives it on this shard.
    pub fanout: FanOut,
    /// Slots among them that have lost packets sent again.
    pub repair_slots: u32,
    /// What was forwarded lately, while there are such slots.
    pub history: Handles,
    /// Other shards that get a copy, as a mask.
    pub relays: u64,
    /// When a picture-loss indication was last sent.
    pub pli_sent: Instant,
    /// How many were sent.
    pub plis: u32,
    /// Sequence numbers that we asked for again.
    pub nacks: u32,
    /// Another one is wanted as soon as the throttle allows.
    pub pli_pending: bool,
    /// Neighbours in the room.
    pub links: Links,
}

impl Publication {
    /// A stream of a session that is being opened; the caller sets where it belongs.
    pub fn new(spec: PublicationSpec) -> Self {
        let transport_cc =
            spec.extensions.iter().find(|known| known.extension == Extension::TransportCc);
        let transport_cc_id = transport_cc.map_or(0, |known| known.id);
        Publication {
            live: false,
            spec,
            session: NONE,
            position: 0,
            home: None,
            room: NONE,
            member: MemberNo(0),
            active: NONE,
            wanted: NONE,
            relayed_ssrc: None,
            marks: marks(spec.codec),
            report: (0, 0),
            transport_cc_id,
            fanout: FanOut::default(),
            repair_slots: 0,
            history: Handles::default(),
            relays: 0,
            pli_sent: Instant(0),
            plis: 0,
            nacks: 0,
            pli_pending: false,
            links: Links::default(),
        }
    }
}

/// The codec whose keyframes can be told by their payloads.
fn marks(codec: CodecId) -> Option<marks::Codec> {
    match codec.format() {
        CodecId::VP8 => Some(marks::Codec::Vp8),
        CodecId::VP9 => Some(marks::Codec::Vp9),
        CodecId::AV1 => Some(marks::Codec::Av1),
        CodecId::H264 => Some(marks::Codec::H264),
        _ => None,
    }
}
