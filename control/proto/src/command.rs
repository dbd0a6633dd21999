//! What the control plane tells a shard, and what the shard tells back. No heap types: both travel over
//! rings in shared memory and are decoded in place.

use bincode::{Decode, Encode};

use crate::ufrag::UfragKey;
use crate::{
    CaptureOrder, Captured, CodecId, Endpoint, GrantWord, List, Look, MediaKind, MemberNo, Path,
    PublicationNo, RoomNo, SdkAppId, SessionId, ShardId, TraceOrder, Traced,
};

/// Longest masked label, in bytes.
pub const LABEL_MAX: usize = 16;
/// Longest opaque blob of a session, in bytes.
pub const BLOB_MAX: usize = 255;
/// Streams one session may publish; a BUNDLE group has one session (RFC 9143).
pub const PUBLICATIONS_MAX: usize = 8;
/// Receive sections of one session.
pub const SLOTS_MAX: usize = 16;
/// Codecs a receive section may accept.
pub const SLOT_CODECS_MAX: usize = 8;
/// Header extensions of one stream.
pub const EXTENSIONS_MAX: usize = 14;
/// Simulcast layers of one publication (RFC 8853).
pub const LAYERS_MAX: usize = 3;
/// Longest identification of an m-section (RFC 9143) or of a layer (RFC 8851), in bytes.
pub const TOKEN_MAX: usize = 16;
/// Longest ICE password that we make, in bytes (RFC 8839 5.4 asks for 22 at least).
pub const ICE_PASSWORD_MAX: usize = 24;
/// Longest master key with its salt (AEAD_AES_256_GCM has 44), in bytes.
pub const KEY_MAX: usize = 46;

/// A name as consoles show it: masked by the control plane, at most 16 bytes of printable ASCII.
pub type Label = List<u8, LABEL_MAX>;
/// An `a=mid` or `a=rid` value: ASCII; empty when there is none.
pub type Token = List<u8, TOKEN_MAX>;

/// SRTP protection profile (RFC 3711, RFC 7714), by its DTLS-SRTP number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[repr(u8)]
pub enum SrtpProfile {
    /// AES_CM_128_HMAC_SHA1_80.
    AesCm128HmacSha1_80 = 1,
    /// AEAD_AES_128_GCM.
    #[default]
    AeadAes128Gcm = 7,
    /// AEAD_AES_256_GCM.
    AeadAes256Gcm = 8,
}

/// An SRTP master key and salt, concatenated. Wiped on drop by whoever keeps it; `Debug` is masked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct KeyMaterial {
    /// Master key, then master salt: 28, 44 or 30 bytes by profile.
    pub bytes: List<u8, KEY_MAX>,
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyMaterial({} bytes)", self.bytes.len())
    }
}

/// One ICE generation of a session: what its `a=ice-ufrag` token routes by, and what authenticates.
#[derive(Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct IceCredentials {
    /// Generation within the ufrag token; differs between any two credentials of one slot that live at
    /// the same time.
    pub generation: u16,
    /// Our `a=ice-pwd`: the key of MESSAGE-INTEGRITY (RFC 8445 7.3).
    pub password: List<u8, ICE_PASSWORD_MAX>,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IceCredentials(generation {})", self.generation)
    }
}

/// RTCP feedback that a publisher understands besides picture-loss indications, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Feedback(pub u8);

impl Feedback {
    /// Generic NACK (RFC 4585 6.2.1).
    pub const NACK: u8 = 1;
    /// Transport-wide congestion control feedback.
    pub const TRANSPORT_CC: u8 = 2;
    /// Receiver estimated maximum bitrate.
    pub const REMB: u8 = 4;

    /// Whether every bit of `bits` is there.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// Retransmission of a stream in (RFC 4588).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct RtxSpec {
    /// Payload type of the repair stream.
    pub payload_type: u8,
    /// Its SSRC where it was declared, else zero: then its first authentic packet tells.
    pub ssrc: u32,
}

