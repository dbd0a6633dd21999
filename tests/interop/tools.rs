//! GStreamer and ffmpeg as peers, each with its own SRTP, codecs and jitter buffer.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::{Lab, PEER_IP, run, skip};
use roomlane_tests::node::{Node, NodeConfig, programs};
use serde_json::Value;

use crate::up;

/// Pictures that a viewer must receive.
pub const FRAMES: u64 = 90;
/// Pictures of those that its tool must have opened and decoded by then.
pub const DECODED: u64 = 30;
/// Seconds after which every peer leaves by itself.
const DURATION: &str = "60";

/// A running `roomlane peer`.
pub struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
    errors: PathBuf,
}

impl Peer {
    /// Starts one with `more` options; `None` where the programs are missing.
    pub fn start(
        (lab, node): (&Lab, &Node),
        role: &str,
        via: &str,
        room: &str,
        more: &[&str],
    ) -> Option<Peer> {
        let name = format!("{role}-{via}-{room}");
        let errors = node.dir.join(&name);
        let mut command = lab.peers.command(programs()?.join("roomlane").as_os_str());
        command.args(["peer", role, "--via", via, "--room", room, "--user", &name, "--config"]);
        command.arg(node.dir.join("node.toml"));
        command.args(["--media-address", PEER_IP, "--duration", DURATION, "--json"]).args(more);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&errors).expect("the node's folder takes a file"));
        let mut child = command.spawn().expect("ip is there, or no namespace would be");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Some(Peer { child, lines, name, errors })
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }

    /// Reads what it says each second until `enough`; that line. It ends by itself if it never is.
    pub fn until(&mut self, node: &Node, enough: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for line in self.lines.by_ref() {
            let line = line.expect("text");
            last = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
            if enough(&last) {
                return last;
            }
        }
        panic!("{}: {last}\n{}\n{}", self.name, self.errors(), node.all_drops());
    }

    /// Ends it as a user's service manager would.
    pub fn leave(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).expect("it is ours");
        self.child.wait().expect("it is ours")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// The video section of a line.
pub fn video(line: &Value) -> &Value {
    let sections = line["sections"].as_array().expect("a list");
    sections.iter().find(|section| section["media"] == "video").expect("a video section")
}

fn meet(lab: &Lab, node: &Node, from: &str, to: &[&str]) -> Option<()> {
    let room = format!("of-{from}");
    let mut publisher = Peer::start((lab, node), "publish", from, &room, &[])?;
    publisher.until(node, |line| video(line)["packets"].as_u64() > Some(0));
    let viewers: Option<Vec<_>> =
        to.iter().map(|via| Peer::start((lab, node), "view", via, &room, &[])).collect();
    for mut viewer in viewers? {
        let line = viewer.until(node, |line| {
            video(line)["frames"].as_u64() >= Some(FRAMES)
                && line["decoded_frames"].as_u64() >= Some(DECODED)
        });
        assert_eq!(line["lost"], 0, "{}: {line}\n{}", viewer.name, node.all_drops());
        for section in line["sections"].as_array().expect("a list") {
            assert!(section["packets"].as_u64() > Some(0), "{}: {line}", viewer.name);
        }
        let (name, errors) = (viewer.name.clone(), viewer.errors());
        let status = viewer.leave();
        assert!(status.success(), "{name} ended with {status}: {errors}");
    }
    let errors = publisher.errors();
    let status = publisher.leave();
    assert!(status.success(), "the {from} publisher ended with {status}: {errors}");
    Some(())
}

/// Whether both tools are there with the parts that peers need; if not, says so in their words.
pub fn has_tools() -> bool {
    let parts = ["srtpenc", "srtpdec", "vp8enc", "vp8dec", "opusenc", "opusdec", "rtpbin"];
    let missing = parts.iter().find_map(|part| {
        let why = run(&["gst-inspect-1.0", part]).err()?;
        Some(why)
    });
    match missing.or_else(|| run(&["ffmpeg", "-hide_banner", "-version"]).err()) {
        Some(why) => {
            skip(&why);
            false
        }
        None => true,
    }
}

#[test]
fn gstreamer_and_ffmpeg_peers_meet_in_one_room() {
    if !has_tools() {
        return;
    }
    let Some((lab, node)) = up(&NodeConfig::port("udp")) else { return };
    meet(&lab, &node, "gst", &["gst", "ffmpeg"]);
    meet(&lab, &node, "ffmpeg", &["gst"]);
}
