//! Janus as an engine: Debian's daemon with its VideoRoom plugin. Everybody comes as a browser does, by ICE
//! and DTLS, with AEAD_AES_128_GCM as the only profile. perf/peers/README.md says what it does per packet.

mod api;

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dtls::Identity;
use proto::KeyMaterial;
use roomlane_peers::netns::Lab;
use roomlane_peers::sdes::{Answer, sends};
use roomlane_peers::webrtc::{Browser, identity};
use serde_json::{Value, json};

use super::daemon::{Daemon, PATIENCE};
use crate::joins::peer::Line;
use crate::load::cpu::CpuTime;
use crate::load::fleet::{Engine, Lane};
use api::Api;

/// The program.
const PROGRAM: &str = "janus";
/// Everything that it offers and nobody here wants: plugins, transports, loggers.
const WITHOUT: [(&str, &[&str]); 3] = [
    (
        "plugins",
        &[
            "audiobridge",
            "duktape",
            "echotest",
            "lua",
            "nosip",
            "recordplay",
            "sip",
            "streaming",
            "textroom",
            "videocall",
            "voicemail",
        ],
    ),
    ("transports", &["http", "mqtt", "nanomsg", "rabbitmq", "websockets"]),
    ("loggers", &["jsonlog"]),
];

/// How often it is started before it counts as broken, and what it says when it lost its own race.
const STARTS_MAX: u32 = 10;
const NOT_READY: &str = "No Janus API transport is available";

/// Its version, as it tells it; `None` where it is not installed.
pub fn version() -> Option<String> {
    let out = Command::new(PROGRAM).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // "Janus version: 1102 (1.1.2)".
    let (_, rest) = text.lines().next()?.split_once('(')?;
    Some(rest.trim_end_matches(')').to_owned())
}

/// Where an endpoint sends, what it seals with, and what comes to it is sealed with.
type Meeting = (SocketAddr, KeyMaterial, KeyMaterial);

/// A running daemon with one session.
pub struct Janus {
    daemon: Daemon,
    api: Api,
    own: Identity,
    /// A handle that makes rooms.
    host: u64,
    rooms: Vec<u32>,
    /// Its numbers of our publishers.
    feeds: HashMap<u32, u64>,
}

impl Janus {
    /// Starts one in the node's namespace, all its threads on `cpu` alone.
    ///
    /// # Errors
    /// It is not installed, or does not come up.
    pub fn start(lab: &Lab, cpu: usize) -> Result<Janus> {
        let mut started = Janus::start_once(lab, cpu);
        // The thread that listens may look before the plugin says that it is ready, and ends then, and with it
        // the daemon: a race of its own, seen once in about five starts on a busy host.
        for _ in 1..STARTS_MAX {
            match &started {
                Err(why) if format!("{why:#}").contains(NOT_READY) => {}
                _ => break,
            }
            started = Janus::start_once(lab, cpu);
        }
        started
    }

    fn start_once(lab: &Lab, cpu: usize) -> Result<Janus> {
        let mut daemon = Daemon::start(lab, PROGRAM, configure)?;
        let (folder, mut up) = (daemon.folder().to_owned(), None);
        daemon.wait_until_up(cpu, || {
            up = Api::connect(&folder).and_then(|mut api| api.begin().map(|()| api)).ok();
            up.is_some()
        })?;
        let mut api = up.context("it is up")?;
        let host = api.attach()?;
        Ok(Janus { daemon, api, own: identity(), host, rooms: vec![], feeds: HashMap::new() })
    }

    fn room(&mut self, room: u32) -> Result<u32> {
        // It knows no room 0.
        let number = room + 1;
        if !self.rooms.contains(&number) {
            let body = json!({
                "request": "create", "room": number, "publishers": 100, "audiocodec": "opus",
                "audiolevel_ext": false, "transport_wide_cc_ext": false, "opus_fec": false,
            });
            self.api.message(self.host, &body, None)?;
            self.rooms.push(number);
        }
        Ok(number)
    }

    /// Our description of an endpoint: we are the client of the handshake, whatever Janus prefers.
    fn description(&self, lane: &Lane, lines: &str) -> String {
        let (ip, port) = (lane.local.ip(), lane.local.port());
        let lines = format!("{lines}a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n");
        Browser::offer(&self.own, &lines).replace("a=setup:actpass", "a=setup:active")
    }

