//! Inspect: what only an authentic packet may be asked. Padding and extension must hold together, the
//! payload type must be the negotiated one, and a retransmission is put in its original's place.
//!
//! Reads: the opened packet. Sets: `transport_seq`; of a repaired packet also `ingress`, `index`,
//! `is_repair` and where the payload lies. Verdicts: `bad_packet`, `payload_type`, `done`.

use proto::DropReason;
use srtp::Provider;
use wire::rtp::Rtp;
use wire::rtp_ext::Elements;

use super::{Kind, Verdict, Work, repair};
use crate::shard::Shard;
use crate::{Buf, Burst, Io};

/// Checks the opened RTP packets.
pub fn inspect<P: Provider, I: Io>(
    shard: &mut Shard<P>,
    io: &mut I,
    work: &mut Work,
    rx: &Burst<I::Buf>,
) {
    for (i, datagram) in rx.iter().enumerate() {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        if let Err(verdict) = inspect_one(shard, io, work, i, datagram.buf.bytes()) {
            work.verdict[i] = verdict;
        }
    }
}

fn inspect_one<P: Provider, I: Io>(
    shard: &mut Shard<P>,
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
            if element.id == publication.transport_cc_id
                && let Ok(seq) = element.data.try_into()
            {
                work.transport_seq[i] = Some(u16::from_be_bytes(seq));
            }
        }
    }
    let spec = &publication.spec;
    let is_repair = shard.ingress[work.ingress[i]].role.is_repair;
    let expected = match spec.rtx {
        Some(rtx) if is_repair => rtx.payload_type,
        _ => spec.payload_type,
    };
    if packet.payload_type() != expected {
        return Err(Verdict::Drop(DropReason::PayloadType));
    }
    if is_repair {
        repair::unwrap(shard, io, work, i, packet.payload())?;
    }
    Ok(())
}
