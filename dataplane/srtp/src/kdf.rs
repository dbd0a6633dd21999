//! Key derivation: RFC 3711 section 4.3 with the AES-CM function of 4.3.3; RFC 6188 for 256-bit
//! keys; RFC 7714 section 11 for the 96-bit salts of AEAD. The key derivation rate is 0: keys are
//! derived once.

use aes::cipher::{BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use ctr::{CtrCore, flavors::Ctr128BE};

use crate::key::{KeyMaterial, MasterKey, SessionKeys};

/// Labels of RFC 3711 section 4.3.1 and 4.3.2: encryption, authentication, salt.
const RTP_LABELS: [u8; 3] = [0x00, 0x01, 0x02];
const RTCP_LABELS: [u8; 3] = [0x03, 0x04, 0x05];

/// Derives the session keys of one direction.
pub fn session_keys(master: &MasterKey) -> SessionKeys {
    SessionKeys { rtp: material(master, RTP_LABELS), rtcp: material(master, RTCP_LABELS) }
}

fn material(master: &MasterKey, labels: [u8; 3]) -> KeyMaterial {
    let profile = master.profile();
    let (key, salt) = (master.key(), master.salt());
    let mut out = KeyMaterial { profile, key: [0; 32], auth: [0; 20], salt: [0; 14] };
    prf(key, salt, labels[0], &mut out.key[..profile.key_len()]);
    prf(key, salt, labels[1], &mut out.auth[..profile.auth_key_len()]);
    prf(key, salt, labels[2], &mut out.salt[..profile.salt_len()]);
    out
}

fn prf(key: &[u8], salt: &[u8], label: u8, out: &mut [u8]) {
    // x = label * 2^48 XOR master_salt, a number of 112 bits; a 96-bit salt is filled up with
    // zeros on the right. The IV is x * 2^16.
    let mut iv = [0u8; 16];
    iv[..salt.len()].copy_from_slice(salt);
    iv[7] ^= label;
    if key.len() == 32 {
        keystream(&Aes256Enc::new_from_slice(key).expect("32 bytes"), iv, out);
    } else {
        keystream(&Aes128Enc::new_from_slice(key).expect("16 bytes by the profile"), iv, out);
    }
}

fn keystream<C>(cipher: &C, iv: [u8; 16], out: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt + BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    CtrCore::<_, Ctr128BE>::inner_iv_init(cipher, &iv.into()).apply_keystream_partial(out.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;
    use crate::vectors::records;

    #[test]
    fn key_streams_are_those_of_the_vectors() {
        let records = records(include_str!("../../../tests/vectors/rfc3711/kdf.txt"));
        assert_eq!(records.len(), 4);
        for record in records {
            let (key, salt) = (record.hex("master_key"), record.hex("master_salt"));
            for (name, value) in record.names_with("label_") {
                let label = u8::from_str_radix(name, 16).unwrap();
                let mut out = vec![0; value.len()];
                prf(&key, &salt, label, &mut out);
                assert_eq!(out, value, "{} label {label}", record.text("section"));
            }
        }
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_b3() {
        let records = records(include_str!("../../../tests/vectors/rfc3711/kdf.txt"));
        let b3 = &records[0];
        let master = [b3.hex("master_key"), b3.hex("master_salt")].concat();
        let keys = MasterKey::new(Profile::AesCm128HmacSha1_80, &master).unwrap().session_keys();
        assert_eq!(keys.rtp.key(), b3.hex("label_00"));
        assert_eq!(keys.rtp.auth(), &b3.hex("label_01")[..20]);
        assert_eq!(keys.rtp.salt(), b3.hex("label_02"));
    }

    #[test]
    fn no_two_derived_keys_are_the_same() {
        for profile in Profile::ALL {
            let master = MasterKey::new(profile, &vec![9; profile.master_len()]).unwrap();
            let keys = master.session_keys();
            assert_ne!(keys.rtp.key(), keys.rtcp.key());
            assert_ne!(keys.rtp.salt(), keys.rtcp.salt());
            assert_ne!(keys.rtp.key(), master.key());
        }
    }
}
