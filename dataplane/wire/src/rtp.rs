//! RTP (RFC 3550 section 5): a view that checks version, CSRC list, extension and padding once, and
//! the header emitter.
//!
//! SRTP encrypts the padding together with the payload (RFC 3711 section 3.1), so a packet that is
//! still sealed has a readable header and an unreadable tail: use [`Rtp::new_sealed`] before the
//! packet is opened and [`Rtp::new_checked`] after.

use core::ops::Range;

use crate::{Error, Result, bytes};

/// Length of the fixed header in bytes.
pub const FIXED_LEN: usize = 12;
/// Length of the longest header: 15 CSRCs, and an extension of 65,535 words with its own four
/// bytes.
pub const HEADER_LEN_MAX: usize = FIXED_LEN + 15 * 4 + 4 + 65_535 * 4;

/// A checked RTP packet over any buffer.
#[derive(Clone, Copy, Debug)]
pub struct Rtp<T> {
    buffer: T,
    header_len: usize,
    padding_len: u8,
}

/// The header extension block as it stands in the packet: `profile` says how to read `data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock<'a> {
    /// "Defined by profile": 0xBEDE for one-byte elements, 0x1000 to 0x100F for two-byte elements
    /// (RFC 8285).
    pub profile: u16,
    /// The words after the length field; its length is a multiple of four.
    pub data: &'a [u8],
}

impl<T: AsRef<[u8]>> Rtp<T> {
    /// Checks a packet in the clear: fixed header, version 2, CSRC list, extension and padding.
    ///
    /// # Errors
    /// `Truncated` when a part does not fit, `BadVersion` when it is not 2, `BadPadding` when the
    /// padding count is zero or larger than what follows the header.
    pub fn new_checked(buffer: T) -> Result<Self> {
        let mut packet = Self::new_sealed(buffer)?;
        packet.padding_len = padding_len(packet.buffer.as_ref(), packet.header_len)?;
        Ok(packet)
    }

    /// Checks the header alone, of a packet whose payload, padding and tag are still sealed (SRTP).
    /// `payload` is then everything after the header and `padding_len` is zero.
    ///
    /// # Errors
    /// `Truncated` or `BadVersion`, as [`Rtp::new_checked`].
    pub fn new_sealed(buffer: T) -> Result<Self> {
        let header_len = header_len(buffer.as_ref())?;
        Ok(Rtp { buffer, header_len, padding_len: 0 })
    }

    /// The padding bit as it stands in the header.
    pub fn has_padding(&self) -> bool {
        bytes::u8_at(self.buffer.as_ref(), 0) & 0x20 != 0
    }

    /// The extension bit.
    pub fn has_extension(&self) -> bool {
        bytes::u8_at(self.buffer.as_ref(), 0) & 0x10 != 0
    }

    /// How many CSRCs the packet has, 0 to 15.
    pub fn csrc_count(&self) -> usize {
        usize::from(bytes::u8_at(self.buffer.as_ref(), 0) & 0x0f)
    }

    /// The marker bit.
    pub fn marker(&self) -> bool {
        bytes::u8_at(self.buffer.as_ref(), 1) & 0x80 != 0
    }

