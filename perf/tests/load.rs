//! The tool itself: a real node under load in namespaces, and scenario files that it must refuse.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_peers::netns::{NetNs, run, skip};
use roomlane_peers::node::programs;
use serde_json::Value;

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rl-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary folder takes a folder");
        Folder(path)
    }

    /// Runs `load` on a scenario file with this text.
    fn load(&self, text: &str) -> Output {
        self.command(text).output().expect("it starts")
    }

    fn command(&self, text: &str) -> Command {
        let file = self.0.join("scenarios.toml");
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomlane-perf"));
        if let Some(programs) = programs() {
            command.env("ROOMLANE_BIN_DIR", programs);
        }
        command.args(["load", "--json", "--out"]).arg(self.0.join("out"));
        command.arg("--scenarios").arg(&file);
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether nodes and namespaces can be had here; says it where they cannot.
fn has_lab() -> bool {
    let namespace = NetNs::new().map_err(|why| skip(&format!("no namespace: {why}")));
    programs().is_some() && namespace.is_ok()
}

fn scenario(more: &str) -> String {
    format!(
        "[[scenario]]\nname = \"small\"\nrooms = 2\npublishers = 2\nsubscribers = 3\n\
         payload_bytes = 100\npackets_per_s = 100\nseconds = 1\nport = \"udp\"\n{more}"
    )
}

#[test]
fn a_scenario_file_with_an_unknown_key_is_refused_with_exit_code_3_and_says_why() {
    let folder = Folder::new("refused");
    let out = folder.load(&scenario("colour = \"blue\"\n"));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("colour") && said.contains("line 10"), "{said}");
    assert!(out.stdout.is_empty() && !folder.0.join("out").exists());
}

#[test]
fn every_copy_of_a_small_load_comes_once_and_is_opened_and_its_latency_is_written() {
    if !has_lab() {
        return;
    }
    let folder = Folder::new("small");
    let out = folder.load(&scenario("loss_percent_max = 0.0\n"));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(report["schema"], "roomlane.perf.load.v1");
    assert!(report["machine"]["commit"].is_string() && report["machine"]["noisy"].is_boolean());
    let figures = report["figures"].as_array().expect("figures");
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure["name"] == format!("small_{name}"));
        found.unwrap_or_else(|| panic!("no {name}: {report:#}"))
    };
    // Two rooms, two publishers, three subscribers of each, a hundred packets.
    let packets = &figure("loss_percent")["detail"]["packets"];
    for key in ["expected", "received", "verified"] {
        assert_eq!(packets[key], 1200, "{packets}");
    }
    assert_eq!((&figure("loss_percent")["met"], &figure("faulty_packets")["met"]), {
        (&Value::Bool(true), &Value::Bool(true))
    });
    assert!(figure("cpu_ns_per_packet")["value"].as_f64().expect("a number") > 0.0);
    assert_eq!(out.status.code(), Some(0), "{said}");
    let hgrm = std::fs::read_to_string(folder.0.join("out/small.hgrm")).expect("a histogram");
    assert!(hgrm.contains("Total count    =         1200"), "{hgrm}");
    let written = std::fs::read_to_string(folder.0.join("out/load.json")).expect("a report");
    assert_eq!(serde_json::from_str::<Value>(&written).expect("one object"), report);
}

#[test]
fn whoever_interrupts_or_kills_it_is_left_no_namespaces_and_no_folders() {
    if !has_lab() {
        return;
    }
    let folder = Folder::new("interrupted");
    let long = scenario("").replace("seconds = 1", "seconds = 60");
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut command = folder.command(&long);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let sends = said.by_ref().map_while(Result::ok).any(|line| line.starts_with("sent "));
        assert!(sends, "it ended without sending anything");
        let name = format!("rl-t{}-", child.id());
        let is_of_it = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&name))
        };
        let has_folder = || std::env::temp_dir().read_dir().expect("readable").any(is_of_it);
        let has_namespace = || run(&["ip", "netns", "list"]).expect("a list").contains(&name);
        let are_there = || (has_namespace(), has_folder());
        assert_eq!(are_there(), (true, true));
        kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
        assert_eq!(child.wait().expect("it ends").signal(), Some(signal as i32));
        if signal == Signal::SIGKILL {
            // Whoever makes the next ones removes them.
            assert_eq!(are_there(), (true, true));
            let next = folder.load(&scenario(""));
            assert!(next.status.success(), "{}", String::from_utf8_lossy(&next.stderr));
        }
        assert_eq!(are_there(), (false, false), "left after {signal}");
    }
}
