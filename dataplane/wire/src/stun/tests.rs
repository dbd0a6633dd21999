//! The vectors of RFC 5769 read and written, and what must be refused.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::*;
use crate::stun_write::{ErrorRepr, RequestRepr, success};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

/// RFC 5769 section 2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69\
    656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a683676592020200008001\
    49aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 section 2.2.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f72\
    20002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07\
    d4c96";
/// RFC 5769 section 2.3.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f72\
    20002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c829\
    2c275bfe3ed4180280004c8fb0b4c";

fn unhex(s: &str) -> Vec<u8> {
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

/// By RustCrypto, with which this crate shares nothing.
fn hmac(parts: &[&[u8]]) -> [u8; 20] {
    let mut hmac = Hmac::<Sha1>::new_from_slice(PASSWORD).unwrap();
    parts.iter().for_each(|part| hmac.update(part));
    hmac.finalize().into_bytes().into()
}

fn is_authentic(message: &Message<'_>) -> bool {
    let integrity = message.integrity().unwrap();
    hmac(&[&integrity.header, integrity.attributes]) == *integrity.claimed
}

/// A Binding request with these attributes and a right FINGERPRINT.
fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut b = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    b.extend(ID);
    for (kind, value) in attributes {
        b.extend(kind.to_be_bytes());
        b.extend((value.len() as u16).to_be_bytes());
        b.extend(*value);
        b.resize(b.len().next_multiple_of(4), 0);
    }
    let len = (b.len() - 20 + 8) as u16;
    b[2..4].copy_from_slice(&len.to_be_bytes());
    let crc = crc32(&b) ^ FINGERPRINT_XOR;
    b.extend([0x80, 0x28, 0, 4]);
    b.extend(crc.to_be_bytes());
    b
}

