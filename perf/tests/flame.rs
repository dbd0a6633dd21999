//! Flame graphs of the real program by the kernel's sampler: stages are in them by name, and whoever lacks something
//! is told what.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const PERF: &str = env!("CARGO_BIN_EXE_roomlane-perf");

/// Whether samples can be taken here; says why not.
fn can_sample() -> bool {
    let trial = Command::new("perf")
        .args(["record", "--quiet", "--event", "cpu-clock:u", "--output", "/dev/null", "true"])
        .output();
    match trial {
        Ok(trial) if trial.status.success() => true,
        Ok(trial) => {
            println!(
                "skipped: perf may not sample here: {}",
                String::from_utf8_lossy(&trial.stderr)
            );
            false
        }
        Err(error) => {
            println!("skipped: no perf here (package linux-perf): {error}");
            false
        }
    }
}

/// A file that is removed at the end.
struct Picture(PathBuf);

impl Picture {
    fn new(name: &str) -> Picture {
        let name = format!("roomlane-{}-{name}.svg", std::process::id());
        Picture(std::env::temp_dir().join(name))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("a picture")
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn flame(words: &[&str], out: &Picture) -> Output {
    let mut command = Command::new(PERF);
    command.args(["flame", "--out"]).arg(&out.0).args(words).output().expect("it runs")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_stages_of_a_packets_way_are_in_the_picture_by_name() {
    if !can_sample() {
        return;
    }
    let picture = Picture::new("own");
    // One subscriber, so that all stages take a share that is seen.
    let words = ["2", "--fanout", "1", "--frequency", "3989", "--json"];
    let told = succeeded(&flame(&words, &picture));
    let told: serde_json::Value = serde_json::from_str(&told).expect("one object");
    assert_eq!(told["schema"], "roomlane.perf.flame.v1");
    assert!(told["samples"].as_u64() > Some(500), "{told}");
    let text = picture.text();
    assert!(text.trim_end().ends_with("</svg>"), "a whole picture");
    for stage in ["lookup", "open", "route", "seal"] {
        assert!(text.contains(&format!("stage::{stage}::{stage}")), "no {stage} in the picture");
        assert!(told["stages"][stage].as_f64() > Some(0.0), "{told}");
    }
    // Stacks are whole: the loop that called the shard is below it.
    assert!(text.contains("Shard") && text.contains("::process"), "no shard in the picture");
}

/// A process that is ended with the test.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_runs_already_is_sampled_by_its_number() {
    if !can_sample() {
        return;
    }
    let busy = Command::new(PERF)
        .args(["ladder", "--seconds", "60"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let busy = Busy(busy.expect("it runs"));
    let pid = busy.0.id().to_string();
    let picture = Picture::new("other");
    let told = succeeded(&flame(&["1", "--pid", &pid], &picture));
    assert!(told.contains(" samples"), "{told}");
    assert!(picture.text().contains(&format!("process {pid}")));
}

#[test]
fn what_is_missing_is_told_with_the_next_command() {
    let picture = Picture::new("none");
    let mut command = Command::new(PERF);
    let without = command.args(["flame", "1", "--out"]).arg(&picture.0).env("PATH", "").output();
    let without = without.expect("it runs");
    let said = String::from_utf8_lossy(&without.stderr);
    assert_eq!(without.status.code(), Some(1), "{said}");
    assert!(said.contains("apt-get install linux-perf"), "{said}");
    // Above what Linux ever numbers.
    let nobody = flame(&["1", "--pid", "4194305"], &picture);
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(said.contains("no process 4194305"), "{said}");
    assert!(!picture.0.exists(), "no picture of nothing");
}
