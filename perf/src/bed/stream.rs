//! The far end of a publisher: seals the next packet of its stream.

use proto::{Endpoint, KeyMaterial, List, OpenSession, PublicationSpec};
use srtp::{
    EgressIndex, MasterKey, Outbound, PacketIndex, Plaintext, Provider, RingProvider, SealJob,
};
use wire::rtp::{ExtensionBlock, RtpRepr};

use super::PROFILE;

/// Bytes of the payload; what they are does not matter to a cipher.
const PAYLOAD: [u8; 1500] = [0xa5; 1500];

/// One publisher.
pub struct Stream {
    outbound: Outbound<RingProvider>,
    remote: Endpoint,
    ssrc: u32,
    payload_type: u8,
    next: u64,
    /// The block of one audio level, when packets carry it.
    extension: Option<[u8; 4]>,
}

impl Stream {
    /// The far end of `open`, which publishes `spec`; with an audio level under `level_id` or without.
    pub fn new(
        open: &OpenSession,
        spec: &PublicationSpec,
        level_id: u8,
        has_level: bool,
    ) -> Stream {
        let master = MasterKey::new(PROFILE, &open.rx_key.bytes).expect("length of the profile");
        Stream {
            outbound: Outbound::new(&RingProvider::new(), &master),
            remote: open.remote,
            ssrc: spec.ssrc,
            payload_type: spec.payload_type,
            next: 1,
            // RFC 8285 4.2: id, length less one; a level; two bytes of padding.
            extension: has_level.then_some([level_id << 4, 0x80 | 30, 0, 0]),
        }
    }

    /// Sends under another payload type from now on.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        self.payload_type = payload_type;
    }

    /// Where it sends from.
    pub fn remote(&self) -> Endpoint {
        self.remote
    }

    /// Seals the next packet into `out` and returns its length. Allocates nothing.
    ///
    /// # Panics
    /// When `out` is too short.
    pub fn seal_next(&mut self, payload_len: usize, out: &mut [u8]) -> usize {
        let index = PacketIndex::new(self.next).expect("48 bits last");
        self.next += 1;
        let block = self.extension.as_ref();
        let repr = RtpRepr {
            padding: false,
            marker: false,
            payload_type: self.payload_type,
            sequence: index.seq(),
            timestamp: (index.value() as u32).wrapping_mul(960),
            ssrc: self.ssrc,
            csrcs: &[],
            extension: block.map(|data| ExtensionBlock { profile: 0xbede, data }),
        };
        let header_len = repr.emit(out).expect("room for a header");
        let plaintext = Plaintext::Shared(&PAYLOAD[..payload_len]);
        let index = EgressIndex::new(index);
        let mut jobs = [SealJob::new(&self.outbound, self.ssrc, index, header_len, out)];
        RingProvider::new().seal_many(plaintext, &mut jobs);
        jobs[0].result.expect("room for payload and tag")
    }
}

/// A key that is different for every number. Not random: figures must not depend on it, and nobody else
/// uses it.
pub fn key(number: u64) -> KeyMaterial {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let byte = |at: usize| (mixed.rotate_left(at as u32 * 11) >> 24) as u8 ^ at as u8;
    let bytes: Vec<u8> = (0..PROFILE.master_len()).map(byte).collect();
    KeyMaterial { bytes: List::from_slice(&bytes).expect("fits") }
}
