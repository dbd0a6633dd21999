//! Ways to the node: another address family, new paths in the middle of a call, a second resource.

use roomlane_tests::node::{APP, NodeConfig};
use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{Page, SOON, Stage, device, stage, stage_on};

/// One publishes and one watches.
fn call(stage: &Stage) -> (Page<'_>, Page<'_>) {
    let source = json!({ "source": { "fps": 15 } });
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &source);
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    (alice, bob)
}

#[test]
fn over_ipv6_alone_one_sees_another() {
    let mut config = NodeConfig::port(&device());
    config.port += "addresses = [\"2001:db8:7::2/64\"]\n";
    let Some(stage) = stage_on(config) else { return };
    let (alice, bob) = call(&stage);
    for (page, name) in [(&alice, "publish"), (&bob, "watch")] {
        let figures = page.figures(name);
        let remote = figures.transport("remoteAddress").as_str().unwrap_or_default();
        assert_eq!(remote, "2001:db8:7::2", "{}", figures.0);
        assert_eq!(figures.transport("srtpCipher"), "SRTP_AEAD_AES_128_GCM");
    }
}

#[test]
fn new_paths_are_found_in_the_middle_of_a_call_and_media_goes_on() {
    let Some(stage) = stage() else { return };
    let (alice, bob) = call(&stage);
    let sessions = || {
        let shown = stage.node.show("session");
        let list = shown["sessions"].as_array().expect("a list").clone();
        list.iter().map(|session| session["session"].clone()).collect::<Vec<_>>()
    };
    // Figures are written now and then, the picture may be there first.
    let (before, _) =
        stage.until("both are shown", SOON, || Some(sessions()).filter(|all| all.len() == 2));
    for (page, name) in [(&alice, "publish"), (&bob, "watch")] {
        let own = |page: &Page<'_>| page.figures(name).transport("ownFragment").clone();
        let old = own(page);
        page.act("restart", &json!({ "name": name }));
        stage.until("a pair under new credentials", SOON, || {
            (own(page).is_string() && own(page) != old).then_some(())
        });
        let decoded = bob.figures("watch").sum("video", "framesDecoded");
        stage.until("media goes on", SOON, || {
            let now = bob.figures("watch").sum("video", "framesDecoded");
            (now > decoded + 15.0).then_some(())
        });
        assert_eq!(page.figures(name).0["state"], "connected");
    }
    bob.sees(1, SOON);
    assert_eq!(sessions(), before, "the sessions are the same");
    let seen = bob.figures("watch");
    assert_eq!(seen.sum("video", "packetsLost"), 0.0, "{}", stage.node.all_drops());
}

#[test]
fn a_screen_is_seen_beside_the_camera_of_the_same_person() {
    let Some(stage) = stage() else { return };
    let (alice, bob) = call(&stage);
    let screen =
        json!({ "name": "screen", "substream": true, "source": { "audio": false, "fps": 10 } });
    alice.publish(&Tokens::new("demo", "alice"), 9, &screen);
    bob.sees(9, SOON);
    bob.sees(1, SOON);
    let mut seen: Vec<_> = bob.tiles().into_iter().map(|tile| (tile.id, tile.user)).collect();
    seen.sort();
    assert_eq!(seen, [(Some(1), "alice".to_owned()), (Some(9), "alice, screen".to_owned())]);
    bob.screenshot("screen-bob");
    alice.act("leave", &json!({ "name": "screen" }));
    stage.until("the screen is gone", SOON, || (bob.tiles().len() == 1).then_some(()));
    bob.sees(1, SOON);
}

#[test]
fn a_person_who_is_put_out_is_told_by_the_node_and_by_the_page() {
    let Some(stage) = stage() else { return };
    let (alice, bob) = call(&stage);
    let ended = stage.node.roomlane(&["room", "end", &APP.to_string(), "demo"]);
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    for (page, name) in [(&alice, "publish"), (&bob, "watch")] {
        let (figures, _) = stage.until("the page knows", SOON, || {
            let figures = page.figures(name);
            (figures.0["state"] == "ended").then_some(figures)
        });
        assert_eq!(figures.0["why"], "The node has ended the call.", "{}", figures.0);
    }
}
