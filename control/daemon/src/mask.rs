//! Masks identities for everything that a person may read: logs, labels, audit records.

use std::net::IpAddr;

use proto::Label;
use proto::command::LABEL_MAX;
use token::RoomId;

/// A user id or room name: at most its first two and its last character, and always three stars.
/// Anything that is not printable ASCII is shown as `?`.
pub fn identity(name: &str) -> String {
    let shown: Vec<char> =
        name.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    match shown.as_slice() {
        [first, second, .., last] if shown.len() >= 5 => format!("{first}{second}***{last}"),
        [first, _, ..] => format!("{first}***"),
        _ => "***".to_owned(),
    }
}

/// A room: its masked name; numbers are marked, since `1***` could be either.
pub fn room(room: &RoomId) -> String {
    match room {
        RoomId::Number(number) => format!("#{}", identity(&number.to_string())),
        RoomId::Text(name) => identity(name),
    }
}

/// An address: IPv4 without its last octet, IPv6 with its first two groups only.
pub fn address(ip: IpAddr) -> String {
    match ip.to_canonical() {
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

/// A masked name as the data plane gets it.
pub fn label(masked: &str) -> Label {
    let bytes = masked.as_bytes();
    Label::from_slice(&bytes[..bytes.len().min(LABEL_MAX)]).expect("cut to the label's length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_never_shows_the_whole_name() {
        assert_eq!(identity("alice"), "al***e");
        assert_eq!(identity("bob"), "b***");
        assert_eq!(identity("ab"), "a***");
        assert_eq!(identity("a"), "***");
        assert_eq!(identity(""), "***");
        assert_eq!(identity("\u{1b}]52;c;x\u{7}"), "?]***?");
        assert_eq!(room(&RoomId::Number(123_456)), "#12***6");
        assert_eq!(room(&RoomId::Text("demo".into())), "d***");
    }

    #[test]
    fn addresses_lose_their_host_part_whatever_their_spelling() {
        assert_eq!(address("203.0.113.9".parse().unwrap()), "203.0.113.x");
        assert_eq!(address("::ffff:203.0.113.9".parse().unwrap()), "203.0.113.x");
        assert_eq!(address("2001:db8:1:2::3".parse().unwrap()), "2001:db8:x");
    }

    #[test]
    fn every_masked_name_fits_a_label() {
        let longest = identity(&"x".repeat(64));
        assert_eq!(&*label(&longest), longest.as_bytes());
    }
}
