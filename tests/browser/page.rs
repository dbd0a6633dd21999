//! The demo page itself: its policy, its use with a keyboard, what it says.

use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{SOON, stage};

#[test]
fn a_person_with_a_keyboard_publishes_mutes_and_leaves() {
    let Some(stage) = stage() else { return };
    let alice = stage.page(&Tokens::new("keys", "alice"));
    let bob = stage.viewer(&Tokens::new("keys", "bob"), &json!({ "slots": 1 }));
    let tab_to = |id: &str| {
        for _ in 0..30 {
            if alice.drive("focused", &json!({})) == id {
                return;
            }
            alice.drive("press", &json!({ "keys": ["Tab"] }));
        }
        panic!("Tab does not reach {id}");
    };
    let said = |word: &str| {
        let said = alice.act("said", &json!({}));
        assert_eq!(said["error"], "", "{}", stage.console());
        said["status"].as_str().is_some_and(|status| status.contains(word)).then_some(())
    };
    tab_to("app");
    tab_to("publish");
    alice.drive("press", &json!({ "keys": ["Enter"] }));
    stage.until("the page says connected", SOON, || said("Publishing: connected"));
    let decoded = || bob.figures("watch").sum("video", "framesDecoded");
    stage.until("the camera is seen", SOON, || (decoded() > 10.0).then_some(()));
    tab_to("mute-audio");
    alice.drive("press", &json!({ "keys": ["Space"] }));
    let energy = || bob.figures("watch").sum("audio", "totalAudioEnergy");
    let mut last = energy();
    stage.until("the microphone is silent", SOON, || {
        let now = energy();
        stage.during(std::time::Duration::from_secs(2), || {});
        let later = energy();
        last = later;
        (later - now < 1e-6).then_some(())
    });
    alice.screenshot("page-alice");
    tab_to("leave");
    alice.drive("press", &json!({ "keys": ["Enter"] }));
    stage.until("the page says left", SOON, || said("Left"));
    stage.until("the node has let go", SOON, || {
        let shown = stage.node.show("session");
        let sessions = shown["sessions"].as_array().expect("a list");
        let open = sessions.iter().filter(|session| session["state"] != "closed").count();
        (open == 1).then_some(())
    });
}

#[test]
fn the_page_runs_under_its_policy_without_a_complaint() {
    let Some(stage) = stage() else { return };
    let page = stage.page(&Tokens::new("quiet", "alice"));
    // Sealing starts a worker from a blob, which the policy must allow.
    page.act("loopback", &json!({ "passphrase": "x" }));
    stage.until("the worker runs", SOON, || {
        let figures = page.act("figures", &json!({ "name": "loopback" }));
        (figures["id"] == 9).then_some(())
    });
    page.screenshot("page-empty");
    let console = stage.console();
    let complaints: Vec<_> = console.lines().filter(|line| !line.contains("favicon")).collect();
    let bad = complaints.iter().filter(|line| line.contains("Policy") || line.contains("uncaught"));
    assert_eq!(bad.count(), 0, "{console}");
}
