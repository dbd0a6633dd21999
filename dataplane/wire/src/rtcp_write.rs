//! RTCP, writing: packets are appended to a caller's buffer and together make one compound
//! datagram. What the writer makes, [`crate::rtcp::Compound`] takes; the order (a report first) is
//! the caller's to keep.

use crate::rtcp::{
    HEADER_LEN, REPORT_BLOCK_LEN, ReportBlock, SDES_CNAME, SenderInfo, TYPE_BYE, TYPE_PSFB,
    TYPE_RR, TYPE_RTPFB, TYPE_SDES, TYPE_SR, TYPE_XR,
};
use crate::{Error, Result, bytes, remb, twcc, xr};

/// Most report blocks, chunks or SSRCs in one packet: the count has five bits.
pub const COUNT_MAX: usize = 31;
/// Longest CNAME or BYE reason in bytes: the length has eight bits.
pub const TEXT_LEN_MAX: usize = 255;

/// Appends packets to a buffer. A packet that does not fit leaves what was written before
/// untouched.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts an empty datagram in `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Writer { out, len: 0 }
    }

    /// Length of the datagram so far in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the datagram and tells its length.
    pub fn finish(self) -> usize {
        self.len
    }

    /// Appends a sender report.
    ///
    /// # Errors
    /// `BadLength` for more than 31 blocks, `NoSpace`.
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<()> {
        let body_len = 24 + REPORT_BLOCK_LEN * blocks.len();
        let body = self.begin(TYPE_SR, blocks.len(), body_len)?;
        bytes::put(body, 0, ssrc.to_be_bytes());
        bytes::put(body, 4, info.ntp.to_be_bytes());
        bytes::put(body, 12, info.rtp_timestamp.to_be_bytes());
        bytes::put(body, 16, info.packets.to_be_bytes());
        bytes::put(body, 20, info.bytes.to_be_bytes());
        put_blocks(body, 24, blocks);
        Ok(())
    }

    /// Appends a receiver report.
    ///
    /// # Errors
    /// `BadLength` for more than 31 blocks, `NoSpace`.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<()> {
        let body = self.begin(TYPE_RR, blocks.len(), 4 + REPORT_BLOCK_LEN * blocks.len())?;
        bytes::put(body, 0, ssrc.to_be_bytes());
        put_blocks(body, 4, blocks);
        Ok(())
    }

    /// Appends a source description with one source's canonical name.
    ///
    /// # Errors
    /// `BadLength` for a name above 255 bytes, `NoSpace`.
    pub fn sdes_cname(&mut self, ssrc: u32, cname: &[u8]) -> Result<()> {
        let text_len = u8::try_from(cname.len()).map_err(|_| Error::BadLength)?;
        // The zero byte that ends the items is part of what is rounded up.
        let body = self.begin(TYPE_SDES, 1, (4 + 2 + cname.len() + 1).next_multiple_of(4))?;
        body.fill(0);
        bytes::put(body, 0, ssrc.to_be_bytes());
        bytes::put(body, 4, [SDES_CNAME, text_len]);
        bytes::put_slice(body, 6, cname);
        Ok(())
    }

    /// Appends a goodbye; an empty reason is left out.
    ///
    /// # Errors
    /// `BadLength` for more than 31 sources or a reason above 255 bytes, `NoSpace`.
    pub fn bye(&mut self, ssrcs: &[u32], reason: &[u8]) -> Result<()> {
        let text_len = u8::try_from(reason.len()).map_err(|_| Error::BadLength)?;
        let reason_len = if reason.is_empty() { 0 } else { (1 + reason.len()).next_multiple_of(4) };
        let body = self.begin(TYPE_BYE, ssrcs.len(), 4 * ssrcs.len() + reason_len)?;
        body.fill(0);
        let mut at = 0;
        for ssrc in ssrcs {
            bytes::put(body, at, ssrc.to_be_bytes());
            at += 4;
        }
        if !reason.is_empty() {
            bytes::put(body, at, [text_len]);
            bytes::put_slice(body, at + 1, reason);
        }
        Ok(())
    }

    /// Appends a picture loss indication.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<()> {
        self.feedback(TYPE_PSFB, 1, sender_ssrc, media_ssrc, 0).map(|_| ())
    }

    /// Appends a full intra request for one stream.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn fir(&mut self, sender_ssrc: u32, media_ssrc: u32, command: u8) -> Result<()> {
        // RFC 5104 section 4.3.1.2: the media source of the common part is zero, the entry names
        // the stream.
        let fci = self.feedback(TYPE_PSFB, 4, sender_ssrc, 0, 8)?;
        bytes::put(fci, 0, media_ssrc.to_be_bytes());
        bytes::put(fci, 4, [command, 0, 0, 0]);
        Ok(())
    }

    /// Appends a NACK for `lost`, given in ascending order modulo 2^16, packed into as few entries
    /// as that order allows. Duplicates of the number before are dropped.
    ///
    /// # Errors
    /// `BadLength` for an empty list, `NoSpace`.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, lost: &[u16]) -> Result<()> {
        let entries = NackEntries { lost }.count();
        if entries == 0 {
            return Err(Error::BadLength);
        }
        let fci = self.feedback(TYPE_RTPFB, 1, sender_ssrc, media_ssrc, 4 * entries)?;
        for (entry, (pid, blp)) in fci.chunks_exact_mut(4).zip(NackEntries { lost }) {
            bytes::put(entry, 0, pid.to_be_bytes());
            bytes::put(entry, 2, blp.to_be_bytes());
        }
        Ok(())
    }

    /// Appends a receiver's estimate of the maximum bitrate in bits per second, rounded down to 18
    /// significant bits, shared by the streams `ssrcs`.
    ///
    /// # Errors
    /// `BadLength` for more than 255 streams, `NoSpace`.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) -> Result<()> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| Error::BadLength)?;
        // Section 2.2 of the draft: the media source of the common part is zero.
        let fci_len = remb::FIXED_LEN + 4 * ssrcs.len();
        let fci = self.feedback(TYPE_PSFB, 15, sender_ssrc, 0, fci_len)?;
        remb::put(fci, bitrate_bps, count, ssrcs);
        Ok(())
    }

    /// Appends one transport-wide feedback about the packets from `base_sequence` on, of which
    /// `arrivals_us` tells when each arrived, if it did, on any clock that does not jump. The packet
    /// has at most `len_max` bytes. Returns how many of the statuses it covers: fewer than all when
    /// they do not fit, or when two neighbouring arrivals are more than 8.19 s apart; the rest
    /// belongs into another packet with a `feedback_count` one higher.
    ///
    /// # Errors
    /// `BadLength` when nothing arrived, `NoSpace` when no arrival fits.
    pub fn transport_cc(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        base_sequence: u16,
        feedback_count: u8,
        arrivals_us: &[Option<u64>],
        len_max: usize,
    ) -> Result<usize> {
        let space = len_max.min(self.out.len().saturating_sub(self.len));
        let fci_len_max = space.checked_sub(HEADER_LEN + 8).ok_or(Error::NoSpace)?;
        let plan = twcc::Plan::new(arrivals_us, fci_len_max)?;
        let fci = self.feedback(TYPE_RTPFB, 15, sender_ssrc, media_ssrc, plan.fci_len())?;
        plan.put(fci, base_sequence, feedback_count);
        Ok(usize::from(plan.covered))
    }

    /// Appends what the receiver `receiver_ssrc` computes a round trip from: the middle 32 bits of the NTP
    /// time that it told, and how long ago that was in 1/65,536 s (RFC 3611 section 4.5).
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn delay_since(
        &mut self,
        sender_ssrc: u32,
        receiver_ssrc: u32,
        last: u32,
        delay: u32,
    ) -> Result<()> {
        let body = self.begin(TYPE_XR, 0, xr::DELAY_SINCE_LEN)?;
        xr::put_delay_since(body, sender_ssrc, receiver_ssrc, last, delay);
        Ok(())
    }

    fn feedback(
        &mut self,
        packet_type: u8,
        format: usize,
        sender_ssrc: u32,
        media_ssrc: u32,
        fci_len: usize,
    ) -> Result<&mut [u8]> {
        let body = self.begin(packet_type, format, 8 + fci_len)?;
        bytes::put(body, 0, sender_ssrc.to_be_bytes());
        bytes::put(body, 4, media_ssrc.to_be_bytes());
        Ok(body.get_mut(8..).unwrap_or(&mut []))
    }

    /// Writes the common header and gives the body for filling in; `body_len` is a multiple of
    /// four.
    fn begin(&mut self, packet_type: u8, count: usize, body_len: usize) -> Result<&mut [u8]> {
        if count > COUNT_MAX {
            return Err(Error::BadLength);
        }
        let words = u16::try_from(body_len / 4).map_err(|_| Error::BadLength)?;
        let end = self.len + HEADER_LEN + body_len;
        let packet = self.out.get_mut(self.len..end).ok_or(Error::NoSpace)?;
        self.len = end;
        bytes::put(packet, 0, [0x80 | count as u8, packet_type]);
        bytes::put(packet, 2, words.to_be_bytes());
        Ok(packet.get_mut(HEADER_LEN..).unwrap_or(&mut []))
    }
}

