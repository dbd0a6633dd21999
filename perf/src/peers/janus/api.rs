//! Janus' API over datagrams of a Unix socket: a JSON object each, requests and their answers named by a
//! `transaction`, events by the handle they are for.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::super::daemon::PATIENCE;

/// Its socket, in the daemon's folder, and ours.
const SOCKETS: (&str, &str) = ("janus.sock", "roomlane.sock");
/// The plugin that is an SFU.
const PLUGIN: &str = "janus.plugin.videoroom";

/// The configuration that makes Janus listen there.
pub fn listens(folder: &Path) -> String {
    let path = folder.join(SOCKETS.0);
    format!(
        "general: {{ enabled = true, json = \"compact\", type = \"SOCK_DGRAM\", path = \"{}\" }}\n",
        path.display()
    )
}

/// A client with one session.
pub struct Api {
    socket: UnixDatagram,
    session: u64,
    transactions: u32,
    /// What came while something else was waited for.
    kept: Vec<Value>,
}

/// What the plugin answered.
pub struct Reply {
    /// Its own data.
    pub data: Value,
    /// The session description that came with it.
    pub sdp: Option<String>,
}

impl Api {
    /// A client without a session yet.
    ///
    /// # Errors
    /// The host's, also while Janus does not listen.
    pub fn connect(folder: &Path) -> Result<Api> {
        let own = folder.join(SOCKETS.1);
        let _ = std::fs::remove_file(&own);
        let socket = UnixDatagram::bind(&own).context("a control socket")?;
        socket.connect(folder.join(SOCKETS.0)).context("Janus' control socket")?;
        let timeout = Some(Duration::from_millis(200));
        socket.set_read_timeout(timeout).context("a timeout")?;
        Ok(Api { socket, session: 0, transactions: 0, kept: vec![] })
    }

    /// Begins a session.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn begin(&mut self) -> Result<()> {
        let answer = self.ask(json!({ "janus": "create" }))?;
        self.session = answer["data"]["id"].as_u64().context("no number of the session")?;
        Ok(())
    }

    /// A new handle of the plugin.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub fn attach(&mut self) -> Result<u64> {
        let answer = self.ask(json!({ "janus": "attach", "plugin": PLUGIN }))?;
        answer["data"]["id"].as_u64().context("no number of the handle")
    }

    /// Asks the plugin and waits until it has done what was asked.
    ///
    /// # Errors
    /// No answer, or a refusal, with the plugin's words.
    pub fn message(&mut self, handle: u64, body: &Value, jsep: Option<Value>) -> Result<Reply> {
        let mut request = json!({ "janus": "message", "handle_id": handle, "body": body });
        if let Some(jsep) = jsep {
            request["jsep"] = jsep;
        }
        let answer = self.ask(request)?;
        let data = answer["plugindata"]["data"].clone();
        ensure!(data["error"].is_null(), "Janus refused {body}: {data}");
        Ok(Reply { data, sdp: answer["jsep"]["sdp"].as_str().map(str::to_owned) })
    }

    /// Waits until media can pass a handle's connection.
    ///
    /// # Errors
    /// It does not come up.
    pub fn wait_until_up(&mut self, handle: u64) -> Result<()> {
        let is_it = |said: &Value| said["janus"] == "webrtcup" && said["sender"] == handle;
        self.wait(is_it).map(drop).context("a connection does not come up")
    }

    fn ask(&mut self, mut request: Value) -> Result<Value> {
        self.transactions += 1;
        let transaction = self.transactions.to_string();
        request["transaction"] = transaction.as_str().into();
        if self.session != 0 {
            request["session_id"] = self.session.into();
        }
        let text = request.to_string();
        self.socket.send(text.as_bytes()).context("asking Janus")?;
        // What takes time is acknowledged first and answered by an event.
        let answer =
            self.wait(|said| said["transaction"] == transaction.as_str() && said["janus"] != "ack");
        let answer = answer.with_context(|| format!("no answer to {}", request["janus"]))?;
        ensure!(answer["janus"] != "error", "Janus refused: {}", answer["error"]);
        Ok(answer)
    }

    fn wait(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.kept.iter().position(&is_it) {
            return Ok(self.kept.swap_remove(at));
        }
        let (began, mut bytes) = (Instant::now(), vec![0; 65_536]);
        while began.elapsed() < PATIENCE {
            let Ok(len) = self.socket.recv(&mut bytes) else { continue };
            let said: Value = serde_json::from_slice(&bytes[..len]).context("what Janus says")?;
            if is_it(&said) {
                return Ok(said);
            }
            self.kept.push(said);
        }
        bail!("Janus says nothing of it")
    }
}
