//! What a datagram is, from its first two bytes: RFC 7983 section 7 for the protocol, RFC 5761
//! section 4 for RTP against RTCP. It says what to try; the format's own check decides.

/// What the first bytes of a datagram say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First byte 0 to 3.
    Stun,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 128 to 191, and the second is not an RTCP packet type.
    Rtp,
    /// First byte 128 to 191, and the second is 192 to 223.
    Rtcp,
    /// ZRTP (16 to 19), TURN channel data (64 to 79), QUIC and all else, and datagrams of fewer
    /// than two bytes.
    Unknown,
}

/// Classifies a datagram by its first two bytes.
#[inline]
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [0..=3, _, ..] => Kind::Stun,
        [20..=63, _, ..] => Kind::Dtls,
        // RFC 5761: RTP must not use payload types 64 to 95, which are these values with the marker
        // set.
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 7983 section 7 spelled as one line per range, independent of the match
    /// above.
    fn by_table(first: u8) -> Kind {
        const TABLE: [(u8, u8, Kind); 9] = [
            (0, 3, Kind::Stun),
            (4, 15, Kind::Unknown),
            (16, 19, Kind::Unknown), // ZRTP
            (20, 63, Kind::Dtls),
            (64, 79, Kind::Unknown), // TURN channel
            (80, 127, Kind::Unknown),
            (128, 159, Kind::Rtp),
            (160, 191, Kind::Rtp),
            (192, 255, Kind::Unknown),
        ];
        TABLE.iter().find(|(from, to, _)| (*from..=*to).contains(&first)).unwrap().2
    }

    #[test]
    fn all_256_first_bytes_follow_rfc_7983() {
        for first in 0..=255 {
            assert_eq!(classify(&[first, 0]), by_table(first), "{first}");
        }
    }

    #[test]
    fn all_256_second_bytes_follow_rfc_5761() {
        for first in 128..=191 {
            for second in 0..=255 {
                let pt_64_to_95_with_marker = second >= 128 && (64..96).contains(&(second - 128));
                let want = if pt_64_to_95_with_marker { Kind::Rtcp } else { Kind::Rtp };
                assert_eq!(classify(&[first, second]), want);
            }
        }
    }

    #[test]
    fn a_second_byte_matters_only_for_rtp() {
        for first in (0..128).chain(192..=255) {
            for second in 0..=255 {
                assert_eq!(classify(&[first, second]), by_table(first));
            }
        }
    }

    #[test]
    fn fewer_than_two_bytes_are_unknown() {
        assert_eq!(classify(&[]), Kind::Unknown);
        for first in 0..=255 {
            assert_eq!(classify(&[first]), Kind::Unknown);
        }
    }
}
