//! The command as a shell sees it: exit codes, and which stream says what.

use std::path::PathBuf;
use std::process::{Command, Output};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        Dir::within(std::env::temp_dir(), name)
    }

    fn within(parent: impl Into<PathBuf>, name: &str) -> Self {
        let dir = parent.into().join(format!("rl-cmd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn roomlane(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roomlane")).args(words).env("PATH", "").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("no signal")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_that_needs_a_node_says_that_there_is_none() {
    let dir = Dir::new("none");
    let node = dir.0.to_str().unwrap();
    let commands: [&[&str]; 24] = [
        &["show", "node"],
        &["show", "worker", "--json"],
        &["show", "port"],
        &["show", "room"],
        &["show", "session"],
        &["show", "drops"],
        &["show", "runtime"],
        &["clear", "runtime"],
        &["show", "buffers", "-o", "csv"],
        &["show", "app", "--sort", "-sessions"],
        &["why", "--sdkappid", "7", "--room", "r", "--from", "a", "--to", "b"],
        &["trail", "al***e"],
        &["trace", "show"],
        &["room", "end", "7", "r"],
        &["session", "kick", "s0-1-1"],
        &["config", "show"],
        &["config", "diff", "--json"],
        &["config", "reload"],
        &["config", "revert"],
        &["app", "list"],
        &["app", "add", "7"],
        &["drain", "--deadline", "1s"],
        &["undrain"],
        &["set", "log-level", "debug"],
    ];
    for words in commands {
        let output = roomlane(&[words, &["--node", node]].concat());
        assert_eq!(code(&output), 4, "{words:?}");
        assert_eq!(stderr(&output), "roomlane: no node running; start one with roomlane up\n");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn the_sample_passes_its_own_check() {
    let dir = Dir::new("sample");
    let sample = roomlane(&["config", "sample"]);
    assert_eq!(code(&sample), 0);
    let file = dir.file("node.toml", &String::from_utf8(sample.stdout).unwrap());
    let check = roomlane(&["config", "check", &file]);
    assert_eq!(code(&check), 0, "{}", stderr(&check));
    assert!(stderr(&check).contains("nobody can join"), "{}", stderr(&check));
}

#[test]
fn a_bad_configuration_is_refused_with_its_place_by_every_command_that_reads_it() {
    let dir = Dir::new("bad");
    let file = dir.file("node.toml", "[port]\nmtu = 9\n");
    let place = format!("{file}:2:7: port.mtu: 9 is out of range; allowed: 576 to 2000\n");
    let commands: [&[&str]; 3] = [&["config", "check"], &["up"], &["show", "node"]];
    for words in commands {
        let output = roomlane(&[words, &["--config", &file]].concat());
        assert_eq!(code(&output), 3, "{words:?}");
        assert!(stderr(&output).ends_with(&place), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn a_secret_that_others_can_read_fails_the_check_with_the_command_that_fixes_it() {
    let dir = Dir::new("secret");
    dir.file("s", &"a1".repeat(32));
    let file = dir.file("node.toml", "[[app]]\nsdkappid = 7\nsecret_files = [\"s\"]\n");
    let output = roomlane(&["config", "check", &file]);
    assert_eq!(code(&output), 3);
    let text = stderr(&output);
    assert!(text.contains("app 7") && text.contains("chmod 0400"), "{text}");
    assert!(!text.contains("a1a1"), "{text}");
    assert_eq!(code(&roomlane(&["config", "check", "--no-secrets", &file])), 0);
}

#[test]
fn wrong_command_lines_are_usage_errors() {
    let lines: [&[&str]; 12] = [
        &["show", "weather"],
        &["session", "kick", "s0-1"],
        &["no-such-command"],
        &["../evil"],
        &["peer", "publish", "--user", "u"],
        &["drain", "--deadline", "soon"],
        &["show", "room", "--interval", "1ms"],
        &["show", "room", "--filter", "sessions"],
        &["set", "log-level", "loud"],
        &["app", "quota", "7"],
        &["app", "suspend", "7", "--end-rooms"],
        &["peer", "publish", "--user", "u", "--room", "r", "--sdkappid", "7"],
    ];
    for words in lines {
        let output = roomlane(words);
        assert_eq!(code(&output), 2, "{words:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty());
    }
}

#[test]
fn the_schema_is_json_and_names_every_key_of_the_sample() {
    let output = roomlane(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let sample = roomlane(&["config", "sample"]);
    let sample = String::from_utf8(sample.stdout).unwrap();
    let mut section = String::new();
    let mut keys = 0;
    for line in sample.lines().map(|line| line.trim_start_matches('#')) {
        if let Some(rest) = line.strip_prefix('[') {
            section = rest.trim_start_matches('[').split(']').next().unwrap().to_owned();
        } else if let Some((name, _)) = line.split_once(" = ") {
            let at = &schema["properties"][&section];
            let at = if section == "app" { &at["items"] } else { at };
            assert!(at["properties"][name].is_object(), "{section}.{name}");
            keys += 1;
        }
    }
    assert!(keys > 40);
}

#[test]
fn the_version_is_told_even_without_a_data_plane() {
    let output = roomlane(&["--version"]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.starts_with(&format!("roomlane {}\n", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn a_node_without_its_programs_is_not_started() {
    let dir = Dir::new("programs");
    let text = format!(
        "[node]\nrun_dir = {:?}\n[port]\nudp_base = 39211\n[control]\n\
         listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n",
        dir.0.join("run").to_str().unwrap()
    );
    let file = dir.file("node.toml", &text);
    // Alone in a folder it has no other program beside it. A link and no copy: while another test's
    // command starts, it holds whatever is open for writing here, and such a file cannot be run.
    let folder = Dir::within(env!("CARGO_TARGET_TMPDIR"), "alone");
    let alone = folder.0.join("roomlane");
    std::fs::hard_link(env!("CARGO_BIN_EXE_roomlane"), &alone).unwrap();
    let output = Command::new(&alone).args(["up", "-c", &file]).env("PATH", "").output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(
        stderr(&output).contains("roomlane-dataplane is neither beside"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn every_command_has_a_page_that_man_reads_without_complaint() {
    let dir = Dir::new("pages");
    let out = roomlane(&["man", "--out", &dir.0.to_string_lossy()]);
    // The other programs' pages need those programs, which a test of this package alone has not built.
    let said = stderr(&out);
    assert!(code(&out) == 0 || said.contains("is not beside this program"), "{said}");
    let pages: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|it| it.unwrap().path()).collect();
    for name in ["roomlane.1", "roomlane-show.1", "roomlane-config-reload.1", "roomlane-app-add.1"]
    {
        assert!(pages.iter().any(|page| page.ends_with(name)), "no {name} among {pages:?}");
    }
    // Every command of the overview has one.
    let help = String::from_utf8(roomlane(&["--help"]).stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let named = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for name in named.filter(|name| !name.is_empty() && *name != "help") {
        let page = dir.0.join(format!("roomlane-{name}.1"));
        assert!(page.exists(), "{name} has no page");
    }
    if Command::new("man").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: no man here to read the pages with");
    }
    for page in pages {
        let read = Command::new("man").args(["--warnings", "-l"]).arg(&page).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{page:?}: {}", stderr(&read));
        assert!(read.stdout.len() > 200, "{page:?} is empty");
    }
}

#[test]
fn completions_are_what_their_shell_reads() {
    for (shell, check) in
        [("bash", &["bash", "-n"][..]), ("zsh", &["zsh", "-n"]), ("fish", &["fish", "-n"])]
    {
        let out = roomlane(&["completions", shell]);
        assert_eq!(code(&out), 0, "{}", stderr(&out));
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.contains("roomlane") && text.contains("drain"), "{text}");
        let dir = Dir::new(&format!("completions-{shell}"));
        let file = dir.0.join("roomlane");
        std::fs::write(&file, text).unwrap();
        match Command::new(check[0]).args(&check[1..]).arg(&file).output() {
            Ok(read) => assert!(read.status.success(), "{shell}: {}", stderr(&read)),
            Err(why) => eprintln!("SKIPPED: no {shell} here to read its completions: {why}"),
        }
    }
}

#[test]
fn measurements_are_another_programs_and_its_absence_is_told_with_the_next_command() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new("perf");
    let own = dir.0.join("roomlane");
    std::fs::copy(env!("CARGO_BIN_EXE_roomlane"), &own).unwrap();
    let run = || Command::new(&own).args(["perf", "flame", "2"]).env("PATH", "").output().unwrap();
    let absent = run();
    let said = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert_eq!(code(&absent), 6, "{said}");
    assert!(said.contains("cargo build --release -p roomlane-perf"), "{said}");
    let beside = PathBuf::from(dir.file("roomlane-perf", "#!/bin/sh\necho \"got $*\"; exit 9\n"));
    std::fs::set_permissions(&beside, PermissionsExt::from_mode(0o755)).unwrap();
    let present = run();
    assert_eq!((code(&present), present.stdout.as_slice()), (9, b"got flame 2\n".as_slice()));
}
