//! The frames of a DPDK port as tshark reads them: the node wrote every byte of these headers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::{NODE_IP, NetNs, PEER_IP, run, skip};
use roomlane_tests::node::{APP, NodeConfig};
use serde_json::{Value, json};
use srtp::Profile;

use crate::foreign::{PAYLOAD_LEN, meet, room};
use crate::python::{carry_out, python};
use crate::up;

/// Packets that the capture takes at most: several times what flows here.
const CAPTURED_MAX: &str = "4000";
/// Expedited forwarding (RFC 3246), the default of sound.
const EF: &str = "46";

/// A running dumpcap; what it wrote stays when it ends.
pub struct Capture {
    child: Child,
    /// Kept open: a closed one would end it.
    _stderr: BufReader<ChildStderr>,
    /// What it writes.
    pub file: PathBuf,
}

impl Capture {
    /// Starts in `ns` on `interface` and waits until it captures what `filter` lets through.
    pub fn start(
        ns: &NetNs,
        interface: &str,
        filter: &str,
        file: PathBuf,
    ) -> Result<Capture, String> {
        let mut command = ns.command("dumpcap".as_ref());
        command.args(["-q", "-i", interface, "-f", filter]);
        command.args(["-c", CAPTURED_MAX, "-a", "duration:300", "-w"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("dumpcap: {error}"))?;
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut said = String::new();
        while !said.lines().any(|line| line.starts_with("File: ")) {
            let count = stderr.read_line(&mut said).map_err(|error| format!("dumpcap: {error}"))?;
            if count == 0 {
                let status = child.wait().expect("it is ours");
                return Err(format!("dumpcap: {status}: {}", said.trim()));
            }
        }
        Ok(Capture { child, _stderr: stderr, file })
    }

    /// Ends it: everything is in the file.
    pub fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT);
            let _ = self.child.wait();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

/// Fields that tshark is asked for, in this order.
const FIELDS: [&str; 11] = [
    "udp.dstport",
    "rtp.seq",
    "rtp.ssrc",
    "rtp.p_type",
    "rtp.csrc.item",
    "rtp.version",
    "ip.dsfield.dscp",
    "ip.checksum.status",
    "udp.checksum.status",
    "ip.dst",
    "rtp.payload",
];

/// What tshark makes of the RTP packets of a file, one row of [`FIELDS`] each.
fn read(file: &Path) -> Vec<Vec<String>> {
    let path = file.to_string_lossy();
    let mut words = vec!["tshark", "-n", "-r", &path, "-d", "udp.port==8000,rtp", "-Y", "rtp"];
    words.extend(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
    words.extend(["-T", "fields", "-E", "separator=;"]);
    words.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
    let text = run(&words).unwrap_or_else(|why| panic!("{why}"));
    text.lines().map(|line| line.split(';').map(str::to_owned).collect()).collect()
}

/// A number that may be written in hexadecimal.
fn number(text: &str) -> u64 {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("no number: {text}"))
}

/// Compares what tshark read on the way to a viewer with what its libsrtp heard there.
fn check(room: &Value, rows: &[Vec<String>]) {
    let port = room["told"]["port"].as_u64().expect("a port");
    let heard = room["heard"].as_array().expect("a list");
    let mine: Vec<_> = rows.iter().filter(|row| number(&row[0]) == port).collect();
    let read: Vec<_> = mine
        .iter()
        .map(|row| json!([number(&row[1]), number(&row[2]), number(&row[3]), [number(&row[4])]]))
        .collect();
    let heard: Vec<_> = heard.iter().map(|p| json!([p[2], p[3], p[4], p[5]])).collect();
    assert_eq!(heard.len() as u64, room["sent"].as_u64().expect("a number"));
    assert_eq!(read, heard, "tshark reads other headers than libsrtp");
    for (row, packet) in mine.iter().zip(&heard) {
        assert_eq!(packet[1], room["told"]["ssrc"], "not the SSRC of the answer");
        assert_eq!(packet[2], room["told"]["payload_type"], "not the answer's payload type");
        let rest: Vec<_> = row[5..10].iter().map(String::as_str).collect();
        // 1 is `Good`: tshark has added up both checksums itself.
        assert_eq!(rest, ["2", EF, "1", "1", PEER_IP], "{FIELDS:?}");
        // RFC 7714, section 13: the tag of AEAD_AES_128_GCM has 16 bytes. Two digits each.
        assert_eq!(row[10].len() as u64, 2 * (PAYLOAD_LEN + 16), "the payload and its tag");
    }
}

#[test]
fn tshark_reads_the_headers_the_node_writes() {
    if let Err(why) = run(&["tshark", "--version"]) {
        return skip(&why);
    }
    let Some(python) = python() else { return };
    let Some((lab, node)) = up(&NodeConfig::port("net_af_packet0,iface=media0")) else { return };
    meet(python, &lab, &node);
    let file = node.dir.join("seen.pcapng");
    let filter = format!("udp and src host {NODE_IP}");
    let mut capture = match Capture::start(&lab.peers, "peer0", &filter, file) {
        Ok(capture) => capture,
        Err(why) => return skip(&why),
    };
    let rooms = ["red", "blue"].map(|name| room(&node, APP, &node.api(), name));
    let profile = Profile::AeadAes128Gcm.sdes_name();
    let plan = json!({ "ip": PEER_IP, "profile": profile, "packets": 100, "rooms": rooms });
    let report = carry_out(python, &lab.peers, &plan);
    capture.end();
    let rows = read(&capture.file);
    for room in &report {
        check(room, &rows);
    }
}
