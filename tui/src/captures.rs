//! Captures that are started on the dashboard: `roomlane capture`, the program beside this one, asks control and
//! writes the file, for as long and as many packets as it does by itself. It goes on when the dashboard ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// Those that go on.
pub struct Captures {
    run_dir: PathBuf,
    running: Vec<(String, Child)>,
}

impl Captures {
    /// Of the node whose sockets lie in this folder.
    pub fn of(run_dir: &Path) -> Captures {
        Captures { run_dir: run_dir.to_owned(), running: vec![] }
    }

    /// Starts one of a session, into a file of the present folder; what came of it, in a line.
    pub fn start(&mut self, session: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let file = format!("roomlane-{session}-{now}.pcapng");
        let here = std::env::current_exe().map(|path| path.with_file_name("roomlane"));
        let program = here.ok().filter(|path| path.exists()).unwrap_or_else(|| "roomlane".into());
        let mut command = Command::new(program);
        command.args(["capture", "start", "--session", session, "--out", &file, "--node"]);
        command.arg(&self.run_dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => {
                let told = format!("capturing {session} to {file}");
                self.running.push((file, child));
                told
            }
            Err(error) => format!("roomlane capture: {error}"),
        }
    }

    /// Those that have ended since the last call, a line each.
    pub fn ended(&mut self) -> Vec<String> {
        let mut told = vec![];
        self.running.retain_mut(|(file, child)| match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) if status.success() => {
                told.push(format!("captured: {file}"));
                false
            }
            ended => {
                let code = ended.ok().flatten().and_then(|status| status.code());
                told.push(format!("{file} not captured: {}", why(code)));
                false
            }
        });
        told
    }
}

/// What the exit codes of `roomlane` say of a capture.
fn why(code: Option<i32>) -> &'static str {
    match code {
        Some(4) => "control is not there",
        Some(5) => "this needs root or the group roomlane-admin",
        Some(6) => "the member is gone",
        Some(7) => "control refuses it just now",
        _ => "roomlane capture start says why",
    }
}
