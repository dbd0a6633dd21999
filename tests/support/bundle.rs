//! A publisher whose streams share one transport (RFC 9143): SSRCs that nobody declared, named by mid and
//! rid in the header, with layers and repair streams.

use proto::{
    Endpoint, Extension, KeyMaterial, List, MediaKind, MemberNo, PublicationSpec, RoomNo, RtxSpec,
    SessionId,
};
use srtp::{
    EgressIndex, Inbound, Outbound, PacketIndex, Plaintext, Profile, RingProvider, SealJob,
};
use wire::rtp::RtpRepr;
use wire::rtp_ext;

use crate::peer::{Watermark, master, open_rtcp, seal_rtcp};

/// One layer of one stream: an SSRC of its own, and one for its repairs.
#[derive(Debug, Clone)]
pub struct Source {
    /// What was negotiated for the stream.
    pub spec: PublicationSpec,
    /// The layer's rid, where there are layers.
    pub rid: Option<String>,
    /// Of the media.
    pub ssrc: u32,
    /// Of the retransmissions.
    pub rtx_ssrc: u32,
    /// The next index of the media.
    pub next: u64,
    /// The next index of the retransmissions.
    pub rtx_next: u64,
    /// Whether packets name their stream in the header.
    pub is_named: bool,
}

/// The marks of an AV1 payload: the first byte of the aggregation header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// A new coded video sequence.
    Key,
    /// Predicted.
    Delta,
    /// Of a codec without marks.
    Unknown,
}

impl Picture {
    fn prefix(self) -> &'static [u8] {
        match self {
            Picture::Key => &[0x18],
            Picture::Delta => &[0x10],
            Picture::Unknown => &[],
        }
    }
}

/// The publisher's end of a session with several streams.
pub struct Bundle {
    /// Its session.
    pub session: SessionId,
    /// Its room.
    pub room: RoomNo,
    /// Who it is.
    pub member: MemberNo,
    /// Where it sends from.
    pub remote: Endpoint,
    outbound: Outbound<RingProvider>,
    inbound: Inbound<RingProvider>,
    rtcp_next: u32,
    profile: Profile,
}

impl Source {
    /// A layer of `spec` (its place in the list, 0 without layers) that starts at index `first`.
    pub fn new(spec: PublicationSpec, layer: usize, first: u64) -> Source {
        let name = |rid: &proto::command::Token| String::from_utf8(rid.to_vec()).expect("ASCII");
        let number = spec.publication.0 * 16 + layer as u32;
        let declared = spec.rtx.map_or(0, |rtx| rtx.ssrc);
        Source {
            spec,
            rid: spec.layers.get(layer).map(name),
            ssrc: if spec.ssrc != 0 { spec.ssrc } else { 0x3000_0000 + number },
            rtx_ssrc: if declared != 0 { declared } else { 0x4000_0000 + number },
            next: first,
            rtx_next: first ^ 0x55,
            is_named: true,
        }
    }

    fn id(&self, extension: Extension) -> u8 {
        let known = self.spec.extensions.iter().find(|known| known.extension == extension);
        known.expect("negotiated").id
    }

    fn names(&self, rid: Extension) -> Vec<(u8, &[u8])> {
        let mut names = vec![];
        if self.is_named {
            names.push((self.id(Extension::Mid), &*self.spec.mid));
            names.extend(self.rid.as_ref().map(|name| (self.id(rid), name.as_bytes())));
        }
        names
    }
}

/// Adds to a declared stream what a BUNDLE needs; its SSRC is for the packets to tell.
pub fn bundled(
    mut spec: PublicationSpec,
    mid: &str,
    rids: &[&str],
    has_rtx: bool,
) -> PublicationSpec {
    let token = |text: &str| List::from_slice(text.as_bytes()).expect("short");
    spec.ssrc = 0;
    spec.mid = token(mid);
    spec.layers = List::from_slice(&rids.iter().map(|rid| token(rid)).collect::<Vec<_>>())
        .expect("three at most");
    spec.rtx = has_rtx.then_some(RtxSpec { payload_type: spec.payload_type + 1, ssrc: 0 });
    for (extension, id) in
        [(Extension::Mid, 10), (Extension::Rid, 11), (Extension::RepairedRid, 12)]
    {
        assert!(spec.extensions.push(proto::ExtensionId { extension, id }));
    }
    if spec.kind != MediaKind::Audio {
        spec.codec = proto::CodecId::new(proto::CodecId::AV1, 0);
    }
    spec
}

