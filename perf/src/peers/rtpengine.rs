//! rtpengine as an engine: Debian's daemon in user space, told by its `ng` protocol to publish and to
//! subscribe with SDES keys of AEAD_AES_128_GCM. perf/peers/README.md says what it does per packet.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proto::KeyMaterial;
use roomlane_peers::netns::{Lab, NODE_IP};
use roomlane_peers::sdes::read_answer;
use srtp::Profile;

use super::bencode::Value;
use crate::load::cpu::CpuTime;
use crate::load::fleet::{Engine, Lane};
use crate::load::roomlane::offer;
use crate::machine::stay_on;

/// The program.
const PROGRAM: &str = "rtpengine";
/// Where it is told what to do: on the loopback of its own namespace.
const NG: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 22_222);
/// How long it may take to come up, or to answer.
const PATIENCE: Duration = Duration::from_secs(5);
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

/// A running daemon; it is ended when this is dropped.
pub struct Rtpengine {
    child: Child,
    /// The daemon itself: `ip netns exec` becomes it.
    pid: i32,
    control: UdpSocket,
    cookies: u32,
}

impl Rtpengine {
    /// Starts one in the node's namespace, all its threads on `cpu` alone.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(lab: &Lab, cpu: usize) -> Result<Rtpengine> {
        let mut command = lab.node.command(PROGRAM.as_ref());
        command
            .args(["--config-file=none", "--table=-1", "--foreground", "--log-stderr"])
            .args(["--log-level=3", "--num-threads=1", "--timeout=600", "--silent-timeout=3600"])
            .arg(format!("--interface={NODE_IP}"))
            .arg(format!("--listen-ng={NG}"))
            .args(["--port-min=30000", "--port-max=40000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().context("ip netns exec rtpengine")?;
        let control = lab.node.within(|| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a control socket")?;
            socket.set_read_timeout(Some(Duration::from_millis(200))).context("a timeout")?;
            Ok(socket)
        })?;
        let pid = child.id() as i32;
        let mut engine = Rtpengine { child, pid, control, cookies: 0 };
        let began = Instant::now();
        while engine.ask(Value::dict([("command", Value::from("ping"))])).is_err() {
            if let Ok(Some(status)) = engine.child.try_wait() {
                let mut words = String::new();
                if let Some(mut text) = engine.child.stderr.take() {
                    let _ = text.read_to_string(&mut words);
                }
                bail!("rtpengine ended by itself, {status}: {words}");
            }
            ensure!(began.elapsed() < PATIENCE, "rtpengine does not answer on {NG}");
        }
        stay_on(cpu, &[engine.pid])?;
        Ok(engine)
    }

    /// One request and its answer, which says `ok` or `pong`.
    fn ask(&mut self, request: Value) -> Result<Value> {
        self.cookies += 1;
        let cookie = format!("{}_{} ", std::process::id(), self.cookies);
        let mut text = cookie.clone();
        request.write(&mut text);
        let began = Instant::now();
        let mut bytes = vec![0; 65_536];
        // A repeated cookie gets the same answer again, so asking twice does no harm.
        while began.elapsed() < PATIENCE {
            self.control.send_to(text.as_bytes(), NG).context("asking rtpengine")?;
            let Ok(len) = self.control.recv(&mut bytes) else {
                if began.elapsed() > Duration::from_secs(1) && self.cookies == 1 {
                    break;
                }
                continue;
            };
            let answer = String::from_utf8_lossy(&bytes[..len]);
            let Some(answer) = answer.strip_prefix(&cookie).and_then(Value::read) else { continue };
            return match answer.text("result") {
                Some("ok" | "pong") => Ok(answer),
                _ => bail!("rtpengine refused: {answer:?}"),
            };
        }
        bail!("rtpengine did not answer")
    }

    fn call(room: u32) -> Value {
        Value::Text(format!("room{room}"))
    }
}

impl Engine for Rtpengine {
    fn publish(&mut self, room: u32, _: u32, lane: &Lane) -> Result<SocketAddr> {
        ensure!(lane.profile == Profile::AeadAes128Gcm, "rtpengine is set up for GCM-128 alone");
        let lines = format!("a=sendonly\r\na=ssrc:{} cname:x\r\n", lane.ssrc);
        let answer = self.ask(Value::dict([
            ("command", Value::from("publish")),
            ("call-id", Rtpengine::call(room)),
            ("from-tag", Value::from("pub")),
            ("sdp", Value::Text(offer(lane, &lines))),
            ("codec", Value::dict([("accept", Value::texts(&["any"]))])),
            ("ICE", Value::from("remove")),
            ("rtcp-mux", Value::texts(&["accept"])),
        ]))?;
        let (remote, _, _) = read_answer(answer.text("sdp").context("no SDP")?);
        Ok(remote)
    }

    fn subscribe(&mut self, room: u32, _: u32, lane: &Lane) -> Result<KeyMaterial> {
        let offered = self.ask(Value::dict([
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
        self.ask(Value::dict([
            ("command", Value::from("subscribe answer")),
            ("call-id", Rtpengine::call(room)),
            ("to-tag", Value::from(to_tag)),
            ("sdp", Value::Text(sdp)),
        ]))?;
        Ok(theirs)
    }

    fn cpu(&self) -> Result<CpuTime> {
        CpuTime::of_process(self.pid)
    }

    fn complaint(&self) -> String {
        format!("rtpengine {}", version().unwrap_or_default())
    }
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
