//! One secured transport of one member.

use proto::command::{EXTENSIONS_MAX, SLOT_CODECS_MAX, TOKEN_MAX, Token};
use proto::region::ledger::RTCP_SOURCES;
use proto::{
    CloseReason, DropReason, Extension, ExtensionId, GrantWord, Label, List, MediaKind, MemberNo,
    Path, SessionId, SlotCodec, SrtpProfile,
};
use srtp::{Inbound, Outbound, Provider, RtcpReplayWindow};

use wire::rtp_ext;

use crate::Instant;
use crate::budget::RepairBudget;
use crate::gate::Gate;
use crate::limits::{INGRESS_MAX, PUBLICATIONS_MAX, SLOTS_MAX};
use crate::policer::Bucket;
use crate::remb::Estimate;
use crate::room::Links;
use crate::slab::NONE;

/// How far a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// The place is free.
    #[default]
    Free,
    /// Nothing authentic has arrived yet.
    Opening,
    /// It has.
    Alive,
    /// The grant's deadline has passed; it closes at `close_at` unless renewed.
    GrantEnded,
    /// It ended; its late packets are counted as `revoked` until `close_at`.
    Closed(CloseReason),
}

/// What the packet path and housekeeping need of a session; its keys lie apart.
///
/// The order is that of use, so that a packet touches few cache lines: one where it is sent, and two more with
/// the first streams where it arrives.
#[derive(Debug, Clone, Default)]
#[repr(C, align(64))]
pub struct Session {
    /// Its life.
    pub state: State,
    /// Both key contexts are there.
    pub has_keys: bool,
    /// The peer has lately shown that it wants what is sent to that path (RFC 7675); always true without
    /// ICE.
    pub has_consent: bool,
    /// It has an ICE agent, which decides about paths.
    pub has_ice: bool,
    /// Streams of SSRCs that were not declared are found by their headers (RFC 9143 9.2).
    pub learns: bool,
    /// Both directions.
    pub profile: SrtpProfile,
    /// Places for ingress streams that are kept for it.
    pub ingress_promised: u8,
    /// Index of its room.
    pub room: u32,
    /// Where to send; the remote end is unset until it is known.
    pub path: Path,
    /// Sent packets.
    pub tx_packets: u64,
    /// Sent bytes.
    pub tx_bytes: u64,
    /// Index of its app.
    pub app: u32,
    /// Failed authentications of SSRCs that are not bound, for the first guess of their ROC.
    pub unbound_failures: u32,
    /// Rights, epoch, deadline.
    pub grant: GrantWord,
    /// Accepted packets.
    pub rx_packets: u64,
    /// Accepted bytes.
    pub rx_bytes: u64,
    /// When something authentic arrived: with ICE on any path, else on that one; zero before.
    pub heard: Instant,
    /// When something authentic arrived on the nominated path; with ICE only.
    pub path_heard: Instant,
    /// Failed authentications.
    pub failures: Bucket,
    /// Its ring of arrival times, where it negotiated transport-wide feedback.
    pub transport_cc: Option<u32>,
    /// SSRC and index of each of its ingress streams, in the order of their binding.
    pub streams: List<(u32, u32), INGRESS_MAX>,
    /// Which WHIP or WHEP resource it belongs to.
    pub resource: u32,
    /// Whose it is.
    pub member: MemberNo,
    /// Its number, with the generation of the place.
    pub id: SessionId,
    /// Neighbours in the room.
    pub links: Links,
    /// Indices of its streams in.
    pub publications: List<u32, PUBLICATIONS_MAX>,
    /// Indices of its slots.
    pub slots: List<u32, SLOTS_MAX>,
    /// Lost numbers that it may report.
    pub nacks: Bucket,
    /// Keyframes that it may ask for.
    pub plis: Bucket,
    /// Bytes that it may have sent again.
    pub repairs: RepairBudget,
    /// What it is told to stay below, where it has no transport-wide feedback.
    pub estimate: Estimate,
    /// SSRC of our own RTCP.
    pub rtcp_ssrc: u32,
    /// Next SRTCP index to send with.
    pub rtcp_next: u32,
    /// First SRTCP index not claimed in the ledger.
    pub rtcp_ceiling: u32,
    /// Who sends SRTCP to us; a place whose window is empty is free.
    pub rtcp_sources: [u32; RTCP_SOURCES],
    /// Their windows.
    pub rtcp_windows: [RtcpReplayWindow; RTCP_SOURCES],
    /// Node clock minus publisher clock, in NTP units (2^-32 s), held from the first sender report.
    pub clock_offset: Option<i64>,
    /// When the grace after the grant, or the memory of the closed session, ends.
    pub close_at: Instant,
    /// When it was opened.
    pub opened: Instant,
    /// Failed authentications, all told.
    pub auth_failures: u64,
    /// The header extensions that name a stream, by the ids negotiated for the whole BUNDLE.
    pub names: List<ExtensionId, 3>,
    /// Masked user.
    pub label: Label,
    /// Opaque, for the control plane.
    pub blob: List<u8, { proto::command::BLOB_MAX }>,
}

