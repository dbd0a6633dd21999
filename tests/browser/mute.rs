//! The mute buttons say what is so: a microphone that they show as muted is muted.

use roomlane_tests::sdes::Tokens;
use serde_json::{Value, json};

use crate::stage::{Page, SOON, Stage, stage};

fn microphone(page: &Page<'_>, call: &str) -> Value {
    page.act("microphone", &json!({ "name": call }))
}

fn click_mute(page: &Page<'_>) {
    page.act("click", &json!({ "id": "mute-audio" }));
}

fn hears(stage: &Stage, page: &Page<'_>) {
    let energy = || page.figures("watch").sum("audio", "totalAudioEnergy");
    let before = energy();
    stage.until("the viewer hears", SOON, || (energy() > before + 0.01).then_some(()));
}

#[test]
fn the_mute_button_never_says_muted_while_a_microphone_is_live() {
    let Some(stage) = stage() else { return };
    let tokens = Tokens::new("demo", "alice");
    let no_button = json!({ "disabled": true, "pressed": "false", "live": null });
    let live = json!({ "disabled": false, "pressed": "false", "live": true });
    let muted = json!({ "disabled": false, "pressed": "true", "live": false });
    let small = json!({ "source": { "width": 320, "fps": 10 } });

    let alice = stage.page(&tokens);
    let screen =
        json!({ "name": "screen", "substream": true, "source": { "audio": false, "fps": 10 } });
    alice.publish(&tokens, 9, &screen);
    click_mute(&alice);
    assert_eq!(microphone(&alice, "publish"), no_button, "a screen has no microphone");
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    alice.publish(&tokens, 1, &small);
    assert_eq!(microphone(&alice, "publish"), live);
    hears(&stage, &bob);

    click_mute(&alice);
    assert_eq!(microphone(&alice, "publish"), muted);
    let mut second = small.clone();
    second["name"] = json!("second");
    alice.publish(&Tokens::new("other", "alice"), 2, &second);
    assert_eq!(microphone(&alice, "second"), muted, "a second call begins as muted as the first");
    click_mute(&alice);
    assert_eq!(microphone(&alice, "publish"), live);
    assert_eq!(microphone(&alice, "second"), live);

    click_mute(&alice);
    for name in ["publish", "second"] {
        alice.act("leave", &json!({ "name": name }));
    }
    assert_eq!(microphone(&alice, "screen"), no_button, "only the screen is left");
    alice.publish(&tokens, 1, &small);
    assert_eq!(microphone(&alice, "publish"), live);
    hears(&stage, &bob);
}
