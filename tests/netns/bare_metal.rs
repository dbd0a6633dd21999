//! docs/bare-metal.md as somebody would follow it: its `sh run` blocks in order, in a namespace of their own;
//! its configurations and units are valid.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roomlane_tests::netns::{NetNs, skip};
use roomlane_tests::node::programs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bare-metal.md");
/// All blocks together take half a minute.
const LONG: Duration = Duration::from_secs(180);

/// The blocks of one class, with the line that each begins on.
fn blocks(class: &str) -> Vec<(usize, String)> {
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let mut blocks: Vec<(usize, String)> = vec![];
    let mut inside: Option<bool> = None;
    for (at, line) in page.lines().enumerate() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(info)) => {
                inside = Some(info == class);
                if info == class {
                    blocks.push((at + 2, String::new()));
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some(true), None) => {
                let (_, block) = blocks.last_mut().expect("one was begun");
                *block += &format!("{line}\n");
            }
            _ => {}
        }
    }
    blocks
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rl-metal-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder takes a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_block_that_can_run_does_in_order() {
    let Some(programs) = programs() else { return };
    if Command::new("gst-launch-1.0").arg("--version").stdout(Stdio::null()).status().is_err() {
        return skip("no gst-launch-1.0: scripts/install demo");
    }
    let ns = match NetNs::new() {
        Ok(ns) => ns,
        Err(why) => return skip(&why),
    };
    let blocks = blocks("sh run");
    assert!(blocks.len() >= 4, "only {} blocks", blocks.len());
    let folder = Folder::new("run");
    // One shell for all: a variable or a folder of one block is there in the next. What it started in the
    // background goes with it.
    let mut script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n".to_owned();
    for (line, block) in &blocks {
        script += &format!("echo \"--- line {line}\"\n{block}");
    }
    script += "echo '--- all of them'\n";
    std::fs::write(folder.0.join("script"), script).expect("written");
    let path = std::env::var("PATH").unwrap_or_default();
    let log = std::fs::File::create(folder.0.join("log")).expect("a log");
    let mut command = ns.command("bash".as_ref());
    command.arg("script").current_dir(&folder.0).stdin(Stdio::null());
    command.env("PATH", format!("{}:{path}", programs.display()));
    command.stdout(log.try_clone().expect("a log")).stderr(log);
    let mut child = command.spawn().expect("ip is there");
    let deadline = Instant::now() + LONG;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = std::fs::read_to_string(folder.0.join("log")).unwrap_or_default();
    let fine = status.is_some_and(|status| status.success()) && said.ends_with("--- all of them\n");
    assert!(fine, "{status:?}\n{said}");
    // The viewer's last line has what it got.
    let got = said.lines().rfind(|line| line.starts_with('{') && line.contains("packets"));
    eprintln!("the viewer: {got:?}");
    assert!(got.is_some(), "the viewer told nothing\n{said}");
}

#[test]
fn every_configuration_is_one() {
    let Some(programs) = programs() else { return };
    let folder = Folder::new("config");
    let blocks = blocks("toml config");
    assert!(!blocks.is_empty());
    let check = |text: &str| {
        let file = folder.0.join("node.toml");
        std::fs::write(&file, text).expect("written");
        let mut command = Command::new(programs.join("roomlane"));
        let output = command.args(["config", "check", "--no-secrets"]).arg(&file).output();
        let output = output.expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for (line, block) in blocks {
        let (fine, said) = check(&block);
        assert!(fine, "line {line}: {said}");
        let (fine, _) = check(&block.replace("[port]", "[prot]"));
        assert!(!fine, "a mistake in it would be told");
    }
}

#[test]
fn every_unit_is_one() {
    let folder = Folder::new("unit");
    let blocks = blocks("ini unit");
    assert!(!blocks.is_empty());
    let verify = |path: &Path| {
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(path).output();
        output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (line, block) in blocks {
        let file = folder.0.join(format!("roomlane-line{line}.service"));
        // The programs are not installed here; any will do for the parser.
        std::fs::write(&file, block.replace("/usr/bin/roomlane ", "/bin/true ")).expect("written");
        let Ok(said) = verify(&file) else { return skip("no systemd-analyze") };
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let about: Vec<&str> = said.lines().filter(|said| said.contains(&name)).collect();
        assert!(about.is_empty(), "line {line}: {about:#?}");
        let broken = block.replace("[Service]", "[Service]\nType=sometimes");
        std::fs::write(&file, broken).expect("written");
        let said = verify(&file).expect("it was there a moment ago");
        assert!(said.contains(&name), "a mistake in it would be told: {said}");
    }
}
