//! What the elements of RTP header extensions say: mid, rid, transport-wide sequence number,
//! absolute send time, audio level. The elements themselves are [`crate::rtp_ext`]'s.
//!
//! Reading takes a value of exactly the length its document gives, and answers `None` to any other.

/// The text of a mid (RFC 9143 section 15), rid or repaired rid (RFC 8852 section 3): a token of
/// ASCII characters as RFC 8866 section 9 has them. Writing one is copying its bytes.
pub fn read_token(value: &[u8]) -> Option<&str> {
    let is_token = |byte: &u8| match byte {
        b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'['..=b']' => false,
        _ => byte.is_ascii_graphic(),
    };
    if value.is_empty() || !value.iter().all(is_token) {
        return None;
    }
    core::str::from_utf8(value).ok()
}

/// The transport-wide sequence number (draft-holmer-rmcat-transport-wide-cc-extensions-01 section
/// 2). Writing one is `to_be_bytes`.
pub fn read_transport_sequence(value: &[u8]) -> Option<u16> {
    value.try_into().map(u16::from_be_bytes).ok()
}

/// When a packet left its sender, in 1/2^18 s modulo 64 s: the middle 24 bits of an NTP time
/// (abs-send-time of WebRTC's RTP header extensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(u32);

impl AbsSendTime {
    /// Of any clock in microseconds, rounded down.
    pub fn from_micros(micros: u64) -> AbsSendTime {
        AbsSendTime((((micros % 64_000_000) << 18) / 1_000_000) as u32)
    }

    /// Microseconds modulo 64 s, rounded down.
    pub fn micros(self) -> u32 {
        ((u64::from(self.0) * 1_000_000) >> 18) as u32
    }

    /// Reads three bytes.
    pub fn read(value: &[u8]) -> Option<AbsSendTime> {
        let [a, b, c] = *<&[u8; 3]>::try_from(value).ok()?;
        Some(AbsSendTime(u32::from_be_bytes([0, a, b, c])))
    }

    /// The three bytes.
    pub fn to_bytes(self) -> [u8; 3] {
        let [_, value @ ..] = self.0.to_be_bytes();
        value
    }
}

/// How loud a packet's sound is (RFC 6464 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender takes it for voice.
    pub voice: bool,
    /// Decibels below overload: 0 is loudest, 127 is silence. Seven bits.
    pub below_overload_db: u8,
}

impl AudioLevel {
    /// Reads one byte.
    pub fn read(value: &[u8]) -> Option<AudioLevel> {
        let [byte] = *<&[u8; 1]>::try_from(value).ok()?;
        Some(AudioLevel { voice: byte & 0x80 != 0, below_overload_db: byte & 0x7f })
    }

    /// The byte; a level above 127 is written as 127.
    pub fn to_byte(self) -> u8 {
        u8::from(self.voice) << 7 | self.below_overload_db.min(127)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_the_characters_of_rfc_8866() {
        // token-char = %x21 / %x23-27 / %x2A-2B / %x2D-2E / %x30-39 / %x41-5A / %x5E-7E
        let ranges = [0x21..=0x21, 0x23..=0x27, 0x2a..=0x2b, 0x2d..=0x2e, 0x30..=0x39, 0x41..=0x5a];
        for byte in 0..=255u8 {
            let legal = ranges.iter().any(|r| r.contains(&byte)) || (0x5e..=0x7e).contains(&byte);
            assert_eq!(read_token(&[b'0', byte]).is_some(), legal, "{byte:#x}");
        }
        assert_eq!(read_token(b"hi-1_x"), Some("hi-1_x"));
        assert_eq!(read_token(b""), None);
    }

    #[test]
    fn a_transport_sequence_has_two_bytes() {
        assert_eq!(read_transport_sequence(&0xfffe_u16.to_be_bytes()), Some(0xfffe));
        assert_eq!(read_transport_sequence(&[1]), None);
        // Version 2 of the extension has four: another URI, another meaning.
        assert_eq!(read_transport_sequence(&[1, 2, 3, 4]), None);
    }

    #[test]
    fn send_times_are_six_bits_of_seconds_and_eighteen_of_fraction() {
        let at = |micros| AbsSendTime::from_micros(micros).to_bytes();
        assert_eq!(at(1_000_000), [0x04, 0, 0]);
        assert_eq!(at(500_000), [0x02, 0, 0]);
        assert_eq!(at(63_999_999), [0xff, 0xff, 0xff]);
        assert_eq!(at(64_000_000), [0, 0, 0]);
        assert_eq!(at(64_000_000 * 1_000_000_007 + 1_500_000), [0x06, 0, 0]);
        assert_eq!(AbsSendTime::read(&[0x04, 0, 0]).unwrap().micros(), 1_000_000);
        assert_eq!(AbsSendTime::read(&[0x04, 0]), None);
        for micros in (0..64_000_000).step_by(997) {
            let read = AbsSendTime::read(&at(micros)).unwrap().micros();
            assert!((micros.saturating_sub(5)..=micros).contains(&u64::from(read)));
        }
    }

    #[test]
    fn all_256_audio_levels_survive() {
        for byte in 0..=255 {
            let level = AudioLevel::read(&[byte]).unwrap();
            assert_eq!(level.to_byte(), byte);
            assert_eq!((level.voice, level.below_overload_db), (byte >= 128, byte % 128));
        }
        assert_eq!(AudioLevel::read(&[0x80, 1]), None);
        assert_eq!(AudioLevel { voice: false, below_overload_db: 200 }.to_byte(), 127);
    }
}
