//! Extended reports (RFC 3611), as far as a round trip needs them: a receiver that sends nothing tells its
//! clock (receiver reference time), and we say when we heard of it (delay since the last one). The packet
//! around both is [`crate::rtcp::Packet::ExtendedReport`] and [`crate::rtcp_write::Writer::delay_since`].

use crate::{Error, Result, bytes};

/// Block type of a receiver reference time (section 4.4).
const REFERENCE_TIME: u8 = 4;
/// Block type of delays since the last receiver reports (section 4.5).
const DELAY_SINCE: u8 = 5;
/// Length of a block's header in bytes.
const HEADER_LEN: usize = 4;
/// Length of what [`put_delay_since`] fills in bytes.
pub(crate) const DELAY_SINCE_LEN: usize = 4 + HEADER_LEN + 12;

/// A report whose blocks were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xr<'a> {
    body: &'a [u8],
}

impl<'a> Xr<'a> {
    /// Checks that the blocks add up to the packet, and the length of those that are known.
    ///
    /// # Errors
    /// `BadLength`.
    pub(crate) fn check(body: &'a [u8]) -> Result<Self> {
        if body.len() < 4 {
            return Err(Error::BadLength);
        }
        let mut rest = bytes::tail(body, 4);
        while !rest.is_empty() {
            let (kind, block, tail) = split(rest).ok_or(Error::BadLength)?;
            if kind == REFERENCE_TIME && block.len() != 8 {
                return Err(Error::BadLength);
            }
            rest = tail;
        }
        Ok(Xr { body })
    }

    /// Who sent it.
    pub fn ssrc(&self) -> u32 {
        bytes::u32_at(self.body, 0)
    }

    /// The sender's wall clock as NTP, from the first block that tells it.
    pub fn reference_time(&self) -> Option<u64> {
        let mut rest = bytes::tail(self.body, 4);
        while let Some((kind, block, tail)) = split(rest) {
            if kind == REFERENCE_TIME {
                return Some(bytes::u64_at(block, 0));
            }
            rest = tail;
        }
        None
    }
}

/// Takes a block off `b`: its type, its contents, the rest.
fn split(b: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let words = usize::from(u16::from_be_bytes([*b.get(2)?, *b.get(3)?]));
    let (block, rest) = b.split_at_checked(HEADER_LEN + 4 * words)?;
    Some((bytes::u8_at(block, 0), bytes::tail(block, HEADER_LEN), rest))
}

/// Fills in the body of a report with one block about one receiver; `body` has [`DELAY_SINCE_LEN`] bytes.
pub(crate) fn put_delay_since(
    body: &mut [u8],
    sender_ssrc: u32,
    receiver_ssrc: u32,
    last: u32,
    delay: u32,
) {
    bytes::put(body, 0, sender_ssrc.to_be_bytes());
    bytes::put(body, 4, [DELAY_SINCE, 0, 0, 3]);
    bytes::put(body, 8, receiver_ssrc.to_be_bytes());
    bytes::put(body, 12, last.to_be_bytes());
    bytes::put(body, 16, delay.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Compound, Packet, Rules};
    use crate::rtcp_write::Writer;

    /// An unknown block (statistics summary, one word), then a reference time, laid out by hand from the
    /// figures of sections 4.4 and 4.6.
    const REPORT: [u8; 28] = [
        0x80, 207, 0, 6, 0xca, 0xfe, 0xba, 0xbe, 6, 0, 0, 1, 1, 2, 3, 4, 4, 0, 0, 2, 0xe9, 0x01,
        0x02, 0x03, 0x80, 0x05, 0x06, 0x07,
    ];

    #[test]
    fn a_reference_time_is_found_behind_a_block_that_is_not_known() {
        let compound = Compound::new_checked(&REPORT, Rules::ReducedSize).unwrap();
        let Some(Packet::ExtendedReport(report)) = compound.packets().next() else { panic!() };
        assert_eq!(report.ssrc(), 0xcafe_babe);
        assert_eq!(report.reference_time(), Some(0xe901_0203_8005_0607));
    }

    #[test]
    fn blocks_that_do_not_add_up_are_refused() {
        for (at, value) in [(11, 2), (11, 200), (19, 1), (19, 3)] {
            let mut bad = REPORT;
            bad[at] = value;
            let refused = Compound::new_checked(&bad, Rules::ReducedSize);
            assert_eq!(refused.unwrap_err(), Error::BadLength, "byte {at} as {value}");
        }
        let empty = [0x80, 207, 0, 0];
        assert!(Compound::new_checked(&empty, Rules::ReducedSize).is_err());
    }

    #[test]
    fn an_answer_has_the_layout_of_section_4_5() {
        let mut out = [0; 32];
        let mut writer = Writer::new(&mut out);
        writer.delay_since(0x1122_3344, 0xcafe_babe, 0x0203_8005, 7).unwrap();
        let len = writer.finish();
        let wanted = [
            0x80, 207, 0, 5, 0x11, 0x22, 0x33, 0x44, 5, 0, 0, 3, 0xca, 0xfe, 0xba, 0xbe, 0x02,
            0x03, 0x80, 0x05, 0, 0, 0, 7,
        ];
        assert_eq!(out[..len], wanted);
        let compound = Compound::new_checked(&out[..len], Rules::ReducedSize).unwrap();
        let Some(Packet::ExtendedReport(report)) = compound.packets().next() else { panic!() };
        assert_eq!(report.reference_time(), None);
    }
}
