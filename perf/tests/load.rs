//! The tool itself: a real node under load in namespaces, and scenario files that it must refuse.

use std::path::PathBuf;
use std::process::{Command, Output};

use roomlane_peers::netns::{NetNs, skip};
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
        let file = self.0.join("scenarios.toml");
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomlane-perf"));
        if let Some(programs) = programs() {
            command.env("ROOMLANE_BIN_DIR", programs);
        }
        command.args(["load", "--json", "--out"]).arg(self.0.join("out"));
        command.arg("--scenarios").arg(&file).output().expect("it starts")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
    if programs().is_none() {
        return;
    }
    if let Err(why) = NetNs::new() {
        return skip(&format!("no namespace: {why}"));
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
