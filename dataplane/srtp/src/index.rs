//! Packet indices: ROC and sequence number as one number (RFC 3711 sections 3.2.1 and 3.3.1,
//! appendix A), the 31-bit index of SRTCP (section 3.4), and the move-only forms used for sealing.

use std::fmt;

/// A 48-bit SRTP index: the rollover counter in the upper 32 bits, the sequence number below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketIndex(u64);

impl PacketIndex {
    /// The last index under one key (RFC 3711 section 9.2).
    pub const MAX: PacketIndex = PacketIndex((1 << 48) - 1);

    /// `None` above 2^48 - 1: the key is used up.
    pub const fn new(index: u64) -> Option<PacketIndex> {
        if index <= Self::MAX.0 { Some(PacketIndex(index)) } else { None }
    }

    /// From the rollover counter and the sequence number.
    pub const fn from_parts(roc: u32, seq: u16) -> PacketIndex {
        PacketIndex(((roc as u64) << 16) | seq as u64)
    }

    /// The rollover counter.
    pub const fn roc(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// The sequence number as the RTP header has it.
    pub const fn seq(self) -> u16 {
        self.0 as u16
    }

    /// The index as a number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// `None` when the sum is above 2^48 - 1: the key is used up and the sender must stop.
    pub const fn checked_add(self, packets: u64) -> Option<PacketIndex> {
        match self.0.checked_add(packets) {
            Some(sum) => PacketIndex::new(sum),
            None => None,
        }
    }
}

/// A 31-bit SRTCP index (RFC 3711 section 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RtcpIndex(u32);

impl RtcpIndex {
    /// The last index under one key (RFC 3711 section 9.2).
    pub const MAX: RtcpIndex = RtcpIndex((1 << 31) - 1);

    /// `None` above 2^31 - 1: the key is used up.
    pub const fn new(index: u32) -> Option<RtcpIndex> {
        if index <= Self::MAX.0 { Some(RtcpIndex(index)) } else { None }
    }

    /// The index as a number.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// `None` when the sum is above 2^31 - 1: the key is used up and the sender must stop.
    pub const fn checked_add(self, packets: u32) -> Option<RtcpIndex> {
        match self.0.checked_add(packets) {
            Some(sum) => RtcpIndex::new(sum),
            None => None,
        }
    }

    /// From the last word of an SRTCP packet, without its E flag.
    pub(crate) const fn from_word(word: u32) -> RtcpIndex {
        RtcpIndex(word & Self::MAX.0)
    }
}

/// The right to seal one RTP packet at one index. It can be moved, not copied: a seal consumes it,
/// so a nonce cannot be used twice by passing the same value again.
///
/// ```compile_fail,E0382
/// let index = srtp::EgressIndex::new(srtp::PacketIndex::from_parts(0, 1));
/// let (first, second) = (index, index);
/// ```
#[derive(Debug, PartialEq, Eq)]
pub struct EgressIndex(PacketIndex);

impl EgressIndex {
    /// Only the munger calls this, once per packet and SSRC: it alone knows that the index is new
    /// under the subscriber's key.
    pub const fn new(index: PacketIndex) -> EgressIndex {
        EgressIndex(index)
    }

    /// The index, for the header and the ledger.
    pub const fn index(&self) -> PacketIndex {
        self.0
    }
}

/// The right to seal one RTCP compound at one index; see [`EgressIndex`].
#[derive(Debug, PartialEq, Eq)]
pub struct EgressRtcpIndex(RtcpIndex);

impl EgressRtcpIndex {
    /// Only the owner of the session's SRTCP counter calls this, once per compound.
    pub const fn new(index: RtcpIndex) -> EgressRtcpIndex {
        EgressRtcpIndex(index)
    }

    /// The index, for the ledger.
    pub const fn index(&self) -> RtcpIndex {
        self.0
    }
}

/// Half of the sequence number space: farther apart means that a wrap lies between.
const SEQ_HALF: i32 = 1 << 15;

/// The index that a sequence number most likely has, given the highest authenticated index
/// (RFC 3711 section 3.3.1 and appendix A). Without one the rollover counter is 0.
///
/// There is no index below 0 and none above 2^48 - 1, so a guess beyond an end keeps the
/// rollover counter of that end: below, the packet is a jump ahead by more than half the space;
/// above, it is an old index, which the replay window refuses.
pub const fn estimate(highest: Option<PacketIndex>, seq: u16) -> PacketIndex {
    let Some(highest) = highest else { return PacketIndex::from_parts(0, seq) };
    let ahead = seq as i32 - highest.seq() as i32;
    let roc = highest.roc();
    let roc = if ahead > SEQ_HALF && highest.seq() < SEQ_HALF as u16 {
        roc.saturating_sub(1)
    } else if ahead < -SEQ_HALF && highest.seq() >= SEQ_HALF as u16 {
        roc.saturating_add(1)
    } else {
        roc
    };
    PacketIndex::from_parts(roc, seq)
}

/// The rollover counter of one SSRC: the highest authenticated index, if there is one.
/// Of two streams in one session each has its own.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct RocState {
    /// The highest authenticated index plus one, so that 0 means none. 8 bytes instead of 16.
    next: u64,
}

impl RocState {
    /// Nothing authenticated yet.
    pub const fn new() -> RocState {
        RocState { next: 0 }
    }

    /// Goes on after `highest`, as the ledger or another node has it.
    pub const fn resume(highest: PacketIndex) -> RocState {
        RocState { next: highest.0 + 1 }
    }

    /// The highest authenticated index.
    pub const fn highest(&self) -> Option<PacketIndex> {
        if self.next == 0 { None } else { Some(PacketIndex(self.next - 1)) }
    }

    /// The most likely index of a packet: [`estimate`]. Does not change anything.
    pub const fn estimate(&self, seq: u16) -> PacketIndex {
        estimate(self.highest(), seq)
    }

    /// As [`RocState::estimate`], for a stream whose first packets may not have opened
    /// (`failures`: the caller's count of them). While nothing is authenticated and something has
    /// failed, every fourth sequence number of the lower half is tried with a rollover counter
    /// of 1. It finds a sender that began just below a wrap and whose packets before the wrap
    /// were lost.
    ///
    /// A forger can make `failures` anything but 0; what a packet of the true sender is tried
    /// with still depends on its own sequence number alone, so nobody can keep it out.
    pub const fn estimate_after(&self, failures: u32, seq: u16) -> PacketIndex {
        if self.next == 0 && failures > 0 && (seq as i32) < SEQ_HALF && seq % 4 == 3 {
            return PacketIndex::from_parts(1, seq);
        }
        self.estimate(seq)
    }

    /// Takes note of an index whose packet was authentic. Older ones leave it as it is.
    pub const fn commit(&mut self, index: PacketIndex) {
        if index.0 >= self.next {
            self.next = index.0 + 1;
        }
    }
}

impl fmt::Debug for RocState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RocState").field(&self.highest()).finish()
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
