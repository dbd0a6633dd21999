//! A matrix of wrong tokens of both kinds: every one must be refused, and a right one accepted,
//! so that the refusals mean something.

mod common;

use std::collections::BTreeMap;

use common::{APP, Forge, Inside, NOW, SECRET, at, keys, object, pack, unwrap, wrap, zlib};
use token::{Check, Refusal, RoomId, verify_private_map_key, verify_user_sig};

const KINDS: [&str; 2] = ["usersig", "private-map-key"];

fn verify(kind: &str, token: &[u8], check: &Check<'_>) -> Result<(), Refusal> {
    let keys = keys(SECRET);
    if kind == "usersig" {
        verify_user_sig(token, &keys, check).map(drop)
    } else {
        verify_private_map_key(token, &keys, check, Some(&RoomId::Number(8888))).map(drop)
    }
}

fn good(kind: &str) -> Forge {
    if kind == "usersig" { Forge::user_sig() } else { Forge::ticket(&Inside::number(8888).bytes()) }
}

fn inflated(token: &[u8]) -> Option<Vec<u8>> {
    let bytes = common::try_unwrap(std::str::from_utf8(token).ok()?)?;
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&bytes[..]), &mut content)
        .ok()?;
    Some(content)
}

/// Wrong tokens by their bytes, before any content is looked at.
fn byte_mutations(token: &str) -> Vec<Vec<u8>> {
    let bytes = token.as_bytes();
    let mut out = Vec::new();
    for at in 0..bytes.len() {
        for other in [b'A', b'9', b'*', b'_', b'+', 0, b'\n', 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] = other;
            out.push(changed);
        }
        out.push(bytes[..at].to_vec());
        out.push([&bytes[..at], &bytes[at + 1..]].concat());
        out.push([&bytes[..at], b"A", &bytes[at..]].concat());
    }
    out.push([bytes, b"\n"].concat());
    out.push([bytes, b"A"].concat());
    out.push([bytes, bytes].concat());
    out.push([b" ", bytes].concat());
    out.push(token.to_ascii_lowercase().into_bytes());
    out.push(token.to_ascii_uppercase().into_bytes());
    out.push(wrap(&[unwrap(token), vec![0]].concat()).into_bytes());
    out.push(wrap(&unwrap(token)[2..]).into_bytes());
    out
}

/// Wrong tokens by their JSON, the MAC left as it was.
fn json_mutations(good: &Forge) -> Vec<(Vec<u8>, Option<Refusal>)> {
    use Refusal as R;
    let fields = good.fields();
    let mut out: Vec<(String, Option<Refusal>)> = Vec::new();
    for at in 0..fields.len() {
        let name = fields[at].0;
        let replaced = |value: &str| {
            let mut fields = fields.clone();
            fields[at].1 = value.to_owned();
            object(&fields)
        };
        for value in ["null", "true", "[]", "{}", "-1", "1.5", "1e3"] {
            out.push((replaced(value), Some(R::WrongFieldType)));
        }
        for value in ["9007199254740992", "18446744073709551616", "340282366920938463463"] {
            out.push((replaced(value), Some(R::NumberOutOfRange)));
        }
        for value in ["01", "", "'a'", "\"\\q\"", "\"\\ud800\"", "NaN"] {
            out.push((replaced(value), Some(R::MalformedJson)));
        }
        for value in
            ["\"\"", "\"bob\"", "\"alice\\u0000\"", "\" alice\"", "\"2.1\"", "0", "7", "0x10", "\""]
        {
            out.push((replaced(value), None));
        }
        let mut twice = fields.clone();
        twice.push(fields[at].clone());
        out.push((object(&twice), Some(R::DuplicateField)));
        let mut missing = fields.clone();
        missing.remove(at);
        let reason = if name == "TLS.userbuf" { R::BadSignature } else { R::MissingField };
        out.push((object(&missing), Some(reason)));
        let misnamed = object(&fields).replace(name, &name.to_lowercase().replace("tls", "Tls"));
        out.push((misnamed, Some(R::UnknownField)));
    }
    let whole = object(&fields);
    let more = |member: &str| whole.replace('}', &format!(",{member}}}"));
    out.push((more("\"TLS.admin\":1"), Some(R::UnknownField)));
    out.push((more("\"TLS.version\":\"201512300000\""), Some(R::UnsupportedVersion)));
    out.push((more("\"TLS.ver\":\"2.0\""), Some(R::DuplicateField)));
    out.push((more("\"\\u0054LS.ver\":\"2.0\""), Some(R::DuplicateField)));
    for broken in [
        format!("[{whole}]"),
        format!("{whole}{whole}"),
        format!("{whole},"),
        format!("{whole}\0"),
        format!("\u{feff}{whole}"),
        whole.replace('"', "'"),
        whole.replace(':', "="),
        whole.replace("\",\"", "\" \""),
        whole[..whole.len() - 1].to_owned(),
        whole.replace('}', ",}"),
        String::new(),
        "null".to_owned(),
    ] {
        out.push((broken, Some(R::MalformedJson)));
    }
    out.into_iter().map(|(json, reason)| (pack(json.as_bytes()).into_bytes(), reason)).collect()
}

