//! `roomlane why` at the real programs: each step at which media can stop is named by its code, while the
//! members that are asked about send and receive; and ids that were typed come back masked.

use std::time::Duration;

use roomlane_tests::netns::{PEER_IP, skip};
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::{Scene, Sockets, Tokens, Wire};
use roomlane_tests::webrtc::{Browser, identity};
use serde_json::Value;
use token::Privileges;

use crate::{SOON, carries, scene, up};

/// Asks all questions (room, from, to) at once, while media flows.
fn ask(scene: &mut Scene<impl Wire>, node: &Node, questions: &[[&str; 3]]) -> Vec<Value> {
    let app = APP.to_string();
    std::thread::scope(|scope| {
        let asking: Vec<_> = questions
            .iter()
            .map(|[room, from, to]| {
                let words = ["why", "--sdkappid", &app, "--room", room, "--from", from, "--to", to];
                let words: Vec<String> = words.map(str::to_owned).to_vec();
                scope.spawn(move || {
                    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
                    words.push("--json");
                    let out = node.roomlane(&words);
                    let error = String::from_utf8_lossy(&out.stderr).into_owned();
                    assert!(out.status.success(), "{words:?}: {error}");
                    serde_json::from_slice(&out.stdout).expect("one JSON object")
                })
            })
            .collect();
        assert!(scene.flow(SOON, |_| asking.iter().all(|thread| thread.is_finished())));
        asking.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    })
}

fn verdict(answer: &Value) -> &str {
    answer["chains"][0]["verdict"].as_str().expect("a verdict")
}

