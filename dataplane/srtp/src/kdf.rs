//! Key derivation: RFC 3711 section 4.3 with the AES-CM function of 4.3.3; RFC 6188 for 256-bit
//! keys; RFC 7714 section 11 for the 96-bit salts of AEAD. The key derivation rate is 0: keys are
//! derived once.

use aes::cipher::{BlockSizeUser, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128Enc, Aes256Enc};
use ctr::{CtrCore, flavors::Ctr128BE};

use crate::key::{KeyMaterial, MasterKey, SessionKeys};
use crate::profile::Profile;

/// Labels of RFC 3711 section 4.3.1 and 4.3.2: encryption, authentication, salt.
const RTP_LABELS: [u8; 3] = [0x00, 0x01, 0x02];
const RTCP_LABELS: [u8; 3] = [0x03, 0x04, 0x05];

/// Derives the session keys of one direction.
pub fn session_keys(master: &MasterKey) -> SessionKeys {
    SessionKeys { rtp: material(master, RTP_LABELS), rtcp: material(master, RTCP_LABELS) }
}

fn material(master: &MasterKey, labels: [u8; 3]) -> KeyMaterial {
    let profile = master.profile();
    let mut out = KeyMaterial { profile, key: [0; 32], auth: [0; 20], salt: [0; 14] };
    prf(master, labels[0], &mut out.key[..profile.key_len()]);
    prf(master, labels[1], &mut out.auth[..profile.auth_key_len()]);
    prf(master, labels[2], &mut out.salt[..profile.salt_len()]);
    out
}

fn prf(master: &MasterKey, label: u8, out: &mut [u8]) {
    // x = label * 2^48 XOR master_salt, a number of 112 bits; a 96-bit salt is filled up with
    // zeros on the right. The IV is x * 2^16.
    let mut iv = [0u8; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    iv[7] ^= label;
    match master.profile() {
        Profile::AeadAes128Gcm | Profile::AesCm128HmacSha1_80 => {
            let cipher = Aes128Enc::new_from_slice(master.key()).expect("16 bytes by the profile");
            keystream(&cipher, iv, out);
        }
        Profile::AeadAes256Gcm => {
            let cipher = Aes256Enc::new_from_slice(master.key()).expect("32 bytes by the profile");
            keystream(&cipher, iv, out);
        }
    }
}

fn keystream<C>(cipher: &C, iv: [u8; 16], out: &mut [u8])
where
    C: aes::cipher::BlockCipherEncrypt + BlockSizeUser<BlockSize = aes::cipher::consts::U16>,
{
    CtrCore::<_, Ctr128BE>::inner_iv_init(cipher, &iv.into()).apply_keystream_partial(out.into());
}