impl Bundle {
    /// `keys.0` is the node's receiving key, `keys.1` its sending key.
    pub fn new(
        ids: (SessionId, RoomNo, MemberNo),
        remote: Endpoint,
        profile: Profile,
        keys: (&KeyMaterial, &KeyMaterial),
    ) -> Self {
        let (session, room, member) = ids;
        Bundle {
            session,
            room,
            member,
            remote,
            outbound: Outbound::new(&RingProvider::new(), &master(profile, keys.0)),
            inbound: Inbound::new(&RingProvider::new(), &master(profile, keys.1)),
            rtcp_next: 0,
            profile,
        }
    }

    /// The next packet of a source: a whole picture, or a packet of sound.
    pub fn packet(&self, source: &mut Source, picture: Picture, len: usize) -> Vec<u8> {
        source.next += 1;
        self.packet_at(source, source.next - 1, picture, len)
    }

    /// The packet at any index; the same again gives the same bytes.
    pub fn packet_at(&self, source: &Source, index: u64, picture: Picture, len: usize) -> Vec<u8> {
        let payload = self.payload(source, index, picture, len);
        let names = source.names(Extension::Rid);
        self.seal(source, (source.ssrc, index), source.spec.payload_type, index, &names, &payload)
    }

    /// A retransmission of the packet at `index` (RFC 4588).
    pub fn repair(&self, source: &mut Source, index: u64, picture: Picture, len: usize) -> Vec<u8> {
        let mut payload = (index as u16).to_be_bytes().to_vec();
        payload.extend(self.payload(source, index, picture, len));
        self.repair_stream(source, index, &payload)
    }

    /// Any payload on a source's repair stream, with the timestamp of the packet at `index`.
    pub fn repair_stream(&self, source: &mut Source, index: u64, payload: &[u8]) -> Vec<u8> {
        let own = source.rtx_next;
        source.rtx_next += 1;
        let payload_type = source.spec.rtx.expect("negotiated").payload_type;
        let names = source.names(Extension::RepairedRid);
        self.seal(source, (source.rtx_ssrc, own), payload_type, index, &names, payload)
    }

    fn payload(&self, source: &Source, index: u64, picture: Picture, len: usize) -> Vec<u8> {
        let publication = source.spec.publication.0;
        let mark = Watermark { room: self.room.0, publication, index };
        let mut payload = picture.prefix().to_vec();
        payload.extend(mark.bytes());
        payload.resize(payload.len().max(len), 0xa5);
        payload
    }

    /// Seals any payload under an SSRC at an index of its own; the timestamp is that of `time`.
    pub fn seal(
        &self,
        source: &Source,
        (ssrc, index): (u32, u64),
        payload_type: u8,
        time: u64,
        names: &[(u8, &[u8])],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut block = [0; 64];
        let extension = rtp_ext::write(&mut block, names.iter().copied()).expect("fits");
        let repr = RtpRepr {
            padding: false,
            marker: true,
            payload_type,
            sequence: index as u16,
            timestamp: (time as u32).wrapping_mul(3000).wrapping_add(source.ssrc),
            ssrc,
            csrcs: &[],
            extension,
        };
        let header_len = repr.header_len();
        let mut out = vec![0; header_len + payload.len() + self.profile.rtp_tag_len()];
        repr.emit(&mut out).expect("fits");
        let egress = EgressIndex::new(PacketIndex::new(index).expect("48 bits"));
        let plaintext = Plaintext::Shared(payload);
        let job = SealJob::new(&self.outbound, ssrc, egress, header_len, &mut out);
        let mut jobs = [job];
        srtp::Provider::seal_many(&RingProvider::new(), plaintext, &mut jobs);
        jobs[0].result.expect("sealed");
        out
    }

    /// Seals an RTCP compound.
    pub fn rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        seal_rtcp(&self.outbound, &mut self.rtcp_next, compound)
    }

    /// Opens what the node sends to the publisher: RTCP only.
    pub fn open_rtcp(&self, packet: &[u8]) -> Option<Vec<u8>> {
        open_rtcp(&self.inbound, packet)
    }
}
