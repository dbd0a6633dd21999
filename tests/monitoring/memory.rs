//! What a node keeps of people: while a room is open their ids are in memory, masked everywhere else;
//! within 60 s of its end they are nowhere.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use roomlane_tests::netns::{Lab, PEER_IP};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets, Tokens};

use crate::tools::{SOON, until};

/// What the handbook promises.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Largest mapping that is read, in bytes: what is larger is address space and no memory.
const MAPPING_MAX: u64 = 4 << 30;
/// Read at a time.
const PART: usize = 1 << 20;

const CAMERA: &str = "canarycamera-7f3a91";
const VIEWER: &str = "canaryviewer-c04b18";
const ROOM: &str = "canaryroom-5d20e7";
const IDS: [&str; 3] = [CAMERA, VIEWER, ROOM];

/// Where a process has one of the ids: the mapping and what is around the id.
fn found(pid: i32) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives");
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read it");
    let mut found = vec![];
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_readable = words[1].starts_with('r') && !line.contains("[v");
        let (start, end) = words[0].split_once('-').expect("a range");
        let parse = |text: &str| u64::from_str_radix(text, 16).expect("hexadecimal");
        let (start, end) = (parse(start), parse(end));
        if !is_readable || end - start > MAPPING_MAX {
            continue;
        }
        let mut at = start;
        let mut bytes = vec![0; PART + 64];
        while at < end {
            // A little more than a part: an id may lie across its end.
            let want = bytes.len().min((end - at) as usize);
            let Ok(len) = memory.read_at(&mut bytes[..want], at) else { break };
            if len == 0 {
                break;
            }
            for id in IDS {
                let id = id.as_bytes();
                for place in bytes[..len].windows(id.len()).enumerate().filter(|(_, w)| *w == id) {
                    let around = &bytes[place.0.saturating_sub(48)..(place.0 + 64).min(len)];
                    let name = words.get(5).unwrap_or(&"anonymous");
                    let shown = String::from_utf8_lossy(around).escape_debug().to_string();
                    found.push(format!("{name} {:x}: {shown}", at + place.0 as u64));
                }
            }
            at += PART as u64;
        }
    }
    found
}

fn both(node: &Node) -> Vec<(&'static str, Vec<String>)> {
    let names = ["roomlane-control", "roomlane-dataplane"];
    names.map(|name| (name, found(node.pid(name).expect("it runs")))).into()
}

/// Whatever the node says, an id in it is a failure.
fn nothing_says_an_id(lab: &Lab, node: &Node, when: &str) {
    let words = ["curl", "-sS", "-m", "5", "http://127.0.0.1:8081/metrics"];
    let mut outputs = vec![("log", node.log())];
    outputs.push(("metrics", lab.node.exec(&words).unwrap_or_else(|why| panic!("{why}"))));
    for noun in ["node", "worker", "port", "room", "session", "drops", "runtime"] {
        for words in [vec!["show", noun], vec!["show", noun, "--json"]] {
            let out = node.roomlane(&words);
            outputs.push((noun, String::from_utf8_lossy(&out.stdout).into_owned()));
            outputs.push((noun, String::from_utf8_lossy(&out.stderr).into_owned()));
        }
    }
    for (where_, text) in &outputs {
        for id in IDS {
            assert!(!text.contains(id), "{when}: {id} came out in {where_}:\n{text}");
        }
    }
    assert!(outputs.iter().any(|(_, text)| text.contains("ca***1")), "masked, it is shown");
}

#[test]
fn ids_are_masked_in_every_output_and_gone_from_memory_a_minute_after_their_room() {
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    let Some(node) = Node::start(&lab.node, &NodeConfig::port("udp")) else { return };
    let node = node.unwrap_or_else(|why| panic!("{why}"));
    let mut scene = Scene::new(Sockets::new(&lab.peers, PEER_IP), node.api(), Options::default());
    scene.publish(&Tokens::new(ROOM, CAMERA));
    scene.view(&Tokens::new(ROOM, VIEWER));
    assert!(scene.flow(SOON, |scene| scene.got(0) > 50), "{}", node.log());
    // Somebody who may not, and a control process that learns of the room from the shards.
    let path = format!("/whip/1400000001/{ROOM}");
    assert_eq!(node.api().request("POST", &path, "Bearer forged", "v=0").status, 401);
    let killed = node.kill("roomlane-control");
    until("control is back", || {
        node.pid("roomlane-control").is_some_and(|pid| pid != killed)
            && node.show("node")["control_alive"] == true
    });
    assert!(scene.flow(SOON, |scene| scene.got(0) > 100), "{}", node.log());
    let [(_, control), (_, data_plane)] = &both(&node)[..] else { panic!("two processes") };
    assert!(!control.is_empty(), "control has no id: is it looked for rightly?");
    assert!(data_plane.is_empty(), "the data plane never learns an id: {data_plane:#?}");
    nothing_says_an_id(&lab, &node, "while the room is open");

    let locations = [scene.cameras[0].location.clone(), scene.viewers[0].location.clone()];
    for location in &locations {
        let left = node.api().request("DELETE", location, "", "");
        assert_eq!(left.status, 200, "{}", left.body);
    }
    let ended = Instant::now();
    loop {
        let left: Vec<_> = both(&node).into_iter().filter(|(_, found)| !found.is_empty()).collect();
        if left.is_empty() {
            break;
        }
        assert!(ended.elapsed() < FORGOTTEN, "60 s after the room ended: {left:#?}");
        std::thread::sleep(Duration::from_millis(1000));
    }
    nothing_says_an_id(&lab, &node, "after the room");
}
