//! Entering a room with one token or two, while secrets are rotated.

mod common;

use common::{APP, Forge, Inside, NOW, OTHER_SECRET, SECRET, keys, secret};
use token::{
    AppKeys, Entry, EntryRequest, Privileges, Refusal, RefusalClass, RoomId, split_bearer,
    verify_entry,
};

fn enter(
    user_sig: &str,
    ticket: Option<&str>,
    required: bool,
    room: &RoomId,
) -> Result<Entry, Refusal> {
    let request = EntryRequest {
        user_sig: user_sig.as_bytes(),
        private_map_key: ticket.map(str::as_bytes),
        private_map_key_required: required,
        room,
        now_unix: NOW,
        skew_s: 0,
    };
    verify_entry(&request, &keys(SECRET))
}

#[test]
fn a_user_sig_alone_gives_everything_unless_a_ticket_is_required() {
    let user_sig = Forge::user_sig().token();
    let room = RoomId::Number(8888);
    let entry = enter(&user_sig, None, false, &room).unwrap();
    assert_eq!((entry.user.as_str(), entry.expires_unix), ("alice", NOW + 300));
    assert_eq!(entry.privileges, Privileges::ALL);
    let refused = enter(&user_sig, None, true, &room).unwrap_err();
    assert_eq!(refused, Refusal::PrivateMapKeyRequired);
    assert_eq!(refused.class(), RefusalClass::Forbidden);
}

#[test]
fn a_ticket_that_is_shown_counts_even_where_none_is_required() {
    let user_sig = Forge::user_sig().token();
    let room = RoomId::text("team").unwrap();
    let inside = Inside { privileges: 42, expires: NOW as u32 + 7, ..Inside::text("team") };
    for required in [false, true] {
        let entry = enter(&user_sig, Some(&inside.token()), required, &room).unwrap();
        assert_eq!((entry.privileges, entry.expires_unix), (Privileges::AUDIENCE, NOW + 7));
        let elsewhere = enter(&user_sig, Some(&inside.token()), required, &RoomId::Number(1));
        assert_eq!(elsewhere, Err(Refusal::TicketWrongRoomKind));
        let shut = Inside { privileges: 253, ..inside.clone() }.token();
        assert_eq!(enter(&user_sig, Some(&shut), required, &room), Err(Refusal::EnterNotAllowed));
        assert!(enter(&user_sig, Some(""), required, &room).is_err());
    }
}

#[test]
fn both_tokens_must_be_for_one_user_and_in_their_places() {
    let user_sig = Forge::user_sig().token();
    let room = RoomId::Number(8888);
    let inside = Inside { account: b"bob".to_vec(), ..Inside::number(8888) };
    let bobs = Forge { identifier: "bob".to_owned(), ..Forge::ticket(&inside.bytes()) }.token();
    assert_eq!(enter(&user_sig, Some(&bobs), true, &room), Err(Refusal::WrongUser));
    let ticket = Inside::number(8888).token();
    assert_eq!(enter(&ticket, Some(&user_sig), true, &room), Err(Refusal::NotAUserSig));
    assert_eq!(enter(&ticket, None, false, &room), Err(Refusal::NotAUserSig));
    assert_eq!(enter(&user_sig, Some(&user_sig), true, &room), Err(Refusal::NotAPrivateMapKey));
    assert_eq!(enter(&user_sig, None, false, &RoomId::Number(0)), Err(Refusal::MalformedRoom));
}

#[test]
fn tokens_of_the_old_and_the_new_secret_work_together_during_rotation() {
    let both = AppKeys::new(APP, vec![secret(OTHER_SECRET), secret(SECRET)]).unwrap();
    let user_sig = Forge { secret: OTHER_SECRET, ..Forge::user_sig() }.token();
    let ticket = Inside::number(8888).token();
    let request = EntryRequest {
        user_sig: user_sig.as_bytes(),
        private_map_key: Some(ticket.as_bytes()),
        private_map_key_required: true,
        room: &RoomId::Number(8888),
        now_unix: NOW,
        skew_s: 0,
    };
    assert!(verify_entry(&request, &both).is_ok());
    assert_eq!(verify_entry(&request, &keys(SECRET)), Err(Refusal::BadSignature));
    assert_eq!(verify_entry(&request, &keys(OTHER_SECRET)), Err(Refusal::BadSignature));
}

#[test]
fn a_bearer_credential_splits_at_its_first_dot() {
    assert_eq!(split_bearer("abc"), ("abc", None));
    assert_eq!(split_bearer("abc.def"), ("abc", Some("def")));
    assert_eq!(split_bearer("abc."), ("abc", Some("")));
    assert_eq!(split_bearer("a.b.c"), ("a", Some("b.c")));
}

#[test]
fn no_refusal_or_debug_form_shows_secret_token_or_user() {
    let token = Forge::user_sig().token();
    for refusal in Refusal::ALL {
        let shown = format!("{refusal} {refusal:?}");
        assert!(!shown.contains(SECRET) && !shown.contains(&token) && !shown.contains("alice"));
    }
    let parsed = token::UserSig::parse(token.as_bytes()).unwrap();
    let inside = token::PrivateMapKey::parse(&Inside::text("secret room").bytes()).unwrap();
    let entry = enter(&token, None, false, &RoomId::Number(1)).unwrap();
    let shown = format!("{parsed:?} {inside:?} {entry:?}");
    assert!(!shown.contains("alice") && !shown.contains("secret room"), "{shown}");
    assert!(!shown.contains(&Forge::user_sig().mac()), "{shown}");
}