/// A header extension (RFC 8285) by meaning; the control plane maps URIs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[repr(u8)]
pub enum Extension {
    /// No extension.
    #[default]
    None,
    /// RFC 6464 client-to-mixer audio level.
    AudioLevel,
    /// RFC 8843 media identification; hop by hop.
    Mid,
    /// RFC 8852 RTP stream id; hop by hop.
    Rid,
    /// RFC 8852 repaired RTP stream id; hop by hop.
    RepairedRid,
    /// Transport-wide sequence number; hop by hop.
    TransportCc,
    /// Absolute send time; hop by hop.
    AbsSendTime,
    /// RFC 5450 transmission time offset; hop by hop.
    TransmissionOffset,
    /// 3GPP video orientation.
    VideoOrientation,
    /// Playout delay limits.
    PlayoutDelay,
    /// Content type (screen or camera).
    ContentType,
    /// Video timing.
    VideoTiming,
    /// Colour space.
    ColorSpace,
    /// AV1 dependency descriptor.
    DependencyDescriptor,
    /// Video layers allocation.
    VideoLayersAllocation,
}

impl Extension {
    /// Written anew at each hop, never copied through.
    pub const fn is_hop_by_hop(self) -> bool {
        use Extension::*;
        matches!(self, Mid | Rid | RepairedRid | TransportCc | AbsSendTime | TransmissionOffset)
    }
}

/// An extension and the id it was negotiated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct ExtensionId {
    /// What it means.
    pub extension: Extension,
    /// RFC 8285 local identifier, 1 to 14.
    pub id: u8,
}

/// Per-app limits. Zero means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Quota {
    /// Received packets per second on this shard.
    pub packets_per_s: u64,
    /// Received bytes per second on this shard.
    pub bytes_per_s: u64,
    /// Sessions on this shard.
    pub sessions: u32,
    /// Rooms on this shard.
    pub rooms: u32,
}

/// A stream that a session sends to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct PublicationSpec {
    /// Its number, also the CSRC that subscribers see.
    pub publication: PublicationNo,
    /// The declared SSRC; zero when only an authentic packet's mid, rid or payload type will tell
    /// (RFC 9143 9.2), which sessions with ICE alone may do.
    pub ssrc: u32,
    /// What it carries.
    pub kind: MediaKind,
    /// The negotiated codec.
    pub codec: CodecId,
    /// The payload type it arrives with.
    pub payload_type: u8,
    /// RTP clock rate, in hertz.
    pub clock_rate: u32,
    /// Extensions negotiated with the publisher.
    pub extensions: List<ExtensionId, EXTENSIONS_MAX>,
    /// Its m-section; empty where there is no BUNDLE.
    pub mid: Token,
    /// Restriction identifiers of its simulcast layers, as negotiated; empty without simulcast.
    pub layers: List<Token, LAYERS_MAX>,
    /// How lost packets come again, if they do.
    pub rtx: Option<RtxSpec>,
    /// What we may send to the publisher.
    pub feedback: Feedback,
}

/// A codec that a receive section accepts, under a payload type of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct SlotCodec {
    /// Which codec.
    pub codec: CodecId,
    /// The payload type to send it with.
    pub payload_type: u8,
    /// The payload type of its retransmissions; zero where there are none.
    pub rtx_payload_type: u8,
}

/// A receive section of a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct SlotSpec {
    /// What it takes.
    pub kind: MediaKind,
    /// Our SSRC towards the subscriber, for the slot's life.
    pub ssrc: u32,
    /// First sequence number, below 2^15.
    pub first_sequence: u16,
    /// Added to the publisher's timestamps in the first segment.
    pub timestamp_offset: u32,
    /// What it can decode.
    pub codecs: List<SlotCodec, SLOT_CODECS_MAX>,
    /// Extensions negotiated with the subscriber.
    pub extensions: List<ExtensionId, EXTENSIONS_MAX>,
    /// Only this member's streams, when set.
    pub publisher: Option<MemberNo>,
    /// Its m-section, written into packets where the extension was negotiated; empty without BUNDLE.
    pub mid: Token,
    /// Our SSRC for retransmissions, for the slot's life; zero where RTX was not negotiated.
    pub rtx_ssrc: u32,
}

