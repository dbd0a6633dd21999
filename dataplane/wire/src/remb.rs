//! REMB, the receiver's estimate of the maximum bitrate (draft-alvestrand-rmcat-remb-03 section 2):
//! the control information of a payload-specific feedback message. The packet around it is
//! [`crate::rtcp::Packet::Remb`] and [`crate::rtcp_write::Writer::remb`].

use crate::{Error, Result, bytes};

/// Length without the list of sources in bytes.
pub(crate) const FIXED_LEN: usize = 8;
const MANTISSA_BITS: u32 = 18;

/// An estimate that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remb<'a> {
    fci: &'a [u8],
}

impl<'a> Remb<'a> {
    /// Checks the name and the length against the count of sources.
    ///
    /// # Errors
    /// `BadType` without the name "REMB", `BadLength`.
    pub fn new_checked(fci: &'a [u8]) -> Result<Self> {
        if !fci.starts_with(b"REMB") {
            return Err(Error::BadType);
        }
        if fci.len() < FIXED_LEN || fci.len() != FIXED_LEN + 4 * usize::from(bytes::u8_at(fci, 4)) {
            return Err(Error::BadLength);
        }
        Ok(Remb { fci })
    }

    /// Bits per second, headers of IP and UDP included; saturates at the end of 64 bits.
    pub fn bitrate_bps(&self) -> u64 {
        let word = bytes::u32_at(self.fci, 4) & 0x00ff_ffff;
        let (exponent, mantissa) = (word >> MANTISSA_BITS, u64::from(word & 0x3_ffff));
        if mantissa.leading_zeros() >= exponent { mantissa << exponent } else { u64::MAX }
    }

    /// The streams that share it.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        bytes::tail(self.fci, FIXED_LEN).chunks_exact(4).map(|b| bytes::u32_at(b, 0))
    }
}

/// Fills in the information; `fci` is as long as the list demands. The bitrate is rounded down to
/// 18 significant bits.
pub(crate) fn put(fci: &mut [u8], bitrate_bps: u64, count: u8, ssrcs: &[u32]) {
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let word = exponent << MANTISSA_BITS | (bitrate_bps >> exponent) as u32;
    bytes::put(fci, 0, *b"REMB");
    bytes::put(fci, 4, (u32::from(count) << 24 | word).to_be_bytes());
    let list = fci.get_mut(FIXED_LEN..).unwrap_or(&mut []);
    for (place, ssrc) in list.chunks_exact_mut(4).zip(ssrcs) {
        bytes::put(place, 0, ssrc.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Compound, Packet, Rules};
    use crate::rtcp_write::Writer;

    /// As the draft's figure lays it out, with numbers of our own: 5 * 2^19 bit/s for two streams.
    const WIRE: [u8; 28] = [
        0x8f, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', // to the name
        2, 0x4c, 0, 5, 0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 7,
    ];

    #[test]
    fn a_packet_made_by_hand_is_read() {
        let compound = Compound::new_checked(&WIRE, Rules::ReducedSize).unwrap();
        let Some(Packet::Remb(f)) = compound.packets().next() else { panic!() };
        let remb = Remb::new_checked(f.fci()).unwrap();
        assert_eq!((f.sender_ssrc(), remb.bitrate_bps()), (1, 5 << 19));
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [0xcafe_babe, 7]);
    }

    #[test]
    fn the_bitrate_keeps_its_upper_18_bits() {
        let cases = [0, 1, 0x3_ffff, 0x4_0000, 0x7_ffff, 1_000_001, 2_500_000_000, u64::MAX];
        for bps in cases {
            let mut out = [0xee; 32];
            let mut w = Writer::new(&mut out);
            w.remb(1, bps, &[7, 8]).unwrap();
            assert_eq!(w.finish(), 28);
            let remb = Remb::new_checked(&out[12..28]).unwrap();
            let read = remb.bitrate_bps();
            assert!(read <= bps && bps - read <= bps >> 17, "{bps} {read}");
            assert!(bps >= 1 << 18 || read == bps);
            assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [7, 8]);
        }
    }

    #[test]
    fn the_largest_exponent_saturates() {
        let mut fci = [0; 8];
        bytes::put(&mut fci, 0, *b"REMB");
        for (word, bps) in
            [(0xfc_0001_u32, 1 << 63), (0xfc_0002, u64::MAX), (0xff_ffff, u64::MAX), (0xfc_0000, 0)]
        {
            bytes::put(&mut fci, 4, word.to_be_bytes());
            assert_eq!(Remb::new_checked(&fci).unwrap().bitrate_bps(), bps, "{word:x}");
        }
    }

    #[test]
    fn a_count_that_is_not_the_length_is_refused() {
        for len in 0..16 {
            let e = Remb::new_checked(&WIRE[12..12 + len]).unwrap_err();
            assert_eq!(e, if len < 4 { Error::BadType } else { Error::BadLength });
        }
        assert_eq!(Remb::new_checked(&[0; 16]), Err(Error::BadType));
        let mut out = [0; 2048];
        assert_eq!(Writer::new(&mut out).remb(1, 1, &[0; 256]), Err(Error::BadLength));
    }
}
