//! Inspect: what only an authentic packet may be asked. Padding and extension must hold together, and
//! the payload type must be the negotiated one; the payload itself is never looked into.
//!
//! Reads: the opened packet. Sets: nothing. Verdicts: `bad_packet`, `payload_type`.

use proto::DropReason;
use srtp::Provider;
use wire::rtp::Rtp;
use wire::rtp_ext::Elements;

use super::{Kind, Verdict, Work};
use crate::shard::Shard;
use crate::{Buf, Burst};

/// Checks the opened RTP packets.
pub fn inspect<P: Provider, B: Buf>(shard: &Shard<P>, work: &mut Work, rx: &Burst<B>) {
    for (i, datagram) in rx.iter().enumerate() {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        let expected = shard.publications[work.publication[i]].spec.payload_type;
        if let Err(reason) = inspect_one(datagram.buf.bytes(), expected) {
            work.verdict[i] = Verdict::Drop(reason);
        }
    }
}

fn inspect_one(bytes: &[u8], payload_type: u8) -> Result<(), DropReason> {
    let packet = Rtp::new_checked(bytes).map_err(|_| DropReason::BadPacket)?;
    if let Some(block) = packet.extension()
        && Elements::new(block).any(|element| element.is_err())
    {
        return Err(DropReason::BadPacket);
    }
    if packet.payload_type() != payload_type {
        return Err(DropReason::PayloadType);
    }
    Ok(())
}
