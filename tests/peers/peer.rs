//! The two ends of a forwarded stream: one that seals, one that opens and keeps what it got.

use proto::{Endpoint, KeyMaterial, List, MemberNo, PublicationSpec, RoomNo, SessionId, SlotSpec};
use srtp::{
    EgressIndex, EgressRtcpIndex, Inbound, MasterKey, OpenJob, Outbound, PacketIndex, Plaintext,
    Profile, ReplayWindow, RingProvider, RtcpIndex, SealJob,
};
use wire::rtp::{ExtensionBlock, Rtp, RtpRepr};

/// What a test payload says about itself: which room, which publication, which ingress index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Watermark {
    /// The room it was published in.
    pub room: u64,
    /// The publication.
    pub publication: u32,
    /// Its ingress index.
    pub index: u64,
}

impl Watermark {
    /// What a payload begins with.
    pub fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.room.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.publication.to_be_bytes());
        bytes[12..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// A byte in front of it, which marks keyframes for the node, is skipped: rooms have small numbers.
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = if *bytes.first()? == 0 { bytes } else { &bytes[1..] };
        Some(Watermark {
            room: u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?),
            publication: u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?),
            index: u64::from_be_bytes(bytes.get(12..20)?.try_into().ok()?),
        })
    }
}

/// A key of the profile that is different for every number.
pub fn key(profile: Profile, number: u64) -> KeyMaterial {
    let byte = |at: usize| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8;
    let bytes: Vec<u8> = (0..profile.master_len()).map(|at| byte(at) ^ at as u8).collect();
    KeyMaterial { bytes: List::from_slice(&bytes).expect("fits") }
}

/// The master key that `key` is, for a profile of its length.
pub fn master(profile: Profile, key: &KeyMaterial) -> MasterKey {
    MasterKey::new(profile, &key.bytes).expect("length of the profile")
}

/// Seals a stream as a publisher would.
pub struct Publisher {
    /// Its session.
    pub session: SessionId,
    /// Its room.
    pub room: RoomNo,
    /// Who it is.
    pub member: MemberNo,
    /// What it declared.
    pub spec: PublicationSpec,
    /// Where it sends from.
    pub remote: Endpoint,
    /// The next extended index.
    pub next: u64,
    /// SRTCP packets sent.
    pub rtcp_next: u32,
    /// Contributing sources of its packets: one, so that headers are not all of the shortest length.
    pub csrcs: Vec<u32>,
    outbound: Outbound<RingProvider>,
    inbound: Inbound<RingProvider>,
    profile: Profile,
}

impl Publisher {
    /// `rx_key` is the node's receiving key.
    pub fn new(
        ids: (SessionId, RoomNo, MemberNo),
        spec: PublicationSpec,
        remote: Endpoint,
        profile: Profile,
        keys: (&KeyMaterial, &KeyMaterial),
        first: u64,
    ) -> Self {
        let (session, room, member) = ids;
        Publisher {
            session,
            room,
            member,
            spec,
            remote,
            next: first,
            rtcp_next: 0,
            csrcs: vec![0xdead_beef],
            outbound: Outbound::new(&RingProvider::new(), &master(profile, keys.0)),
            inbound: Inbound::new(&RingProvider::new(), &master(profile, keys.1)),
            profile,
        }
    }

    /// The sealed packet at the next index, with its watermark and `padding` more bytes.
    pub fn packet(&mut self, payload_len: usize) -> Vec<u8> {
        let index = self.next;
        self.next += 1;
        self.packet_at(index, payload_len, None)
    }

