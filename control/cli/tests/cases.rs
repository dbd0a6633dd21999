//! Each command's cases, as a shell sees them: `tests/cmd/*.trycmd`. `TRYCMD=overwrite cargo test -p
//! roomlane-cli --test cases` writes what a new case says; read it before it is kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the cases are.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd");
/// The secret of the cases' app.
const SECRET: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("rl-cases-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_case_says_what_is_held() {
    let folder = Folder::new("held");
    folder.file("secret", SECRET, 0o400);
    folder.file("open-secret", SECRET, 0o644);
    folder.file("bad.toml", "[port]\nmtu = 9\n", 0o644);
    folder.file("node.toml", "[[app]]\nsdkappid = 7\nsecret_files = [\"secret\"]\n", 0o644);
    folder.file("cut-audit.jsonl", "{\"seq\":1}\n", 0o600);
    // Cases name files of this folder; it is the only test of this program that minds where it is.
    std::env::set_current_dir(&folder.0).unwrap();
    trycmd::TestCases::new()
        .register_bin("roomlane", Path::new(env!("CARGO_BIN_EXE_roomlane")))
        .env("PATH", "")
        .env("COLUMNS", "100")
        .case(format!("{CASES}/*.trycmd"))
        .run();
    std::env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
}

/// Pages of commands that become another program, which may not be there.
const OTHERS: [&str; 2] = ["roomlane-top.", "roomlane-perf."];

/// The words of every case, joined as names of pages are.
fn cases() -> Vec<Vec<String>> {
    let mut cases = vec![];
    for file in std::fs::read_dir(CASES).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("$ roomlane"));
        cases.extend(lines.map(|line| line.split_whitespace().map(str::to_owned).collect()));
    }
    cases
}

/// What has no case: a command without its help, one without anything but help.
fn missing(pages: &BTreeSet<String>, cases: &[Vec<String>]) -> Vec<String> {
    let is_help =
        |case: &[String]| case.last().is_some_and(|word| word == "-h" || word == "--help");
    let name = |words: &[String]| {
        std::iter::once("roomlane")
            .chain(words.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join("-")
    };
    let mut helped = BTreeSet::new();
    let mut used = BTreeSet::new();
    for case in cases {
        match is_help(case) {
            true => _ = helped.insert(name(&case[..case.len() - 1])),
            false => used.extend((0..=case.len()).map(|count| name(&case[..count]))),
        }
    }
    let of = |set: &BTreeSet<String>, what: &str| -> Vec<String> {
        pages.difference(set).map(|page| format!("{page}: {what}")).collect()
    };
    [of(&helped, "no case of its -h"), of(&used, "no case but help")].concat()
}

#[test]
fn every_command_has_its_cases() {
    let folder = Folder::new("pages");
    // It walks the definitions that parse the command line. The other programs' pages, which come last,
    // need those programs: it may fail there.
    let program = env!("CARGO_BIN_EXE_roomlane");
    let out = Command::new(program).args(["man", "--out"]).arg(&folder.0).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() || said.contains("is not beside this program"), "{said}");
    let names = std::fs::read_dir(&folder.0).unwrap().map(|it| it.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let pages: BTreeSet<String> = names
        .filter(|name| !OTHERS.iter().any(|other| name.starts_with(other)) && !name.ends_with(".8"))
        .map(|name| name.trim_end_matches(".1").to_owned())
        .collect();
    assert!(pages.len() > 30, "{pages:?}");
    let missing = missing(&pages, &cases());
    assert!(missing.is_empty(), "add them to tests/cmd: {missing:#?}");
}

#[test]
fn a_command_without_cases_is_told() {
    let pages = ["roomlane-app-add", "roomlane-drain"].map(str::to_owned).into();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let of =
        |lines: &[&str]| missing(&pages, &lines.iter().map(|line| words(line)).collect::<Vec<_>>());
    let whole = ["app add -h", "app add 7", "drain -h", "drain --deadline 1s"];
    assert_eq!(of(&whole), Vec::<String>::new());
    assert_eq!(of(&whole[..3]), ["roomlane-drain: no case but help"]);
    assert_eq!(of(&whole[1..]), ["roomlane-app-add: no case of its -h"]);
}
