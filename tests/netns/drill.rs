//! Drills on a real node with media: what they measure is what the peers saw, and what must not be drilled
//! is left alone.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Scene, Wire};
use serde_json::Value;

use crate::{carries, demo, scene, up};

const XDP: &str = "net_af_xdp0,iface=media0";
/// A drill that takes longer hangs.
const LONG: Duration = Duration::from_secs(90);

/// Runs a drill while media flows: its exit code and its report.
fn drill(
    scene: &mut Scene<impl Wire>,
    node: &Node,
    fault: &str,
    more: &[&str],
) -> (Option<i32>, Value) {
    let (config, report) = (node.config_file(), node.dir.join(format!("{fault}.md")));
    let text = |path: &PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (config, path) = (text(&config), text(&report));
    let words = ["drill", fault, "--yes", "--json", "--config", &config, "--report", &path];
    let mut command = node.command(&[&words, more].concat());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let ended = scene.flow(LONG, |_| !matches!(child.try_wait(), Ok(None)));
    assert!(ended, "the drill hangs\n{}", node.log());
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|why| panic!("{fault}: {why}: {said}\n{}", node.log()));
    eprintln!("{fault}: {found:#}");
    let page = std::fs::read_to_string(&report).expect("the report was written");
    let title = format!("# Drill {fault}: {}", found["verdict"].as_str().expect("a verdict"));
    assert_eq!(page.lines().next(), Some(title.as_str()));
    for secret in ["camera", "viewer", "demo", "198.18.7.", "2001:db8:7"] {
        let shown = format!("{page}{found}{said}");
        assert!(!shown.contains(secret), "{secret} is in the clear: {shown}");
    }
    let expected = match found["verdict"].as_str() {
        Some("held") => 0,
        Some("broken") => 1,
        _ => 124,
    };
    assert_eq!(output.status.code(), Some(expected), "{said}");
    (output.status.code(), found)
}

/// What was measured of a promise that begins so.
fn measured(report: &Value, promise: &str) -> f64 {
    let all = report["promises"].as_array().expect("a list");
    let starts = |one: &&Value| one["promise"].as_str().is_some_and(|t| t.starts_with(promise));
    let one = all.iter().find(starts).unwrap_or_else(|| panic!("no promise {promise}: {report}"));
    one["measured"].as_f64().unwrap_or_else(|| panic!("{promise} was not measured: {report}"))
}

/// Asserts that whatever is no matter of this host's speed was held.
fn held(report: &Value, timed: &[&str]) {
    for promise in report["promises"].as_array().expect("a list") {
        let text = promise["promise"].as_str().unwrap_or_default();
        let may_be_late = timed.iter().any(|timed| text.starts_with(timed));
        let verdict = promise["verdict"].as_str();
        let fine =
            matches!(verdict, None | Some("held")) || may_be_late && verdict == Some("broken");
        assert!(fine, "{promise}\n{report:#}");
    }
}