    /// The sealed packet at any index; sealing one twice gives the same bytes.
    pub fn packet_at(
        &self,
        index: u64,
        payload_len: usize,
        extension: Option<ExtensionBlock<'_>>,
    ) -> Vec<u8> {
        let mark = Watermark { room: self.room.0, publication: self.spec.publication.0, index };
        let mut payload = mark.bytes().to_vec();
        payload.resize(payload_len.max(20), 0xa5);
        let repr = RtpRepr {
            padding: false,
            marker: index.is_multiple_of(3),
            payload_type: self.spec.payload_type,
            sequence: index as u16,
            timestamp: (index as u32).wrapping_mul(960),
            ssrc: self.spec.ssrc,
            csrcs: &self.csrcs,
            extension,
        };
        self.seal(&repr, index, &payload)
    }

    /// The retransmission (RFC 4588) of the packet at `index`, as the repair stream's packet at
    /// `rtx_index`.
    pub fn rtx_packet_at(&self, rtx_index: u64, index: u64, payload_len: usize) -> Vec<u8> {
        let rtx = self.spec.rtx.expect("negotiated");
        let mark = Watermark { room: self.room.0, publication: self.spec.publication.0, index };
        let mut payload = (index as u16).to_be_bytes().to_vec();
        payload.extend_from_slice(&mark.bytes());
        payload.resize(2 + payload_len.max(20), 0xa5);
        let repr = RtpRepr {
            padding: false,
            marker: index.is_multiple_of(3),
            payload_type: rtx.payload_type,
            sequence: rtx_index as u16,
            timestamp: (index as u32).wrapping_mul(960),
            ssrc: rtx.ssrc,
            csrcs: &[],
            extension: None,
        };
        self.seal(&repr, rtx_index, &payload)
    }

    /// Seals any packet.
    pub fn seal(&self, repr: &RtpRepr<'_>, index: u64, payload: &[u8]) -> Vec<u8> {
        let header_len = repr.header_len();
        let mut out = vec![0; header_len + payload.len() + self.profile.rtp_tag_len()];
        repr.emit(&mut out).expect("fits");
        let egress = EgressIndex::new(PacketIndex::new(index).expect("48 bits"));
        let plaintext = Plaintext::Shared(payload);
        let job = SealJob::new(&self.outbound, repr.ssrc, egress, header_len, &mut out);
        let mut jobs = [job];
        srtp::Provider::seal_many(&RingProvider::new(), plaintext, &mut jobs);
        let len = jobs[0].result.expect("sealed");
        assert_eq!(len, out.len());
        out
    }

    /// Seals an RTCP compound of this publisher.
    pub fn rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        seal_rtcp(&self.outbound, &mut self.rtcp_next, compound)
    }

    /// Opens what the node sends to the publisher: RTCP only.
    pub fn open_rtcp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        open_rtcp(&self.inbound, packet)
    }
}

/// Opens an RTCP compound, as either end does.
pub fn open_rtcp(inbound: &Inbound<RingProvider>, packet: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = packet.to_vec();
    let (len, _) = srtp::Provider::open_rtcp(&RingProvider::new(), inbound, &mut bytes).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// Seals an RTCP compound at the next index, as either end does.
pub fn seal_rtcp(outbound: &Outbound<RingProvider>, next: &mut u32, compound: &[u8]) -> Vec<u8> {
    let mut out = compound.to_vec();
    out.resize(compound.len() + outbound.profile().rtcp_overhead(), 0);
    let index = EgressRtcpIndex::new(RtcpIndex::new(*next).expect("31 bits"));
    *next += 1;
    let provider = RingProvider::new();
    let len = srtp::Provider::seal_rtcp(&provider, outbound, index, &mut out, compound.len());
    out.truncate(len.expect("sealed"));
    out
}

/// What a subscriber got and could open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    /// The slot's SSRC.
    pub ssrc: u32,
    /// The egress index, by the subscriber's own ROC.
    pub egress: u64,
    /// What the payload says.
    pub mark: Watermark,
    /// The header's other fields.
    pub timestamp: u32,
    /// RTP payload type.
    pub payload_type: u8,
    /// Contributing sources.
    pub csrcs: Vec<u32>,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// Extension profile and content.
    pub extension: Option<(u16, Vec<u8>)>,
    /// The original sequence number, where this is a retransmission.
    pub osn: Option<u16>,
}

