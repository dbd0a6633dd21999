//! RTCP, reading: compound packets (RFC 3550 section 6.1 and A.2; reduced-size: RFC 5506), SR, RR,
//! SDES, BYE, and the feedback messages PLI, FIR and NACK (RFC 4585, RFC 5104). What transport-cc,
//! REMB and extended reports say is read by [`crate::twcc`], [`crate::remb`] and [`crate::xr`].
//! Writing is in [`crate::rtcp_write`].

use crate::xr::Xr;
use crate::{Error, Result, bytes};

/// Packet type of a sender report.
pub const TYPE_SR: u8 = 200;
/// Packet type of a receiver report.
pub const TYPE_RR: u8 = 201;
/// Packet type of a source description.
pub const TYPE_SDES: u8 = 202;
/// Packet type of a goodbye.
pub const TYPE_BYE: u8 = 203;
/// Packet type of transport-layer feedback (RFC 4585 section 6.2).
pub const TYPE_RTPFB: u8 = 205;
/// Packet type of payload-specific feedback (RFC 4585 section 6.3).
pub const TYPE_PSFB: u8 = 206;
/// Packet type of an extended report (RFC 3611).
pub const TYPE_XR: u8 = 207;
/// Length of the common header in bytes; SRTCP leaves it and the sender's SSRC in the clear.
pub const HEADER_LEN: usize = 4;
/// Length of one report block in bytes.
pub const REPORT_BLOCK_LEN: usize = 24;
/// SDES item type of the canonical name.
pub const SDES_CNAME: u8 = 1;

const FMT_NACK: u8 = 1;
const FMT_TRANSPORT_CC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_APPLICATION: u8 = 15;

/// Which datagrams count as RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// RFC 3550: the first packet is a sender or receiver report.
    Compound,
    /// RFC 5506, where `a=rtcp-rsize` was negotiated: any packet may come first.
    ReducedSize,
}

/// A datagram of RTCP packets, every one of which was checked.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    data: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks every packet: version 2, lengths that add up to the datagram, padding only on the
    /// last one, counts that fit each packet's length, and the first packet's type by `rules`.
    ///
    /// # Errors
    /// `Truncated`, `BadVersion`, `BadLength`, `BadPadding`, or `BadType` for a first packet that
    /// `rules` forbid.
    pub fn new_checked(data: &'a [u8], rules: Rules) -> Result<Self> {
        let mut rest = data;
        loop {
            let (raw, tail) = Raw::split(rest)?;
            if rest.len() == data.len() {
                let is_report = matches!(raw.packet_type, TYPE_SR | TYPE_RR);
                if rules == Rules::Compound && !is_report {
                    return Err(Error::BadType);
                }
            }
            if raw.padded && !tail.is_empty() {
                return Err(Error::BadPadding);
            }
            raw.parse()?;
            if tail.is_empty() {
                return Ok(Compound { data });
            }
            rest = tail;
        }
    }

    /// The packets in order.
    pub fn packets(&self) -> Packets<'a> {
        Packets { rest: self.data }
    }
}

/// The SSRC that an RTCP packet, sealed or not, names as its sender.
///
/// # Errors
/// `Truncated` below eight bytes, `BadVersion`, `BadType` outside the packet types of RFC 5761.
pub fn sender_ssrc(data: &[u8]) -> Result<u32> {
    if data.len() < HEADER_LEN + 4 {
        return Err(Error::Truncated);
    }
    if bytes::u8_at(data, 0) >> 6 != 2 {
        return Err(Error::BadVersion);
    }
    if !(192..=223).contains(&bytes::u8_at(data, 1)) {
        return Err(Error::BadType);
    }
    Ok(bytes::u32_at(data, 4))
}

