//! The envelope both kinds of token share: base64(zlib(JSON)) with a MAC over the literal fields.

use crate::encoding;
use crate::inflate::{deflate, inflate};
use crate::json::{self, Value};
use crate::limits::{INTEGER_MAX, TOKEN_MAX_BYTES};
use crate::refusal::Refusal;
use crate::secret::{AppKeys, Secret};

const VERSION: &str = "2.0";

/// The fields of a token as they stand in it: **read, not verified**.
///
/// Everything here may be a forger's. [`crate::verify_user_sig`] and
/// [`crate::verify_private_map_key`] answer whether it holds.
#[derive(Clone, PartialEq, Eq)]
pub struct UserSig {
    pub(crate) version: String,
    pub(crate) identifier: String,
    pub(crate) app: u64,
    pub(crate) issued_unix: u64,
    pub(crate) lifetime_s: u64,
    pub(crate) userbuf: Option<String>,
    pub(crate) mac: String,
}

impl std::fmt::Debug for UserSig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSig")
            .field("user", &crate::mask(&self.identifier))
            .field("app", &self.app)
            .field("issued_unix", &self.issued_unix)
            .field("lifetime_s", &self.lifetime_s)
            .field("has_userbuf", &self.userbuf.is_some())
            .finish_non_exhaustive()
    }
}

impl UserSig {
    /// Decodes a token of either kind without verifying anything in it.
    ///
    /// # Errors
    /// Whatever is wrong with its length, base64, zlib stream, JSON or set of fields.
    pub fn parse(token: &[u8]) -> Result<UserSig, Refusal> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(Refusal::TooLong);
        }
        let compressed = encoding::decode_token(token).ok_or(Refusal::NotBase64)?;
        UserSig::from_json(&inflate(&compressed)?)
    }

    pub(crate) fn from_json(bytes: &[u8]) -> Result<UserSig, Refusal> {
        let mut fields = Fields::default();
        json::read_object(bytes, |name, value| fields.take(name, value))?;
        let required = Refusal::MissingField;
        Ok(UserSig {
            version: fields.version.ok_or(required)?,
            identifier: fields.identifier.ok_or(required)?,
            app: fields.app.ok_or(required)?,
            issued_unix: fields.issued_unix.ok_or(required)?,
            lifetime_s: fields.lifetime_s.ok_or(required)?,
            userbuf: fields.userbuf,
            mac: fields.mac.ok_or(required)?,
        })
    }

    /// The claimed version; this crate verifies `2.0` only.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The claimed user id, of any length and content.
    pub fn identifier(&self) -> &str {
        &self.identifier
    }

    /// The claimed SdkAppId.
    pub fn app(&self) -> u64 {
        self.app
    }

    /// The claimed issue time, Unix seconds.
    pub fn issued_unix(&self) -> u64 {
        self.issued_unix
    }

    /// The claimed lifetime, seconds.
    pub fn lifetime_s(&self) -> u64 {
        self.lifetime_s
    }

    /// Issue time plus lifetime, Unix seconds; `None` above 2^53 - 1.
    pub fn expires_unix(&self) -> Option<u64> {
        self.issued_unix.checked_add(self.lifetime_s).filter(|sum| *sum <= INTEGER_MAX)
    }

    /// Whether the token carries a userbuf, as a PrivateMapKey does.
    pub fn has_userbuf(&self) -> bool {
        self.userbuf.is_some()
    }

    /// The userbuf's bytes, if there is one.
    ///
    /// # Errors
    /// [`Refusal::MalformedUserbuf`] if it is not base64.
    pub fn userbuf(&self) -> Result<Option<Vec<u8>>, Refusal> {
        let decode =
            |text: &String| encoding::decode_userbuf(text).ok_or(Refusal::MalformedUserbuf);
        self.userbuf.as_ref().map(decode).transpose()
    }

    /// What the MAC covers. Note that the version is not in it.
    fn signed_text(&self) -> String {
        let mut text = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.app, self.issued_unix, self.lifetime_s
        );
        if let Some(userbuf) = &self.userbuf {
            text.push_str("TLS.userbuf:");
            text.push_str(userbuf);
            text.push('\n');
        }
        text
    }

    /// Whether any of the app's secrets made this token.
    pub(crate) fn is_signed_by(&self, keys: &AppKeys) -> bool {
        let text = self.signed_text();
        encoding::decode_mac(&self.mac).is_some_and(|mac| keys.authenticates(text.as_bytes(), &mac))
    }

    pub(crate) fn has_known_version(&self) -> bool {
        self.version == VERSION
    }

    /// The fields of a new token, signed.
    pub(crate) fn sign(
        identifier: &str,
        app: u32,
        issued_unix: u64,
        lifetime_s: u64,
        userbuf: Option<&[u8]>,
        secret: &Secret,
    ) -> UserSig {
        let mut token = UserSig {
            version: VERSION.to_owned(),
            identifier: identifier.to_owned(),
            app: u64::from(app),
            issued_unix,
            lifetime_s,
            userbuf: userbuf.map(encoding::encode_field),
            mac: String::new(),
        };
        token.mac = encoding::encode_field(&secret.mac(token.signed_text().as_bytes()));
        token
    }

    /// The JSON as the official npm library writes it, byte for byte.
    pub(crate) fn to_json(&self) -> String {
        let mut json = String::from("{\"TLS.ver\":");
        json::push_string(&mut json, &self.version);
        json.push_str(",\"TLS.identifier\":");
        json::push_string(&mut json, &self.identifier);
        json.push_str(&format!(
            ",\"TLS.sdkappid\":{},\"TLS.time\":{},\"TLS.expire\":{}",
            self.app, self.issued_unix, self.lifetime_s
        ));
        if let Some(userbuf) = &self.userbuf {
            json.push_str(",\"TLS.userbuf\":");
            json::push_string(&mut json, userbuf);
        }
        json.push_str(",\"TLS.sig\":");
        json::push_string(&mut json, &self.mac);
        json.push('}');
        json
    }

    /// The token as text; `None` if it would be longer than a verifier reads.
    pub(crate) fn emit(&self) -> Option<String> {
        let token = encoding::encode_token(&deflate(self.to_json().as_bytes())?);
        (token.len() <= TOKEN_MAX_BYTES).then_some(token)
    }
}

