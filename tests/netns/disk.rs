//! A disk that is full, really: acts are refused before anything is done, media goes on, somebody is told,
//! and when there is space again the audit chain goes on without a gap.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use nix::sys::signal::Signal;
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::Tokens;
use serde_json::Value;

use crate::{carries, scene, up};

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file more");
    while file.write_all(&[0; 1024]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

fn end_room(node: &Node, room: &str) -> (Option<i32>, String) {
    let app = APP.to_string();
    let out = node.roomlane(&["room", "end", &app, room]);
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn intact(node: &Node) -> (bool, u64, Vec<Value>) {
    let file = node.disk().join("audit.jsonl").display().to_string();
    let out = node.roomlane(&["audit", "verify", &file, "--json"]);
    let told: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    let cut = told["cut"].as_array().expect("a list").clone();
    (out.status.success(), told["acts"].as_u64().expect("a count"), cut)
}

fn metric(node: &Node, lab: &roomlane_tests::netns::Lab, name: &str) -> f64 {
    let words = ["curl", "-sS", "--fail", "-m", "5", "http://127.0.0.1:8081/metrics"];
    let text = lab.node.exec(&words).unwrap_or_else(|why| panic!("{why}\n{}", node.log()));
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0.0)
}

#[test]
fn with_a_full_disk_acts_are_refused_and_media_goes_on_and_the_chain_holds() {
    let config = NodeConfig { disk_kib: Some(512), ..NodeConfig::port("udp") };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    scene.publish(&Tokens::new("demo", "camera"));
    scene.view(&Tokens::new("demo", "viewer"));
    carries(&mut scene, 20, &node);
    assert_eq!(end_room(&node, "absent").0, Some(6));
    assert_eq!(intact(&node), (true, 1, vec![]));

    let ballast = node.disk().join("ballast");
    fill(&ballast);
    // What was set aside for the act before lasts for a few more, each of which is written whole.
    let mut written = 1;
    let (code, said) = loop {
        let (code, said) = end_room(&node, "absent");
        if code != Some(6) {
            break (code, said);
        }
        written += 1;
        assert!(written < 50, "the disk is full, and acts go on");
    };
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("nothing was done: the audit file cannot be written"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    // Now one that could have been done: the room is there, and stays.
    assert_eq!(end_room(&node, "demo").0, Some(7));
    let app = APP.to_string();
    let why = ["show", "session", "--reveal"];
    assert_eq!(node.roomlane(&why).status.code(), Some(7), "no name without a record");
    assert_eq!(node.roomlane(&["drain"]).status.code(), Some(7));
    assert!(node.roomlane(&["app", "show", &app]).status.success(), "looking is no act");
    node.signal("roomlane-control", Signal::SIGHUP);
    node.until("a reload is refused, too", |node| {
        node.log().contains("not reloaded: the audit file")
    });
    carries(&mut scene, 50, &node);
    assert_eq!(node.show("room")["rooms"].as_array().map(Vec::len), Some(1));
    assert_eq!(intact(&node), (true, written, vec![]), "no half line");
    let list = node.roomlane(&["incident", "list", "--json", "--filter", "event=audit_failed"]);
    let list: Value = serde_json::from_slice(&list.stdout).expect("one JSON object");
    assert!(list["incidents"].as_array().is_some_and(|it| !it.is_empty()), "{list}");
    assert_eq!(list["incidents"][0]["severity"], "critical");
    let failed = "roomlane_security_events_total{event=\"audit_failed\",category=\"integrity\",severity=\"critical\"}";
    let told = metric(&node, &lab, failed);
    assert!(told >= 4.0, "{told}");

    // Even a daemon that starts on the full disk serves, and refuses.
    let pid = node.kill("roomlane-control");
    node.until("another control daemon serves", |node| {
        node.pid("roomlane-control").is_some_and(|now| now != pid)
            && node.roomlane(&["incident", "list"]).status.success()
    });
    node.until("it knows the room again", |node| {
        node.roomlane(&["capture", "list"]).status.success() && end_room(node, "demo").0 == Some(7)
    });
    carries(&mut scene, 20, &node);

    std::fs::remove_file(node.disk().join("ballast")).expect("ours");
    let (code, said) = end_room(&node, "demo");
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(intact(&node), (true, written + 1, vec![]), "the chain goes on");
}
