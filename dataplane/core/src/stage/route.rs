//! Route: who gets it. A stream without subscribers, here and on other shards, ends here.
//!
//! Reads: the fan-out list, which is filtered by room, kind and codec already. Verdicts: `done`.

use srtp::Provider;

use super::{Kind, Verdict, Work};
use crate::shard::Shard;

/// Ends what nobody subscribes to.
pub fn route<P: Provider>(shard: &Shard<P>, work: &mut Work) {
    for i in 0..work.len {
        if work.is(i, Kind::Rtp) {
            let publication = &shard.publications[work.publication[i]];
            if publication.fanout.len() == 0 && publication.relays == 0 {
                work.verdict[i] = Verdict::Done;
            }
        }
    }
}
