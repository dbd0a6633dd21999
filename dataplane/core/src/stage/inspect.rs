//! Inspect: what only an authentic packet may be asked. Padding and extension must hold together, the
//! payload type must be the negotiated one, and a retransmission is put in its original's place. Of a
//! picture's payload the first bytes are read for the marks of keyframes, as far as its codec has them and
//! it is not sealed from end to end; nothing but where a segment starts depends on them.
//!
//! A packet of nothing but padding, with which a sender without RTX probes, goes its way like any other:
//! its number is used up, and a receiver would ask for it.
//!
//! Reads: the opened packet. Sets: `transport_seq`, `start`; of a repaired packet also `ingress`, `index`,
//! `is_repair` and where the payload lies. Verdicts: `bad_packet`, `payload_type`, `done`.

use proto::{DropReason, MediaKind};
use srtp::Provider;
use wire::marks::keyframe_start;
use wire::rtp::Rtp;
use wire::rtp_ext::Elements;
use wire::rtp_ext_values::read_transport_sequence;

use super::{Kind, Verdict, Work, repair};
use crate::gate::Start;
use crate::shard::Shard;
use crate::{Buf, Burst, Io, Now};

/// Checks the opened RTP packets.
#[inline(never)]
pub fn inspect<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    rx: &Burst<I::Buf>,
) {
    for (i, datagram) in rx.iter().enumerate() {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        if let Err(verdict) = inspect_one(shard, now, io, work, i, datagram.buf.bytes()) {
            work.verdict[i] = verdict;
        }
    }
}

fn inspect_one<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    i: usize,
    bytes: &[u8],
) -> Result<(), Verdict> {
    let bad = Verdict::Drop(DropReason::BadPacket);
    let packet = Rtp::new_checked(bytes).map_err(|_| bad)?;
    let publication = &shard.publications[work.publication[i]];
    if let Some(block) = packet.extension() {
        for element in Elements::new(block) {
            let element = element.map_err(|_| bad)?;
            if element.id == publication.transport_cc_id {
                work.transport_seq[i] = read_transport_sequence(element.data);
            }
        }
    }
    let spec = &publication.spec;
    let (is_audio, marks) = (spec.kind == MediaKind::Audio, publication.marks);
    let is_repair = shard.ingress[work.ingress[i]].role.is_repair;
    let expected = match spec.rtx {
        Some(rtx) if is_repair => rtx.payload_type,
        _ => spec.payload_type,
    };
    if packet.payload_type() != expected {
        return Err(Verdict::Drop(DropReason::PayloadType));
    }
    let mut payload = packet.payload();
    if is_repair {
        payload = repair::unwrap(shard, now, io, work, i, payload)?;
    }
    work.start[i] = if is_audio {
        Start::Keyframe
    } else {
        let frames = &mut shard.ingress[work.ingress[i]].frames;
        let begins = frames.begins(work.index[i], packet.timestamp(), packet.marker());
        let is_keyframe = match marks {
            // Padding alone, as some senders probe with.
            _ if payload.is_empty() => Some(false),
            Some(codec) => keyframe_start(codec, payload),
            None => None,
        };
        Start::of_video(is_keyframe, begins)
    };
    Ok(())
}