/// Wrong tokens an issuer signed all the same.
fn signed_mutations(good: &Forge) -> Vec<(Vec<u8>, Option<Refusal>)> {
    use Refusal as R;
    let mut out = Vec::new();
    let mut push = |forge: Forge, reason| out.push((forge.token().into_bytes(), Some(reason)));
    for user in [
        "",
        "a b",
        "alice\n",
        "alice\0",
        "\u{430}lice",
        "alice\nTLS.sdkappid:1",
        "a.b",
        "a/b",
        "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu",
    ] {
        push(Forge { identifier: user.to_owned(), ..good.clone() }, R::MalformedUser);
    }
    for user in ["bob", "Alice", "alic", "alicee", "alice_", "-alice"] {
        push(Forge { identifier: user.to_owned(), ..good.clone() }, R::WrongUser);
    }
    let app = u64::from(APP);
    for app in [0, 1, app - 1, app + 1, app + (1 << 32)] {
        push(Forge { app, ..good.clone() }, R::WrongApp);
    }
    for (time, expire) in [(NOW - 301, 300), (NOW - 1, 0), (0, 0), (1, NOW - 2)] {
        push(Forge { time, expire, ..good.clone() }, R::Expired);
    }
    for time in [NOW + 1, NOW + 86_400, (1 << 53) - 1] {
        let expire = ((1 << 53) - 1) - time;
        push(Forge { time, expire, ..good.clone() }, R::NotYetValid);
    }
    push(Forge { expire: (1 << 53) - 1, ..good.clone() }, R::NumberOutOfRange);
    push(Forge { expire: 1 << 53, ..good.clone() }, R::NumberOutOfRange);
    push(Forge { secret: common::OTHER_SECRET, ..good.clone() }, R::BadSignature);
    for userbuf in ["AAA", "AAA=A", "A A=", "AAAA\n\nAAAA", "*-_=", "AAAB="] {
        push(Forge { userbuf: Some(userbuf.to_owned()), ..good.clone() }, R::MalformedUserbuf);
    }
    // A MAC that was cut, extended, re-cased or written with the other alphabet.
    let mac = good.mac();
    for wrong in [
        mac[..40].to_owned(),
        mac.trim_end_matches('=').to_owned(),
        format!("{mac}="),
        format!("{mac}\\n"),
        mac.to_lowercase(),
        "A".repeat(43) + "=",
        String::new(),
        wrap(&unwrap(&mac.replace('+', "*").replace('/', "-").replace('=', "_"))[..31]),
    ] {
        let mut fields = good.fields();
        fields.last_mut().unwrap().1 = format!("\"{wrong}\"");
        out.push((pack(object(&fields).as_bytes()).into_bytes(), Some(R::BadSignature)));
    }
    out
}