#[test]
fn killing_control_loses_no_packet_and_the_drill_says_so() {
    let Some((lab, node)) = up(&NodeConfig::port(XDP)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    scene.drain(Duration::from_millis(100));
    let (sent, got, pid) = (scene.cameras[0].sent, scene.got(0), node.pid("roomlane-control"));
    let (_, report) = drill(&mut scene, &node, "kill-control", &[]);
    scene.drain(Duration::from_millis(200));
    let lost = (scene.cameras[0].sent - sent) - (scene.got(0) - got);
    assert_eq!(lost, 0, "{}", node.all_drops());
    assert_eq!(measured(&report, "no packet is lost"), lost as f64);
    held(&report, &["control answers again", "control knows"]);
    assert!(measured(&report, "control answers again") > 0.0);
    assert_ne!(node.pid("roomlane-control"), pid, "it was killed");
    assert!(report["done"][0].as_str().is_some_and(|done| done.contains("roomlane up")));
    let audit = std::fs::read_to_string(node.dir.join("run/audit.jsonl")).expect("an audit file");
    assert!(audit.contains("\"act\":\"drill\"") && audit.contains("kill-control"), "{audit}");
}

#[test]
fn killing_the_data_plane_is_over_when_its_sessions_forward_again() {
    let Some((lab, node)) = up(&NodeConfig::port(XDP)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    let pid = node.pid("roomlane-dataplane");
    let (_, report) = drill(&mut scene, &node, "kill-dataplane", &[]);
    held(&report, &["sessions forward again", "every session is back"]);
    let forwards = measured(&report, "sessions forward again");
    let gap = report["figures"]["longest time without a packet sent (ms)"].as_f64();
    // Both are read from counters that are written every 100 ms.
    assert!(gap.is_some_and(|gap| gap > 50.0 && gap < forwards + 300.0), "{report:#}");
    assert_ne!(node.pid("roomlane-dataplane"), pid, "it was killed");
    carries(&mut scene, 50, &node);
}

fn link_down(device: &str) {
    let Some((lab, node)) = up(&NodeConfig::port(device)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    let (_, report) = drill(&mut scene, &node, "port-down", &["--hold", "3s"]);
    held(&report, &["packets flow after", "the node tells"]);
    let gap = report["figures"]["longest time without a packet sent (ms)"].as_f64();
    assert!(gap > Some(2500.0), "nothing was sent while the link was down: {report:#}");
    carries(&mut scene, 50, &node);
}

#[test]
fn a_dpdk_port_flows_again_after_its_link_was_down() {
    link_down(XDP);
}

#[test]
fn a_port_of_kernel_sockets_flows_again_with_its_addresses_after_its_link_was_down() {
    link_down("udp");
}

#[test]
fn a_full_disk_costs_no_packet_and_unwritten_acts_are_told() {
    let config = NodeConfig { disk_kib: Some(4096), ..NodeConfig::port(XDP) };
    let Some((lab, node)) = up(&config) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    let (_, report) = drill(&mut scene, &node, "disk-full", &["--hold", "2s"]);
    held(&report, &["control's slowest answer"]);
    assert_eq!(measured(&report, "an act that cannot be written"), 0.0, "it was full");
    assert_eq!(measured(&report, "the audit file's chain"), 0.0);
    let audit = node.disk().join("audit.jsonl");
    let audit = std::fs::read_to_string(audit).expect("an audit file");
    let written = audit.lines().filter(|line| line.contains("\"act\":\"drill\"")).count();
    assert!((2..80).contains(&written), "the first and the last, and some between: {audit}");
    let mib = report["done"][0].as_str().and_then(|done| done.split(' ').nth(1)?.parse().ok());
    assert!(mib.is_some_and(|mib: u32| mib < 4), "no disk but the node's own: {report:#}");
    carries(&mut scene, 20, &node);
}

#[test]
fn what_must_not_be_drilled_is_left_alone() {
    let Some((_lab, node)) = up(&NodeConfig::port("net_af_packet0,iface=media0")) else { return };
    let pids = || ["roomlane", "roomlane-control", "roomlane-dataplane"].map(|name| node.pid(name));
    let before = pids();
    let text = std::fs::read_to_string(node.config_file()).expect("a configuration");
    let production = node.dir.join("production.toml");
    let environment = "[node]\nenvironment = \"production\"\n";
    std::fs::write(&production, text.replace("[node]\n", environment)).expect("written");
    let (taken, production) =
        (node.dir.join("log"), production.to_str().expect("UTF-8").to_owned());
    let (taken, config) = (taken.to_str().expect("UTF-8"), node.config_file());
    let config = config.to_str().expect("UTF-8");
    let drill =
        |fault: &'static str, more: &[&str]| node.command(&[&["drill", fault][..], more].concat());
    let cases: [(Command, i32, &str); 4] = [
        (drill("kill-control", &["--yes", "--config", &production]), 7, "production"),
        (drill("kill-dataplane", &["--config", config]), 2, "--yes"),
        (drill("kill-control", &["--yes", "--report", taken]), 1, "File exists"),
        (drill("port-down", &["--yes", "--report", "/dev/shm/rl-none.md"]), 7, "--interface"),
    ];
    for (mut command, code, words) in cases {
        let output = command.stdin(Stdio::null()).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
        assert!(said.contains(words), "{command:?}: {said}");
    }
    // Nobody has no right to it, whatever the shell asks.
    let plain = drill("kill-control", &["--yes"]);
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]);
    nobody.arg(plain.get_program()).args(plain.get_args());
    let output = nobody.output().expect("setpriv is part of util-linux");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert_eq!(pids(), before, "everything runs");
    assert!(!PathBuf::from("/dev/shm/rl-none.md").exists(), "no report of nothing");
}

/// A command that ends by itself, while media flows; its exit code and words.
fn ended(scene: &mut Scene<impl Wire>, mut child: Child) -> (Option<i32>, String) {
    let ended = scene.flow(LONG, |_| !matches!(child.try_wait(), Ok(None)));
    assert!(ended, "it hangs");
    let output = child.wait_with_output().expect("it ended");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_drill_that_is_interrupted_mends_what_it_broke() {
    let Some((lab, node)) = up(&NodeConfig::port(XDP)) else { return };
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 20, &node);
    let (config, report) = (node.config_file(), node.dir.join("report.md"));
    let mut command = node.command(&["drill", "port-down", "--yes", "--hold", "10m"]);
    command.arg("--config").arg(config).arg("--report").arg(&report);
    let child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let link = || lab.node.ip("-br link show media0");
    let went_down = scene.flow(LONG, |_| link().contains("DOWN"));
    assert!(went_down, "{}", link());
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    kill(pid, Signal::SIGINT).expect("it is ours");
    let (code, said) = ended(&mut scene, child);
    assert_eq!(code, Some(130), "{said}");
    assert!(link().contains("UP"), "{}: {said}", link());
    assert!(!report.exists(), "no report of half a drill");
    carries(&mut scene, 50, &node);
}

/// Processes that nobody supervises, ended with the test.
struct Orphans<'a>(&'a Node);

