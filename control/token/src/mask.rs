//! Masking of identities for everything a person may read.

/// The masked form of a user id or room name: its first character, if harmless, and three stars.
///
/// Safe to print whatever the input holds: control characters and non-ASCII never pass.
pub fn mask(identity: &str) -> String {
    match identity.chars().next() {
        Some(first) if first.is_ascii_graphic() && identity.len() > 1 => format!("{first}***"),
        _ => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_shows_at_most_one_harmless_character() {
        assert_eq!(mask("alice"), "a***");
        assert_eq!(mask("a"), "***");
        assert_eq!(mask(""), "***");
        assert_eq!(mask("\u{1b}[31mred"), "***");
        assert_eq!(mask("\u{202e}evil"), "***");
    }
}