#[derive(Default)]
struct Fields {
    version: Option<String>,
    identifier: Option<String>,
    app: Option<u64>,
    issued_unix: Option<u64>,
    lifetime_s: Option<u64>,
    userbuf: Option<String>,
    mac: Option<String>,
}

impl Fields {
    fn take(&mut self, name: &str, value: Value) -> Result<(), Refusal> {
        match name {
            "TLS.ver" => set_text(&mut self.version, value),
            "TLS.identifier" => set_text(&mut self.identifier, value),
            "TLS.sdkappid" => set_integer(&mut self.app, value),
            "TLS.time" => set_integer(&mut self.issued_unix, value),
            "TLS.expire" => set_integer(&mut self.lifetime_s, value),
            "TLS.userbuf" => set_text(&mut self.userbuf, value),
            "TLS.sig" => set_text(&mut self.mac, value),
            // The ECDSA format in use before July 2019.
            "TLS.version" | "TLS.account_type" | "TLS.appid_at_3rd" | "TLS.appid3rd"
            | "TLS.sdk_appid" | "TLS.expire_after" => Err(Refusal::UnsupportedVersion),
            _ => Err(Refusal::UnknownField),
        }
    }
}

fn set_text(field: &mut Option<String>, value: Value) -> Result<(), Refusal> {
    match value {
        _ if field.is_some() => Err(Refusal::DuplicateField),
        Value::Text(text) => {
            *field = Some(text);
            Ok(())
        }
        Value::Integer(_) => Err(Refusal::WrongFieldType),
    }
}

fn set_integer(field: &mut Option<u64>, value: Value) -> Result<(), Refusal> {
    match value {
        _ if field.is_some() => Err(Refusal::DuplicateField),
        Value::Integer(number) => {
            *field = Some(number);
            Ok(())
        }
        Value::Text(_) => Err(Refusal::WrongFieldType),
    }
}
