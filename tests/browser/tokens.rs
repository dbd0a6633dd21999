//! Tokens that do not let anybody in, and what the page says then.

use std::time::{SystemTime, UNIX_EPOCH};

use roomlane_tests::node::APP;
use roomlane_tests::sdes::Tokens;
use serde_json::{Value, json};
use token::{RoomId, Secret, UserId, make_private_map_key, make_user_sig};

use crate::stage::{Stage, stage};

/// Tokens for `room` made at `now` with another app's secret or ours.
fn made(secret: &str, room: &str, now: u64, life: u64) -> (String, String) {
    let secret = Secret::from_file_content(secret.as_bytes()).expect("a secret");
    let user = UserId::new("alice").expect("a user");
    let room = RoomId::text(room).expect("a room");
    let all = token::Privileges::ALL;
    let sig = make_user_sig(APP, &secret, &user, now, life).expect("a token");
    let key = make_private_map_key(APP, &secret, &user, &room, all, now, life);
    (sig, key.expect("a token"))
}

#[test]
fn wrong_expired_and_other_rooms_tokens_get_their_status_and_the_page_says_why() {
    let Some(stage) = stage() else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let ours = std::fs::read_to_string(stage.node.dir.join("secret")).expect("the node's secret");
    let good = made(&ours, "demo", now, 600);
    let foreign = made(&"7".repeat(64), "demo", now, 600);
    let expired = made(&ours, "demo", now - 700, 600);
    let elsewhere = made(&ours, "elsewhere", now, 600);
    let cases = [
        ("wrong", (&foreign.0, &foreign.1), 401, "bad_signature"),
        ("expired", (&expired.0, &expired.1), 401, "expired"),
        ("expired key", (&good.0, &expired.1), 401, "expired"),
        ("other room", (&good.0, &elsewhere.1), 403, "ticket_wrong_room"),
        ("swapped", (&good.1, &good.0), 401, "not_a_user_sig"),
    ];
    let page = stage.page(&Tokens::new("demo", "alice"));
    for (name, (user_sig, key), status, code) in cases {
        let tokens = json!({ "userSig": user_sig, "key": key });
        for act in ["publish", "watch"] {
            let refused = refusal(&stage, &page, act, &tokens);
            let seen = (refused["status"].as_u64(), refused["code"].as_str());
            println!("{act} with {name} tokens: {}", refused["message"]);
            assert_eq!(seen, (Some(status), Some(code)), "{act} with {name} tokens: {refused}");
        }
    }
    assert_eq!(stage.node.show("session")["sessions"], json!([]), "nobody came in");
}

fn refusal(stage: &Stage, page: &crate::stage::Page<'_>, act: &str, tokens: &Value) -> Value {
    let me = Tokens::new("demo", "alice");
    let answer = match act {
        "publish" => page.try_publish(&me, 1, tokens),
        _ => page.try_watch(&me, tokens),
    };
    let refused = answer.get("refused");
    refused.unwrap_or_else(|| panic!("{act}: let in: {answer}\n{}", stage.node.log())).clone()
}