    /// The payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        bytes::u8_at(self.buffer.as_ref(), 1) & 0x7f
    }

    /// The 16-bit sequence number.
    pub fn sequence(&self) -> u16 {
        bytes::u16_at(self.buffer.as_ref(), 2)
    }

    /// The timestamp in units of the payload type's clock.
    pub fn timestamp(&self) -> u32 {
        bytes::u32_at(self.buffer.as_ref(), 4)
    }

    /// The synchronisation source.
    pub fn ssrc(&self) -> u32 {
        bytes::u32_at(self.buffer.as_ref(), 8)
    }

    /// The contributing sources in order.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + '_ {
        let list = self.buffer.as_ref();
        (0..self.csrc_count()).map(move |i| bytes::u32_at(list, FIXED_LEN + 4 * i))
    }

    /// The extension block, when the packet has one; read it with [`crate::rtp_ext::Elements`].
    pub fn extension(&self) -> Option<ExtensionBlock<'_>> {
        if !self.has_extension() {
            return None;
        }
        let b = self.buffer.as_ref();
        let at = FIXED_LEN + 4 * self.csrc_count();
        Some(ExtensionBlock {
            profile: bytes::u16_at(b, at),
            data: bytes::range(b, at + 4, self.header_len),
        })
    }

    /// Where in the packet the words of the extension block lie (after its four-byte head).
    pub fn extension_range(&self) -> Option<Range<usize>> {
        self.has_extension().then(|| FIXED_LEN + 4 * self.csrc_count() + 4..self.header_len)
    }

    /// Length of fixed header, CSRC list and extension together: the AAD of an SRTP packet.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Length of the padding including its count, zero for none.
    pub fn padding_len(&self) -> usize {
        usize::from(self.padding_len)
    }

    /// Where the payload lies, without padding.
    pub fn payload_range(&self) -> Range<usize> {
        let len = self.buffer.as_ref().len();
        // Both bounds were checked; saturating keeps a foolish AsRef from turning into a panic.
        self.header_len..len.saturating_sub(self.padding_len()).max(self.header_len)
    }

    /// The payload without padding; empty for a packet that is padding only.
    pub fn payload(&self) -> &[u8] {
        let range = self.payload_range();
        bytes::range(self.buffer.as_ref(), range.start, range.end)
    }

    /// Gives the buffer back.
    pub fn into_inner(self) -> T {
        self.buffer
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Rtp<T> {
    /// Sets the marker bit.
    pub fn set_marker(&mut self, marker: bool) {
        let rest = self.payload_type();
        bytes::put(self.buffer.as_mut(), 1, [u8::from(marker) << 7 | rest]);
    }

    /// Sets the payload type; the upper bit of `payload_type` is ignored.
    pub fn set_payload_type(&mut self, payload_type: u8) {
        let marker = u8::from(self.marker()) << 7;
        bytes::put(self.buffer.as_mut(), 1, [marker | payload_type & 0x7f]);
    }

    /// Sets the sequence number.
    pub fn set_sequence(&mut self, sequence: u16) {
        bytes::put(self.buffer.as_mut(), 2, sequence.to_be_bytes());
    }

    /// Sets the timestamp.
    pub fn set_timestamp(&mut self, timestamp: u32) {
        bytes::put(self.buffer.as_mut(), 4, timestamp.to_be_bytes());
    }

    /// Sets the synchronisation source.
    pub fn set_ssrc(&mut self, ssrc: u32) {
        bytes::put(self.buffer.as_mut(), 8, ssrc.to_be_bytes());
    }

    /// The payload for writing, without padding.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.payload_range();
        self.buffer.as_mut().get_mut(range).unwrap_or(&mut [])
    }
}

/// The length of the header at the start of `b`, CSRCs and extension included.
///
/// # Errors
/// `Truncated` when `b` ends before the header does, `BadVersion` when the version is not 2.
pub fn header_len(b: &[u8]) -> Result<usize> {
    if b.len() < FIXED_LEN {
        return Err(Error::Truncated);
    }
    let first = bytes::u8_at(b, 0);
    if first >> 6 != 2 {
        return Err(Error::BadVersion);
    }
    let mut len = FIXED_LEN + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        if b.len() < len + 4 {
            return Err(Error::Truncated);
        }
        len += 4 + 4 * usize::from(bytes::u16_at(b, len + 2));
    }
    if b.len() < len { Err(Error::Truncated) } else { Ok(len) }
}

/// The padding count of a packet in the clear (RFC 3550 section 5.1: it counts itself).
fn padding_len(b: &[u8], header_len: usize) -> Result<u8> {
    if bytes::u8_at(b, 0) & 0x20 == 0 {
        return Ok(0);
    }
    let count = b.last().copied().unwrap_or(0);
    if count == 0 || usize::from(count) > b.len().saturating_sub(header_len) {
        return Err(Error::BadPadding);
    }
    Ok(count)
}

/// The header as values: what can be emitted in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpRepr<'a> {
    /// The padding bit; the caller appends the padding itself.
    pub padding: bool,
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: u32,
    /// At most 15 contributing sources.
    pub csrcs: &'a [u32],
    /// The extension block; a length that is not a multiple of four is refused.
    pub extension: Option<ExtensionBlock<'a>>,
}

/// A header with one CSRC and no extension, which most copies of a packet have: made once, and filled in with what
/// tells the copies apart.
#[derive(Clone, Copy, Debug)]
pub struct Template(u128);

impl Template {
    /// Bytes of the header.
    pub const LEN: usize = FIXED_LEN + 4;