impl Drop for Orphans<'_> {
    fn drop(&mut self) {
        let out = self.0.roomlane(&["show", "version", "--json"]);
        let shown: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        for part in shown["versions"].as_array().into_iter().flatten() {
            let pid = part["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
            if let Some(pid) = pid {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

#[test]
fn without_a_supervisor_the_restart_command_is_run_and_without_one_the_drill_gives_up() {
    let Some((lab, node)) = up(&NodeConfig::port(XDP)) else { return };
    let _orphans = Orphans(&node);
    let mut scene = scene(&lab, &node);
    demo(&mut scene);
    carries(&mut scene, 50, &node);
    node.kill("roomlane");
    let programs = roomlane_tests::node::programs().expect("they run");
    let restart = format!(
        "exec ip netns exec {} {}/roomlane-control --config {} 2>{}/control.log",
        lab.node.name,
        programs.display(),
        node.config_file().display(),
        node.dir.display()
    );
    let more = ["--restart-command", &restart];
    let (_, report) = drill(&mut scene, &node, "kill-control", &more);
    held(&report, &["control answers again", "control knows"]);
    let done = report["done"].to_string();
    assert!(done.contains("by nobody") && done.contains("ran the restart command"), "{done}");
    // Again, and nobody does anything.
    std::fs::remove_file(node.dir.join("kill-control.md")).expect("it is there");
    let (code, report) = drill(&mut scene, &node, "kill-control", &["--timeout", "1s"]);
    assert_eq!((code, &report["verdict"]), (Some(124), &Value::from("timed out")), "{report:#}");
    assert_eq!(measured(&report, "no packet is lost"), 0.0, "media goes on all the same");
}
