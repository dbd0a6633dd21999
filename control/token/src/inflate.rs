//! Zlib, with the output capped while inflating: a bomb costs at most the cap.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::limits::INFLATED_MAX_BYTES;
use crate::refusal::Refusal;

/// Inflates one whole zlib stream of any level; bytes after it are refused.
pub(crate) fn inflate(input: &[u8]) -> Result<Vec<u8>, Refusal> {
    // One byte above the cap tells "just fits" from "too large".
    let mut output = vec![0; INFLATED_MAX_BYTES + 1];
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress(input, &mut output, FlushDecompress::Finish);
    let written = usize::try_from(zlib.total_out()).unwrap_or(usize::MAX);
    if written > INFLATED_MAX_BYTES {
        return Err(Refusal::InflatedTooLarge);
    }
    if !matches!(status, Ok(Status::StreamEnd)) {
        return Err(Refusal::NotZlib);
    }
    if usize::try_from(zlib.total_in()) != Ok(input.len()) {
        return Err(Refusal::TrailingBytes);
    }
    output.truncate(written);
    Ok(output)
}

/// Deflates at level 6, as most official libraries do. `None` if the input is above the cap.
pub(crate) fn deflate(input: &[u8]) -> Option<Vec<u8>> {
    if input.len() > INFLATED_MAX_BYTES {
        return None;
    }
    // Level 6 stores what it cannot compress: a few bytes per 16 KiB, and header and checksum.
    let mut output = vec![0; input.len() + 64];
    let mut zlib = Compress::new(Compression::new(6), true);
    let status = zlib.compress(input, &mut output, FlushCompress::Finish).ok()?;
    if status != Status::StreamEnd {
        return None;
    }
    output.truncate(usize::try_from(zlib.total_out()).ok()?);
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressed(input: &[u8], level: u32) -> Vec<u8> {
        let mut output = vec![0; input.len() + 4096];
        let mut zlib = Compress::new(Compression::new(level), true);
        zlib.compress(input, &mut output, FlushCompress::Finish).unwrap();
        output.truncate(zlib.total_out() as usize);
        output
    }

    #[test]
    fn every_level_inflates() {
        let input = b"{\"TLS.ver\":\"2.0\",\"TLS.ver\":\"2.0\"}";
        for level in 0..=9 {
            assert_eq!(inflate(&compressed(input, level)).unwrap(), input, "level {level}");
        }
    }

    #[test]
    fn the_cap_is_exact() {
        for level in [0, 1, 6, 9] {
            assert_eq!(inflate(&compressed(&[7; 4096], level)).unwrap().len(), 4096);
            let above = inflate(&compressed(&[7; 4097], level));
            assert_eq!(above, Err(Refusal::InflatedTooLarge));
        }
    }

    #[test]
    fn bombs_stop_at_the_cap() {
        for bytes in [1 << 16, 1 << 20, 1 << 24] {
            let bomb = compressed(&vec![0; bytes], 9);
            assert_eq!(inflate(&bomb), Err(Refusal::InflatedTooLarge), "{bytes}");
            // Truncated as the input limit would truncate it, and without its checksum.
            let head = &bomb[..bomb.len().min(768)];
            assert_eq!(inflate(head), Err(Refusal::InflatedTooLarge), "{bytes}");
        }
    }

    #[test]
    fn truncated_trailing_and_foreign_streams_are_refused() {
        let good = compressed(b"{\"a\":\"hello hello hello\"}", 6);
        for len in 0..good.len() {
            assert_eq!(inflate(&good[..len]), Err(Refusal::NotZlib), "{len}");
        }
        let mut longer = good.clone();
        longer.push(0);
        assert_eq!(inflate(&longer), Err(Refusal::TrailingBytes));
        let twice = [good.clone(), good.clone()].concat();
        assert_eq!(inflate(&twice), Err(Refusal::TrailingBytes));
        assert_eq!(inflate(&good[2..]), Err(Refusal::NotZlib), "raw deflate");
        assert_eq!(inflate(b"\x1f\x8b\x08\0\0\0\0\0\0\x03"), Err(Refusal::NotZlib), "gzip");
        let mut wrong_sum = good.clone();
        *wrong_sum.last_mut().unwrap() ^= 1;
        assert_eq!(inflate(&wrong_sum), Err(Refusal::NotZlib));
    }

    #[test]
    fn deflating_what_does_not_compress_still_fits() {
        let noise: Vec<u8> =
            (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(inflate(&deflate(&noise).unwrap()).unwrap(), noise);
        assert_eq!(deflate(&[0; 4097]), None);
    }
}
