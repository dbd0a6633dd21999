//! Route: who gets it. A layer that is not the forwarded one ends here, and so does a stream without
//! subscribers, here and on other shards.
//!
//! Reads: the fan-out list, which is filtered by room, kind and codec already. Sets: the active layer.
//! Verdicts: `done`.

use srtp::Provider;

use super::{Kind, Verdict, Work};
use crate::layers::take_over;
use crate::shard::Shard;
use crate::{Io, Now};

/// Ends what nobody gets.
#[inline(never)]
pub fn route<P: Provider, I: Io>(shard: &mut Shard<P>, now: Now, io: &mut I, work: &mut Work) {
    for i in 0..work.len {
        if !work.is(i, Kind::Rtp) {
            continue;
        }
        let (index, ingress) = (work.publication[i], work.ingress[i]);
        let is_active = shard.publications[index].active == ingress
            || take_over(shard, now, io, (index, ingress), work.start[i]);
        let publication = &shard.publications[index];
        if !is_active || publication.fanout.len() == 0 && publication.relays == 0 {
            work.verdict[i] = Verdict::Done;
        }
    }
}
