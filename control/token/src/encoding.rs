//! The two base64 alphabets of a token: Tencent's outside, the standard one inside.
//!
//! Both are read strictly: padding is due, and bits that carry nothing must be zero.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, Symbol};
use base64::engine::general_purpose::{GeneralPurpose, PAD};

use crate::limits::{MAC_BYTES, MIME_LINE_CHARS};

const TENCENT: Alphabet = match Symbol::new(b'_') {
    Some(padding) => match Alphabet::new_with_padding(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789*-",
        padding,
    ) {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 distinct symbols without the padding"),
    },
    None => panic!("the padding is printable"),
};
const OUTER: GeneralPurpose = GeneralPurpose::new(&TENCENT, PAD);
const INNER: GeneralPurpose = GeneralPurpose::new(&STANDARD, PAD);

/// Encodes a token: `*` for `+`, `-` for `/`, `_` for `=`.
pub(crate) fn encode_token(bytes: &[u8]) -> String {
    OUTER.encode(bytes)
}

/// Decodes a token; `None` if it is not exactly what [`encode_token`] would write.
pub(crate) fn decode_token(text: &[u8]) -> Option<Vec<u8>> {
    OUTER.decode(text).ok()
}

/// Encodes a field inside the JSON.
pub(crate) fn encode_field(bytes: &[u8]) -> String {
    INNER.encode(bytes)
}

/// Decodes `TLS.sig`; `None` if it is not 32 bytes of base64.
pub(crate) fn decode_mac(text: &str) -> Option<[u8; MAC_BYTES]> {
    INNER.decode(text).ok()?.try_into().ok()
}

/// Decodes `TLS.userbuf`, whose lines a MIME encoder may have broken after 76 characters.
pub(crate) fn decode_userbuf(text: &str) -> Option<Vec<u8>> {
    if !text.contains('\n') {
        return INNER.decode(text).ok();
    }
    // One line end may close the last line.
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<&str> =
        body.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let (last, full) = lines.split_last()?;
    let broken_elsewhere = full.iter().any(|line| line.len() != MIME_LINE_CHARS);
    if broken_elsewhere || last.is_empty() || last.len() > MIME_LINE_CHARS {
        return None;
    }
    let joined = lines.concat();
    INNER.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_alphabet_is_star_dash_and_underscore() {
        assert_eq!(encode_token(&[0xfb, 0xff, 0xbf, 0xff]), "*-*--w__");
        assert_eq!(decode_token(b"*-*--w__"), Some(vec![0xfb, 0xff, 0xbf, 0xff]));
    }

    #[test]
    fn sloppy_base64_is_refused() {
        for bad in [
            "*-*--w",
            "*-*--w_",
            "*-*--w___",
            "*-*--x__",
            "+/+//w==",
            "*-*--w==",
            "*-*- -w__",
            "*-*--w__\n",
            "____",
            "*_*-",
            "\0AAA",
        ] {
            assert_eq!(decode_token(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn userbuf_lines_break_only_where_mime_breaks_them() {
        let bytes: Vec<u8> = (0..121).collect();
        let flat = encode_field(&bytes);
        let lines: Vec<&str> = [&flat[..76], &flat[76..152], &flat[152..]].into_iter().collect();
        for good in
            [flat.clone(), lines.join("\r\n"), lines.join("\n"), lines.join("\r\n") + "\r\n"]
        {
            assert_eq!(decode_userbuf(&good), Some(bytes.clone()), "{good:?}");
        }
        let early = format!("{}\n{}", &flat[..40], &flat[40..]);
        let double = lines.join("\n\n");
        let trailing = lines.join("\n") + "\n\n";
        let bare_return = lines.join("\r");
        for bad in [early, double, trailing, bare_return, format!("\n{flat}"), "AAAA\r".to_owned()]
        {
            assert_eq!(decode_userbuf(&bad), None, "{bad:?}");
        }
        assert_eq!(decode_userbuf(""), Some(vec![]));
    }
}
