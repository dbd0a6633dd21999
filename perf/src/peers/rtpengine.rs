//! rtpengine as an engine: Debian's daemon in user space, told by its `ng` protocol to publish and to
//! subscribe with SDES keys of AEAD_AES_128_GCM. perf/peers/README.md says what it does per packet.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proto::KeyMaterial;
use roomlane_peers::netns::{Lab, NODE_IP};
use roomlane_peers::sdes::{read_answer, sends};
use srtp::Profile;

use super::bencode::Value;
use super::daemon::{Daemon, PATIENCE};
use crate::load::cpu::CpuTime;
use crate::load::fleet::{Engine, Lane};
use crate::load::roomlane::offer;

/// The program.
const PROGRAM: &str = "rtpengine";
/// Where it is told what to do: on the loopback of its own namespace.
const NG: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 22_222);
/// How long until the same is asked again.
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// All its suites but the one that is measured: there is no way to name that one alone.
const OTHER_SUITES: [&str; 11] = [
    "no-AEAD_AES_256_GCM",
    "no-AES_256_CM_HMAC_SHA1_80",
    "no-AES_256_CM_HMAC_SHA1_32",
    "no-AES_192_CM_HMAC_SHA1_80",
    "no-AES_192_CM_HMAC_SHA1_32",
    "no-AES_CM_128_HMAC_SHA1_80",
    "no-AES_CM_128_HMAC_SHA1_32",
    "no-F8_128_HMAC_SHA1_80",
    "no-F8_128_HMAC_SHA1_32",
    "no-NULL_HMAC_SHA1_80",
    "no-NULL_HMAC_SHA1_32",
];

/// Its version, as it tells it; `None` where it is not installed.
pub fn version() -> Option<String> {
    let out = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Version: "))?;
    Some(line.trim().to_owned())
}

/// A running daemon.
pub struct Rtpengine {
    daemon: Daemon,
    control: Control,
}

impl Rtpengine {
    /// Starts one in the node's namespace, all its threads on `cpu` alone.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(lab: &Lab, cpu: usize) -> Result<Rtpengine> {
        let mut daemon = Daemon::start(lab, PROGRAM, |_| Ok(arguments()))?;
        let mut control = lab.node.within(Control::open)?;
        let ping = || Value::dict([("command", Value::from("ping"))]);
        daemon.wait_until_up(cpu, || control.ask_within(TRY_AGAIN, ping()).is_ok())?;
        Ok(Rtpengine { daemon, control })
    }

    fn call(room: u32) -> Value {
        Value::Text(format!("room{room}"))
    }
}

fn arguments() -> Vec<String> {
    let fixed = [
        "--config-file=none",
        "--table=-1",
        "--foreground",
        "--log-stderr",
        "--log-level=3",
        "--num-threads=1",
        "--timeout=600",
        "--silent-timeout=3600",
        "--port-min=30000",
        "--port-max=40000",
    ];
    let addresses = [format!("--interface={NODE_IP}"), format!("--listen-ng={NG}")];
    fixed.into_iter().map(str::to_owned).chain(addresses).collect()
}

/// A client of the `ng` protocol.
struct Control {
    socket: UdpSocket,
    cookies: u32,
}

impl Control {
    /// On the loopback of the namespace it is called in.
    fn open() -> Result<Control> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a control socket")?;
        socket.set_read_timeout(Some(TRY_AGAIN)).context("a timeout")?;
        Ok(Control { socket, cookies: 0 })
    }

    /// One request and its answer, which says `ok` or `pong`.
    fn ask(&mut self, request: Value) -> Result<Value> {
        self.ask_within(PATIENCE, request)
    }

    fn ask_within(&mut self, patience: Duration, request: Value) -> Result<Value> {
        self.cookies += 1;
        let cookie = format!("{}_{} ", std::process::id(), self.cookies);
        let mut text = cookie.clone();
        request.write(&mut text);
        let began = Instant::now();
        let mut bytes = vec![0; 65_536];
        // A repeated cookie gets the same answer again, so asking twice does no harm.
        while began.elapsed() < patience {
            self.socket.send_to(text.as_bytes(), NG).context("asking rtpengine")?;
            let Ok(len) = self.socket.recv(&mut bytes) else { continue };
            let answer = String::from_utf8_lossy(&bytes[..len]);
            let Some(answer) = answer.strip_prefix(&cookie).and_then(Value::read) else { continue };
            return match answer.text("result") {
                Some("ok" | "pong") => Ok(answer),
                _ => bail!("rtpengine refused: {answer:?}"),
            };
        }
        bail!("rtpengine did not answer")
    }
}

impl Engine for Rtpengine {
    fn publish(&mut self, room: u32, _: u32, lane: &Lane) -> Result<(SocketAddr, KeyMaterial)> {
        ensure!(lane.profile == Profile::AeadAes128Gcm, "rtpengine is set up for GCM-128 alone");
        let lines = sends(lane.ssrc);
        let answer = self.control.ask(Value::dict([
            ("command", Value::from("publish")),
            ("call-id", Rtpengine::call(room)),
            ("from-tag", Value::from("pub")),
            ("sdp", Value::Text(offer(lane, &lines))),
            ("codec", Value::dict([("accept", Value::texts(&["any"]))])),
            ("ICE", Value::from("remove")),
            ("rtcp-mux", Value::texts(&["accept"])),
        ]))?;
        let (remote, _, _) = read_answer(answer.text("sdp").context("no SDP")?);
        Ok((remote, lane.key))
    }

    fn subscribe(&mut self, room: u32, _: u32, lane: &Lane) -> Result<KeyMaterial> {
        let offered = self.control.ask(Value::dict([
            ("command", Value::from("subscribe request")),
            ("call-id", Rtpengine::call(room)),
            ("from-tags", Value::texts(&["pub"])),
            ("transport-protocol", Value::from("RTP/SAVP")),
            ("rtcp-mux", Value::texts(&["require"])),
            ("DTLS", Value::from("off")),
            ("ICE", Value::from("remove")),
            ("SDES", Value::texts(&OTHER_SUITES)),
        ]))?;
        let sdp = offered.text("sdp").context("no SDP")?;
        let (_, theirs, _) = read_answer(sdp);
        let suite = lane.profile.to_string();
        let crypto = sdp.lines().find_map(|line| line.strip_prefix("a=crypto:"));
        let (tag, rest) = crypto.and_then(|c| c.split_once(' ')).context("no key in the offer")?;
        ensure!(rest.starts_with(&suite), "it offers {rest}");
        // An answer repeats the tag of the line that it chose (RFC 4568 5.1.2).
        let sdp = offer(lane, "a=recvonly\r\n").replace("a=crypto:1 ", &format!("a=crypto:{tag} "));
        let to_tag = offered.text("to-tag").context("no tag of the subscriber")?;
        self.control.ask(Value::dict([
            ("command", Value::from("subscribe answer")),
            ("call-id", Rtpengine::call(room)),
            ("to-tag", Value::from(to_tag)),
            ("sdp", Value::Text(sdp)),
        ]))?;
        Ok(theirs)
    }

    fn cpu(&self) -> Result<CpuTime> {
        self.daemon.cpu()
    }

    fn complaint(&self) -> String {
        format!("rtpengine {}: {}", version().unwrap_or_default(), self.daemon.words())
    }
}