#[test]
fn the_request_of_rfc_5769_is_read_and_authentic() {
    let b = unhex(REQUEST);
    let m = Message::new_checked(&b).unwrap();
    assert_eq!((m.class(), m.transaction_id()), (Class::Request, ID));
    assert_eq!(m.username(), Some(&b"evtj:h6vY"[..]));
    assert_eq!(m.ufrags(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(m.priority(), Some(0x6e00_01ff));
    assert_eq!(m.role(), Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!m.use_candidate() && m.unknown().is_empty());
    assert_eq!(m.integrity().unwrap().offset, 76);
    assert!(is_authentic(&m));
    let kinds: Vec<u16> =
        Stun::new_checked(&b).unwrap().attributes().map(|a| a.unwrap().kind).collect();
    assert_eq!(kinds, [0x8022, 0x0024, 0x8029, 0x0006, 0x0008, 0x8028]);
}

#[test]
fn the_responses_of_rfc_5769_are_read_and_authentic() {
    let v4: SocketAddr = "192.0.2.1:32853".parse().unwrap();
    let v6: SocketAddr = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    for (text, mapped) in [(RESPONSE_V4, v4), (RESPONSE_V6, v6)] {
        let b = unhex(text);
        let m = Message::new_checked(&b).unwrap();
        assert_eq!((m.class(), m.mapped_address()), (Class::Success, Some(mapped)));
        assert!(is_authentic(&m));
    }
}

#[test]
fn any_flipped_bit_is_refused_or_spoils_the_integrity() {
    for bit in 0..8 * 108 {
        let mut b = unhex(REQUEST);
        b[bit / 8] ^= 1 << (bit % 8);
        assert!(Message::new_checked(&b).is_err(), "bit {bit}");
        // Who mends the CRC is caught by the HMAC alone.
        let end = b.len() - 8;
        let crc = crc32(&b[..end]) ^ FINGERPRINT_XOR;
        b[end + 4..].copy_from_slice(&crc.to_be_bytes());
        if let Ok(m) = Message::new_checked(&b) {
            let caught = m.integrity().is_none() || !is_authentic(&m);
            assert!(caught || bit >= 8 * (end + 4), "bit {bit}");
        }
    }
}

#[test]
fn success_responses_are_those_of_rfc_5769_without_software() {
    for text in [RESPONSE_V4, RESPONSE_V6] {
        let vector = unhex(text);
        let mapped = Message::new_checked(&vector).unwrap().mapped_address().unwrap();
        let mut out = [0xee; 96];
        let len = success(&mut out, ID, mapped, hmac).unwrap();
        // The vectors carry a SOFTWARE of 16 bytes in all, which we do not tell.
        assert_eq!(len, vector.len() - 16);
        assert_eq!(out[20..len - 32], vector[36..vector.len() - 32], "XOR-MAPPED-ADDRESS");
        let m = Message::new_checked(&out[..len]).unwrap();
        assert_eq!((m.class(), m.transaction_id()), (Class::Success, ID));
        assert_eq!(m.mapped_address(), Some(mapped));
        assert!(is_authentic(&m));
        for short in 0..len {
            let e = success(&mut out[..short], ID, mapped, hmac).unwrap_err();
            assert_eq!(e, Error::NoSpace);
        }
    }
}

#[test]
fn a_mapped_ipv4_address_is_told_as_ipv4() {
    let mut out = [0; 96];
    let len = success(&mut out, ID, "[::ffff:192.0.2.1]:32853".parse().unwrap(), hmac).unwrap();
    let m = Message::new_checked(&out[..len]).unwrap();
    assert_eq!(m.mapped_address(), Some("192.0.2.1:32853".parse().unwrap()));
}

#[test]
fn error_responses_tell_code_reason_and_unknown_attributes() {
    let unknown = [0x0011, 0x7ffe, 0x0003];
    let repr = ErrorRepr::unknown_attributes(&unknown);
    let mut out = [0xee; 128];
    let len = repr.emit(&mut out, ID, hmac).unwrap();
    let m = Message::new_checked(&out[..len]).unwrap();
    assert_eq!((m.class(), m.error_code()), (Class::Error, Some(420)));
    assert!(is_authentic(&m));
    let stun = Stun::new_checked(&out[..len]).unwrap();
    let found: Vec<_> = stun.attributes().map(|a| a.unwrap()).collect();
    assert_eq!(found[0].value, b"\0\0\x04\x14Unknown Attribute");
    let list = (attribute::UNKNOWN_ATTRIBUTES, &[0, 0x11, 0x7f, 0xfe, 0, 3][..]);
    assert_eq!((found[1].kind, found[1].value), list);

    let len = ErrorRepr::ROLE_CONFLICT.emit(&mut out, ID, hmac).unwrap();
    assert_eq!(Message::new_checked(&out[..len]).unwrap().error_code(), Some(487));
    let bad = |repr: ErrorRepr<'_>| repr.emit(&mut [0; 128], ID, hmac).unwrap_err();
    assert_eq!(bad(ErrorRepr { code: 700, ..ErrorRepr::BAD_REQUEST }), Error::BadType);
    assert_eq!(bad(ErrorRepr { reason: &"x".repeat(33), ..repr }), Error::BadLength);
    assert_eq!(bad(ErrorRepr { unknown: &[1; 9], ..repr }), Error::BadLength);
}

#[test]
fn a_written_request_is_read_and_authentic() {
    for (role, use_candidate) in [(Role::Controlling(7), true), (Role::Controlled(9), false)] {
        let repr = RequestRepr {
            transaction_id: ID,
            username: b"abcd:e",
            priority: 0x6e7f_1eff,
            role,
            use_candidate,
        };
        let mut out = [0xee; 128];
        let len = repr.emit(&mut out, hmac).unwrap();
        let m = Message::new_checked(&out[..len]).unwrap();
        let read = RequestRepr {
            transaction_id: m.transaction_id(),
            username: m.username().unwrap(),
            priority: m.priority().unwrap(),
            role: m.role().unwrap(),
            use_candidate: m.use_candidate(),
        };
        assert_eq!((read, m.class()), (repr, Class::Request));
        assert!(is_authentic(&m));
    }
}

#[test]
fn the_fingerprint_must_be_there_right_and_last() {
    let sound = message(&[(attribute::PRIORITY, &[0; 4])]);
    assert!(Message::new_checked(&sound).is_ok());
    let mut wrong = sound.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(Message::new_checked(&wrong).unwrap_err(), Error::BadChecksum);
    let mut without = sound[..sound.len() - 8].to_vec();
    without[3] -= 8;
    assert_eq!(Message::new_checked(&without).unwrap_err(), Error::BadChecksum);
    // Two of them: the first is right where it stands, if the length ended with it.
    let mut twice = message(&[]);
    twice[3] += 8;
    let crc = crc32(&twice[..20]) ^ FINGERPRINT_XOR;
    twice[24..28].copy_from_slice(&crc.to_be_bytes());
    twice.extend_from_within(20..28);
    assert_eq!(Message::new_checked(&twice).unwrap_err(), Error::BadChecksum);
}

#[test]
fn what_follows_the_integrity_is_ignored() {
    let b = message(&[
        (attribute::USERNAME, b"a:b"),
        (attribute::MESSAGE_INTEGRITY, &[7; 20]),
        (attribute::MESSAGE_INTEGRITY_SHA256, &[8; 32]),
        (attribute::USE_CANDIDATE, &[]),
        (attribute::PRIORITY, &[1, 2]),
        (attribute::MESSAGE_INTEGRITY, &[9; 20]),
        (0x7fff, &[]),
    ]);
    let m = Message::new_checked(&b).unwrap();
    assert_eq!((m.use_candidate(), m.priority(), m.unknown()), (false, None, &[][..]));
    let integrity = m.integrity().unwrap();
    assert_eq!((integrity.claimed, integrity.offset), (&[7; 20], 28));
    assert_eq!(integrity.attributes, &b[20..28]);
    // USERNAME (8 bytes) and the MESSAGE-INTEGRITY (24) are what the length covers.
    assert_eq!(integrity.header[2..4], [0, 32]);
    assert_eq!(integrity.header[4..], b[4..20]);
}

#[test]
fn of_repeated_attributes_the_first_counts() {
    let b = message(&[
        (attribute::USERNAME, b"a:b:c"),
        (attribute::USERNAME, b"x:y"),
        (attribute::ICE_CONTROLLING, &[1; 8]),
        (attribute::ICE_CONTROLLED, &[2; 8]),
    ]);
    let m = Message::new_checked(&b).unwrap();
    assert_eq!(m.ufrags(), Some((&b"a"[..], &b"b:c"[..])));
    assert_eq!(m.role(), Some(Role::Controlling(0x0101_0101_0101_0101)));
    assert!(m.integrity().is_none());
}

#[test]
fn unknown_required_attributes_are_listed_up_to_eight() {
    let b = message(&[(0x0003, &[]), (0xc057, &[1; 4]), (0x7fff, &[1])]);
    assert_eq!(Message::new_checked(&b).unwrap().unknown(), [0x0003, 0x7fff]);
    let many: Vec<(u16, &[u8])> = (0..12).map(|i| (0x7000 + i, &[][..])).collect();
    let b = message(&many);
    let want: Vec<u16> = (0x7000..0x7008).collect();
    assert_eq!(Message::new_checked(&b).unwrap().unknown(), want);
}

#[test]
fn values_of_a_wrong_length_are_refused() {
    let cases: [(u16, &[u8]); 9] = [
        (attribute::USERNAME, &[b'x'; 509]),
        (attribute::PRIORITY, &[0; 3]),
        (attribute::USE_CANDIDATE, &[0]),
        (attribute::ICE_CONTROLLING, &[0; 4]),
        (attribute::ICE_CONTROLLED, &[0; 12]),
        (attribute::MESSAGE_INTEGRITY, &[0; 16]),
        (attribute::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (attribute::XOR_MAPPED_ADDRESS, &[0, 3, 0, 0, 0, 0, 0, 0]),
        (attribute::ERROR_CODE, &[0; 3]),
    ];
    for case in cases {
        assert_eq!(Message::new_checked(&message(&[case])).unwrap_err(), Error::BadLength);
    }
    for code in [[0, 0, 2, 0], [0, 0, 7, 0], [0, 0, 4, 100]] {
        let b = message(&[(attribute::ERROR_CODE, &code)]);
        assert_eq!(Message::new_checked(&b).unwrap_err(), Error::BadType);
    }
}

#[test]
fn an_attribute_over_the_end_is_refused() {
    let mut b = message(&[(attribute::USERNAME, b"abc")]);
    b[23] = 100;
    assert_eq!(Message::new_checked(&b).unwrap_err(), Error::Truncated);
    let stun = Stun::new_checked(&b[..]).unwrap();
    assert_eq!(stun.attributes().collect::<Vec<_>>(), [Err(Error::Truncated)]);
    // A length field at the very end: no room for the attribute's own four bytes.
    b[23] = 255;
    b[22] = 255;
    assert_eq!(Message::new_checked(&b).unwrap_err(), Error::Truncated);
}

#[test]
fn another_method_is_not_a_binding() {
    let mut b = unhex(REQUEST);
    b[1] = 3;
    assert_eq!(Message::new_checked(&b).unwrap_err(), Error::BadType);
}

#[test]
fn classes_and_methods_are_unwoven() {
    // Binding (1) in the four classes, and method 0xfff, whose bits lie around the class bits.
    let cases = [
        (0x0001, Class::Request, 1),
        (0x0011, Class::Indication, 1),
        (0x0101, Class::Success, 1),
        (0x0111, Class::Error, 1),
        (0x3eef, Class::Request, 0xfff),
    ];
    for (kind, class, method) in cases {
        let mut b = unhex(REQUEST);
        b[..2].copy_from_slice(&u16::to_be_bytes(kind));
        let s = Stun::new_checked(b).unwrap();
        assert_eq!((s.class(), s.method()), (class, method));
    }
}

#[test]
fn a_message_cut_or_grown_by_one_byte_is_refused() {
    let b = unhex(REQUEST);
    for len in 0..b.len() {
        let e = Stun::new_checked(&b[..len]).unwrap_err();
        assert_eq!(e, if len < 20 { Error::Truncated } else { Error::BadLength });
    }
    let mut longer = b.clone();
    longer.push(0);
    assert_eq!(Stun::new_checked(longer).unwrap_err(), Error::BadLength);
}

#[test]
fn a_wrong_cookie_or_first_bits_are_not_stun() {
    for at in [0, 4, 5, 6, 7] {
        let mut b = unhex(REQUEST);
        b[at] ^= 0x80;
        assert_eq!(Stun::new_checked(b).unwrap_err(), Error::BadType);
    }
}
