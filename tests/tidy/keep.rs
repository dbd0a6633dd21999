//! What is not kept in the repository: secrets, paths of somebody's machine, binaries, heavy files.

use crate::tree::{File, Tree};

/// Largest file, in bytes; a lock file may be larger than anything written by hand.
const BYTES_MAX: usize = 400 * 1024;

/// Beginnings of paths that exist on one machine only, and of secrets.
const PRIVATE: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("/tmp/tar", "get"),
    concat!("-----BEGIN PRI", "VATE KEY"),
    concat!("-----BEGIN RSA PRI", "VATE KEY"),
    concat!("-----BEGIN EC PRI", "VATE KEY"),
    concat!("-----BEGIN OPENSSH PRI", "VATE KEY"),
    concat!("AK", "IA"),
    concat!("gh", "p_"),
    concat!("xo", "xb-"),
];

/// Endings of files that hold secrets or come out of a tool.
const NEVER: &[&str] =
    &["pem", "key", "p12", "env", "so", "a", "o", "exe", "pyc", "zip", "gz", "deb", "orig", "rej"];

/// Complaints about files that do not belong in the repository.
pub fn files(tree: &Tree) -> Vec<String> {
    tree.files.iter().flat_map(one).collect()
}

fn one(file: &File) -> Vec<String> {
    let mut complaints = vec![];
    let mut say = |what: String| complaints.push(format!("{}: {what}", file.path));
    let is_vector = file.path.starts_with("tests/vectors/") || file.path.contains("/corpus/");
    let is_binary = file.bytes.contains(&0) || (file.text.is_empty() && !file.bytes.is_empty());
    if is_binary && !is_vector {
        say("is binary".into());
    }
    if NEVER.contains(&file.extension()) {
        say(format!("a .{} file is not kept", file.extension()));
    }
    if file.bytes.len() > BYTES_MAX {
        say(format!("has {} bytes", file.bytes.len()));
    }
    for (at, line) in file.text.lines().enumerate() {
        for part in PRIVATE.iter().filter(|part| starts_word(line, part)) {
            say(format!("line {}: {part}", at + 1));
        }
    }
    complaints
}

/// Whether `part` stands in the line without a letter, a digit or a dot before it: `https://x/a/` has
/// no path of the machine, and base64 may contain anything.
fn starts_word(line: &str, part: &str) -> bool {
    line.match_indices(part).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before
            .is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '}' | '*' | '$'))
    })
}

#[test]
fn secrets_paths_and_binaries_are_found() {
    let complaints = |path: &str, text: &str| files(&Tree::of(&[(path, text)])).len();
    for part in PRIVATE {
        assert_eq!(complaints("a.md", &format!("see {part}x")), 1, "{part}");
    }
    assert_eq!(complaints("a.md", "https://example.org/work/x and $HOME/x"), 0);
    assert_eq!(complaints("a/x.pem", "x"), 1);
    assert_eq!(complaints("a.rs", "x\0y"), 1);
    assert_eq!(complaints("tests/vectors/x.bin", "x\0y"), 0);
    assert_eq!(complaints("a.rs", &"x".repeat(BYTES_MAX + 1)), 1);
}
