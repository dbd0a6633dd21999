//! An interpreter with libsrtp and aiortc, and a run of `srtp_peer.py` in it.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use roomlane_tests::netns::{NetNs, run, skip};
use serde_json::Value;

/// What pip installs.
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/requirements.txt");

/// The interpreter: `$ROOMLANE_PYTHON`, or one that is set up with `venv` and `pip` in the target
/// directory. `None`, said loudly, where it cannot be had; with `$ROOMLANE_REQUIRE_LIBSRTP` that
/// is a failure.
pub fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PYTHON.get_or_init(set_up) {
        Ok(python) => Some(python),
        Err(why) => {
            assert!(env::var_os("ROOMLANE_REQUIRE_LIBSRTP").is_none(), "no libsrtp: {why}");
            // pip tells a whole traceback; what went wrong is its last line.
            let last = why.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            skip(&format!("no libsrtp: {}", last.trim()));
            None
        }
    }
}

fn set_up() -> Result<PathBuf, String> {
    let has_it =
        |python: &Path| run(&[&python.to_string_lossy(), "-c", "import pylibsrtp, aiortc"]);
    if let Some(python) = env::var_os("ROOMLANE_PYTHON") {
        let python = PathBuf::from(python);
        return has_it(&python).map(|_| python);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers-venv");
    let python = venv.join("bin/python");
    if has_it(&python).is_err() {
        run(&["python3", "-m", "venv", &venv.to_string_lossy()])?;
        let python = python.to_string_lossy();
        run(&[&*python, "-m", "pip", "install", "--quiet", "--requirement", PACKAGES])?;
    }
    Ok(python)
}

/// Carries out a plan in `ns`; what the peers heard, a value for each room. The peers end by
/// themselves within a minute.
pub fn carry_out(python: &Path, ns: &NetNs, plan: &Value) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/interop/srtp_peer.py");
    let mut command = ns.command(python.as_os_str());
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut peers = command.spawn().expect("ip is there, or no namespace would be");
    let mut stdin = peers.stdin.take().expect("piped");
    stdin.write_all(plan.to_string().as_bytes()).expect("it reads its plan");
    drop(stdin);
    let out = peers.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "the peers ended with {}: {error}", out.status);
    let report: Value = serde_json::from_slice(&out.stdout).expect("one JSON object");
    report["rooms"].as_array().expect("a list").clone()
}
