//! Members of rooms made by one library, several in one process, and the programs that are such.
//!
//! A program reads a JSON object a line and answers each with one:
//! `{"do": "join", "name", "role": "publish" | "view", "mark", "opus"}` with `{"offer"}`,
//! `{"do": "answer", "name", "sdp"}` with `{}`, and `{"do": "look"}` with `{"members": {name: ..}}`. It ends
//! when its input ends. A member tells `state`, decoded `frames` and how many `moved`, their `cb`, decoded
//! `seconds` of sound and its `hz`, and, where its library knows them, `lost` packets and the SRTP
//! `profile`; the program tells how many packets it `refused` to open.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::NetNs;
use serde_json::{Value, json};

use crate::media::Clip;

/// Which way a member's media goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To the node.
    Publish,
    /// From it.
    View,
}

impl Role {
    /// The first segment of the path that it joins at.
    pub fn verb(self) -> &'static str {
        match self {
            Role::Publish => "whip",
            Role::View => "whep",
        }
    }
}

/// Members made by one library.
pub trait Members {
    /// Makes one; its offer.
    fn join(&mut self, name: &str, role: Role, clip: &Clip) -> String;
    /// Gives it the node's answer.
    fn answer(&mut self, name: &str, sdp: &str);
    /// What they tell; see the head of this file.
    fn look(&mut self) -> Value;
}

/// A running program.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
}

/// Where the programs are.
pub fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/clients").join(name)
}

impl Program {
    /// Starts `words` in `ns`; what it complains about goes to a file called `name` in `dir`.
    pub fn start(ns: &NetNs, name: &str, words: &[&str], dir: &Path) -> Program {
        let errors = dir.join(name);
        let mut command = ns.command(words[0].as_ref());
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(File::create(&errors).expect("the node's folder takes a file"));
        let mut child = command.spawn().expect("ip is there, or no namespace would be");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stdin = child.stdin.take();
        Program { child, stdin, lines, errors }
    }

    fn ask(&mut self, order: &Value) -> Value {
        let stdin = self.stdin.as_mut().expect("open while it lives");
        let answer = writeln!(stdin, "{order}").ok().and_then(|()| self.lines.next());
        let errors = || std::fs::read_to_string(&self.errors).unwrap_or_default();
        let answer = answer.unwrap_or_else(|| panic!("{order}: it ended\n{}", errors()));
        let answer = answer.expect("text");
        serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{why}: {answer}\n{}", errors()))
    }
}

impl Members for Program {
    fn join(&mut self, name: &str, role: Role, clip: &Clip) -> String {
        let role = if role == Role::Publish { "publish" } else { "view" };
        let opus: Vec<_> = clip.opus.iter().map(|packet| STANDARD.encode(packet)).collect();
        let order =
            json!({"do": "join", "name": name, "role": role, "mark": clip.mark, "opus": opus});
        self.ask(&order)["offer"].as_str().expect("an offer").to_owned()
    }

    fn answer(&mut self, name: &str, sdp: &str) {
        self.ask(&json!({"do": "answer", "name": name, "sdp": sdp}));
    }

    fn look(&mut self) -> Value {
        self.ask(&json!({"do": "look"}))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) {
            if std::time::Instant::now() > deadline {
                let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
                let _ = self.child.wait();
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if std::thread::panicking() {
            let errors = std::fs::read_to_string(&self.errors).unwrap_or_default();
            eprintln!("--- {}:\n{errors}", self.errors.display());
        }
    }
}
