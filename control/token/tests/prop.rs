//! Properties: what is made is verified, what is read is written back, nothing panics.

mod common;

use common::{Forge, NOW, SECRET, keys, object, secret};
use proptest::prelude::*;
use token::{
    Check, Privileges, Refusal, RoomId, UserId, UserSig, fuzzing, make_private_map_key,
    make_user_sig, verify_private_map_key, verify_user_sig,
};

fn user() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,32}"
}

fn room() -> impl Strategy<Value = RoomId> {
    prop_oneof![
        (1..=u32::MAX).prop_map(RoomId::Number),
        "[A-Za-z0-9 !#$%&()+:;<=.>?@\\[\\]^_{}|~,-]{1,64}".prop_map(RoomId::Text),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_made_user_sig_is_valid_from_its_first_to_its_last_second(
        user in user(), app: u32, now in 0..1u64 << 40, lifetime in 0..1u64 << 40,
    ) {
        let secret = secret(SECRET);
        let made = make_user_sig(app, &secret, &UserId::new(&user).unwrap(), now, lifetime).unwrap();
        let keys = token::AppKeys::new(app, vec![secret]).unwrap();
        let verify = |now_unix| {
            verify_user_sig(made.as_bytes(), &keys, &Check { now_unix, skew_s: 0, user: Some(&user) })
        };
        prop_assert_eq!(verify(now).unwrap().expires_unix, now + lifetime);
        prop_assert!(verify(now + lifetime).is_ok());
        prop_assert_eq!(verify(now + lifetime + 1), Err(Refusal::Expired));
    }

    #[test]
    fn a_made_private_map_key_opens_its_room_and_no_other(
        user in user(), room in room(), other in room(), bits: u8, lifetime in 0..1u64 << 31,
    ) {
        let made = make_private_map_key(
            common::APP, &secret(SECRET), &UserId::new(&user).unwrap(), &room,
            Privileges::from_bits(bits), NOW, lifetime,
        ).unwrap();
        let check = Check { now_unix: NOW, skew_s: 0, user: Some(&user) };
        let verify = |room| verify_private_map_key(made.as_bytes(), &keys(SECRET), &check, Some(room));
        let verified = verify(&room).unwrap();
        prop_assert_eq!(verified.privileges, Some(Privileges::from_bits(bits)));
        prop_assert_eq!(verified.expires_unix, NOW + lifetime);
        prop_assert_eq!(verified.room.as_ref(), Some(&room));
        if other != room {
            prop_assert!(matches!(
                verify(&other), Err(Refusal::TicketWrongRoom | Refusal::TicketWrongRoomKind)
            ));
        }
        let as_user_sig = verify_user_sig(made.as_bytes(), &keys(SECRET), &check);
        prop_assert_eq!(as_user_sig, Err(Refusal::NotAUserSig));
    }

    #[test]
    fn any_order_of_fields_and_any_zlib_level_read_alike(
        order in Just(Forge::user_sig().fields()).prop_shuffle(), level in 0..=9u32,
    ) {
        let token = common::wrap(&common::zlib(object(&order).as_bytes(), level));
        let expected = UserSig::parse(Forge::user_sig().token().as_bytes());
        prop_assert_eq!(UserSig::parse(token.as_bytes()), expected);
        prop_assert!(verify_user_sig(token.as_bytes(), &keys(SECRET), &common::at(NOW)).is_ok());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..1200)) {
        fuzzing::usersig(&data);
    }

    #[test]
    fn no_changed_json_makes_a_reader_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut json = object(&Forge::ticket(&common::Inside::text("x").bytes()).fields()).into_bytes();
        let at = at.index(json.len());
        json[at] = byte;
        fuzzing::usersig(&json);
        fuzzing::usersig(&json[..cut.index(json.len())]);
    }

    #[test]
    fn no_changed_ticket_makes_a_reader_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut inside = common::Inside::text("team").bytes();
        let at = at.index(inside.len());
        inside[at] = byte;
        fuzzing::usersig(&inside);
        fuzzing::usersig(&inside[..cut.index(inside.len())]);
    }
}
