//! `roomlane capture` at the real programs: what tshark reads from the file while media flows, and what is
//! refused.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::{NODE_IP, PEER_IP, skip};
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::{Scene, Tokens, Wire};
use serde_json::Value;

use crate::{SOON, carries, scene, up};

const ROOM: &str = "cn-9c1b";
const CAMERA: &str = "canary-alice-7f3a";

/// A line of tshark's for each packet, tab between fields.
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-o", "rtp.heuristic_rtp:TRUE", "-T", "fields"]);
    fields.iter().for_each(|field| _ = command.args(["-e", field]));
    let out = command.output().expect("it was there a moment ago");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Runs a capture while media flows; its exit code, and what it said on both streams.
fn captured(scene: &mut Scene<impl Wire>, node: &Node, words: &[&str]) -> (i32, String, String) {
    let app = APP.to_string();
    let words = [&["capture", "start", "--sdkappid", &app], words].concat();
    let out = std::thread::scope(|scope| {
        let capturing = scope.spawn(|| node.roomlane(&words));
        assert!(scene.flow(SOON, |_| capturing.is_finished()), "{words:?} does not end");
        capturing.join().expect("it ran")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn audit(node: &Node) -> Vec<Value> {
    let text = std::fs::read_to_string(node.dir.join("run/audit.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("one JSON object")).collect()
}

/// An address as the bytes of a file have it.
fn octets(ip: &str) -> [u8; 4] {
    ip.parse::<std::net::Ipv4Addr>().expect("an address of IPv4").octets()
}

fn has(file: &[u8], needle: &[u8]) -> bool {
    file.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_capture_has_the_headers_of_both_ways_and_neither_a_payload_nor_an_identity() {
    if Command::new("tshark").arg("--version").output().is_err() {
        return skip("no tshark to read the file with");
    }
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    scene.publish(&Tokens::new(ROOM, CAMERA));
    scene.view(&Tokens::new(ROOM, "canary-bob-41d0"));
    carries(&mut scene, 20, &node);
    let file = node.dir.join("masked.pcapng");
    let out = file.display().to_string();
    let words = ["--room", ROOM, "--out", &out, "--count", "60"];
    let (code, said, errors) = captured(&mut scene, &node, &words);
    assert_eq!((code, said.as_str()), (0, &*format!("60 packets in {out}\n")), "{errors}");
    assert!(errors.contains("capturing headers of room cn***b"), "{errors}");
    assert_eq!(file.metadata().expect("made").permissions().mode() & 0o777, 0o600);

    let fields = ["rtp.ssrc", "frame.len", "frame.cap_len", "ip.src", "ip.dst", "udp.srcport"];
    let packets = tshark(&file, &[&fields[..], &["frame.comment", "rtp.payload"]].concat());
    assert_eq!(packets.len(), 60);
    let camera = format!("0x{:08x}", scene.cameras[0].end.spec.ssrc);
    let rtp: Vec<_> = packets.iter().filter(|packet| !packet[0].is_empty()).collect();
    let came = rtp.iter().filter(|packet| packet[0] == camera).count();
    assert!(came >= 20 && rtp.len() - came >= 20, "{came} of {} came: {packets:?}", rtp.len());
    for packet in &rtp {
        let [whole, kept]: [usize; 2] = [1, 2].map(|at| packet[at].parse().expect("a length"));
        // IP, UDP, RTP with at most one CSRC and the first word of an extension.
        assert!(kept <= 20 + 8 + 12 + 4 + 4 && kept < whole, "{packet:?}");
        assert!(packet[6].contains("ca***a") || packet[6].contains("ca***0"), "{packet:?}");
        let payload = packet[7].as_str();
        assert!(["", "<MISSING>"].contains(&payload), "a payload: {packet:?}");
        assert!(packet[3].starts_with("2") && packet[4].starts_with("2"), "class E: {packet:?}");
    }
    let bytes = std::fs::read(&file).expect("readable");
    for ip in [PEER_IP, NODE_IP] {
        assert!(!has(&bytes, &octets(ip)) && !has(&bytes, ip.as_bytes()), "{ip} is in the file");
    }
    for canary in [ROOM, CAMERA, "canary-bob-41d0"] {
        assert!(!has(&bytes, canary.as_bytes()), "{canary} is in the file");
    }
    let start = audit(&node).into_iter().find(|line| line["act"] == "capture.start");
    let start = start.expect("it is written down");
    let target = format!("{APP}/cn***b");
    assert_eq!((&start["target"], &start["result"]), (&target.into(), &"ok".into()));

    // One session, as it is: the viewer's, with what it is sent alone.
    let session =
        node.show("session")["sessions"].as_array().expect("a list").iter().find_map(|it| {
            (it["label"] == "ca***0").then(|| it["session"].as_str().expect("an id").to_owned())
        });
    let session = session.expect("the viewer's session");
    let file = node.dir.join("clear.pcapng");
    let out = file.display().to_string();
    let words =
        ["capture", "start", "--session", &session, "--out", &out, "--count", "20", "--reveal"];
    let done = std::thread::scope(|scope| {
        let capturing = scope.spawn(|| node.roomlane(&words));
        assert!(scene.flow(SOON, |_| capturing.is_finished()));
        capturing.join().expect("it ran")
    });
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let packets =
        tshark(&file, &["ip.src", "ip.dst", "frame.comment", "frame.packet_flags_direction"]);
    assert_eq!(packets.len(), 20);
    let sent: Vec<_> = packets.iter().filter(|packet| packet[0] == NODE_IP).collect();
    assert!(sent.len() >= 15, "{packets:?}");
    assert!(sent.iter().all(|packet| packet[1] == PEER_IP), "{packets:?}");
    assert!(packets.iter().all(|packet| packet[2].ends_with("canary-bob-41d0")), "{packets:?}");
    let target = format!("{session} revealed");
    assert!(audit(&node).iter().any(|line| line["target"] == *target), "{:?}", audit(&node));
}

#[test]
fn what_cannot_be_captured_is_refused_and_what_ends_early_leaves_a_file_that_can_be_read() {
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    let mut scene = scene(&lab, &node);
    scene.publish(&Tokens::new(ROOM, CAMERA));
    scene.view(&Tokens::new(ROOM, "canary-bob-41d0"));
    carries(&mut scene, 20, &node);
    let file = node.dir.join("x.pcapng");
    let out = file.display().to_string();
    let app = APP.to_string();
    let start = |room: &str| -> Vec<String> {
        let words = ["capture", "start", "--sdkappid", &app, "--room", room, "--out", &out];
        words.map(str::to_owned).to_vec()
    };
    let run = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let done = node.roomlane(&words);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let (code, said) = run(&start("no-such-room"));
    assert_eq!((code, said.as_str()), (Some(6), "roomlane: no such room\n"));
    assert!(!file.exists(), "what was not captured leaves no file");
    let absent = ["capture", "start", "--session", "s0-9-9", "--out", &out].map(str::to_owned);
    assert_eq!(run(&absent).0, Some(6));
    std::fs::write(&file, "mine").expect("a file");
    let (code, said) = run(&start(ROOM));
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("is there already"), "{said}");
    assert_eq!(std::fs::read(&file).expect("readable"), b"mine");
    std::fs::remove_file(&file).expect("ours");
    let theirs = std::env::temp_dir().join(format!("rl-nobody-{}.pcapng", std::process::id()));
    let theirs_text = theirs.display().to_string();
    let words = ["capture", "start", "--sdkappid", &app, "--room", ROOM, "--out", &theirs_text];
    let refused = node.roomlane_as_nobody(&words);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("roomlane-admin"), "{said}");
    assert!(!theirs.exists());
    assert_eq!(node.roomlane(&["capture", "stop"]).status.code(), Some(6), "nothing runs");

    // Listed while it runs, and ended by somebody else.
    let words: Vec<String> = start(ROOM);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let packets = |output: std::process::Output| -> u64 {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.split(' ')
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let running = |node: &Node| -> Value {
        let out = node.roomlane(&["capture", "list", "--json"]);
        serde_json::from_slice(&out.stdout).expect("one JSON object")
    };
    let going = node.roomlane_going(&words);
    let listed = |node: &Node| running(node)["captures"][0]["packets"].as_u64() > Some(10);
    assert!(scene.flow(SOON, |_| listed(&node)), "{}", node.log());
    assert_eq!(running(&node)["captures"][0]["room_label"], "cn***b");
    assert!(node.roomlane(&["capture", "stop"]).status.success());
    let done = going.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(0));
    assert!(packets(done) > 10);
    assert_eq!(running(&node)["captures"], Value::Array(vec![]));

    // Ctrl-C.
    std::fs::remove_file(&file).expect("ours");
    let going = node.roomlane_going(&words);
    assert!(scene.flow(SOON, |_| listed(&node)), "{}", node.log());
    kill(Pid::from_raw(going.id() as i32), Signal::SIGINT).expect("it is ours");
    let done = going.wait_with_output().expect("it ends");
    assert_eq!(done.status.code(), Some(130));
    assert!(packets(done) > 10);
    assert_eq!(running(&node)["captures"], Value::Array(vec![]));

    // The data plane dies under it.
    std::fs::remove_file(&file).expect("ours");
    let going = node.roomlane_going(&words);
    assert!(scene.flow(SOON, |_| listed(&node)), "{}", node.log());
    node.kill("roomlane-dataplane");
    let done = going.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(4), "{said}");
    assert!(said.contains("the data plane went away"), "{said}");
    assert!(packets(done) > 10);
    if Command::new("tshark").arg("--version").output().is_ok() {
        assert!(tshark(&file, &["frame.number"]).len() > 10, "the file is whole");
    }
}
