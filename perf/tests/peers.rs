//! Other engines under the tool: Debian's own daemons forward what its generator sends.

use std::process::Command;

use roomlane_peers::netns::{NetNs, skip};
use serde_json::Value;

/// So many packets in the second that is measured, for each of 50 subscribers: hardly any load.
const PACKETS: u64 = 20;

#[test]
fn rtpengine_janus_and_the_floor_forward_every_packet_to_everybody() {
    if let Err(why) = NetNs::new() {
        return skip(&format!("no namespace: {why}"));
    }
    for program in ["rtpengine", "janus"] {
        if Command::new(program).arg("--help").output().is_err() {
            return skip(&format!("no {program} here: perf/peers/install has it"));
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomlane-perf"));
    command.args(["peers", "--json", "--rounds", "1", "--seconds", "1", "--payload", "160"]);
    let out = command.args(["--pps", &PACKETS.to_string(), "--without", "roomlane"]).output();
    let out = out.expect("it starts");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(report["schema"], "roomlane.perf.peers.v1");
    assert!(!said.contains(" lost"), "{said}");
    let figures = report["figures"].as_array().expect("figures");
    for engine in ["rtpengine", "janus", "floor"] {
        let name = format!("{engine}_payload_160_cpu_ns");
        let figure = figures.iter().find(|figure| figure["name"] == name.as_str());
        let figure = figure.unwrap_or_else(|| panic!("no {name}: {said}\n{report:#}"));
        let ran = figure["detail"]["runs_ns"].as_array().expect("its runs");
        assert!(ran.len() == 1 && ran[0].as_f64() > Some(0.0), "{figure}");
    }
    // Who is left out has no figures, and nothing is a share of them.
    assert!(figures.iter().all(|figure| !figure["name"].as_str().unwrap().contains("roomlane")));
    let shares: Vec<_> = figures.iter().filter(|figure| figure["unit"] == "x").collect();
    assert_eq!(shares.len(), 2, "{report:#}");
}