const _: () = assert!(std::mem::offset_of!(Session, app) == 64);
const _: () = assert!(std::mem::offset_of!(Session, streams) == 128);
const _: () = assert!(size_of::<Session>() <= 1280);

impl Session {
    /// Serves packets: not free, not closed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Opening | State::Alive | State::GrantEnded)
    }

    /// Whether there is a key to protect with and somewhere to send.
    ///
    /// # Errors
    /// What is missing.
    pub fn may_send(&self) -> Result<(), DropReason> {
        if !self.has_keys {
            return Err(DropReason::NoKeys);
        }
        if self.path.remote.is_unset() || !self.has_consent {
            return Err(DropReason::NoPath);
        }
        Ok(())
    }

    /// The ingress stream of an SSRC.
    pub fn stream(&self, ssrc: u32) -> Option<u32> {
        self.streams.iter().find(|(known, _)| *known == ssrc).map(|(_, index)| *index)
    }

    /// The place of a sender of SRTCP, or a free one for it; `None` when all are taken by others.
    pub fn rtcp_source(&self, ssrc: u32) -> Option<usize> {
        let is_taken = |at: &usize| self.rtcp_windows[*at].highest().is_some();
        let is_known = |at: &usize| self.rtcp_sources[*at] == ssrc && is_taken(at);
        (0..RTCP_SOURCES).find(is_known).or_else(|| (0..RTCP_SOURCES).find(|at| !is_taken(at)))
    }
}

/// The keys of a session, apart from the rest: they fill twenty cache lines.
#[derive(Debug)]
pub struct Keys<P: Provider> {
    /// Opens what the peer sends.
    pub inbound: Inbound<P>,
    /// Seals what we send.
    pub outbound: Outbound<P>,
}

/// Bytes of an extension block with nothing but a mid: one head byte, padded to whole words.
pub const MID_BLOCK_MAX: usize = (1 + TOKEN_MAX).next_multiple_of(4);

/// What a subscriber's last reception report says of a slot (RFC 3550 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reported {
    /// Part of the packets since its report before that were lost, in 1/256.
    pub fraction_lost: u8,
    /// Interarrival jitter in units of the stream's clock.
    pub jitter: u32,
    /// From our sender report to its reception report and back, less what it waited there; zero before
    /// the first. In microseconds.
    pub rtt_us: u32,
}

