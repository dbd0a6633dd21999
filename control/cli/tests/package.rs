//! The Debian package's list of files against what there is: building the package takes minutes, this
//! does not.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Source and place of each asset, in `[package.metadata.deb]`; sources from the root of the tree.
fn assets() -> Vec<(String, String)> {
    let manifest = read("control/cli/Cargo.toml");
    let list = manifest.split("assets = [\n").nth(1).expect("a list of assets");
    let lines = list.lines().take_while(|line| *line != "]");
    let asset = |line: &str| {
        let line = line.trim().trim_end_matches(',');
        let [from, to, mode]: [String; 3] = serde_json::from_str(line).expect(line);
        assert!(["644", "755"].contains(&mode.as_str()), "{line}");
        (from.strip_prefix("../../").expect("from the root").to_owned(), to)
    };
    lines.map(asset).collect()
}

/// Whether an asset's source, with at most one `*`, names this file.
fn takes(pattern: &str, file: &str) -> bool {
    pattern.split_once('*').map_or(pattern == file, |(before, after)| {
        file.len() >= before.len() + after.len()
            && file.starts_with(before)
            && file.ends_with(after)
    })
}

/// What of the folder's files no asset takes.
fn left_out(assets: &[(String, String)], folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(root().join(folder)).unwrap();
    let files = files.map(|it| format!("{folder}/{}", it.unwrap().file_name().to_string_lossy()));
    files.filter(|file| !assets.iter().any(|(from, _)| takes(from, file))).collect()
}

#[test]
fn every_unit_and_setting_is_in_the_package_and_what_is_named_is_there() {
    let assets = assets();
    assert_eq!(left_out(&assets, "scripts/systemd"), Vec::<String>::new());
    // The same list without the units would be told.
    let fewer: Vec<_> =
        assets.iter().filter(|(from, _)| !from.ends_with(".service")).cloned().collect();
    assert_eq!(left_out(&fewer, "scripts/systemd").len(), 2);
    let script = read("scripts/package");
    for (from, to) in &assets {
        match from.strip_prefix("target/package/stage/") {
            // `completions/bash` is written in a loop over the shells.
            Some(staged) => {
                let (folder, name) = staged.split_once('/').unwrap_or((".", staged));
                let is_made = match folder {
                    "completions" => script.contains("for shell in bash zsh fish"),
                    "." => script.contains(&format!("$stage/{name}")),
                    _ => script.contains(&format!("$stage/{folder}")),
                };
                assert!(is_made, "scripts/package makes no {staged} for {to}");
            }
            None => {
                let folder = Path::new(from).parent().unwrap();
                let mut files = std::fs::read_dir(root().join(folder)).expect(from);
                let name = |it: std::fs::DirEntry| it.file_name().to_string_lossy().into_owned();
                let is_there = files
                    .any(|it| takes(from, &format!("{}/{}", folder.display(), name(it.unwrap()))));
                assert!(is_there, "no {from} for {to}");
            }
        }
    }
}

#[test]
fn what_alarms_point_at_is_in_the_package() {
    let rules = read("docs/monitoring/roomlane.rules.yml");
    let urls = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: file:///"));
    let files: Vec<&str> = urls.filter_map(|url| url.split('#').next()).collect();
    assert!(files.len() >= 13, "{files:?}");
    let assets = assets();
    let is_put = |file: &str| {
        assets.iter().any(|(from, to)| {
            let (folder, name) = file.rsplit_once('/').expect("a path");
            let sources = from.rsplit_once('/').map_or("", |(folder, _)| folder);
            let is_there = root().join(sources).join(name).is_file();
            (to == file || to.trim_end_matches('/') == folder)
                && takes(from, &format!("{sources}/{name}"))
                && is_there
        })
    };
    files.iter().for_each(|file| assert!(is_put(file), "{file} is not in the package"));
    let rules = "usr/share/roomlane/prometheus/roomlane.rules.yml";
    assert!(
        assets.iter().any(|(_, to)| to == rules),
        "the rules are not where they are looked for"
    );
    assert!(!is_put("usr/share/doc/roomlane/nothing.md"), "a page that is not there is told");
}

#[test]
fn every_program_that_a_unit_runs_is_in_the_package() {
    let script = read("scripts/package");
    let packed = script.split("for program in ").nth(1).and_then(|rest| rest.split(';').next());
    let packed: Vec<&str> = packed.expect("a loop over programs").split_whitespace().collect();
    let mut seen = 0;
    for unit in ["roomlane-dataplane.service", "roomlane-control.service"] {
        for line in read(&format!("scripts/systemd/{unit}")).lines() {
            let Some(rest) = line.strip_prefix("Exec") else { continue };
            let Some((_, words)) = rest.split_once("/usr/bin/") else { continue };
            let program = words.split(' ').next().unwrap();
            assert!(packed.contains(&program), "{unit}: {program} is not among {packed:?}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen}");
}

#[test]
fn scripts_of_the_package_are_clean() {
    let files = [
        "scripts/package",
        "scripts/debian/postinst",
        "scripts/debian/postrm",
        "scripts/debian/prerm",
    ];
    match Command::new("shellcheck").args(files).current_dir(root()).output() {
        Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
        Err(why) => eprintln!("SKIPPED: shellcheck: {why}"),
    }
}
