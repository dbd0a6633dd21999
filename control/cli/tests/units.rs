//! What a service manager reads: units, accounts, folders, kernel settings. systemd's own tools judge.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Each unit, and what `systemd-analyze security` may say of it at most, in tenths.
const UNITS: [(&str, u32); 2] =
    [("roomlane-dataplane.service", 50), ("roomlane-control.service", 20)];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/systemd")
}

fn run(words: &[&str]) -> Option<Output> {
    match Command::new(words[0]).args(&words[1..]).output() {
        Ok(output) => Some(output),
        Err(why) => {
            eprintln!("SKIPPED: {}: {why}", words[0]);
            None
        }
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// A copy of the units whose programs are there: those of this build stand in for the installed.
fn copies(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("roomlane-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (unit, _) in UNITS {
        let unit_text = std::fs::read_to_string(folder().join(unit)).unwrap();
        let program = env!("CARGO_BIN_EXE_roomlane");
        let mut here = String::new();
        for line in unit_text.lines() {
            let is_ours = line.starts_with("Exec") && line.contains("/usr/bin/roomlane");
            let line = match line.split_once("/usr/bin/roomlane").filter(|_| is_ours) {
                Some((before, rest)) => {
                    let words = rest.split_once(' ').map_or("", |(_, words)| words);
                    format!("{before}{program} {words}")
                }
                None => line.to_owned(),
            };
            here += &(line + "\n");
        }
        std::fs::write(dir.join(unit), here).unwrap();
    }
    dir
}

#[test]
fn units_are_valid_and_little_exposed() {
    let dir = copies("units");
    let paths = UNITS.map(|(unit, _)| dir.join(unit).to_string_lossy().into_owned());
    let verified = run(&["systemd-analyze", "verify", "--man=no", &paths[0], &paths[1]]);
    for ((unit, exposure), path) in UNITS.iter().zip(&paths) {
        let Some(verified) = &verified else { break };
        let complaints: Vec<_> =
            text(verified).lines().filter(|line| line.contains(unit)).map(str::to_owned).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        let threshold = format!("--threshold={exposure}");
        let judged =
            run(&["systemd-analyze", "security", "--offline=true", "--no-pager", &threshold, path]);
        let judged = judged.expect("it was there a moment ago");
        assert!(
            judged.status.success(),
            "{unit}: more exposed than {exposure}/10:\n{}",
            text(&judged)
        );
        println!("{}", text(&judged).lines().last().unwrap_or_default());
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn accounts_and_folders_are_made_as_the_units_name_them() {
    let root = std::env::temp_dir().join(format!("roomlane-root-{}", std::process::id()));
    std::fs::create_dir_all(root.join("etc")).unwrap();
    let at = format!("--root={}", root.display());
    let of = |name: &str| folder().join(name).to_string_lossy().into_owned();
    if let Some(made) = run(&["systemd-sysusers", &at, &of("sysusers.conf")]) {
        assert!(made.status.success(), "{}", text(&made));
        let users = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
        assert!(users.lines().any(|line| line.starts_with("roomlane:")), "{users}");
        let groups = std::fs::read_to_string(root.join("etc/group")).unwrap();
        assert!(groups.lines().any(|line| line.starts_with("roomlane-admin:")), "{groups}");
        let made = run(&["systemd-tmpfiles", &at, "--create", &of("tmpfiles.conf")]).unwrap();
        // Only root may give folders away.
        if made.status.success() {
            use std::os::unix::fs::PermissionsExt;
            let mode =
                |path: &str| root.join(path).metadata().unwrap().permissions().mode() & 0o7777;
            assert_eq!((mode("run/roomlane"), mode("etc/roomlane/secrets")), (0o2755, 0o700));
        } else {
            eprintln!(
                "SKIPPED: systemd-tmpfiles: {}",
                text(&made).lines().last().unwrap_or_default()
            );
        }
    }
    std::fs::remove_dir_all(root).unwrap();
}
