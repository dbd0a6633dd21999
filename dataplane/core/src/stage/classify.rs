//! Classify: what each datagram is by its first bytes (RFC 7983, RFC 5761), with its header's bounds
//! checked once.
//!
//! Reads: the bytes. Sets: `kind`, `header_len`. Verdicts: `unknown_class`, `malformed`.

use proto::DropReason;
use wire::demux::{self, Kind};
use wire::rtp;

use super::{Verdict, Work};
use crate::{Buf, Burst};

/// Sets the kind of each packet.
#[inline(never)]
pub fn classify<B: Buf>(work: &mut Work, rx: &Burst<B>) {
    for (i, datagram) in rx.iter().enumerate() {
        let bytes = datagram.buf.bytes();
        let kind = demux::classify(bytes);
        work.kind[i] = kind;
        match kind {
            Kind::Unknown => work.verdict[i] = Verdict::Drop(DropReason::UnknownClass),
            Kind::Rtp => match rtp::header_len(bytes) {
                Ok(len) if len <= usize::from(u16::MAX) => {
                    work.header_len[i] = len as u16;
                    work.payload_at[i] = len as u16;
                }
                _ => work.verdict[i] = Verdict::Drop(DropReason::Malformed),
            },
            // A header and an SSRC: what SRTCP leaves in the clear (RFC 3711 3.4).
            Kind::Rtcp if bytes.len() < 8 => {
                work.verdict[i] = Verdict::Drop(DropReason::Malformed);
            }
            _ => {}
        }
    }
}
