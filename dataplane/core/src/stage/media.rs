//! What the copies of a packet have in common, and the headers that they get.

use arrayvec::ArrayVec;
use proto::command::TOKEN_MAX;
use proto::{Extension, ExtensionId};
use srtp::{EgressIndex, Provider};
use wire::rtp::{ExtensionBlock, RtpRepr, Template};
use wire::rtp_ext::{self, Elements};

use super::dscp;
use crate::limits::{EXTENSION_BYTES_MAX, EXTENSION_ELEMENTS_MAX};
use crate::session::Slot;
use crate::shard::Shard;
use crate::{Buf, Start};

/// What every copy of a packet has in common; owned, so that the received buffer may be rewritten.
pub(super) struct Media {
    pub(super) publication: u32,
    /// SSRC of the ingress stream that it belongs to.
    pub(super) source: u32,
    pub(super) room: u32,
    pub(super) epoch: u32,
    pub(super) receive_bit: u8,
    pub(super) dscp: u8,
    pub(super) clock_rate: u32,
    /// The publication's number, as CSRC.
    csrc: u32,
    /// What it is to somebody who waits for a picture.
    pub(super) start: Start,
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) padding: bool,
    /// The header of copies without extension.
    template: Template,
    bytes: [u8; EXTENSION_BYTES_MAX],
    elements: ArrayVec<(Extension, u16, u16), EXTENSION_ELEMENTS_MAX>,
}

impl Media {
    /// Of a packet with this index, timestamp, marker and padding bit, without extensions.
    pub(super) fn new<P: Provider>(
        shard: &Shard<P>,
        publication: u32,
        source: u32,
        (index, timestamp): (u64, u32),
        (marker, padding): (bool, bool),
        start: Start,
    ) -> Media {
        let stream = &shard.publications[publication];
        Media {
            publication,
            source,
            room: stream.room,
            epoch: shard.rooms[stream.room].epoch,
            receive_bit: stream.spec.kind.receive_bit(),
            dscp: dscp(stream.spec.kind),
            clock_rate: stream.spec.clock_rate,
            csrc: stream.spec.publication.0,
            start,
            index,
            timestamp,
            marker,
            padding,
            template: Template::new(padding, marker, stream.spec.publication.0),
            bytes: [0; EXTENSION_BYTES_MAX],
            elements: ArrayVec::new(),
        }
    }

    /// Keeps the end-to-end elements that the publisher negotiated.
    pub(super) fn keep(&mut self, block: ExtensionBlock<'_>, negotiated: &[ExtensionId]) {
        let mut used = 0;
        for element in Elements::new(block).flatten() {
            let Some(known) = negotiated.iter().find(|known| known.id == element.id) else {
                continue;
            };
            let end = used + element.data.len();
            if known.extension.is_hop_by_hop() || end > EXTENSION_BYTES_MAX {
                continue;
            }
            let place = (known.extension, used as u16, end as u16);
            if self.elements.try_push(place).is_err() {
                return;
            }
            self.bytes[used..end].copy_from_slice(element.data);
            used = end;
        }
    }

    /// The elements that a subscriber negotiated, under its own ids, and its mid.
    fn block<'a>(&self, slot: &Slot, out: &'a mut [u8]) -> Option<ExtensionBlock<'a>> {
        let negotiated = &slot.extensions;
        let wanted = self.elements.iter().filter_map(|(extension, from, to)| {
            let known = negotiated.iter().find(|known| known.extension == *extension)?;
            Some((known.id, &self.bytes[usize::from(*from)..usize::from(*to)]))
        });
        rtp_ext::write(out, wanted.chain(slot.mid_element())).ok().flatten()
    }
}

/// One subscription's copy, decided but not written yet.
pub(super) struct Copy {
    pub index: EgressIndex,
    pub timestamp: u32,
    pub tag_len: usize,
}

impl Copy {
    /// Its sequence number and timestamp.
    #[inline]
    pub fn place(&self) -> (u16, u32) {
        (self.index.index().seq(), self.timestamp)
    }
}

/// Room for an extension block: every kept byte, a head for each element, a mid, padding.
pub(super) const BLOCK_MAX: usize =
    EXTENSION_BYTES_MAX + 2 * EXTENSION_ELEMENTS_MAX + (2 + TOKEN_MAX) + 4;

/// The copy's header, ready to be emitted; `block` is room for its extensions.
pub(super) fn header<'a>(
    slot: &'a Slot,
    media: &'a Media,
    (sequence, timestamp): (u16, u32),
    block: &'a mut [u8; BLOCK_MAX],
) -> RtpRepr<'a> {
    RtpRepr {
        padding: media.padding,
        marker: media.marker,
        payload_type: slot.payload_type,
        sequence,
        timestamp,
        ssrc: slot.ssrc,
        csrcs: std::slice::from_ref(&media.csrc),
        extension: if slot.extends { extension(slot, media, block) } else { None },
    }
}

/// Makes a packet of an empty buffer, its header written, `behind` bytes behind that unspecified. Tells the header's
/// length; nothing where there is no room, and then the buffer stays empty.
#[inline(always)]
pub(super) fn begin<'b, B: Buf>(
    slot: &Slot,
    media: &Media,
    place: (u16, u32),
    behind: usize,
    buf: &'b mut B,
) -> Option<(usize, &'b mut [u8])> {
    if slot.extends || slot.payload_type > 0x7f {
        // It refuses a type that is none, too.
        return begin_extended(slot, media, place, behind, buf);
    }
    let out = buf.append(Template::LEN + behind)?;
    *out.first_chunk_mut()? = media.template.fill(slot.payload_type, place.0, place.1, slot.ssrc);
    Some((Template::LEN, out))
}

/// The same with header extensions.
fn begin_extended<'b, B: Buf>(
    slot: &Slot,
    media: &Media,
    place: (u16, u32),
    behind: usize,
    buf: &'b mut B,
) -> Option<(usize, &'b mut [u8])> {
    let (mut block, mut head) = ([0; BLOCK_MAX], [0; Template::LEN + 4 + BLOCK_MAX]);
    let len = header(slot, media, place, &mut block).emit(&mut head).ok()?;
    let out = buf.append(len + behind)?;
    out.get_mut(..len)?.copy_from_slice(&head[..len]);
    Some((len, out))
}

/// The elements of the publisher's that the subscriber negotiated, and its mid.
fn extension<'a>(
    slot: &'a Slot,
    media: &Media,
    block: &'a mut [u8; BLOCK_MAX],
) -> Option<ExtensionBlock<'a>> {
    if !media.elements.is_empty() {
        return media.block(slot, block);
    }
    let profile = rtp_ext::PROFILE_ONE_BYTE;
    (!slot.mid_block.is_empty()).then(|| ExtensionBlock { profile, data: &slot.mid_block })
}