/// Opens what the node sends, as a subscriber would.
pub struct Subscriber {
    /// Its session.
    pub session: SessionId,
    /// Its room.
    pub room: RoomNo,
    /// Who it is.
    pub member: MemberNo,
    /// Its slots.
    pub slots: Vec<SlotSpec>,
    /// Where it receives.
    pub remote: Endpoint,
    /// Everything it opened.
    pub got: Vec<Got>,
    /// RTCP compounds it opened.
    pub reports: Vec<Vec<u8>>,
    /// Packets it could not open, or got twice.
    pub refused: u32,
    windows: Vec<(u32, ReplayWindow)>,
    inbound: Inbound<RingProvider>,
    outbound: Outbound<RingProvider>,
    rtcp_next: u32,
}

impl Subscriber {
    /// `keys.0` is the node's receiving key, `keys.1` its sending key.
    pub fn new(
        ids: (SessionId, RoomNo, MemberNo),
        slots: Vec<SlotSpec>,
        remote: Endpoint,
        profile: Profile,
        keys: (&KeyMaterial, &KeyMaterial),
    ) -> Self {
        let (session, room, member) = ids;
        Subscriber {
            session,
            room,
            member,
            slots,
            remote,
            got: vec![],
            reports: vec![],
            refused: 0,
            windows: vec![],
            inbound: Inbound::new(&RingProvider::new(), &master(profile, keys.1)),
            outbound: Outbound::new(&RingProvider::new(), &master(profile, keys.0)),
            rtcp_next: 0,
        }
    }

    /// Takes one datagram.
    pub fn receive(&mut self, packet: &[u8]) {
        if wire::demux::classify(packet) == wire::demux::Kind::Rtcp {
            let mut bytes = packet.to_vec();
            match srtp::Provider::open_rtcp(&RingProvider::new(), &self.inbound, &mut bytes) {
                Ok((len, _)) => self.reports.push(bytes[..len].to_vec()),
                Err(_) => self.refused += 1,
            }
            return;
        }
        match self.open(packet) {
            Some(got) => self.got.push(got),
            None => self.refused += 1,
        }
    }

    fn open(&mut self, packet: &[u8]) -> Option<Got> {
        let mut bytes = packet.to_vec();
        let header = Rtp::new_sealed(packet).ok()?;
        let (ssrc, header_len) = (header.ssrc(), header.header_len());
        let at = self.windows.iter().position(|(known, _)| *known == ssrc).unwrap_or_else(|| {
            self.windows.push((ssrc, ReplayWindow::new()));
            self.windows.len() - 1
        });
        let index = self.windows[at].1.estimate(header.sequence());
        self.windows[at].1.check(index).ok()?;
        let mut jobs = [OpenJob::new(&self.inbound, ssrc, index, header_len, &mut bytes)];
        srtp::Provider::open_many(&RingProvider::new(), &mut jobs);
        let len = jobs[0].result.ok()?;
        self.windows[at].1.commit(index).ok()?;
        let is_rtx = self.slots.iter().any(|slot| slot.rtx_ssrc == ssrc);
        let payload = &bytes[header_len..header_len + len];
        let (osn, payload) = match payload.split_first_chunk::<2>() {
            Some((osn, original)) if is_rtx => (Some(u16::from_be_bytes(*osn)), original),
            _ => (None, payload),
        };
        Some(Got {
            ssrc,
            egress: index.value(),
            mark: Watermark::read(payload)?,
            timestamp: header.timestamp(),
            payload_type: header.payload_type(),
            csrcs: header.csrcs().collect(),
            payload_len: len,
            extension: header.extension().map(|block| (block.profile, block.data.to_vec())),
            osn,
        })
    }

    /// Seals an RTCP compound of this subscriber.
    pub fn rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        seal_rtcp(&self.outbound, &mut self.rtcp_next, compound)
    }
}
