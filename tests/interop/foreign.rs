//! A room is heard by its own viewers and by nobody else, as libsrtp sees it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use roomlane_tests::netns::{Lab, PEER_IP, own_name, skip};
use roomlane_tests::node::{APP, Node, NodeConfig};
use roomlane_tests::sdes::{Api, Tokens};
use rustix::net::{AddressFamily, SocketType};
use serde_json::{Value, json};
use srtp::Profile;

use crate::python::{carry_out, python};
use crate::up;

/// Another tenant of the same node.
const OTHER_APP: u32 = 1_400_000_002;
/// Packets of each publisher.
const PACKETS: u64 = 200;
/// Payload bytes of each, as in `srtp_peer.py`.
pub const PAYLOAD_LEN: u64 = 400;
/// AF_XDP (linux/socket.h).
const AF_XDP: u16 = 44;

/// A file with the other app's secret; removed at the end.
struct SecretFile {
    path: PathBuf,
    secret: String,
}

impl SecretFile {
    fn new(name: &str) -> SecretFile {
        let path = std::env::temp_dir().join(own_name(name));
        let secret = format!("{:f>64x}", std::process::id());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        let written = file.and_then(|mut file| file.write_all(secret.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        SecretFile { path, secret }
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A room of a plan, with a publisher and a viewer.
pub fn room(node: &Node, app: u32, api: &Api, name: &str) -> Value {
    let bearer = |user: &str| api.bearer(&Tokens::new(name, user));
    json!({
        "socket": node.dir.join("http.sock"), "app": app, "room": name,
        "publisher": bearer("camera"), "viewer": bearer("viewer"),
    })
}

/// What must hold for every room of a report.
fn check(plan: &Value, report: &[Value], node: &Node) {
    let rooms = plan["rooms"].as_array().expect("a list");
    assert_eq!(report.len(), rooms.len());
    for (room, report) in rooms.iter().zip(report) {
        let mark = format!("{}/{}", room["app"], room["room"].as_str().expect("a name"));
        let heard = report["heard"].as_array().expect("a list");
        assert_eq!(report["sent"], PACKETS);
        assert_eq!(report["refused"], json!([]), "{mark}: libsrtp refused something");
        assert_eq!(report["strange"], json!([]), "{mark}");
        assert_eq!(report["publisher_heard"], 0, "{mark}: a publisher was sent media");
        assert_eq!(report["opened_by_others"], 0, "{mark}: opens under another viewer's key");
        let others: Vec<_> = heard.iter().filter(|packet| packet[0] != mark).collect();
        assert!(others.is_empty(), "{mark} hears {others:?}");
        let numbers: Vec<_> = heard.iter().filter_map(|packet| packet[1].as_u64()).collect();
        let all: Vec<_> = (0..PACKETS).collect();
        assert_eq!(numbers, all, "{mark}: not all, or not in order\n{}", node.all_drops());
        for packet in heard {
            // One CSRC, the node's name for the publication, takes the place of the publisher's own.
            assert_eq!(packet[5], heard[0][5], "{mark}: the CSRC changed");
            assert_eq!(packet[5].as_array().map(Vec::len), Some(1), "{mark}");
            assert_eq!(packet[6], PAYLOAD_LEN, "{mark}: bytes came or went");
            let told = &report["told"];
            assert_eq!(packet[3], told["ssrc"], "{mark}: not the SSRC of the answer");
            assert_eq!(packet[4], told["payload_type"], "{mark}: not the answer's payload type");
        }
        let sequences = heard.iter().filter_map(|packet| packet[2].as_u64());
        let sequences: Vec<_> = sequences.map(|sequence| sequence as u16).collect();
        let follows = sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        assert!(follows, "{mark}: sequence numbers have gaps: {sequences:?}");
        // Once a sender report has come, the node makes its own for the viewer.
        assert!(report["rtcp"].as_u64() > Some(0), "{mark}: the viewer got no RTCP: {report}");
    }
}

/// Lets a DPDK port resolve the peers' link address: until then it drops, and counts what it drops.
pub fn meet(python: &Path, lab: &Lab, node: &Node) {
    let rooms = [room(node, APP, &node.api(), "hello")];
    let plan = json!({
        "ip": PEER_IP, "profile": Profile::AeadAes128Gcm.sdes_name(), "packets": 20, "rooms": rooms,
    });
    let report = carry_out(python, &lab.peers, &plan);
    let heard = report[0]["heard"].as_array().expect("a list").len() as u64;
    let missed = 20 - heard;
    node.until_counted();
    let counted = missed <= node.drops("no_neighbour");
    assert!(heard > 0 && counted, "{missed} of 20 packets are missing\n{}", node.all_drops());
}

fn hears_its_own_room(python: &Path, lab: &Lab, node: &Node, other: &SecretFile) {
    let (ours, theirs) = (node.api(), node.dir.join("http.sock"));
    let theirs = Api::new(&theirs, OTHER_APP, &other.secret);
    meet(python, lab, node);
    for profile in [Profile::AeadAes128Gcm, Profile::AesCm128HmacSha1_80] {
        // The third room has the first one's name, the same users, and another app.
        let plan = json!({
            "ip": PEER_IP, "profile": profile.sdes_name(), "packets": PACKETS,
            "rooms": [
                room(node, APP, &ours, "red"),
                room(node, APP, &ours, "blue"),
                room(node, OTHER_APP, &theirs, "red"),
            ],
        });
        let report = carry_out(python, &lab.peers, &plan);
        check(&plan, &report, node);
    }
}

fn run_on(device: &str, secret_name: &str) -> Option<()> {
    let python = python()?;
    let other = SecretFile::new(secret_name);
    let path = other.path.display();
    let more = format!("[[app]]\nsdkappid = {OTHER_APP}\nsecret_files = [\"{path}\"]\n");
    let (lab, node) = up(&NodeConfig { more, ..NodeConfig::port(device) })?;
    hears_its_own_room(python, &lab, &node, &other);
    Some(())
}

#[test]
fn a_foreign_srtp_client_hears_its_own_room_and_no_other() {
    run_on("udp", "other-udp");
}

#[test]
fn a_foreign_srtp_client_hears_its_own_room_and_no_other_on_a_dpdk_port() {
    match rustix::net::socket(AddressFamily::from_raw(AF_XDP), SocketType::RAW, None) {
        Ok(_) => {
            run_on("net_af_xdp0,iface=media0", "other-xdp");
        }
        Err(error) => skip(&format!("net_af_xdp: {error}")),
    }
}