    /// ICE and DTLS of an endpoint, told where by Janus' description.
    fn meet(&mut self, handle: u64, lane: &Lane, sdp: String) -> Result<Meeting> {
        let answer = Answer { status: 201, location: String::new(), body: sdp };
        let profiles = [dtls::Profile::AeadAes128Gcm];
        let mut browser = Browser::with_profiles(&answer, lane.local, &self.own, &profiles);
        let socket = UdpSocket::bind(lane.local).context("an endpoint")?;
        socket.set_read_timeout(Some(Duration::from_millis(5))).context("a timeout")?;
        let (began, mut bytes) = (Instant::now(), [0; 2048]);
        let (profile, ours, theirs) = loop {
            // It calls itself lite, but takes DTLS only once its own check was answered.
            browser.is_checked &= browser.was_asked;
            browser.turn(&mut Line(&socket), false);
            if let Some(keys) = browser.srtp() {
                break keys;
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "no handshake with Janus (a check was answered: {}): {}",
                browser.is_checked,
                self.daemon.words()
            );
            if let Ok(len) = socket.recv(&mut bytes) {
                let _ = browser.take(&bytes[..len]);
            }
        };
        ensure!(profile == lane.profile, "Janus chose {profile}");
        self.api.wait_until_up(handle)?;
        Ok((browser.remote, ours, theirs))
    }
}

/// Writes its configuration: one event loop for all, as the others have one worker.
fn configure(folder: &Path) -> Result<Vec<String>> {
    let mut text = "general: { debug_level = 2, session_timeout = 0, event_loops = 1 }\n\
         media: { ipv6 = false }\nnat: { ice_lite = true }\n"
        .to_owned();
    for (kind, names) in WITHOUT {
        let files: Vec<_> = names.iter().map(|name| format!("libjanus_{name}.so")).collect();
        text += &format!("{kind}: {{ disable = \"{}\" }}\n", files.join(","));
    }
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    write("janus.jcfg", &text)?;
    write("janus.transport.pfunix.jcfg", &api::listens(folder))?;
    write("janus.plugin.videoroom.jcfg", "general: { events = false }\n")?;
    Ok(vec![format!("--configs-folder={}", folder.display()), "--disable-colors".to_owned()])
}

fn jsep(kind: &str, sdp: &str) -> Option<Value> {
    Some(json!({ "type": kind, "sdp": sdp }))
}

impl Engine for Janus {
    fn publish(
        &mut self,
        room: u32,
        number: u32,
        lane: &Lane,
    ) -> Result<(SocketAddr, KeyMaterial)> {
        let (room, handle) = (self.room(room)?, self.api.attach()?);
        let lines = sends(lane.ssrc);
        let offer = self.description(lane, &lines);
        let body = json!({ "request": "joinandconfigure", "ptype": "publisher", "room": room });
        let reply = self.api.message(handle, &body, jsep("offer", &offer))?;
        let feed = reply.data["id"].as_u64().context("no number of the publisher")?;
        self.feeds.insert(number, feed);
        let sdp = reply.sdp.context("no answer to our offer")?;
        let (remote, ours, _) = self.meet(handle, lane, sdp)?;
        Ok((remote, ours))
    }

    fn subscribe(&mut self, room: u32, publisher: u32, lane: &Lane) -> Result<KeyMaterial> {
        let (room, handle) = (self.room(room)?, self.api.attach()?);
        let feed = self.feeds.get(&publisher).context("the publisher comes first")?;
        let streams = json!([{ "feed": feed }]);
        let body = json!({
            "request": "join", "ptype": "subscriber", "room": room, "streams": streams,
        });
        let sdp = self.api.message(handle, &body, None)?.sdp.context("no offer")?;
        let answer = self.description(lane, "a=recvonly\r\n");
        let start = json!({ "request": "start" });
        self.api.message(handle, &start, jsep("answer", &answer))?;
        let (_, _, theirs) = self.meet(handle, lane, sdp)?;
        Ok(theirs)
    }

    fn cpu(&self) -> Result<CpuTime> {
        self.daemon.cpu()
    }

    fn complaint(&self) -> String {
        format!("janus {}: {}", version().unwrap_or_default(), self.daemon.words())
    }
}
