//! Roomlane as the engine under load: the real programs, joined over HTTP with SDES keys.

use std::net::SocketAddr;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto::KeyMaterial;
use roomlane_peers::netns::{Lab, NODE_IP};
use roomlane_peers::node::{Node, NodeConfig};
use roomlane_peers::sdes::{Api, Tokens, read_answer, sends};

use super::cpu::CpuTime;
use super::fleet::{Engine, Lane};
use crate::machine::stay_on;

/// A node of our own.
pub struct Roomlane {
    node: Node,
    api: Api,
    data_plane: i32,
}

impl Roomlane {
    /// Starts one with that port, its data plane on `cpu` alone.
    ///
    /// # Errors
    /// The programs are missing, or the node's own words.
    pub fn start(lab: &Lab, port: &str, poll: &str, cpu: usize) -> Result<Roomlane> {
        let config = NodeConfig {
            workers: format!("poll = \"{poll}\"\n"),
            more: "[limits]\nsource_joins_per_s = 1000000\nsession_timeout_s = 3600\n".to_owned(),
            ..NodeConfig::port(port)
        };
        let node = Node::start(&lab.node, &config).context(
            "the programs are not built: cargo build --release --bins -p roomlane-node \
             -p roomlane-daemon -p roomlane-cli",
        )?;
        let node = node.map_err(|why| anyhow!("the node did not start on {port}: {why}"))?;
        let pid = |name| node.pid(name).with_context(|| format!("{name} does not run"));
        let data_plane = pid("roomlane-dataplane")?;
        stay_on(cpu, &[data_plane])?;
        let api = node.api();
        Ok(Roomlane { node, api, data_plane })
    }

    /// Resident bytes of the data plane.
    ///
    /// # Errors
    /// It is gone.
    pub fn rss_bytes(&self) -> Result<u64> {
        crate::machine::rss_bytes_of(self.data_plane)
    }

    fn join(&self, verb: &str, query: &str, tokens: &Tokens, offer: &str) -> Result<String> {
        let path = self.api.path(verb, &tokens.room) + query;
        let answer = self.api.request("POST", &path, &self.api.bearer(tokens), offer);
        ensure!(answer.status == 201, "{verb} of {}: {}", tokens.user, answer.body);
        Ok(answer.body)
    }
}

/// An offer of one Opus section from an endpoint with a key.
pub fn offer(lane: &Lane, lines: &str) -> String {
    let (ip, port, suite) = (lane.local.ip(), lane.local.port(), lane.profile);
    let key = STANDARD.encode(&*lane.key.bytes);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 111\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-mux\r\n\
         a=crypto:1 {suite} inline:{key}\r\n{lines}"
    )
}

impl Engine for Roomlane {
    fn publish(
        &mut self,
        room: u32,
        number: u32,
        lane: &Lane,
    ) -> Result<(SocketAddr, KeyMaterial)> {
        let tokens = Tokens::new(&format!("room{room}"), &format!("pub{number}"));
        let lines = sends(lane.ssrc);
        let answer = self.join("whip", "", &tokens, &offer(lane, &lines))?;
        let (remote, _, _) = read_answer(&answer);
        ensure!(remote.ip().to_string() == NODE_IP, "an answer from elsewhere: {remote}");
        Ok((remote, lane.key))
    }

    fn subscribe(&mut self, room: u32, publisher: u32, lane: &Lane) -> Result<KeyMaterial> {
        let tokens = Tokens::new(&format!("room{room}"), &format!("sub{}", lane.number));
        let query = format!("?publisher=pub{publisher}");
        let answer = self.join("whep", &query, &tokens, &offer(lane, "a=recvonly\r\n"))?;
        let (_, theirs, _) = read_answer(&answer);
        Ok(theirs)
    }

    fn cpu(&self) -> Result<CpuTime> {
        CpuTime::of_process(self.data_plane)
    }

    fn complaint(&self) -> String {
        self.node.all_drops()
    }
}