/// Everything a shard needs to serve one secured transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct OpenSession {
    /// Slot and generation are allotted by the control plane.
    pub session: SessionId,
    /// Opened before.
    pub room: RoomNo,
    /// Whose session it is; a member's own streams are not sent back to it.
    pub member: MemberNo,
    /// Sessions of one WHIP or WHEP resource share it: their slots never show one stream twice, and
    /// their streams share one clock. Unique per room.
    pub resource: u32,
    /// Tenant, checked against the room's.
    pub app: SdkAppId,
    /// Rights, epoch and deadline.
    pub grant: GrantWord,
    /// Both directions use it.
    pub profile: SrtpProfile,
    /// The peer protects with it. Empty with `ice` until the handshake is done: see
    /// [`Command::InstallKeys`].
    pub rx_key: KeyMaterial,
    /// We protect with it. Empty exactly when `rx_key` is.
    pub tx_key: KeyMaterial,
    /// The ICE agent's credentials; `None` where the peer's address was signalled. With them, packets
    /// are taken from validated paths only.
    pub ice: Option<IceCredentials>,
    /// Our address, the one the peer was told.
    pub local: Endpoint,
    /// The peer's signalled address; unset when only its packets will tell. With `ice`: the path that an
    /// earlier life of the shard had nominated.
    pub remote: Endpoint,
    /// SSRC of our RTCP on this session.
    pub rtcp_ssrc: u32,
    /// Streams in.
    pub publications: List<PublicationSpec, PUBLICATIONS_MAX>,
    /// Streams out.
    pub slots: List<SlotSpec, SLOTS_MAX>,
    /// Masked label for consoles.
    pub label: Label,
    /// Opaque to the shard, returned by `Event::Session` on `Resync`.
    pub blob: List<u8, BLOB_MAX>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[repr(u8)]
pub enum CloseReason {
    /// The peer left (DELETE).
    Left,
    /// An operator or the app removed it.
    Kicked,
    /// Its room was ended.
    RoomEnded,
    /// Its grant ended and was not renewed in time.
    GrantExpired,
    /// Nothing authentic was received for the session timeout.
    TimedOut,
    /// The same user joined anew.
    Replaced,
}

/// Control plane to shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant)] // lives on a ring and on one stack frame, never in a table
pub enum Command {
    /// Makes an app known or changes its quota.
    SetApp {
        /// Tenant.
        app: SdkAppId,
        /// Its limits on this shard.
        quota: Quota,
    },
    /// Makes a room known on this shard.
    OpenRoom {
        /// Its number.
        room: RoomNo,
        /// Its tenant.
        app: SdkAppId,
        /// Grant words must carry it.
        epoch: u32,
        /// For consoles.
        label: Label,
    },
    /// Every grant word of an older epoch stops at the next packet.
    BumpEpoch {
        /// The room.
        room: RoomNo,
        /// The new epoch.
        epoch: u32,
    },
    /// Opens a session.
    OpenSession(OpenSession),
    /// The key of ufrag tokens on this shard ([`crate::ufrag`]). The one before stays valid, since a
    /// restarted control plane brings a new one.
    SetUfragKey {
        /// Secret.
        key: UfragKey,
    },
    /// Another ICE generation beside the present one, which ends once the new one is nominated
    /// (RFC 8445 9).
    RestartIce {
        /// The session.
        session: SessionId,
        /// The new generation.
        ice: IceCredentials,
    },
    /// Keys of a finished DTLS-SRTP handshake (RFC 5764). Written before the datagram that lets the peer
    /// send.
    InstallKeys {
        /// A session with ICE.
        session: SessionId,
        /// Both directions use it.
        profile: SrtpProfile,
        /// The peer protects with it.
        rx_key: KeyMaterial,
        /// We protect with it.
        tx_key: KeyMaterial,
    },
    /// New rights or a new deadline; the zero word revokes.
    SetGrant {
        /// The session.
        session: SessionId,
        /// Replaces the old word.
        grant: GrantWord,
    },
    /// Stops a session: its next packet is counted as `revoked` and dropped.
    CloseSession {
        /// The session.
        session: SessionId,
        /// For the event.
        reason: CloseReason,
    },
    /// The publication gets one opened copy per packet on another shard.
    AddRelay {
        /// A publication of this shard.
        publication: PublicationNo,
        /// The shard that has subscribers.
        to: ShardId,
    },
    /// No more copies for that shard.
    RemoveRelay {
        /// A publication of this shard.
        publication: PublicationNo,
        /// The shard that had subscribers.
        to: ShardId,
    },
    /// A publication that lives on another shard and arrives by relay.
    OpenRemote {
        /// The room it belongs to, known on this shard.
        room: RoomNo,
        /// Who publishes.
        member: MemberNo,
        /// The shard that opens its packets.
        home: ShardId,
        /// The stream.
        spec: PublicationSpec,
    },
    /// The remote publication ended.
    CloseRemote {
        /// Its number.
        publication: PublicationNo,
    },
    /// Ask for every session's blob and state; ends with `Event::ResyncDone`.
    Resync,
    /// Ask for one session's state; answered by `Event::Looked`. Changes nothing.
    Look {
        /// Which.
        session: SessionId,
    },
    /// Tell the next packets of a room.
    Trace(TraceOrder),
    /// Tell the headers of packets.
    Capture(CaptureOrder),
    /// Refuse new sessions, keep the others.
    Drain {
        /// On or off.
        draining: bool,
    },
}

