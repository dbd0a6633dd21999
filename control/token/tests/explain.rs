//! The explanation of a token: honest about what it is, harmless whatever the token holds.

mod common;

use common::{Forge, Inside, NOW};
use token::{Explanation, UserSig};

fn explain(token: &str, reveal: bool) -> String {
    let claims = UserSig::parse(token.as_bytes()).unwrap();
    Explanation { claims: &claims, reveal, now_unix: NOW + 10 }.to_string()
}

#[test]
fn explanation_says_not_verified_and_names_every_field_but_the_mac() {
    let forge = Forge::ticket(&Inside { privileges: 42, ..Inside::text("team") }.bytes());
    let shown = explain(&forge.token(), true);
    assert!(shown.starts_with("NOT verified"), "{shown}");
    for words in [
        "alice",
        "1400000000",
        "issued, Unix seconds: 10 s ago",
        "ends at 1750000300: in 290 s",
        "team",
        "may: enter_room,receive_audio,receive_video",
        "dwExpTime",
    ] {
        assert!(shown.contains(words), "{words:?} not in {shown}");
    }
    assert!(!shown.contains(&forge.mac()), "{shown}");
    let masked = explain(&forge.token(), false);
    assert!(!masked.contains("alice") && !masked.contains("team"), "{masked}");
}

#[test]
fn a_forged_token_cannot_act_on_the_terminal_that_explains_it() {
    let nasty = "\u{1b}]52;c;x\u{7}\u{202e}\u{9b}31m\r\n";
    let inside = Inside { account: nasty.into(), ..Inside::text(nasty) };
    let forge = Forge { identifier: nasty.to_owned(), ..Forge::ticket(&inside.bytes()) };
    for reveal in [false, true] {
        let shown = explain(&forge.token(), reveal);
        let harmless = |c: char| c == '\n' || c.is_ascii_graphic() || c == ' ';
        assert!(shown.chars().all(harmless), "{shown:?}");
    }
}

#[test]
fn odd_userbufs_and_times_are_explained_too() {
    assert!(explain(&Forge::ticket(b"abc").token(), false).contains("3 bytes, which are no"));
    let broken = Forge { userbuf: Some("?".to_owned()), ..Forge::user_sig() };
    assert!(explain(&broken.token(), false).contains("not base64"));
    let endless = Forge { expire: (1 << 53) - 1, ..Forge::user_sig() };
    assert!(explain(&endless.token(), false).contains("beyond"));
    let wide = Inside { privileges: 512, ..Inside::number(0) };
    assert!(explain(&wide.token(), false).contains("bits that do not exist"));
}