/// Iterates over the packets of a checked datagram.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let (raw, rest) = Raw::split(self.rest).ok()?;
        self.rest = rest;
        raw.parse().ok()
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR.
    SenderReport(SenderReport<'a>),
    /// RR.
    ReceiverReport(ReceiverReport<'a>),
    /// SDES.
    Sdes(Sdes<'a>),
    /// BYE.
    Bye(Bye<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli(Feedback<'a>),
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir(Fir<'a>),
    /// Generic NACK (RFC 4585 section 6.2.1).
    Nack(Nack<'a>),
    /// Transport-wide congestion feedback, for [`crate::twcc::TransportCc`].
    TransportCc(Feedback<'a>),
    /// Receiver estimated maximum bitrate, for [`crate::remb::Remb`].
    Remb(Feedback<'a>),
    /// XR (RFC 3611).
    ExtendedReport(Xr<'a>),
    /// Anything else: to be ignored (RFC 3550 section 6.1).
    Other {
        /// The packet type.
        packet_type: u8,
        /// The five bits after the padding bit: a count or a format.
        count: u8,
        /// What follows the common header, without padding.
        body: &'a [u8],
    },
}

/// A packet whose length is known, before its body is looked at.
struct Raw<'a> {
    packet_type: u8,
    count: u8,
    padded: bool,
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Takes the first packet off `b`.
    fn split(b: &'a [u8]) -> Result<(Raw<'a>, &'a [u8])> {
        if b.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let first = bytes::u8_at(b, 0);
        if first >> 6 != 2 {
            return Err(Error::BadVersion);
        }
        let len = HEADER_LEN + 4 * usize::from(bytes::u16_at(b, 2));
        let (packet, rest) = b.split_at_checked(len).ok_or(Error::Truncated)?;
        let padded = first & 0x20 != 0;
        let kind = bytes::u8_at(b, 1);
        let mut end = len;
        if padded {
            let count = usize::from(packet.last().copied().unwrap_or(0));
            // Browsers fill their transport-wide feedback up with one to three bytes and say so.
            let is_word = count.is_multiple_of(4) || (first, kind) == (0xaf, TYPE_RTPFB);
            if count == 0 || !is_word || count > len - HEADER_LEN {
                return Err(Error::BadPadding);
            }
            end -= count;
        }
        let body = bytes::range(packet, HEADER_LEN, end);
        Ok((Raw { packet_type: kind, count: first & 0x1f, padded, body }, rest))
    }

    /// Checks the body and names it.
    fn parse(&self) -> Result<Packet<'a>> {
        let Raw { count, body, .. } = *self;
        match self.packet_type {
            TYPE_SR => SenderReport::check(body, count).map(Packet::SenderReport),
            TYPE_RR => ReceiverReport::check(body, count).map(Packet::ReceiverReport),
            TYPE_SDES => Sdes::check(body, count).map(Packet::Sdes),
            TYPE_BYE => Bye::check(body, count).map(Packet::Bye),
            TYPE_RTPFB | TYPE_PSFB => self.parse_feedback(),
            TYPE_XR => Xr::check(body).map(Packet::ExtendedReport),
            packet_type => Ok(Packet::Other { packet_type, count, body }),
        }
    }

    fn parse_feedback(&self) -> Result<Packet<'a>> {
        if self.body.len() < 8 {
            return Err(Error::BadLength);
        }
        let feedback = Feedback { body: self.body };
        let fci = feedback.fci();
        match (self.packet_type, self.count) {
            (TYPE_RTPFB, FMT_NACK) if fci.is_empty() => Err(Error::BadLength),
            (TYPE_RTPFB, FMT_NACK) => Ok(Packet::Nack(Nack(feedback))),
            (TYPE_RTPFB, FMT_TRANSPORT_CC) => Ok(Packet::TransportCc(feedback)),
            (TYPE_PSFB, FMT_PLI) => Ok(Packet::Pli(feedback)),
            (TYPE_PSFB, FMT_FIR) if fci.is_empty() || !fci.len().is_multiple_of(8) => {
                Err(Error::BadLength)
            }
            (TYPE_PSFB, FMT_FIR) => Ok(Packet::Fir(Fir(feedback))),
            (TYPE_PSFB, FMT_APPLICATION) if fci.starts_with(b"REMB") => Ok(Packet::Remb(feedback)),
            (packet_type, count) => Ok(Packet::Other { packet_type, count, body: self.body }),
        }
    }
}

/// One report block (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256 of those expected.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; 24 bits signed on the wire.
    pub cumulative_lost: i32,
    /// The extended highest sequence number received.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the last SR's NTP time, zero for none.
    pub last_sr: u32,
    /// Delay since that SR in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(b: &[u8]) -> ReportBlock {
        let lost = bytes::u32_at(b, 4);
        ReportBlock {
            ssrc: bytes::u32_at(b, 0),
            fraction_lost: (lost >> 24) as u8,
            // Shifted up and back down, so that bit 23 becomes the sign.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_sequence: bytes::u32_at(b, 8),
            jitter: bytes::u32_at(b, 12),
            last_sr: bytes::u32_at(b, 16),
            delay_since_last_sr: bytes::u32_at(b, 20),
        }
    }
}

fn report_blocks(b: &[u8]) -> impl ExactSizeIterator<Item = ReportBlock> + '_ {
    b.chunks_exact(REPORT_BLOCK_LEN).map(ReportBlock::read)
}

/// The sender's part of an SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock as NTP: seconds since 1900 in the upper, 1/2^32 s in the lower half.
    pub ntp: u64,
    /// The same instant in the units of the stream's RTP timestamps.
    pub rtp_timestamp: u32,
    /// Packets sent since the beginning.
    pub packets: u32,
    /// Payload bytes sent since the beginning.
    pub bytes: u32,
}

/// A sender report (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport<'a> {
    body: &'a [u8],
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    fn check(body: &'a [u8], count: u8) -> Result<Self> {
        let end = 24 + usize::from(count) * REPORT_BLOCK_LEN;
        let blocks = body.get(24..end).ok_or(Error::BadLength)?;
        Ok(SenderReport { body, blocks })
    }

    /// Who sent it.
    pub fn ssrc(&self) -> u32 {
        bytes::u32_at(self.body, 0)
    }

    /// Times and counts of the sender.
    pub fn info(&self) -> SenderInfo {
        SenderInfo {
            ntp: bytes::u64_at(self.body, 4),
            rtp_timestamp: bytes::u32_at(self.body, 12),
            packets: bytes::u32_at(self.body, 16),
            bytes: bytes::u32_at(self.body, 20),
        }
    }

    /// What the sender received; profile extensions behind the blocks are ignored.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + 'a {
        report_blocks(self.blocks)
    }
}