/// Why a shard refused a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[repr(u8)]
pub enum Refusal {
    /// A table of the shard is full.
    Full,
    /// The app's quota of rooms or sessions is spent.
    Quota,
    /// The room, session or publication is not known here.
    Unknown,
    /// The id, SSRC or address is taken.
    Taken,
    /// App, room and session do not belong together.
    Foreign,
    /// Key length, SSRC or list is invalid.
    Invalid,
    /// The shard is draining.
    Draining,
}

/// What a receive section shows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum SlotState {
    /// Nobody.
    Off,
    /// A stream of somebody.
    On {
        /// Whose.
        member: MemberNo,
        /// Which.
        publication: PublicationNo,
    },
    /// Somebody publishes, in a codec the section cannot take.
    CodecMismatch {
        /// Whose.
        member: MemberNo,
    },
}

/// Shard to control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[allow(clippy::large_enum_variant)] // lives on a ring and on one stack frame, never in a table
pub enum Event {
    /// A session was opened.
    Opened {
        /// Which.
        session: SessionId,
    },
    /// A command about a session or room was refused; nothing changed.
    Refused {
        /// The session of the command, or zero.
        session: SessionId,
        /// The room of the command, or zero.
        room: RoomNo,
        /// Why.
        why: Refusal,
    },
    /// The first authentic packet of a session arrived.
    Alive {
        /// Which.
        session: SessionId,
    },
    /// The peer's media path was settled or moved, after authentication.
    PathMoved {
        /// Which.
        session: SessionId,
        /// Both ends; to be given to the next life of the shard, and to nobody else.
        path: Path,
    },
    /// The deadline of a session's grant has passed; it closes in 30 s unless renewed.
    GrantEnded {
        /// Which.
        session: SessionId,
    },
    /// A session ended and its slot is free.
    Closed {
        /// Which.
        session: SessionId,
        /// Why.
        reason: CloseReason,
        /// Packets it sent us that were accepted.
        rx_packets: u64,
        /// Packets we sent it.
        tx_packets: u64,
    },
    /// The last session of a room on this shard ended; the room is forgotten here.
    RoomEmpty {
        /// Which.
        room: RoomNo,
    },
    /// A receive section changed.
    Slot {
        /// The subscriber.
        session: SessionId,
        /// Index of the section.
        slot: u8,
        /// What it shows.
        state: SlotState,
    },
    /// A publication ended (so that other shards can be told).
    Unpublished {
        /// Its room.
        room: RoomNo,
        /// Its number.
        publication: PublicationNo,
    },
    /// One session, in answer to `Resync`.
    Session {
        /// Which.
        session: SessionId,
        /// Its room.
        room: RoomNo,
        /// Its member.
        member: MemberNo,
        /// Its current grant.
        grant: GrantWord,
        /// What `OpenSession` carried.
        blob: List<u8, BLOB_MAX>,
    },
    /// One publication of the session told last, in answer to `Resync`.
    Publication {
        /// Its session.
        session: SessionId,
        /// What was opened.
        spec: PublicationSpec,
    },
    /// One slot of the session told last, in answer to `Resync`.
    SlotOpen {
        /// Its session.
        session: SessionId,
        /// Its place in the session.
        slot: u8,
        /// Its m-section.
        mid: Token,
        /// What it takes.
        kind: MediaKind,
        /// Our SSRCs: of the stream, and of its retransmissions.
        ssrcs: (u32, u32),
        /// What it shows.
        state: SlotState,
    },
    /// One part of the answer to `Look`.
    Looked {
        /// Which session.
        session: SessionId,
        /// What is told of it.
        look: Look,
    },
    /// One record of a trace.
    Traced(Traced),
    /// One record of a capture.
    Captured(Captured),
    /// The answer to `Resync` is complete.
    ResyncDone {
        /// Sessions told.
        sessions: u32,
    },
}
