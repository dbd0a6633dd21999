//! Another engine's daemon: a process in the node's namespace, its words in a file, ended when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use roomlane_peers::netns::{Lab, own_name};
use roomlane_peers::node::end;

use crate::load::cpu::CpuTime;
use crate::machine::stay_on;

/// How long it may take to come up, to answer, or to end.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Characters of its last words that an error repeats.
const WORDS_MAX: usize = 2000;

/// A running daemon.
pub struct Daemon {
    name: &'static str,
    child: Child,
    /// The daemon itself: `ip netns exec` becomes it.
    pid: i32,
    folder: PathBuf,
}

impl Daemon {
    /// Starts a program in the node's namespace. `arguments` may write files into the folder they are given,
    /// which is gone with the daemon.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn start(
        lab: &Lab,
        name: &'static str,
        arguments: impl FnOnce(&Path) -> Result<Vec<String>>,
    ) -> Result<Daemon> {
        let folder = std::env::temp_dir().join(own_name(name));
        std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let words = File::create(folder.join("words")).context("a file for its words")?;
        let mut command = lab.node.command(name.as_ref());
        command.args(arguments(&folder)?).stdin(Stdio::null());
        command.stdout(words.try_clone().context("a file for its words")?).stderr(words);
        let child = command.spawn().with_context(|| format!("ip netns exec {name}"))?;
        let pid = child.id() as i32;
        Ok(Daemon { name, child, pid, folder })
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until `is_up`, and keeps all its threads on `cpu` from then on.
    ///
    /// # Errors
    /// It has ended, with its last words, or takes too long.
    pub fn wait_until_up(&mut self, cpu: usize, mut is_up: impl FnMut() -> bool) -> Result<()> {
        let (began, name) = (Instant::now(), self.name);
        while !is_up() {
            if let Ok(Some(status)) = self.child.try_wait() {
                bail!("{name} ended by itself, {status}: {}", self.words());
            }
            ensure!(began.elapsed() < PATIENCE, "{name} does not answer: {}", self.words());
            std::thread::sleep(Duration::from_millis(20));
        }
        // Threads that it starts later inherit this.
        stay_on(cpu, &[self.pid])
    }

    /// CPU time of all its threads so far.
    ///
    /// # Errors
    /// It is gone.
    pub fn cpu(&self) -> Result<CpuTime> {
        CpuTime::of_process(self.pid)
    }

    /// What it said last.
    pub fn words(&self) -> String {
        let text = std::fs::read(self.folder.join("words")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let skipped = text.chars().count().saturating_sub(WORDS_MAX);
        text.chars().skip(skipped).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&mut self.child, PATIENCE);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
