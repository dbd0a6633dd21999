//! AES-CM and HMAC-SHA1 against RustCrypto's, at every length, and HMAC against RFC 2202.

use aead::cm::{CRYPT_MAX, Cm, Message};
use aead::{Kernel, Path};
use aes::Aes128;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

fn ciphers() -> Vec<Cm> {
    Path::ALL.into_iter().filter_map(Kernel::with).filter_map(Cm::beside).collect()
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + seed * 17 + at / 7) as u8).collect()
}

fn reference(auth: &[u8], message: &[u8], suffix: &[u8]) -> [u8; 20] {
    let mut hmac = Hmac::<Sha1>::new_from_slice(auth).unwrap();
    hmac.update(message);
    hmac.update(suffix);
    hmac.finalize().into_bytes().into()
}

#[test]
fn every_length_is_encrypted_as_by_another_library() {
    for cm in ciphers() {
        let context = cm.context(&[9; 16], &[1; 20]);
        for len in (0..=1500).chain([CRYPT_MAX - 1, CRYPT_MAX]) {
            let mut iv = [0x5a; 16];
            (iv[14], iv[15]) = (0, 0);
            let mut ours = bytes(len, 1);
            let mut theirs = ours.clone();
            cm.crypt(&context, &iv, &mut ours);
            ctr::Ctr128BE::<Aes128>::new(&[9; 16].into(), &iv.into()).apply_keystream(&mut theirs);
            assert_eq!(ours, theirs, "{cm:?} {len}");
        }
    }
}

#[test]
fn every_length_is_authenticated_as_by_another_library_alone_and_beside_another() {
    let Some(cm) = ciphers().into_iter().next() else {
        println!("skipped: this CPU has no instructions for SHA-1");
        return;
    };
    let (auth_a, auth_b) = (bytes(20, 5), bytes(20, 6));
    let (a, b) = (cm.context(&[1; 16], &auth_a), cm.context(&[2; 16], &auth_b));
    let roc = [1, 2, 3, 4];
    for len in 0..=1500 {
        let (one, two) = (bytes(len, 2), bytes(len + len % 3, 3));
        for suffix in [&roc[..], &[]] {
            let first = Message { context: &a, bytes: &one, suffix };
            let second = Message { context: &b, bytes: &two, suffix };
            let expected = [reference(&auth_a, &one, suffix), reference(&auth_b, &two, suffix)];
            assert_eq!(cm.mac(first), expected[0], "{len}");
            assert_eq!(cm.mac_two([first, second]), expected, "{len}");
            assert_eq!(cm.mac_two([second, first]), [expected[1], expected[0]], "{len}");
        }
    }
}

#[test]
fn hmac_is_that_of_rfc_2202() {
    let Some(cm) = ciphers().into_iter().next() else { return };
    let hex = |mac: [u8; 20]| mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (key, data, digest) in [
        (&[0x0b; 20][..], &b"Hi There"[..], "b617318655057264e28bc0b6fb378c8ef146be00"),
        (b"Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (&[0xaa; 20], &[0xdd; 50], "125d7342b9ac11cd91a39af48aa17b4f63f175d3"),
    ] {
        let context = cm.context(&[0; 16], key);
        assert_eq!(hex(cm.mac(Message { context: &context, bytes: data, suffix: &[] })), digest);
    }
}