/// A receiver report (RFC 3550 section 6.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    fn check(body: &'a [u8], count: u8) -> Result<Self> {
        let end = 4 + usize::from(count) * REPORT_BLOCK_LEN;
        let blocks = body.get(4..end).ok_or(Error::BadLength)?;
        Ok(ReceiverReport { ssrc: bytes::u32_at(body, 0), blocks })
    }

    /// Who sent it.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// What it received; profile extensions behind the blocks are ignored.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + 'a {
        report_blocks(self.blocks)
    }
}

/// A source description (RFC 3550 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdes<'a> {
    body: &'a [u8],
    count: u8,
}

impl<'a> Sdes<'a> {
    fn check(body: &'a [u8], count: u8) -> Result<Self> {
        let mut rest = body;
        for _ in 0..count {
            rest = SdesChunk::split(rest).ok_or(Error::BadLength)?.1;
        }
        if rest.is_empty() { Ok(Sdes { body, count }) } else { Err(Error::BadLength) }
    }

    /// One chunk per source.
    pub fn chunks(&self) -> impl Iterator<Item = SdesChunk<'a>> + use<'a> {
        let mut rest = self.body;
        (0..self.count).map_while(move |_| {
            let (chunk, tail) = SdesChunk::split(rest)?;
            rest = tail;
            Some(chunk)
        })
    }
}

