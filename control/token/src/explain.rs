//! What each field of a token is, for a person's eyes: read, not verified, masked by default.

use std::fmt::{self, Display, Formatter};

use crate::envelope::UserSig;
use crate::mask::mask;
use crate::privileges::Privileges;
use crate::ticket::{PrivateMapKey, TicketRoom};

/// A table of a token's fields and their meaning, by `Display`.
///
/// It says itself that nothing was verified. Identities are masked or, revealed, escaped, so a
/// forged token cannot act on a terminal. The MAC is never shown: with it the table would be the
/// token.
pub struct Explanation<'a> {
    /// The token.
    pub claims: &'a UserSig,
    /// Whether user ids and room names are shown in the clear.
    pub reveal: bool,
    /// The time that ages are told from, Unix seconds.
    pub now_unix: u64,
}

impl Display for Explanation<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "NOT verified: anyone can write these fields; only a secret can tell.")?;
        self.envelope(f)?;
        match self.claims.userbuf() {
            Ok(None) => Ok(()),
            Ok(Some(bytes)) => match PrivateMapKey::parse(&bytes) {
                Ok(ticket) => self.ticket(f, &ticket),
                Err(_) => writeln!(f, "  {} bytes, which are no PrivateMapKey", bytes.len()),
            },
            Err(refusal) => writeln!(f, "  {refusal}"),
        }
    }
}

impl Explanation<'_> {
    fn envelope(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let claims = self.claims;
        let mut row = |name: &str, value: &dyn Display, meaning: &str| {
            writeln!(f, "{name:<16} {:<14} {meaning}", value.to_string())
        };
        let version: String = claims.version().escape_default().take(14).collect();
        row("TLS.ver", &version, "format version; the signature does not cover it")?;
        row("TLS.identifier", &self.identity(claims.identifier()), "the user it speaks for")?;
        row("TLS.sdkappid", &claims.app(), "the app (SdkAppId)")?;
        let issued = self.distance(claims.issued_unix());
        row("TLS.time", &claims.issued_unix(), &format!("issued, Unix seconds: {issued}"))?;
        let ends = match claims.expires_unix() {
            Some(then_unix) => format!("ends at {then_unix}: {}", self.distance(then_unix)),
            None => "ends beyond what a token can say".to_owned(),
        };
        row("TLS.expire", &claims.lifetime_s(), &format!("lifetime in seconds; {ends}"))?;
        row("TLS.sig", &"not shown", "HMAC-SHA256 over everything but the version")?;
        if claims.has_userbuf() {
            row("TLS.userbuf", &"present", "signed extra content:")?;
        }
        Ok(())
    }

    fn ticket(&self, f: &mut Formatter<'_>, ticket: &PrivateMapKey) -> fmt::Result {
        let mut row = |name: &str, value: &dyn Display, meaning: &str| {
            writeln!(f, "  {name:<14} {:<14} {meaning}", value.to_string())
        };
        let account = String::from_utf8_lossy(&ticket.account);
        row("account", &self.identity(&account), "must be the user above")?;
        row("dwSdkAppid", &ticket.app, "must be the app above")?;
        let number = self.identity(&ticket.auth_id.to_string());
        match ticket.room() {
            TicketRoom::Number(_) => row("dwAuthId", &number, "the numeric room")?,
            TicketRoom::Text(name) => {
                row("dwAuthId", &number, "must be 0 beside a string room")?;
                let name = String::from_utf8_lossy(name);
                row("roomStr", &self.identity(&name), "the string room")?;
            }
        }
        let ends = self.distance(ticket.expires_unix.into());
        row("dwExpTime", &ticket.expires_unix, &format!("its own end, Unix seconds: {ends}"))?;
        let may = match u8::try_from(ticket.privilege_map) {
            Ok(bits) => format!("may: {}", Privileges::from_bits(bits)),
            Err(_) => "has bits that do not exist".to_owned(),
        };
        row("dwPrivilegeMap", &ticket.privilege_map, &may)?;
        row("dwAccountType", &ticket.account_type, "always 0")
    }

    fn identity(&self, text: &str) -> String {
        if self.reveal { text.escape_default().to_string() } else { mask(text) }
    }

    fn distance(&self, then_unix: u64) -> String {
        match then_unix.checked_sub(self.now_unix) {
            Some(seconds) => format!("in {seconds} s"),
            None => format!("{} s ago", self.now_unix.saturating_sub(then_unix)),
        }
    }
}
