//! What goes wrong on the way, and what the page makes of it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use roomlane_tests::sdes::Tokens;
use serde_json::{Value, json};

use crate::stage::{SOON, stage, stage_with};

#[test]
fn leaving_while_joining_leaves_nobody_on_the_node() {
    let Some(stage) = stage() else { return };
    let tokens = Tokens::new("demo", "alice");
    let alice = stage.page(&tokens);
    let answer = alice.act("hurry", &alice.options(&tokens, "publish", &json!({})));
    assert_eq!(answer["refused"]["message"], "Left while joining.", "{answer}");
    let requests = alice.drive("requests", &Value::Null);
    let requests = requests.as_array().expect("a list");
    let count = |method: &str| requests.iter().filter(|sent| sent["method"] == method).count();
    assert_eq!((count("POST"), count("DELETE")), (1, 1), "{requests:?}");
    // Sooner than the node gives up a peer that never comes.
    stage.until("nobody is left", Duration::from_secs(5), || {
        let shown = stage.node.show("session");
        let sessions = shown["sessions"].as_array().expect("a list");
        sessions.iter().all(|session| session["state"] == "closed").then_some(())
    });
}

#[test]
fn slot_events_that_are_refused_once_are_asked_for_again() {
    let Some(stage) = stage() else { return };
    let _alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let bob = stage.page(&Tokens::new("demo", "bob"));
    bob.drive("refuse", &json!({ "path": "**/events/*", "status": 429 }));
    bob.watch(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    assert_eq!(bob.tiles()[0].user, "alice");
    let requests = bob.drive("requests", &Value::Null);
    let urls = requests.as_array().into_iter().flatten().filter_map(|sent| sent["url"].as_str());
    assert_eq!(urls.filter(|url| url.contains("/events/")).count(), 2, "{requests}");
}

#[test]
fn ice_servers_are_used_at_once_and_their_passwords_arrive_as_they_are() {
    const PASSWORD: &str = r#"a"b\c,d;e"#;
    let file = std::env::temp_dir().join(format!("rl-turn-{}", std::process::id()));
    std::fs::write(&file, PASSWORD).expect("the temporary folder takes a file");
    std::fs::set_permissions(&file, Permissions::from_mode(0o400)).expect("ours");
    // Nobody is there: paths are found without it.
    let servers = format!(
        "[[control.ice_servers]]\nurl = \"turn:198.18.7.9:3478\"\nusername = \"u\"\n\
         credential_file = \"{}\"\n",
        file.display()
    );
    let Some(stage) = stage_with(&servers) else { return };
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    for (page, name) in [(&alice, "publish"), (&bob, "watch")] {
        let servers = page.act("iceServers", &json!({ "name": name }));
        assert_eq!(servers[0]["urls"][0], "turn:198.18.7.9:3478", "{servers}");
        assert_eq!(servers[0]["credential"], PASSWORD, "{servers}");
        let figures = page.figures(name).0;
        assert_eq!((&figures["restarts"], &figures["state"]), (&json!(1), &json!("connected")));
    }
    std::fs::remove_file(&file).expect("made above");
}
