//! What fuzzers call. Each function takes any bytes and must neither panic nor accept what it
//! could not have made.

use crate::encoding;
use crate::envelope::UserSig;
use crate::inflate::deflate;
use crate::limits::INFLATED_MAX_BYTES;
use crate::room::RoomId;
use crate::secret::{AppKeys, Secret};
use crate::ticket::PrivateMapKey;
use crate::verify::{Check, verify_private_map_key, verify_user_sig};

const APP: u32 = 1_400_000_000;
const NOW_UNIX: u64 = 1_800_000_000;
const CHECK: Check<'static> = Check { now_unix: NOW_UNIX, skew_s: 0, user: None };

/// Reads `data` at every depth: as a token, as the zlib stream, JSON and ticket within one.
pub fn usersig(data: &[u8]) {
    as_token(data, &keys());
    as_token(encoding::encode_token(data).as_bytes(), &keys());
    as_json(data);
    as_ticket(data);
}

fn secret() -> Secret {
    Secret::from_file_content(&[b'a'; 64]).expect("64 hexadecimal characters")
}

fn keys() -> AppKeys {
    AppKeys::new(APP, vec![secret()]).expect("one secret")
}

/// A token nobody signed is refused by both readers.
fn as_token(token: &[u8], keys: &AppKeys) {
    let refused = verify_user_sig(token, keys, &CHECK).is_err()
        && verify_private_map_key(token, keys, &CHECK, None).is_err();
    assert!(refused, "a token without a known MAC was accepted");
}

/// What the JSON reader accepts survives being written and read again.
fn as_json(data: &[u8]) {
    let data = &data[..data.len().min(INFLATED_MAX_BYTES)];
    let Ok(claims) = UserSig::from_json(data) else { return };
    assert!(!claims.is_signed_by(&keys()), "a MAC was guessed");
    let _ = (claims.userbuf(), claims.expires_unix());
    assert_eq!(UserSig::from_json(claims.to_json().as_bytes()).as_ref(), Ok(&claims));
    if let Some(token) = claims.emit() {
        assert_eq!(UserSig::parse(token.as_bytes()), Ok(claims));
    }
    assert!(deflate(data).is_some());
}

/// Past a good MAC, a ticket is accepted only if writing its fields gives the same bytes.
fn as_ticket(data: &[u8]) {
    let reread = PrivateMapKey::parse(data).map(|ticket| ticket.emit());
    if let Ok(written) = &reread {
        assert_eq!(written, data);
    }
    let Some(token) = UserSig::sign("alice", APP, NOW_UNIX, 60, Some(data), &secret()).emit()
    else {
        return;
    };
    let verified = verify_private_map_key(token.as_bytes(), &keys(), &CHECK, None);
    if let Ok(verified) = verified {
        assert!(reread.is_ok());
        assert!(verified.expires_unix >= NOW_UNIX);
        assert_eq!(verified.room.as_ref().map(RoomId::check), Some(Ok(())));
        let as_user_sig = verify_user_sig(token.as_bytes(), &keys(), &CHECK);
        assert!(as_user_sig.is_err(), "one token passed as both kinds");
    }
}
