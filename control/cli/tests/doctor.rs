//! `roomlane doctor` on this host, and its script of fixes.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn doctor(more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomlane"));
    command.arg("doctor").args(more).stdin(Stdio::null());
    command.output().expect("it starts")
}

#[test]
fn every_command_of_the_script_is_one_and_acts_of_a_person_are_comments() {
    let out = doctor(&["--json"]);
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(told["schema"], "roomlane.doctor.v1");
    let checks = told["checks"].as_array().expect("a list");
    // What every host has an answer to, whatever it is.
    for name in [
        "programs",
        "cores",
        "isolation",
        "interrupts",
        "transparent hugepages",
        "hugepages",
        "IOMMU",
        "NUMA",
        "locked memory",
        "clock source",
    ] {
        assert!(checks.iter().any(|check| check["check"] == name), "{name} is not looked at");
    }
    let fixes = checks.iter().filter(|check| check["fix"] != "").count();
    let out = doctor(&["--fix-commands"]);
    let script = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(script.lines().count(), fixes, "{script}");
    for check in checks.iter().filter(|check| check["fix"] != "") {
        let fix = check["fix"].as_str().expect("a text");
        let is_comment = script.lines().any(|line| line.starts_with('#') && line.ends_with(fix));
        let is_command = script.lines().any(|line| line == fix);
        let by_hand = check["by_hand"] == true;
        assert!(is_comment == by_hand && is_command != by_hand, "{check}\n{script}");
    }
    let parsed = Command::new("bash").args(["-n", "-c", &script]).output().expect("bash");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}