fn put_blocks(body: &mut [u8], mut at: usize, blocks: &[ReportBlock]) {
    for b in blocks {
        // The count saturates at the ends of 24 bits, as RFC 3550 section 6.4.1 has it.
        let lost = b.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        bytes::put(body, at, b.ssrc.to_be_bytes());
        bytes::put(body, at + 4, (u32::from(b.fraction_lost) << 24 | lost).to_be_bytes());
        bytes::put(body, at + 8, b.highest_sequence.to_be_bytes());
        bytes::put(body, at + 12, b.jitter.to_be_bytes());
        bytes::put(body, at + 16, b.last_sr.to_be_bytes());
        bytes::put(body, at + 20, b.delay_since_last_sr.to_be_bytes());
        at += REPORT_BLOCK_LEN;
    }
}

/// Packs ascending sequence numbers into (PID, BLP) pairs.
struct NackEntries<'a> {
    lost: &'a [u16],
}

impl Iterator for NackEntries<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let (&pid, mut rest) = self.lost.split_first()?;
        let mut blp = 0;
        while let Some((&next, tail)) = rest.split_first() {
            match next.wrapping_sub(pid) {
                0 => {}
                ahead @ 1..=16 => blp |= 1 << (ahead - 1),
                _ => break,
            }
            rest = tail;
        }
        self.lost = rest;
        Some((pid, blp))
    }
}
