//! Incidents and names in the clear at the real programs: who may, what is written down, what a restart of
//! the control daemon keeps.

use nix::sys::signal::Signal;
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::Tokens;
use serde_json::Value;

use crate::{carries, scene, up};

fn json(node: &Node, words: &[&str]) -> Value {
    let out = node.roomlane(words);
    let error = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{words:?}: {error}");
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

fn incidents(node: &Node) -> Vec<Value> {
    let list = json(node, &["incident", "list", "--all", "--json"]);
    assert_eq!(list["schema"], "roomlane.incident.v1");
    list["incidents"].as_array().expect("a list").clone()
}

fn audit(node: &Node) -> Vec<Value> {
    let text = std::fs::read_to_string(node.dir.join("run/audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object")).collect()
}

fn code(node: &Node, words: &[&str]) -> i32 {
    node.roomlane(words).status.code().expect("no signal")
}

#[test]
fn an_incident_opens_by_itself_is_looked_after_and_outlives_the_control_daemon() {
    let Some((_lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let app = APP.to_string();
    for _ in 0..2 {
        let refused = node.roomlane_as_nobody(&["room", "end", &app, "demo"]);
        assert_eq!(refused.status.code(), Some(5));
    }
    let all = incidents(&node);
    let [one] = &all[..] else { panic!("{all:?}") };
    let of = |row: &Value, keys: &[&str]| -> Vec<Value> {
        keys.iter().map(|key| row[*key].clone()).collect()
    };
    let facts = of(one, &["incident", "state", "event", "severity", "count"]);
    let expected: Vec<Value> =
        vec![1.into(), "open".into(), "act_refused".into(), "warning".into(), 2.into()];
    assert_eq!(facts, expected, "two of a kind about one subject are one: {one}");
    assert!(one["runbook"].as_str().expect("one").starts_with("docs/runbooks.md#"), "{one}");

    let theirs = node.roomlane_as_nobody(&["incident", "ack", "1"]);
    assert_eq!(theirs.status.code(), Some(5));
    assert_eq!(code(&node, &["incident", "ack", "9"]), 6);
    assert_eq!(code(&node, &["incident", "ack", "1"]), 0);
    assert_eq!(code(&node, &["incident", "ack", "1"]), 7, "somebody is on it already");
    assert_eq!(code(&node, &["incident", "note", "1", "asked \u{1b}[2J him"]), 0);
    let pid = node.kill("roomlane-control");
    node.until("another control daemon serves", |node| {
        node.pid("roomlane-control").is_some_and(|now| now != pid)
            && node.roomlane(&["incident", "list"]).status.success()
    });
    let shown = json(&node, &["incident", "show", "1", "--json"]);
    let shown = &shown["incident"];
    assert_eq!((&shown["state"], &shown["acked_by_uid"]), (&"acked".into(), &0.into()), "{shown}");
    assert_eq!(shown["remarks"][0]["text"], "asked \\u{1b}[2J him");
    let text = node.roomlane(&["incident", "show", "1"]).stdout;
    assert!(!text.contains(&0x1b));
    assert_eq!(code(&node, &["incident", "close", "1", "--note", "a mistake"]), 0);
    assert_eq!(code(&node, &["incident", "close", "1"]), 7);
    let filtered = json(&node, &["incident", "list", "--json", "--filter", "event=act_refused"]);
    let left = filtered["incidents"].as_array().expect("a list");
    assert!(
        left.iter().all(|row| row["state"] != "closed"),
        "closed ones are not listed: {left:?}"
    );
    let csv = node.roomlane(&["incident", "list", "--all", "-o", "csv", "--sort", "-count"]);
    let csv = String::from_utf8_lossy(&csv.stdout).into_owned();
    assert!(csv.starts_with("about,acked_by_uid,"), "{csv}");
    // The next of its kind opens another.
    node.roomlane_as_nobody(&["room", "end", &app, "demo"]);
    let open = json(&node, &["incident", "list", "--json", "--filter", "state=open"]);
    let rows = open["incidents"].as_array().expect("a list");
    let same = rows.iter().find(|row| row["about"] == one["about"]).expect("a new one");
    assert_eq!(same["count"], 1);
    let acts: Vec<String> = audit(&node)
        .iter()
        .filter(|line| line["result"] == "ok")
        .map(|line| line["act"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(acts, ["incident.ack", "incident.note", "incident.close"]);
    let file = node.dir.join("run/incidents.jsonl").display().to_string();
    assert_eq!(code(&node, &["audit", "verify", &file]), 0, "its lines are a chain, too");
}

#[test]
fn names_are_shown_to_those_who_may_see_them_and_that_is_written_down() {
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    let (room, user) = ("cn-9c1b", "canary-alice-7f3a");
    scene.publish(&Tokens::new(room, user));
    scene.view(&Tokens::new(room, "canary-bob-41d0"));
    carries(&mut scene, 20, &node);
    node.until("consoles see room and sessions", |node| {
        let rows = |noun: &str, key: &str| node.show(noun)[key].as_array().map(Vec::len);
        rows("session", "sessions") == Some(2) && rows("room", "rooms") == Some(1)
    });
    let app = APP.to_string();
    let why =
        ["why", "--sdkappid", &app, "--room", room, "--from", user, "--to", "canary-bob-41d0"];
    let commands: [(&[&str], &str, &[&str]); 4] = [
        (&["show", "session"], "reveal.session", &[user, "canary-bob-41d0"]),
        (&["show", "room"], "reveal.room", &[room]),
        (&["trail", "*"], "trail", &[user, room]),
        (&why, "why", &[user, room]),
    ];
    for (words, act, names) in commands {
        let before = audit(&node).len();
        let theirs = node.roomlane_as_nobody(&[words, &["--reveal"]].concat());
        let said = String::from_utf8_lossy(&theirs.stderr).into_owned();
        assert_eq!(theirs.status.code(), Some(5), "{words:?}: {said}");
        assert!(theirs.stdout.is_empty(), "{words:?}");
        let masked = String::from_utf8(node.roomlane(words).stdout).expect("text");
        for form in [&["--reveal"][..], &["--reveal", "--json"]] {
            let out = node.roomlane(&[words, form].concat());
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            let clear = String::from_utf8(out.stdout).expect("text");
            for name in names {
                let is_table_of_sessions =
                    words[1] == "session" && form.len() == 1 && *name == room;
                assert!(
                    clear.contains(name) || is_table_of_sessions,
                    "{words:?} {form:?}: {clear}"
                );
                assert!(!masked.contains(name), "{words:?}: {masked}");
            }
        }
        let lines = audit(&node);
        let told: Vec<_> =
            lines[before..].iter().map(|line| (&line["act"], &line["result"])).collect();
        let (act, denied, ok) = (act.into(), "not_permitted".into(), "ok".into());
        let expected: Vec<(&Value, &Value)> = vec![(&act, &denied), (&act, &ok), (&act, &ok)];
        // Another session's name may be asked for by the one before; only those are there.
        assert_eq!(told, expected, "{words:?}");
        let text = Value::from(lines).to_string();
        assert!(!text.contains("canary-") && !text.contains(room), "the audit file masks");
    }
    assert_eq!(code(&node, &["show", "room", "--reveal", "--watch"]), 2);
    assert_eq!(code(&node, &["show", "worker", "--reveal"]), 2, "there are no names");
    let out = node.dir.join("b.tar.zst").display().to_string();
    assert_eq!(code(&node, &["support-bundle", "--out", &out, "--reveal"]), 2);
    assert!(!node.dir.join("b.tar.zst").exists());
    assert!(!node.log().contains("canary-") && !node.log().contains(room), "the log masks");
}

#[test]
fn alarms_that_the_node_raises_open_incidents_and_say_when_they_ended() {
    let Some((_lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let of = |node: &Node, event: &str| -> Option<Value> {
        incidents(node).into_iter().find(|row| row["event"] == event)
    };
    node.until("control has seen its data plane", |node| {
        node.log().contains("\"data_plane_back\"")
    });
    assert_eq!(of(&node, "worker_stalled"), None);
    node.signal("roomlane-dataplane", Signal::SIGSTOP);
    node_until_alone(&node, |node| of(node, "worker_stalled").is_some());
    let stalled = of(&node, "worker_stalled").expect("a moment ago it was");
    assert_eq!((&stalled["about"], &stalled["severity"]), (&"worker 0".into(), &"critical".into()));
    node.signal("roomlane-dataplane", Signal::SIGCONT);
    node.until("it is seen to beat again", |node| {
        of(node, "worker_stalled").is_some_and(|row| row["ended_unix_ms"].is_u64())
    });
    let stalled = of(&node, "worker_stalled").expect("it stays");
    assert_eq!((&stalled["state"], &stalled["count"]), (&"open".into(), &1.into()), "{stalled}");
    let whole = std::fs::read_to_string(node.config_file()).expect("readable");
    std::fs::write(node.config_file(), format!("{whole}\n[nonsense]\n")).expect("ours");
    assert_eq!(code(&node, &["config", "reload"]), 3);
    let failed = of(&node, "reload_failed").expect("it was refused");
    assert!(failed["ended_unix_ms"].is_null(), "{failed}");
    std::fs::write(node.config_file(), whole).expect("ours");
    assert_eq!(code(&node, &["config", "reload"]), 0);
    assert!(of(&node, "reload_failed").is_some_and(|row| row["ended_unix_ms"].is_u64()));
}

/// As [`Node::until`], without asking the data plane, which is stopped.
fn node_until_alone(node: &Node, look: impl Fn(&Node) -> bool) {
    let deadline = std::time::Instant::now() + crate::SOON;
    while !look(node) {
        assert!(std::time::Instant::now() < deadline, "{}", node.log());
        std::thread::yield_now();
    }
}