/// Tickets wrong inside, all signed.
fn inside_mutations() -> Vec<(Vec<u8>, Option<Refusal>)> {
    use Refusal as R;
    let good = Inside::number(8888);
    let mut cases = Vec::new();
    for account in ["", "bob", "alic", "alicee", "Alice", "alice\0"] {
        let wrong = Inside { account: account.into(), ..good.clone() };
        cases.push((wrong, R::TicketWrongUser));
    }
    for app in [0, 1, APP - 1, APP + 1, u32::MAX] {
        cases.push((Inside { app, ..good.clone() }, R::TicketWrongApp));
    }
    for auth_id in [1, 8887, 8889, 888, 88880, u32::MAX] {
        cases.push((Inside { auth_id, ..good.clone() }, R::TicketWrongRoom));
    }
    cases.push((Inside::number(0), R::TicketMalformedRoom));
    cases.push((Inside::text("8888"), R::TicketWrongRoomKind));
    cases.push((Inside { auth_id: 8888, ..Inside::text("8888") }, R::TicketMalformedRoom));
    for name in ["", "\"", "a\0", "a\n", "\u{e9}", &"r".repeat(65)] {
        cases.push((Inside::text(name), R::TicketMalformedRoom));
    }
    let not_utf8 = Inside { room_text: Some(vec![0xff]), ..Inside::text("") };
    cases.push((not_utf8, R::TicketMalformedRoom));
    for expires in [0, 1, NOW as u32 - 1] {
        cases.push((Inside { expires, ..good.clone() }, R::TicketExpired));
    }
    for privileges in [256, 511, 1 << 31, u32::MAX] {
        cases.push((Inside { privileges, ..good.clone() }, R::TicketUnknownPrivileges));
    }
    for account_type in [1, 255, u32::MAX] {
        cases.push((Inside { account_type, ..good.clone() }, R::TicketAccountType));
    }
    for c_ver in 2..=255 {
        cases.push((Inside { c_ver, ..good.clone() }, R::TicketMalformed));
    }
    cases.push((Inside { c_ver: 1, ..good.clone() }, R::TicketMalformed));
    cases.push((Inside { c_ver: 0, ..Inside::text("8888") }, R::TicketMalformed));
    let mut out: Vec<_> = cases
        .into_iter()
        .map(|(inside, reason)| (inside.token().into_bytes(), Some(reason)))
        .collect();
    let bytes = good.bytes();
    let mut signed = |inside: &[u8]| {
        out.push((Forge::ticket(inside).token().into_bytes(), Some(R::TicketMalformed)));
    };
    (0..bytes.len()).for_each(|len| signed(&bytes[..len]));
    signed(&[&bytes[..], b"\0"].concat());
    signed(&[&bytes[..], b"\0\0"].concat());
    for len in [0x0004u16, 0x0006, 0x00ff, 0xffff] {
        let mut wrong = bytes.clone();
        wrong[1..3].copy_from_slice(&len.to_be_bytes());
        signed(&wrong);
    }
    out
}

#[test]
fn every_token_of_the_matrix_is_refused_and_for_its_reason() {
    let check = Check { user: Some("alice"), ..at(NOW) };
    let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
    let mut distinct = std::collections::HashSet::new();
    let mut same_content = 0;
    for kind in KINDS {
        let good = good(kind);
        assert_eq!(verify(kind, good.token().as_bytes(), &check), Ok(()), "{kind}");
        let content = inflated(good.token().as_bytes());
        let mut cases: Vec<_> =
            byte_mutations(&good.token()).into_iter().map(|token| (token, None)).collect();
        cases.extend(json_mutations(&good));
        cases.extend(signed_mutations(&good));
        if kind == "private-map-key" {
            cases.extend(inside_mutations());
        }
        for (token, reason) in cases {
            // Unused bits of the last deflate byte: another encoding of the very same content,
            // like another zlib level.
            if token == good.token().as_bytes() || inflated_strictly_equal(&token, &content) {
                same_content += 1;
                continue;
            }
            let text = String::from_utf8_lossy(&token).into_owned();
            let verified = verify(kind, &token, &check);
            let refusal = verified.expect_err(&format!("{kind} accepted {text}"));
            if let Some(reason) = reason {
                assert_eq!(refusal, reason, "{kind} {text}");
            }
            if distinct.insert((kind, token)) {
                *by_reason.entry(refusal.code()).or_default() += 1;
            }
        }
    }
    println!(
        "{} wrong tokens, {same_content} re-encodings left out: {by_reason:?}",
        distinct.len()
    );
    assert!(distinct.len() >= 500, "{}", distinct.len());
    assert!(same_content <= 40, "{same_content}");
    assert!(by_reason.len() >= 24, "{by_reason:?}");
}

/// Whether the token is whole, padded base64 of one zlib stream with this content and no more.
fn inflated_strictly_equal(token: &[u8], content: &Option<Vec<u8>>) -> bool {
    let inflated = inflated(token);
    inflated.is_some() && inflated == *content && {
        let text = std::str::from_utf8(token).expect("it was decoded");
        let bytes = unwrap(text);
        let mut decoder = flate2::Decompress::new(true);
        let mut out = vec![0; 8192];
        let status = decoder.decompress(&bytes, &mut out, flate2::FlushDecompress::Finish);
        status.is_ok() && decoder.total_in() == bytes.len() as u64 && wrap(&bytes) == text
    }
}

