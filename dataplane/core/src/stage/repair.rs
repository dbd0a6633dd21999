//! Repair: a retransmission (RFC 4588) takes the place of its original, once.
//!
//! The replay window of the original's stream decides: whichever of the two comes first is accepted
//! there, so both are never forwarded.

use proto::DropReason;
use srtp::Provider;
use wire::rtx::{self, OSN_LEN};

use super::{Verdict, Work};
use crate::ingress::Role;
use crate::shard::Shard;
use crate::{Io, Now};

/// Unwraps packet `i`, which came on a repair stream, and gives the original payload. `payload` is
/// without padding.
///
/// # Errors
/// `Done` for a probe without a payload, for a repair of what had arrived, and for a stream of which
/// nothing has arrived yet, since nobody knows its rollover counter; `bad_packet` for half a number.
pub fn unwrap<'a, P: Provider, I: Io>(
    shard: &mut Shard<P>,
    now: Now,
    io: &mut I,
    work: &mut Work,
    i: usize,
    payload: &'a [u8],
) -> Result<&'a [u8], Verdict> {
    if payload.is_empty() {
        return Err(Verdict::Done);
    }
    let (osn, payload) = rtx::split(payload).map_err(|_| Verdict::Drop(DropReason::BadPacket))?;
    let role = Role { is_repair: false, ..shard.ingress[work.ingress[i]].role };
    let original = shard.stream_of(work.session[i], work.publication[i], role);
    let original = original.ok_or(Verdict::Done)?;
    let window = &shard.ingress[original].window;
    window.highest().ok_or(Verdict::Done)?;
    let index = window.estimate(osn);
    shard.accept(now, io, original, index).map_err(|_| Verdict::Done)?;
    shard.counters.rtx_rx += 1;
    work.ingress[i] = original;
    work.index[i] = index.value();
    work.is_repair[i] = true;
    work.payload_at[i] += OSN_LEN as u16;
    work.payload_len[i] -= OSN_LEN as u16;
    Ok(payload)
}