#[test]
fn why_names_the_first_step_at_which_media_stops() {
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    let without = |room: &str, user: &str, right: Privileges| Tokens {
        privileges: Privileges::from_bits(!right.bits()),
        ..Tokens::new(room, user)
    };
    scene.publish(&Tokens::new("working", "alice-one"));
    scene.view(&Tokens::new("working", "bob-two"));
    scene.publish(&Tokens::new("working", "carol-three"));
    scene.publish(&without("mutinous", "alice-one", Privileges::SEND_AUDIO));
    scene.view(&without("deaf-room", "bob-two", Privileges::RECEIVE_AUDIO));
    scene.publish(&Tokens::new("deaf-room", "alice-one"));
    scene.view(&Tokens::new("mutinous", "bob-two"));
    scene.publish(&Tokens::new("silent", "alice-one"));
    scene.view(&Tokens::new("silent", "bob-two"));
    scene.publish(&Tokens::new("forged", "alice-one"));
    scene.view(&Tokens::new("forged", "bob-two"));
    scene.publish(&Tokens::new("gone-quiet", "alice-one"));
    scene.view(&Tokens::new("gone-quiet", "bob-two"));
    // Behind DTLS: one that never checks its paths, one that stops behind its checks.
    let mut wire = Sockets::new(&lab.peers, PEER_IP);
    let own = identity();
    let api = node.api();
    let lines = "a=sendonly\r\na=ssrc:4096 cname:x\r\n";
    let mut join = |room: &str| {
        let tokens = Tokens::new(room, "alice-one");
        Browser::join((&api, &mut wire), ("whip", lines), &tokens, (&own, &own))
    };
    let _never_checks = join("no-path");
    let mut never_shakes = join("no-keys");
    for room in ["no-path", "no-keys"] {
        scene.view(&Tokens::new(room, "bob-two"));
    }
    while !never_shakes.is_checked {
        never_shakes.turn(&mut wire, false);
        while let Some((_, bytes)) = wire.receive() {
            never_shakes.take(&bytes);
        }
        std::thread::yield_now();
    }
    let [silent, forged, muted] = [4, 5, 6];
    scene.cameras[silent].on = false;
    scene.cameras[forged].on = false;
    // Mute has said something before it fell silent.
    for _ in 0..5 {
        scene.send_one(muted);
    }
    scene.cameras[muted].on = false;
    scene.flow(SOON, |scene| scene.got(0) > 50);
    let (local, remote) = (scene.cameras[forged].local, scene.cameras[forged].remote);
    let questions = [
        ["working", "alice-one", "bob-two"],
        ["working", "carol-three", "bob-two"],
        ["working", "alice-one", "carol-three"],
        ["working", "alice-one", "nobody-here"],
        ["no-such-room", "alice-one", "bob-two"],
        ["mutinous", "alice-one", "bob-two"],
        ["deaf-room", "alice-one", "bob-two"],
        ["silent", "alice-one", "bob-two"],
        ["gone-quiet", "alice-one", "bob-two"],
        ["no-path", "alice-one", "bob-two"],
        ["no-keys", "alice-one", "bob-two"],
        ["working", "bob-two", "alice-one"],
    ];
    let answers = ask(&mut scene, &node, &questions);
    let expected = [
        "flows",
        "no_slot",
        "not_asking",
        "not_joined",
        "not_joined",
        "no_grant",
        "no_grant",
        "no_packets",
        "muted",
        "no_path",
        "no_keys",
        "not_publishing",
    ];
    for ((question, answer), expected) in questions.iter().zip(&answers).zip(expected) {
        assert_eq!(verdict(answer), expected, "{question:?}: {answer:#}");
        let text = answer.to_string();
        for id in question {
            assert!(!text.contains(&format!("\"{id}\"")), "{id} in the clear: {text}");
        }
    }
    let last = answers[0]["chains"][0]["steps"].as_array().expect("steps").last().expect("one");
    let rate: f64 =
        last["what"].as_str().expect("text").split(' ').next().unwrap().parse().unwrap();
    assert!((50.0..150.0).contains(&rate), "a hundred packets a second are sent: {last}");

    // Forged packets from the camera's own address, all the while.
    let forger = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let app = APP.to_string();
            let words = ["why", "--sdkappid", &app, "--room", "forged", "--from", "alice-one"];
            node.roomlane(&[&words[..], &["--to", "bob-two"]].concat())
        });
        while !asking.is_finished() {
            let mut packet = vec![0x80, 111, 0, 9, 0, 0, 0, 1, 0, 0, 0x10, 5];
            packet.resize(100, 7);
            scene.wire().send(local, remote, &packet);
            std::thread::sleep(Duration::from_millis(5));
        }
        asking.join().expect("an answer")
    });
    let text = String::from_utf8_lossy(&forger.stdout).into_owned();
    assert!(text.contains("x publisher  packets     STOPS"), "{text}");
    assert!(text.contains("=> auth_failures; next: "), "{text}");
    assert!(text.starts_with("al***e to bo***o in room fo***d of app"), "{text}");
    let trail = |subject: &str| -> Vec<(String, String)> {
        let out = node.roomlane(&["trail", subject, "--json"]);
        let answer: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
        let notes = answer["notes"].as_array().expect("notes").iter();
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        notes.map(|note| (text(&note["kind"]), text(&note["what"]))).collect()
    };
    node.until("the forgeries are in the trail of their room", |_| {
        trail("forged").contains(&("drop".to_owned(), "auth_failed".to_owned()))
    });
    let app = APP.to_string();
    assert!(node.roomlane(&["room", "end", &app, "forged"]).status.success());
    node.until("the room's sessions have ended", |_| {
        trail("forged").iter().filter(|(kind, _)| kind == "end").count() == 2
    });
    let told: Vec<String> = trail("forged").into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(told[..2], ["join", "join"], "{told:?}");
    let act = trail("forged").into_iter().find(|(kind, _)| kind == "act").expect("an act").1;
    assert_eq!(act, "room.end by uid 0: ok");
    scene.cameras.iter_mut().for_each(|camera| camera.on = false);
    scene.cameras[0].on = true;
    scene.viewers.truncate(1);
    let words = ["trace", "start", "--sdkappid", &app, "--room", "working", "--count", "10"];
    let started = node.roomlane(&words);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    carries(&mut scene, 20, &node);
    let show = || -> Value {
        let out = node.roomlane(&["trace", "show", "--json"]);
        serde_json::from_slice(&out.stdout).expect("one JSON object")
    };
    node.until("ten packets were told", |_| show()["is_over"] == true);
    let trace = show();
    let packets = trace["packets"].as_array().expect("packets");
    let media = packets.iter().filter(|packet| packet["ended"] == "forwarded").count();
    assert_eq!(packets.len(), 10);
    assert!(media >= 8, "{trace:#}");
    let first = packets.iter().find(|packet| packet["ended"] == "forwarded").expect("media");
    assert_eq!((&first["class"], &first["stage"]), (&"rtp".into(), &"seal".into()));
    assert_eq!(first["copies"].as_array().map(Vec::len), Some(1), "{trace:#}");
    assert!(!trace.to_string().contains("\"working\""), "{trace:#}");
}

