//! CRC-32 as STUN's FINGERPRINT has it: ITU-T V.42, the reflected polynomial 0xedb88320 (RFC 8489
//! section 14.7).

/// The remainder of each byte value.
const TABLE: [u32; 256] = table();

// Evaluated by the compiler alone: an index out of bounds would be a build error, not a panic.
#[allow(clippy::indexing_slicing)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The CRC-32 of `data`.
pub fn crc32(data: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let remainder = TABLE.get(usize::from(crc as u8 ^ byte)).copied().unwrap_or(0);
        crc >> 8 ^ remainder
    };
    !data.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISO-HDLC in the catalogue of parametrised CRC algorithms.
    #[test]
    fn the_check_value_is_met() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn every_single_bit_changes_it() {
        let data: Vec<u8> = (0..100).collect();
        for bit in 0..800 {
            let mut other = data.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(crc32(&other), crc32(&data));
        }
    }
}
