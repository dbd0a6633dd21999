//! What a shard tells of one session when it is asked: numbers for whoever looks for the place where
//! media stops. No keys, no names, no addresses.

use bincode::{Decode, Encode};

use crate::{CodecId, GrantWord, MediaKind, MemberNo, PublicationNo, SlotState};

/// One part of the answer to [`Command::Look`](crate::Command::Look): first the transport, then each
/// SSRC that comes in, then each slot, then `Done`. Of a session that is not there: `Done` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Look {
    /// The session itself.
    Transport(Transport),
    /// A stream in, by SSRC: a layer of a publication, or what repairs one. A publication of which nothing
    /// came yet is told once, with the SSRC that it declared.
    Stream(StreamIn),
    /// A slot: a stream out.
    Slot(SlotOut),
    /// That was all.
    Done,
}

/// What comes in with one SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct StreamIn {
    /// Whose layer or repair it is.
    pub publication: PublicationNo,
    /// Its synchronisation source; zero while nobody knows it.
    pub ssrc: u32,
    /// What it carries.
    pub kind: MediaKind,
    /// The negotiated codec.
    pub codec: CodecId,
    /// RTP clock rate, in hertz.
    pub clock_rate: u32,
    /// Its place among the simulcast layers; `None` without simulcast.
    pub layer: Option<u8>,
    /// It repairs that layer (RFC 4588).
    pub is_repair: bool,
    /// Subscribers get this one.
    pub is_forwarded: bool,
    /// Its authentic packets.
    pub received: u64,
    /// Those that were lost on their way to us, by RFC 3550 A.3.
    pub lost: u64,
    /// Payload bytes per second, over its last whole second; zero once it was silent for half of one.
    pub bytes_per_s: u64,
    /// Interarrival jitter in units of its clock (RFC 3550 A.8).
    pub jitter: u32,
    /// Sequence numbers that we asked for again.
    pub nacks: u32,
    /// Keyframes that we asked for; as the one before, of the SSRC that is forwarded.
    pub plis: u32,
    /// From a request to the packet, in microseconds; zero before the first.
    pub rtt_us: u32,
}

/// What goes out of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SlotOut {
    /// Its place in the session.
    pub place: u8,
    /// Our SSRC towards the subscriber.
    pub ssrc: u32,
    /// What it takes.
    pub kind: MediaKind,
    /// What it shows.
    pub state: SlotState,
    /// Only this member's streams, when set.
    pub publisher: Option<MemberNo>,
    /// The codec of what it shows.
    pub codec: Option<CodecId>,
    /// RTP clock rate of what it shows, in hertz; zero without.
    pub clock_rate: u32,
    /// The simulcast layer that it shows; `None` without simulcast, and on another shard than the
    /// publisher's.
    pub layer: Option<u8>,
    /// RTP packets sent.
    pub sent: u32,
    /// Payload bytes of them, modulo 2^32 as in sender reports.
    pub octets: u32,
    /// Packets are kept back until a picture starts.
    pub awaits_keyframe: bool,
    /// What its subscriber lost of them, by its last report, in 1/256 (RFC 3550 6.4.1).
    pub fraction_lost: u8,
    /// Interarrival jitter by that report, in units of the stream's clock.
    pub jitter: u32,
    /// Round trip by that report, in microseconds; zero before the first.
    pub rtt_us: u32,
    /// Sequence numbers that its subscriber asked for again.
    pub nacks: u32,
    /// Packets that were sent to it again.
    pub repairs: u32,
    /// Keyframes that its subscriber asked for.
    pub plis: u32,
}

/// A session's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Transport {
    /// When it was looked at, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// Rights, epoch and deadline.
    pub grant: GrantWord,
    /// The epoch that its room has.
    pub epoch: u32,
    /// Both key contexts are there.
    pub has_keys: bool,
    /// Its peer's address is known, and the peer wants what is sent there (RFC 7675).
    pub has_path: bool,
    /// It has an ICE agent.
    pub has_ice: bool,
    /// When something authentic arrived last, on the same clock; zero before.
    pub heard_ns: u64,
    /// Accepted packets.
    pub rx_packets: u64,
    /// Failed authentications.
    pub auth_failures: u64,
}