/// What an SDES says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesChunk<'a> {
    ssrc: u32,
    items: &'a [u8],
}

impl<'a> SdesChunk<'a> {
    /// Takes a chunk off `b`: SSRC, items, a zero byte, zeros up to a whole word.
    fn split(b: &'a [u8]) -> Option<(SdesChunk<'a>, &'a [u8])> {
        let mut at = 4;
        while *b.get(at)? != 0 {
            at += 2 + usize::from(*b.get(at + 1)?);
        }
        let (chunk, rest) = b.split_at_checked((at + 1).next_multiple_of(4))?;
        Some((SdesChunk { ssrc: bytes::u32_at(chunk, 0), items: bytes::range(chunk, 4, at) }, rest))
    }

    /// The source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Its items: type and text, which is not checked to be UTF-8.
    pub fn items(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.items;
        core::iter::from_fn(move || {
            let kind = *rest.first()?;
            let text = rest.get(2..2 + usize::from(*rest.get(1)?))?;
            rest = bytes::tail(rest, 2 + text.len());
            Some((kind, text))
        })
    }

    /// The canonical name, if it is there.
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items().find(|(kind, _)| *kind == SDES_CNAME).map(|(_, text)| text)
    }
}

/// A goodbye (RFC 3550 section 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    fn check(body: &'a [u8], count: u8) -> Result<Self> {
        let (ssrcs, rest) =
            body.split_at_checked(4 * usize::from(count)).ok_or(Error::BadLength)?;
        let reason = match rest.split_first() {
            None => None,
            Some((len, text)) => Some(text.get(..usize::from(*len)).ok_or(Error::BadLength)?),
        };
        Ok(Bye { ssrcs, reason })
    }

    /// Who leaves.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        self.ssrcs.chunks_exact(4).map(|b| bytes::u32_at(b, 0))
    }

    /// Why, if told.
    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }
}

/// The common part of feedback messages (RFC 4585 section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback<'a> {
    body: &'a [u8],
}

impl<'a> Feedback<'a> {
    /// Who sent it.
    pub fn sender_ssrc(&self) -> u32 {
        bytes::u32_at(self.body, 0)
    }

    /// The stream it is about.
    pub fn media_ssrc(&self) -> u32 {
        bytes::u32_at(self.body, 4)
    }

    /// The feedback control information.
    pub fn fci(&self) -> &'a [u8] {
        bytes::tail(self.body, 8)
    }
}

/// A full intra request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fir<'a>(Feedback<'a>);

impl<'a> Fir<'a> {
    /// Who sent it.
    pub fn sender_ssrc(&self) -> u32 {
        self.0.sender_ssrc()
    }

    /// The streams asked for, each with the command's sequence number.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (u32, u8)> + 'a {
        self.0.fci().chunks_exact(8).map(|b| (bytes::u32_at(b, 0), bytes::u8_at(b, 4)))
    }
}

/// A generic NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack<'a>(Feedback<'a>);

impl<'a> Nack<'a> {
    /// Who sent it.
    pub fn sender_ssrc(&self) -> u32 {
        self.0.sender_ssrc()
    }

    /// The stream that lost packets.
    pub fn media_ssrc(&self) -> u32 {
        self.0.media_ssrc()
    }

    /// Every sequence number asked for, in wire order, duplicates included: 17 per entry at most.
    pub fn lost(&self) -> impl Iterator<Item = u16> + 'a {
        self.0.fci().chunks_exact(4).flat_map(|b| {
            let (pid, blp) = (bytes::u16_at(b, 0), bytes::u16_at(b, 2));
            let following = (0..16u16).filter(move |i| blp >> i & 1 != 0);
            core::iter::once(pid).chain(following.map(move |i| pid.wrapping_add(i + 1)))
        })
    }
}

#[cfg(test)]
mod tests;