    /// With what all copies have in common.
    pub fn new(padding: bool, marker: bool, csrc: u32) -> Template {
        let first = 0x81 | u128::from(padding) << 5;
        Template(first << 120 | u128::from(marker) << 119 | u128::from(csrc))
    }

    /// The header of one copy; `payload_type` uses its low seven bits.
    #[inline]
    pub fn fill(
        &self,
        payload_type: u8,
        sequence: u16,
        timestamp: u32,
        ssrc: u32,
    ) -> [u8; Template::LEN] {
        let place = u64::from(payload_type & 0x7f) << 48;
        let place = place | u64::from(sequence) << 32 | u64::from(timestamp);
        (self.0 | u128::from(place) << 64 | u128::from(ssrc) << 32).to_be_bytes()
    }
}

impl RtpRepr<'_> {
    /// The length of the emitted header in bytes.
    #[inline]
    pub fn header_len(&self) -> usize {
        FIXED_LEN + 4 * self.csrcs.len() + self.extension.map_or(0, |e| 4 + e.data.len())
    }

    /// Writes the header to the start of `out` and tells its length.
    ///
    /// # Errors
    /// `BadLength` for more than 15 CSRCs or an extension that is no whole number of words or
    /// longer than 65,535 words, `BadType` for a payload type above 127, `NoSpace` when `out` is
    /// too short.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize> {
        let csrc_count = u8::try_from(self.csrcs.len()).map_err(|_| Error::BadLength)?;
        if csrc_count > 15 {
            return Err(Error::BadLength);
        }
        if self.payload_type > 0x7f {
            return Err(Error::BadType);
        }
        let words = match self.extension {
            Some(e) if e.data.len() % 4 != 0 => return Err(Error::BadLength),
            Some(e) => u16::try_from(e.data.len() / 4).map_err(|_| Error::BadLength)?,
            None => 0,
        };
        let len = self.header_len();
        if out.len() < len {
            return Err(Error::NoSpace);
        }
        let extension_bit = u8::from(self.extension.is_some()) << 4;
        let first = 0x80 | u8::from(self.padding) << 5 | extension_bit | csrc_count;
        bytes::put(out, 0, [first, u8::from(self.marker) << 7 | self.payload_type]);
        bytes::put(out, 2, self.sequence.to_be_bytes());
        bytes::put(out, 4, self.timestamp.to_be_bytes());
        bytes::put(out, 8, self.ssrc.to_be_bytes());
        let mut at = FIXED_LEN;
        for csrc in self.csrcs {
            bytes::put(out, at, csrc.to_be_bytes());
            at += 4;
        }
        if let Some(e) = self.extension {
            bytes::put(out, at, e.profile.to_be_bytes());
            bytes::put(out, at + 2, words.to_be_bytes());
            bytes::put_slice(out, at + 4, e.data);
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_is_filled_in_is_the_header_of_these_values() {
        for (bits, payload_type) in (0..4).zip([0, 0x55, 96, 127]) {
            let repr = RtpRepr {
                padding: bits & 1 != 0,
                marker: bits & 2 != 0,
                payload_type,
                sequence: 0x8001,
                timestamp: 0xdead_beef,
                ssrc: 0xcafe_babe,
                csrcs: &[0x8102_0304],
                extension: None,
            };
            let mut out = [0; Template::LEN];
            assert_eq!(repr.emit(&mut out), Ok(Template::LEN));
            let template = Template::new(repr.padding, repr.marker, 0x8102_0304);
            let filled = template.fill(payload_type, repr.sequence, repr.timestamp, repr.ssrc);
            assert_eq!(filled, out);
        }
    }

    /// Version 2, padding, extension, two CSRCs, marker, PT 96; written out by hand from RFC 3550
    /// figure 5.1.
    const FULL: [u8; 42] = [
        0xb2, 0xe0, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0xca, 0xfe, 0xba, 0xbe, // fixed
        0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, // CSRCs
        0xbe, 0xde, 0x00, 0x02, 0x10, 0x85, 0x22, 0x01, 0x02, 0x03, 0x00, 0x00, // extension
        0x70, 0x71, 0x72, 0x73, 0x74, 0x75, // payload
        0x00, 0x00, 0x00, 0x04, // padding
    ];

    #[test]
    fn every_field_of_a_full_header_is_read() {
        let p = Rtp::new_checked(FULL).unwrap();
        assert!(p.marker() && p.has_padding() && p.has_extension());
        assert_eq!((p.payload_type(), p.sequence()), (96, 0x1234));
        assert_eq!((p.timestamp(), p.ssrc()), (0xdead_beef, 0xcafe_babe));
        assert_eq!(p.csrcs().collect::<Vec<_>>(), [1, 2]);
        let e = p.extension().unwrap();
        assert_eq!((e.profile, e.data), (0xbede, &FULL[24..32]));
        assert_eq!(p.extension_range(), Some(24..32));
        assert_eq!((p.header_len(), p.padding_len(), p.payload_range()), (32, 4, 32..38));
        assert_eq!(p.payload(), b"pqrstu");
    }

    #[test]
    fn the_same_header_is_emitted() {
        let repr = RtpRepr {
            padding: true,
            marker: true,
            payload_type: 96,
            sequence: 0x1234,
            timestamp: 0xdead_beef,
            ssrc: 0xcafe_babe,
            csrcs: &[1, 2],
            extension: Some(ExtensionBlock { profile: 0xbede, data: &FULL[24..32] }),
        };
        let mut out = [0; 42];
        assert_eq!(repr.emit(&mut out), Ok(32));
        assert_eq!(out[..32], FULL[..32]);
        assert_eq!(repr.emit(&mut [0; 31]), Err(Error::NoSpace));
    }

    #[test]
    fn setters_touch_their_own_bits_only() {
        let mut p = Rtp::new_checked(FULL).unwrap();
        p.set_marker(false);
        p.set_payload_type(0xff);
        p.set_sequence(1);
        p.set_timestamp(2);
        p.set_ssrc(3);
        p.payload_mut().fill(b'x');
        assert_eq!((p.marker(), p.payload_type()), (false, 127));
        assert_eq!((p.sequence(), p.timestamp(), p.ssrc()), (1, 2, 3));
        let bytes = p.into_inner();
        assert_eq!(
            (bytes[0], &bytes[12..32], &bytes[32..38]),
            (0xb2, &FULL[12..32], &b"xxxxxx"[..])
        );
        assert_eq!(bytes[38..], FULL[38..]);
    }

    #[test]
    fn a_packet_cut_anywhere_in_its_header_is_truncated() {
        for len in 0..32 {
            assert_eq!(Rtp::new_checked(&FULL[..len]).unwrap_err(), Error::Truncated, "{len}");
        }
        // From here on the header is whole, but the last byte is no padding count any more.
        for len in 32..42 {
            assert_eq!(Rtp::new_checked(&FULL[..len]).unwrap_err(), Error::BadPadding, "{len}");
            assert_eq!(Rtp::new_sealed(&FULL[..len]).unwrap().payload().len(), len - 32);
        }
    }

    #[test]
    fn versions_other_than_two_are_refused() {
        for version in [0, 1, 3] {
            let mut b = FULL;
            b[0] = b[0] & 0x3f | version << 6;
            assert_eq!(Rtp::new_checked(b).unwrap_err(), Error::BadVersion);
        }
    }

    #[test]
    fn a_padding_count_of_zero_or_into_the_header_is_refused() {
        for (count, ok) in [(0, false), (1, true), (10, true), (11, false), (255, false)] {
            let mut b = FULL;
            b[41] = count;
            let parsed = Rtp::new_checked(b);
            assert_eq!(parsed.is_ok(), ok, "{count}");
            if !ok {
                assert_eq!(parsed.unwrap_err(), Error::BadPadding);
            }
        }
    }

    #[test]
    fn forms_that_have_no_encoding_are_refused() {
        let repr = RtpRepr {
            padding: false,
            marker: false,
            payload_type: 0,
            sequence: 0,
            timestamp: 0,
            ssrc: 0,
            csrcs: &[],
            extension: None,
        };
        let mut out = [0; 128];
        assert_eq!(RtpRepr { csrcs: &[0; 16], ..repr }.emit(&mut out), Err(Error::BadLength));
        assert_eq!(RtpRepr { payload_type: 128, ..repr }.emit(&mut out), Err(Error::BadType));
        let odd = Some(ExtensionBlock { profile: 0xbede, data: &[0; 3] });
        assert_eq!(RtpRepr { extension: odd, ..repr }.emit(&mut out), Err(Error::BadLength));
    }
}
