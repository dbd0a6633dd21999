//! The committed vectors: what the official libraries wrote is read as they meant it, and written
//! again with the same content.

mod common;

use std::path::Path;

use serde_json::Value;
use token::{
    AppKeys, Check, Privileges, Refusal, RoomId, Secret, UserId, Verified, make_private_map_key,
    make_user_sig, make_user_sig_with_userbuf, verify_private_map_key, verify_user_sig,
};

struct Vector(Value);

impl Vector {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.0))
    }

    fn number(&self, field: &str) -> u64 {
        self.0[field].as_u64().unwrap_or_else(|| panic!("{field} in {}", self.0))
    }

    fn name(&self) -> String {
        format!("{} ({})", self.text("name"), self.text("made_by"))
    }

    fn secret(&self) -> Secret {
        Secret::from_file_content(self.text("secret").as_bytes()).unwrap()
    }

    fn keys(&self) -> AppKeys {
        AppKeys::new(self.number("app") as u32, vec![self.secret()]).unwrap()
    }

    fn room(&self) -> Option<RoomId> {
        match (self.0["room_number"].as_u64(), self.0["room_text"].as_str()) {
            (Some(number), _) => RoomId::number(number).ok(),
            (None, Some(name)) => RoomId::text(name).ok(),
            (None, None) => None,
        }
    }

    fn refusal(&self) -> Option<&str> {
        self.0["refusal"].as_str()
    }

    fn verify(&self, keys: &AppKeys, now_unix: u64) -> Result<Verified, Refusal> {
        let check = Check { now_unix, skew_s: 0, user: Some(self.text("user")) };
        let token = self.text("token").as_bytes();
        if self.0.get("privileges").is_some() {
            verify_private_map_key(token, keys, &check, self.room().as_ref())
        } else {
            verify_user_sig(token, keys, &check)
        }
    }
}

fn vectors(file: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let Ok(Value::Array(vectors)) = serde_json::from_str(&text) else { panic!("{file}: no array") };
    assert!(vectors.len() >= 15, "{file}: only {} vectors", vectors.len());
    vectors.into_iter().map(Vector).collect()
}

const FILES: [&str; 4] = [
    "usersig/official.json",
    "usersig/shapes.json",
    "privatemapkey/official.json",
    "privatemapkey/shapes.json",
];

#[test]
fn every_vector_is_accepted_or_refused_as_it_says() {
    for vector in FILES.into_iter().flat_map(vectors) {
        let verified = vector.verify(&vector.keys(), vector.number("now"));
        let code = verified.as_ref().err().map(|refusal| refusal.code());
        assert_eq!(code, vector.refusal(), "{}", vector.name());
        if let Ok(verified) = verified {
            assert_eq!(verified.user.as_str(), vector.text("user"), "{}", vector.name());
            assert_eq!(verified.expires_unix, vector.number("expires"), "{}", vector.name());
            assert_eq!(verified.room, vector.room(), "{}", vector.name());
            let bits = verified.privileges.map(|privileges| u64::from(privileges.bits()));
            assert_eq!(bits, vector.0["privileges"].as_u64(), "{}", vector.name());
        }
    }
}

#[test]
fn accepted_vectors_end_with_their_last_second_and_need_their_secret_and_app() {
    let mut tried = 0;
    for vector in FILES.into_iter().flat_map(vectors).filter(|v| v.refusal().is_none()) {
        let (keys, expires) = (vector.keys(), vector.number("expires"));
        let name = vector.name();
        assert!(vector.verify(&keys, expires).is_ok(), "{name}");
        assert_eq!(vector.verify(&keys, expires + 1), Err(Refusal::Expired), "{name}");
        let before = vector.number("now") - 1;
        assert_eq!(vector.verify(&keys, before), Err(Refusal::NotYetValid), "{name}");
        let foreign = common::keys(common::OTHER_SECRET);
        assert_eq!(vector.verify(&foreign, expires), Err(Refusal::BadSignature), "{name}");
        let other_app = AppKeys::new(keys.app() + 1, vec![vector.secret()]).unwrap();
        assert_eq!(vector.verify(&other_app, expires), Err(Refusal::WrongApp), "{name}");
        tried += 1;
    }
    assert!(tried >= 40, "{tried}");
}

#[test]
fn our_json_is_the_official_json_for_every_legal_official_vector() {
    let mut tried = 0;
    let official = FILES.into_iter().filter(|file| file.ends_with("official.json"));
    for vector in official.flat_map(vectors).filter(|v| v.refusal().is_none()) {
        let (app, secret, now) =
            (vector.number("app") as u32, vector.secret(), vector.number("now"));
        let user = UserId::new(vector.text("user")).unwrap();
        let lifetime = vector.number("expires") - now;
        let token = match (vector.room(), vector.0["privileges"].as_u64()) {
            (Some(room), Some(bits)) => {
                let privileges = Privileges::from_bits(bits as u8);
                make_private_map_key(app, &secret, &user, &room, privileges, now, lifetime)
            }
            _ if vector.text("name") == "opaque userbuf" => {
                make_user_sig_with_userbuf(app, &secret, &user, now, lifetime, b"abc")
            }
            _ => make_user_sig(app, &secret, &user, now, lifetime),
        };
        let bytes = common::unwrap(&token.unwrap());
        let mut json = String::new();
        std::io::Read::read_to_string(&mut flate2::read::ZlibDecoder::new(&bytes[..]), &mut json)
            .unwrap();
        let theirs = vector.text("json");
        if vector.text("made_by").starts_with("npm") {
            assert_eq!(json, theirs, "{}", vector.name());
        }
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(&json), read(theirs), "{}", vector.name());
        tried += 1;
    }
    assert!(tried >= 20, "{tried}");
}