/// Everything in an archive, as `tar` of the host takes it out.
fn unpacked(archive: &std::path::Path) -> Option<String> {
    let out = std::process::Command::new("tar").args(["--zstd", "-xOf"]).arg(archive).output();
    match out {
        Ok(out) if out.status.success() => Some(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(out) => panic!("tar: {}", String::from_utf8_lossy(&out.stderr)),
        Err(error) => {
            skip(&format!("tar: {error}"));
            None
        }
    }
}

#[test]
fn a_support_bundle_shows_nothing_that_was_planted() {
    if std::process::Command::new("zstd").arg("--version").output().is_err() {
        return skip("no zstd to look into the bundle with");
    }
    let config = NodeConfig {
        more: "[limits]\nsource_joins_per_s = 50\n".to_owned(),
        ..NodeConfig::port("udp")
    };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    let (room, camera, viewer) = ("cn-9c1b", "canary-alice-7f3a", "canary-bob-41d0");
    scene.publish(&Tokens::new(room, camera));
    scene.view(&Tokens::new(room, viewer));
    carries(&mut scene, 20, &node);
    let api = node.api();
    let (sig, key) = api.tokens(&Tokens::new(room, camera));
    let refused = api.request("POST", &api.path("whip", room), &format!("Bearer {sig}x"), "");
    assert!(refused.status >= 400);
    let words = ["trace", "start", "--sdkappid", &APP.to_string(), "--room", room];
    assert!(node.roomlane(&words).status.success());
    carries(&mut scene, 20, &node);
    // A log as an older release might have written it, with lines of strangers.
    let log = node.dir.join("planted.log");
    let planted = format!(
        "{}{{\"level\":\"INFO\",\"target\":\"x\",\"fields\":{{\"user\":\"{camera}\",\"source\":\"{PEER_IP}\",\
         \"message\":\"from {PEER_IP}:9 with {sig}\"}}}}\nsomebody said {viewer}\n",
        node.log()
    );
    std::fs::write(&log, planted).expect("a file");
    let out = node.dir.join("bundle.tar.zst");
    let (log, out_text) = (log.display().to_string(), out.display().to_string());
    let config = node.dir.join("node.toml").display().to_string();
    let words = ["support-bundle", "--out", &out_text, "--log", &log, "--config", &config];
    let made = node.roomlane(&words);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let Some(text) = unpacked(&out) else { return };
    let wanted = [
        "roomlane.support-bundle.v1",
        "roomlane.session.v1",
        "roomlane.drops.v1",
        "roomlane.doctor.v1",
        "roomlane.trail.v1",
        "roomlane.trace.v1",
        "\"joined\"",
        "ca***a",
    ];
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted} in {text}");
    }
    let secret = std::fs::read_to_string(node.dir.join("secret")).expect("readable by root");
    let camera_key = scene.cameras[0].location.rsplit('/').next().expect("an id").to_owned();
    let node_ip = roomlane_tests::netns::NODE_IP;
    let canaries = [room, camera, viewer, &sig, &key, secret.trim(), &camera_key, PEER_IP, node_ip];
    for canary in canaries {
        let at = text.find(canary);
        let around =
            at.map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>());
        assert_eq!(around, None, "{canary} came out");
    }
    let again = node.roomlane(&words);
    assert_eq!(again.status.code(), Some(7), "it overwrites nothing");
}
