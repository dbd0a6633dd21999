//! Tokens end; new ones renew what is running.

use std::time::Duration;

use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{Page, SOON, stage_with};

/// How long the tokens live that both senders renew with first.
const SHORT_S: u64 = 6;
/// How long the viewers are watched after that.
const AFTER: Duration = Duration::from_secs(4);

#[test]
fn new_tokens_by_patch_keep_media_and_without_them_it_stops_at_the_deadline() {
    let Some(stage) = stage_with("[tokens]\nskew_s = 0\n") else { return };
    let room = |room: &str, (from, to): (&str, &str), id: u8| {
        let viewer = stage.viewer(&Tokens::new(room, to), &json!({ "slots": 1 }));
        let source = json!({ "source": { "fps": 15 } });
        (stage.publisher(&Tokens::new(room, from), id, &source), viewer)
    };
    let (renewing, kept) = room("kept", ("alice", "bob"), 1);
    let (silent, stopped) = room("stopped", ("carol", "dave"), 2);
    kept.sees(1, SOON);
    stopped.sees(2, SOON);
    let renew = |page: &Page<'_>, room: &str, lifetime_s: u64| {
        let (user_sig, key) = stage.tokens(&Tokens { lifetime_s, ..Tokens::new(room, &page.name) });
        let renewed = json!({ "name": "publish", "userSig": user_sig, "key": key });
        assert_eq!(page.act("renew", &renewed), json!({}));
    };
    // Shortened while media flows, so that the time it takes to join plays no part.
    renew(&renewing, "kept", SHORT_S);
    renew(&silent, "stopped", SHORT_S);
    renew(&renewing, "kept", 3600);

    let decoded = |page: &Page<'_>| page.figures("watch").sum("video", "framesDecoded");
    // The last second of a token counts whole.
    stage.during(Duration::from_secs(SHORT_S + 1), || {});
    let before = (decoded(&kept), decoded(&stopped));
    stage.during(AFTER, || {});
    let after = (decoded(&kept), decoded(&stopped));
    println!(
        "after the deadline: {} frames with new tokens, {} without",
        after.0 - before.0,
        after.1 - before.1
    );
    assert!(
        after.0 - before.0 > AFTER.as_secs_f64() * 10.0,
        "{before:?} {after:?}\n{}",
        stage.node.all_drops()
    );
    assert_eq!(after.1, before.1, "media went on without new tokens");
    assert!(stage.node.drops("grant_expired") > 0, "{}", stage.node.all_drops());
}

#[test]
fn renewing_with_somebody_elses_tokens_is_refused_and_media_goes_on() {
    let Some(stage) = stage_with("") else { return };
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    let (user_sig, key) = stage.tokens(&Tokens::new("demo", "mallory"));
    let renewed = json!({ "name": "publish", "userSig": user_sig, "key": key });
    let refused = alice.act("renew", &renewed);
    assert_eq!(refused["refused"]["status"], 403, "{refused}");
    assert_eq!(refused["refused"]["code"], "other_user");
    bob.sees(1, SOON);
}
