//! Commands that the documents name are commands that there are: blocks are shell that parses, and every
//! `roomlane ..` in them, or within a sentence, has that subcommand and those flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// README, SECURITY and whatever lies under docs.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("SECURITY.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "md") => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// Shell blocks of a document.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![];
    let mut inside: Option<(bool, String)> = None;
    for line in text.lines() {
        match (&mut inside, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => {
                let language = kind.split(' ').next().unwrap_or_default();
                inside = Some((["sh", "bash"].contains(&language), String::new()))
            }
            (Some(_), Some(_)) => blocks.extend(inside.take().filter(|it| it.0).map(|it| it.1)),
            (Some((_, block)), None) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}

/// Code within sentences and tables.
fn spans(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.replace("\\|", "|").replace('\n', " "))
        .collect()
}

/// Each `roomlane ..` of a piece of shell, without what comes before and after it.
fn commands(shell: &str) -> Vec<Vec<String>> {
    let joined = shell.replace("\\\n", " ");
    let lines = joined.lines().flat_map(|line| line.split("&&")).flat_map(|line| line.split(" | "));
    let of = |line: &str| {
        let words: Vec<String> = line
            .split(" #")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let at = words.iter().position(|word| word == "roomlane")?;
        let is_run = words[..at].iter().all(|word| word == "sudo" || word.contains('='));
        is_run.then(|| words[at + 1..].to_vec())
    };
    lines.filter_map(of).collect()
}

/// What a subcommand says of itself; `None` when there is none of that name.
fn help(cache: &mut BTreeMap<String, Option<String>>, path: &[&str]) -> Option<String> {
    let ask = || {
        let out = Command::new(env!("CARGO_BIN_EXE_roomlane"))
            .args(path)
            .arg("--help")
            .env("PATH", "")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let usage = format!("Usage: roomlane {}", path.join(" "));
        (out.status.success() && text.contains(usage.trim_end())).then_some(text)
    };
    cache.entry(path.join(" ")).or_insert_with(ask).clone()
}

/// What is wrong with the words behind `roomlane`.
fn wrong(cache: &mut BTreeMap<String, Option<String>>, words: &[String]) -> Option<String> {
    let is_name = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '|')
    };
    let mut path: Vec<&str> = vec![];
    let mut text = help(cache, &[])?;
    for word in words {
        let word = word.trim_end_matches(['.', ',', ':', ';']);
        if word.starts_with("--") {
            let flag = word.split('=').next().unwrap_or(word).trim_end_matches(']');
            if !text.contains(flag) && ![Some(&"top"), Some(&"perf")].contains(&path.first()) {
                return Some(format!("roomlane {} has no {flag}", path.join(" ")));
            }
            continue;
        }
        let has_more = text.contains("\nCommands:");
        if !is_name(word) || word.starts_with('-') || !has_more || path.first() == Some(&"top") {
            continue;
        }
        let names: Vec<&str> = word.split('|').collect();
        for name in &names {
            let below = [&path[..], &[name]].concat();
            // The dashboard is another program; so is what measures, which has no page here.
            if !["top", "perf"].contains(name) && help(cache, &below).is_none() {
                return Some(format!("there is no roomlane {}", below.join(" ")));
            }
        }
        path.push(names[0]);
        text = help(cache, &path).unwrap_or_default();
    }
    None
}

#[test]
fn every_command_in_a_document_is_one() {
    let mut cache = BTreeMap::new();
    let (mut complaints, mut seen) = (vec![], 0);
    for file in documents() {
        let text = std::fs::read_to_string(&file).unwrap();
        let inline = spans(&text).into_iter().filter(|span| span.starts_with("roomlane "));
        let all = blocks(&text).into_iter().chain(inline);
        for words in all.flat_map(|piece| commands(&piece)) {
            seen += 1;
            let name = file.strip_prefix(root()).unwrap_or(&file).display();
            complaints.extend(wrong(&mut cache, &words).map(|why| format!("{name}: {why}")));
        }
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(seen > 100, "only {seen} commands found: are they looked for rightly?");
}

#[test]
fn what_is_no_command_is_told() {
    let mut cache = BTreeMap::new();
    let mut judge = |line: &str| commands(line).iter().find_map(|words| wrong(&mut cache, words));
    assert_eq!(judge("sudo roomlane config check /etc/roomlane/node.toml"), None);
    assert_eq!(judge("roomlane config show|diff --json"), None);
    assert_eq!(judge("roomlane shwo node"), Some("there is no roomlane shwo".to_owned()));
    assert_eq!(judge("roomlane config eat"), Some("there is no roomlane config eat".to_owned()));
    assert_eq!(judge("roomlane drain --gently"), Some("roomlane drain has no --gently".to_owned()));
}

#[test]
fn every_block_of_shell_parses() {
    for file in documents() {
        for block in blocks(&std::fs::read_to_string(&file).unwrap()) {
            let read = Command::new("bash").args(["-n", "-c", &block]).output().unwrap();
            let said = String::from_utf8_lossy(&read.stderr).into_owned();
            assert!(read.status.success(), "{}: {said}\n{block}", file.display());
        }
    }
}

/// What shellcheck says against a block; `None` where it is not installed.
fn against(block: &str) -> Option<String> {
    let mut words = Command::new("shellcheck");
    // A block goes on where the one before it ended: its variables may come from there.
    words.args(["--shell=bash", "--severity=warning", "--exclude=SC2154", "--exclude=SC2034", "-"]);
    words.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = words.spawn().ok()?;
    std::io::Write::write_all(child.stdin.as_mut()?, block.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn no_block_of_shell_has_a_fault_that_shellcheck_knows() {
    let Some(told) = against("for i in $(ls *.deb); do cd /x; rm $i\n") else {
        return eprintln!("SKIPPED: no shellcheck here to read the documents with");
    };
    assert!(told.contains("SC1"), "a loop without its end is told: {told}");
    for file in documents() {
        for block in blocks(&std::fs::read_to_string(&file).unwrap()) {
            let said = against(&block).expect("it was there a moment ago");
            assert!(said.is_empty(), "{}: {said}", file.display());
        }
    }
}
