//! Other programs of Roomlane: found beside this one or on PATH.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::args::Place;
use crate::exit::{Exit, Failure};

/// The data plane.
pub const DATAPLANE: &str = "roomlane-dataplane";
/// The control daemon.
pub const CONTROL: &str = "roomlane-control";
/// The dashboard.
pub const TOP: &str = "roomlane-top";

/// The tool that measures.
pub const PERF: &str = "roomlane-perf";

/// Where a program is: beside this one first, so that an installation is not mixed with another.
pub fn find(name: &OsStr) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(name)).collect::<Vec<_>>();
    beside.into_iter().chain(on_path).find(|file| is_program(file))
}

fn is_program(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Our version, then what the data plane says about its ports and drivers.
pub fn version() -> String {
    let mut text = format!("roomlane {}\n", env!("CARGO_PKG_VERSION"));
    let Some(program) = find(OsStr::new(DATAPLANE)) else {
        text += "roomlane-dataplane: not found beside this program or on PATH\n";
        return text;
    };
    match Command::new(&program).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => text += &String::from_utf8_lossy(&output.stdout),
        Ok(output) => text += &format!("{DATAPLANE}: {}\n", output.status),
        Err(error) => text += &format!("{DATAPLANE}: {error}\n"),
    }
    text
}

/// Becomes `roomlane-top`; returns only when that failed.
pub fn exec_top(place: &Place, rest: &[OsString]) -> Failure {
    let mut words: Vec<OsString> = vec![];
    if let Some(node) = &place.node {
        words.extend(["--node".into(), node.into()]);
    }
    if let Some(config) = &place.config {
        words.extend(["--config".into(), config.into()]);
    }
    words.extend(rest.iter().cloned());
    exec("top".as_ref(), &words)
}

/// Becomes `roomlane-perf`, which no package brings; returns only when that failed.
pub fn exec_perf(rest: &[OsString]) -> Failure {
    if find(OsStr::new(PERF)).is_none() {
        return Failure::new(
            Exit::NotFound,
            "roomlane-perf is neither beside this program nor on PATH; in the source tree: \
             cargo build --release -p roomlane-perf",
        );
    }
    exec("perf".as_ref(), rest)
}

/// Becomes `roomlane-X`; returns only when that failed.
pub fn exec_external(words: &[OsString]) -> Failure {
    match words.split_first() {
        Some((name, rest)) => exec(name, rest),
        None => Failure::usage("no command; see roomlane --help"),
    }
}

fn exec(name: &OsStr, rest: &[OsString]) -> Failure {
    let mut full = OsString::from("roomlane-");
    full.push(name);
    // A path in a command's name would run something that is no subcommand of ours.
    let plain =
        name.to_str().is_some_and(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    let Some(program) = find(&full).filter(|_| plain) else {
        return Failure::usage(format!(
            "no command {name:?}, and no program {full:?} beside this one or on PATH; see roomlane --help"
        ));
    };
    let error = Command::new(&program).args(rest).exec();
    Failure::new(Exit::Failed, format!("{}: {error}", program.display()))
}