#[test]
fn a_token_of_one_kind_does_not_pass_as_the_other() {
    let user_sig = Forge::user_sig().token();
    let ticket = Inside::number(8888).token();
    let as_ticket = verify("private-map-key", user_sig.as_bytes(), &at(NOW));
    assert_eq!(as_ticket, Err(Refusal::NotAPrivateMapKey));
    assert_eq!(verify("usersig", ticket.as_bytes(), &at(NOW)), Err(Refusal::NotAUserSig));
    // Neither does a ticket that is broken, or that names somebody else.
    let mut cut = Inside::number(8888).bytes();
    cut.pop();
    let foreign = Inside { account: b"bob".to_vec(), ..Inside::text("x") }.bytes();
    for inside in [cut, foreign] {
        let token = Forge::ticket(&inside).token();
        assert_eq!(verify("usersig", token.as_bytes(), &at(NOW)), Err(Refusal::NotAUserSig));
    }
    let opaque = Forge::ticket(b"abc").token();
    assert_eq!(verify("usersig", opaque.as_bytes(), &at(NOW)), Ok(()));
}

#[test]
fn bombs_and_oversized_tokens_are_refused_by_their_size() {
    for level in [1, 6, 9] {
        let bomb = wrap(&zlib(&vec![b' '; 400_000], level));
        let refusal = verify("usersig", bomb.as_bytes(), &at(NOW)).unwrap_err();
        let fits = bomb.len() <= 1024;
        assert_eq!(refusal, if fits { Refusal::InflatedTooLarge } else { Refusal::TooLong });
    }
    let fits = wrap(&zlib(&vec![b' '; 400_000], 9));
    assert!(fits.len() <= 1024, "{}", fits.len());
    // A good token behind white space: inflates to exactly the cap, then one byte more.
    let json = object(&Forge::user_sig().fields());
    let padded = |len: usize| pack((json.clone() + &" ".repeat(len - json.len())).as_bytes());
    assert_eq!(verify("usersig", padded(4096).as_bytes(), &at(NOW)), Ok(()));
    let above = verify("usersig", padded(4097).as_bytes(), &at(NOW));
    assert_eq!(above, Err(Refusal::InflatedTooLarge));
    assert_eq!(verify("usersig", &[b'A'; 1025], &at(NOW)), Err(Refusal::TooLong));
    assert_eq!(verify("usersig", &[b'A'; 1024], &at(NOW)), Err(Refusal::NotZlib));
    assert_eq!(verify("usersig", &vec![b'A'; 1 << 20], &at(NOW)), Err(Refusal::TooLong));
    assert_eq!(verify("usersig", b"", &at(NOW)), Err(Refusal::NotZlib));
}

#[test]
fn skew_moves_both_ends_and_not_the_reported_expiry() {
    let keys = keys(SECRET);
    let token = Forge::user_sig().token();
    let with = |now_unix, skew_s| {
        verify_user_sig(token.as_bytes(), &keys, &Check { now_unix, skew_s, user: None })
    };
    assert_eq!(with(NOW - 30, 30).map(|v| v.expires_unix), Ok(NOW + 300));
    assert_eq!(with(NOW - 31, 30), Err(Refusal::NotYetValid));
    assert_eq!(with(NOW + 330, 30).map(|v| v.expires_unix), Ok(NOW + 300));
    assert_eq!(with(NOW + 331, 30), Err(Refusal::Expired));
    assert_eq!(with(u64::MAX, 30), Err(Refusal::Expired));
    assert!(with(0, u64::MAX).is_ok() && with(u64::MAX, u64::MAX).is_ok());
    let ticket = Inside { expires: NOW as u32 + 10, ..Inside::number(8888) }.token();
    let with = |now_unix, skew_s| {
        verify("private-map-key", ticket.as_bytes(), &Check { now_unix, skew_s, user: None })
    };
    assert_eq!(with(NOW + 10, 0), Ok(()));
    assert_eq!(with(NOW + 11, 0), Err(Refusal::TicketExpired));
    assert_eq!(with(NOW + 40, 30), Ok(()));
    assert_eq!(with(NOW + 41, 30), Err(Refusal::TicketExpired));
}
