//! The last look before something leaves the host: names under known keys, addresses and long random
//! strings are masked wherever they stand, however well the source masked them before.

use std::net::IpAddr;

use serde_json::Value;

/// Members whose values name a person, a room or a place of the network, in our logs and answers.
const NAMES: [&str; 12] = [
    "user",
    "room",
    "label",
    "from",
    "to",
    "publisher",
    "subject",
    "source",
    "username",
    "peer",
    "client",
    "url",
];
/// Parts of keys whose values are never shown.
const SECRETS: [&str; 6] = ["secret", "password", "credential", "token", "private", "usersig"];
/// A word of so many letters and digits without a break may be a token, a key or a resource.
const RANDOM_LEN: usize = 24;

/// A value with every string in it scrubbed.
pub fn value(value: Value) -> Value {
    member("", value)
}

fn member(key: &str, value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let scrubbed = members.into_iter().map(|(key, value)| {
                let value = member(&key, value);
                (key, value)
            });
            Value::Object(scrubbed.collect())
        }
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| member(key, item)).collect())
        }
        Value::String(string) => Value::String(of_key(key, &string)),
        other => other,
    }
}

fn of_key(key: &str, string: &str) -> String {
    let key = key.to_ascii_lowercase();
    if SECRETS.iter().any(|secret| key.contains(secret)) && !string.is_empty() {
        return "[set]".to_owned();
    }
    if NAMES.contains(&key.as_str()) && !is_harmless(string) {
        return mask(string);
    }
    text(string)
}

/// Masked already, or a session's id, which names nobody outside the node.
fn is_harmless(string: &str) -> bool {
    let is_session = string.strip_prefix('s').is_some_and(|rest| {
        rest.split('-').count() == 3 && rest.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    });
    string.is_empty()
        || string == "-"
        || is_session
        || (string.contains("***") && string.len() <= 16)
}

fn mask(string: &str) -> String {
    if string.parse::<IpAddr>().is_ok() {
        return text(string);
    }
    let shown: Vec<char> =
        string.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    match shown.as_slice() {
        [first, second, .., last] if shown.len() >= 5 => format!("{first}{second}***{last}"),
        [first, _, ..] => format!("{first}***"),
        _ => "***".to_owned(),
    }
}

/// Text with its addresses and long random words masked.
pub fn text(text: &str) -> String {
    let is_part =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-' | '+' | '*');
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, behind) = match word {
            0 => {
                let len = rest.chars().next().map_or(1, char::len_utf8);
                scrubbed.push_str(&rest[..len]);
                rest = &rest[len..];
                continue;
            }
            len => rest.split_at(len),
        };
        scrubbed.push_str(&scrub_word(word));
        rest = behind;
    }
    scrubbed
}

fn scrub_word(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':']);
    let tail = &word[bare.len()..];
    // With a port behind it, or a name and a colon before it.
    let (host, port) = match bare.rsplit_once(':') {
        Some((host, port)) if host.parse::<IpAddr>().is_ok() && !port.contains('.') => {
            (host, format!(":{port}"))
        }
        _ => (bare, String::new()),
    };
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return address(ip) + tail;
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return address(ip) + &port + tail;
    }
    if let Some((before, behind)) = bare.split_once(':')
        && behind.parse::<IpAddr>().is_ok()
    {
        return format!("{before}:{}{tail}", scrub_word(behind));
    }
    let letters = bare.bytes().filter(u8::is_ascii_digit).count();
    let is_random = bare.split(['.', '-', ':']).any(|part| part.len() >= RANDOM_LEN) && letters > 2;
    if is_random { "[hidden]".to_owned() + tail } else { word.to_owned() }
}

/// Loopback and unspecified addresses name no place.
fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
        ip if ip.is_loopback() || ip.is_unspecified() => ip.to_string(),
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.x")
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            format!("{a:x}:{b:x}:x")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_and_random_words_are_masked_wherever_they_stand() {
        for (clear, masked) in [
            ("from 203.0.113.9 to [2001:db8:1::2]:8000", "from 203.0.113.x to [2001:db8:x]:8000"),
            ("at 203.0.113.9:443.", "at 203.0.113.x:443."),
            ("198.18.7.2/24, tcp:198.18.7.2", "198.18.7.x/24, tcp:198.18.7.x"),
            ("::ffff:203.0.113.9", "203.0.113.x"),
            ("listen 127.0.0.1:8080 and ::1", "listen 127.0.0.1:8080 and ::1"),
            ("key 0123456789abcdef0123456789abcdef!", "key [hidden]!"),
            (
                "version 0.1.0 at 2026-11-24T10:18:48.123Z",
                "version 0.1.0 at 2026-11-24T10:18:48.123Z",
            ),
            ("net_af_packet0,iface=media0", "net_af_packet0,iface=media0"),
        ] {
            assert_eq!(text(clear), masked);
        }
    }

    #[test]
    fn names_and_secrets_are_masked_by_their_keys_at_any_depth() {
        let clear = json!({
            "fields": {"user": "alice", "room": "d***", "message": "joined", "app": 7},
            "notes": [{"session": "s0-1-1", "to": "s0-2-1", "source": "203.0.113.9"}],
            "app": [{"secret_files": ["/etc/roomlane/app.secret"], "password": "hunter2"}],
        });
        let masked = json!({
            "fields": {"user": "al***e", "room": "d***", "message": "joined", "app": 7},
            "notes": [{"session": "s0-1-1", "to": "s0-2-1", "source": "203.0.113.x"}],
            "app": [{"secret_files": ["[set]"], "password": "[set]"}],
        });
        assert_eq!(value(clear), masked);
    }
}
