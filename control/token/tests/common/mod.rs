//! What the tests share: keys, and a forge that writes tokens of any content without this crate's
//! own writer.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use token::{AppKeys, Check, Secret};

pub const APP: u32 = 1_400_000_000;
pub const NOW: u64 = 1_750_000_000;
pub const SECRET: &str = "5f0c1d2e3b4a59687786a5b4c3d2e1f00112233445566778899aabbccddeeff0";
pub const OTHER_SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub fn secret(text: &str) -> Secret {
    Secret::from_file_content(text.as_bytes()).unwrap()
}

pub fn keys(text: &str) -> AppKeys {
    AppKeys::new(APP, vec![secret(text)]).unwrap()
}

pub fn at(now_unix: u64) -> Check<'static> {
    Check { now_unix, skew_s: 0, user: None }
}

/// A token whose every part can be wrong while its MAC is right.
#[derive(Clone)]
pub struct Forge {
    pub identifier: String,
    pub app: u64,
    pub time: u64,
    pub expire: u64,
    pub userbuf: Option<String>,
    pub secret: &'static str,
}

impl Forge {
    pub fn user_sig() -> Forge {
        let identifier = "alice".to_owned();
        Forge { identifier, app: APP.into(), time: NOW, expire: 300, userbuf: None, secret: SECRET }
    }

    pub fn ticket(inside: &[u8]) -> Forge {
        Forge { userbuf: Some(STANDARD.encode(inside)), ..Forge::user_sig() }
    }

    pub fn mac(&self) -> String {
        let Forge { identifier, app, time, expire, .. } = self;
        let mut text = format!(
            "TLS.identifier:{identifier}\nTLS.sdkappid:{app}\nTLS.time:{time}\nTLS.expire:{expire}\n"
        );
        if let Some(userbuf) = &self.userbuf {
            text += &format!("TLS.userbuf:{userbuf}\n");
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// The fields as (name, JSON value), in npm's order.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let mut fields = vec![
            ("TLS.ver", quoted("2.0")),
            ("TLS.identifier", quoted(&self.identifier)),
            ("TLS.sdkappid", self.app.to_string()),
            ("TLS.time", self.time.to_string()),
            ("TLS.expire", self.expire.to_string()),
        ];
        fields.extend(self.userbuf.iter().map(|text| ("TLS.userbuf", quoted(text))));
        fields.push(("TLS.sig", quoted(&self.mac())));
        fields
    }

    pub fn token(&self) -> String {
        pack(object(&self.fields()).as_bytes())
    }
}

pub fn object(fields: &[(&str, String)]) -> String {
    let members: Vec<_> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

pub fn zlib(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub fn wrap(bytes: &[u8]) -> String {
    STANDARD.encode(bytes).replace('+', "*").replace('/', "-").replace('=', "_")
}

pub fn pack(json: &[u8]) -> String {
    wrap(&zlib(json, 6))
}

pub fn unwrap(token: &str) -> Vec<u8> {
    try_unwrap(token).expect("base64 of the token's alphabet")
}

pub fn try_unwrap(token: &str) -> Option<Vec<u8>> {
    if token.contains(['+', '/', '=']) {
        return None;
    }
    STANDARD.decode(token.replace('*', "+").replace('-', "/").replace('_', "=")).ok()
}

/// The binary of a ticket, field by field.
#[derive(Clone)]
pub struct Inside {
    pub c_ver: u8,
    pub account: Vec<u8>,
    pub app: u32,
    pub auth_id: u32,
    pub expires: u32,
    pub privileges: u32,
    pub account_type: u32,
    pub room_text: Option<Vec<u8>>,
}

impl Inside {
    pub fn number(room: u32) -> Inside {
        Inside {
            c_ver: 0,
            account: b"alice".to_vec(),
            app: APP,
            auth_id: room,
            expires: NOW as u32 + 300,
            privileges: 255,
            account_type: 0,
            room_text: None,
        }
    }

    pub fn text(room: &str) -> Inside {
        let room_text = Some(room.as_bytes().to_vec());
        Inside { c_ver: 1, auth_id: 0, room_text, ..Inside::number(0) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.c_ver];
        out.extend((self.account.len() as u16).to_be_bytes());
        out.extend(&self.account);
        for field in [self.app, self.auth_id, self.expires, self.privileges, self.account_type] {
            out.extend(field.to_be_bytes());
        }
        if let Some(room) = &self.room_text {
            out.extend((room.len() as u16).to_be_bytes());
            out.extend(room);
        }
        out
    }

    pub fn token(&self) -> String {
        Forge::ticket(&self.bytes()).token()
    }
}