/// A receive section of a subscriber. The order is that of use: a packet touches what stands up to
/// `mid_block`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Slot {
    /// Our SSRC towards the subscriber.
    pub ssrc: u32,
    /// The payload type negotiated for the codec of what it shows.
    pub payload_type: u8,
    /// It negotiated header extensions: what every packet asks before it looks for them.
    pub extends: bool,
    /// Its place in the session's list.
    pub position: u8,
    /// The payload type of that codec's repairs; zero where lost packets are not sent again.
    pub repair_type: u8,
    /// First egress index not claimed in the ledger.
    pub ceiling: u64,
    /// Rewrites what it shows.
    pub munger: crate::munger::Munger,
    /// RTP packets sent, as the sender report counts them.
    pub tx_packets: u32,
    /// Payload bytes sent, likewise.
    pub tx_octets: u32,
    /// The header extension that names its m-section, as it stands in packets that carry no other one;
    /// empty where none was negotiated.
    pub mid_block: List<u8, MID_BLOCK_MAX>,
    /// What it takes.
    pub kind: MediaKind,
    /// Index of its session.
    pub session: u32,
    /// Index of the stream it shows, or `NONE`.
    pub publication: u32,
    /// Index of a stream of its kind that it cannot take for its codec, and of which it told; or `NONE`.
    pub mismatch: u32,
    /// Our SSRC for retransmissions; zero where they were not negotiated.
    pub rtx_ssrc: u32,
    /// What its next segment waits for.
    pub gate: Gate,
    /// Indices of its repair stream.
    pub repairs: crate::munger::RepairCounter,
    /// Only this member's streams, when set.
    pub publisher: Option<MemberNo>,
    /// What its subscriber reported last.
    pub reported: Reported,
    /// Sequence numbers that its subscriber asked for again.
    pub nacks: u32,
    /// Packets that were sent again.
    pub sent_again: u32,
    /// Keyframes that its subscriber asked for.
    pub plis: u32,
    /// What it can decode.
    pub codecs: List<SlotCodec, SLOT_CODECS_MAX>,
    /// Extensions negotiated with the subscriber.
    pub extensions: List<ExtensionId, EXTENSIONS_MAX>,
    /// Its m-section; empty without BUNDLE.
    pub mid: Token,
}

const _: () = assert!(std::mem::offset_of!(Slot, session) == 128);

impl Slot {
    /// The next packet starts a segment: another publisher, another layer.
    pub fn end_segment(&mut self) {
        self.munger.end_segment();
        self.gate = Gate::Keyframe;
    }

    /// The id and text of the mid that goes into every packet; a peer needs it until it knows the SSRC
    /// (RFC 9143 9.2), and when that is nobody says.
    pub fn mid_element(&self) -> Option<(u8, &[u8])> {
        // One element with its one-byte head (RFC 8285 4.2), then padding.
        let (head, rest) = self.mid_block.split_first()?;
        Some((head >> 4, rest.get(..usize::from(head & 15) + 1)?))
    }

    /// Prepares `extends` and `mid_block`.
    pub fn prepare_extensions(&mut self) {
        self.extends = !self.extensions.is_empty();
        let known = self.extensions.iter().find(|known| known.extension == Extension::Mid);
        let fits = |known: &&ExtensionId| matches!(known.id, 1..=14) && !self.mid.is_empty();
        let element = known.filter(fits).map(|known| (known.id, &*self.mid));
        let mut block = [0; MID_BLOCK_MAX];
        let written = rtp_ext::write(&mut block, element);
        let data = written.ok().flatten().map_or(&[][..], |block| block.data);
        self.mid_block = List::from_slice(data).unwrap_or_default();
    }
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            ssrc: 0,
            payload_type: 0,
            extends: false,
            position: 0,
            repair_type: 0,
            ceiling: 0,
            munger: crate::munger::Munger::new(0, 0),
            tx_packets: 0,
            tx_octets: 0,
            mid_block: List::default(),
            kind: MediaKind::default(),
            session: NONE,
            publication: NONE,
            mismatch: NONE,
            rtx_ssrc: 0,
            gate: Gate::default(),
            repairs: crate::munger::RepairCounter::default(),
            publisher: None,
            reported: Reported::default(),
            nacks: 0,
            sent_again: 0,
            plis: 0,
            codecs: List::default(),
            extensions: List::default(),
            mid: Token::default(),
        }
    }
}
