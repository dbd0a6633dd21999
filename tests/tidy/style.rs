//! Heads, lengths, words, `unsafe` and sleeping: the short rules of CONTRIBUTING.md.

use crate::manifest::crates;
use crate::rust::{Rust, has_word, words as words_of};
use crate::tree::{File, Tree};

/// Lines of a file without its tests.
const FILE_LINES_MAX: usize = 600;
/// Lines of a file with its tests, or of a file of tests.
const FILE_LINES_WITH_TESTS_MAX: usize = 1000;
/// Columns of code.
const LINE_COLUMNS_MAX: usize = 100;
/// Columns of comments, attributes and macro bodies: rustfmt breaks none of them.
const LOOSE_COLUMNS_MAX: usize = 120;
/// Columns of a line with a string literal, which rustfmt does not break.
const STRING_COLUMNS_MAX: usize = 160;

/// No `unsafe` outside bindings, and a lint in every crate root that keeps it so.
pub fn unsafe_code(tree: &Tree) -> Vec<String> {
    let outside = |path: &str| !path.starts_with("bindings/");
    let mut complaints = vec![];
    for file in tree.with("rs").filter(|file| outside(&file.path)) {
        if has_word(&Rust::of(file).code, "unsafe") {
            complaints.push(format!("{}: unsafe outside bindings/", file.path));
        }
    }
    let crates = match crates(tree) {
        Ok(crates) => crates,
        Err(complaint) => return vec![complaint],
    };
    for root in crates.iter().flat_map(|this| &this.roots).filter(|root| outside(root)) {
        let forbids = |file: &File| file.text.lines().any(|l| l == "#![forbid(unsafe_code)]");
        if !tree.find(root).is_some_and(forbids) {
            complaints.push(format!("{root}: lacks #![forbid(unsafe_code)]"));
        }
    }
    complaints
}

/// Every source begins with a sentence about itself.
pub fn heads(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in &tree.files {
        let mut lines = file.text.lines();
        let first = lines.next().unwrap_or_default();
        let is_shell = file.extension() == "sh" || first.starts_with("#!/");
        let said = match file.extension() {
            "rs" => first.starts_with("//! "),
            "py" if !is_shell => first.starts_with("\"\"\"") || first.starts_with("# "),
            _ if is_shell => {
                let second = lines.next().unwrap_or_default();
                second.starts_with("# ")
                    || second.starts_with("\"\"\"")
                    || second.starts_with("// ")
            }
            _ => true,
        };
        if !said {
            complaints.push(format!("{}: does not begin with what it is for", file.path));
        }
    }
    complaints
}

/// Files of 600 lines, lines of 100 columns.
pub fn lengths(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in tree.with("rs") {
        let rust = Rust::of(file);
        let all = file.text.lines().count();
        let own = rust.is_test.iter().filter(|is_test| !**is_test).count();
        if all > FILE_LINES_WITH_TESTS_MAX || own > FILE_LINES_MAX + 1 {
            complaints.push(format!("{}: {own} lines, {all} with tests", file.path));
        }
        for (at, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            let start = line.trim_start();
            let is_loose = start.starts_with("//") || start.starts_with("#[") || rust.is_macro[at];
            let max = match () {
                _ if rust.has_string[at] => STRING_COLUMNS_MAX,
                _ if is_loose => LOOSE_COLUMNS_MAX,
                _ => LINE_COLUMNS_MAX,
            };
            if columns > max {
                complaints.push(format!("{}:{}: {columns} columns", file.path, at + 1));
            }
        }
    }
    complaints
}

/// Reminders belong in the tracker, unfinished code nowhere.
const BANNED: &[&str] = &[concat!("FIX", "ME"), concat!("X", "XX"), concat!("TO", "DO")];
/// Calls that stand for code that was not written.
const UNWRITTEN: &[&str] = &["todo!", "unimplemented!", "dbg!"];
/// Skips destructors, and with them a device's clean end; a build script has none.
const EXIT: &str = "process::exit";
/// Files that may, with the reason.
const EXITS: &[(&str, &str)] = &[(
    "tui/src/main.rs",
    "its main thread may hang in a terminal that is gone; it holds nothing else",
)];
/// Words that name everything and say nothing.
const EMPTY_NAMES: &[&str] = &["Manager", "Util", "Utils", "Helper"];

/// Words that must not be said, and names that say nothing.
pub fn words(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in tree.with("rs") {
        let rust = Rust::of(file);
        let mut say = |what: String| complaints.push(format!("{}: {what}", file.path));
        BANNED
            .iter()
            .filter(|word| has_word(&rust.spoken, word))
            .for_each(|w| say(format!("says {w}")));
        UNWRITTEN
            .iter()
            .filter(|call| rust.code.contains(**call))
            .for_each(|c| say(format!("has {c}")));
        let may_exit = file.path.ends_with("/build.rs") || EXITS.iter().any(|e| e.0 == file.path);
        if rust.code.contains(EXIT) && !may_exit {
            say(format!("{EXIT} skips destructors: return an ExitCode"));
        }
        let mut before = "";
        for word in words_of(&rust.code) {
            if before == "fn" && word.starts_with("get_") {
                say(format!("fn {word}: getters are named after what they return"));
            }
            if matches!(before, "struct" | "enum" | "trait" | "type" | "mod") {
                let parts = split_name(word);
                for name in EMPTY_NAMES.iter().filter(|name| parts.iter().any(|p| p == *name)) {
                    say(format!("{before} {word}: {name} says nothing"));
                }
            }
            before = word;
        }
    }
    complaints
}

/// `RoomManager` and `room_manager` are `Room`, `Manager`.
fn split_name(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = vec![String::new()];
    for character in name.chars() {
        if character == '_' || character.is_uppercase() {
            parts.push(String::new());
        }
        let last = parts.last_mut().expect("one part at least");
        match character {
            '_' => {}
            _ if last.is_empty() => last.extend(character.to_uppercase()),
            _ => last.push(character),
        }
    }
    parts
}

/// Lines above a sleep in which its loop and its deadline must stand.
const LOOP_LINES: usize = 20;

/// Tests outside network namespaces sleep only to look again: in a loop that ends at a deadline.
pub fn sleeps(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in tree.with("rs").filter(|file| !file.path.starts_with("tests/netns/")) {
        let tests = Rust::of(file).code_of(true);
        let lines: Vec<&str> = tests.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let sleeps = line.contains("thread::sleep") || line.contains("time::sleep");
            if sleeps && !looks_again(&lines[at.saturating_sub(LOOP_LINES)..at]) {
                complaints.push(format!("{}:{}: a test sleeps", file.path, at + 1));
            }
        }
    }
    complaints
}

/// Whether these lines open a loop and compare the clock.
fn looks_again(lines: &[&str]) -> bool {
    let opens = |line: &&str| has_word(line, "while") || has_word(line, "loop");
    let clocks = ["now() <", "now() >", "elapsed() <", "elapsed() >"];
    let compares = |line: &&str| clocks.iter().any(|clock| line.contains(clock));
    lines.iter().any(opens) && lines.iter().any(compares)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n");
    const A: (&str, &str) = ("a/Cargo.toml", "[package]\nname = \"a\"\n");

    #[test]
    fn unsafe_code_and_a_missing_lint_are_found() {
        let complaints = |text| unsafe_code(&Tree::of(&[ROOT, A, ("a/src/lib.rs", text)])).len();
        assert_eq!(complaints("#![forbid(unsafe_code)]\n// unsafe\nlet s = \"unsafe\";"), 0);
        assert_eq!(complaints("fn a() {}"), 1);
        assert_eq!(complaints("// #![forbid(unsafe_code)]\nfn a() {}"), 1);
        assert_eq!(complaints("#![forbid(unsafe_code)]\nunsafe { x() }"), 1);
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        let complaints = |path, text| heads(&Tree::of(&[(path, text)])).len();
        assert_eq!(complaints("a.rs", "//! What.\n"), 0);
        assert_eq!(complaints("a.rs", "use std;\n//! What.\n"), 1);
        assert_eq!(complaints("scripts/run", "#!/bin/sh\n# What.\n"), 0);
        assert_eq!(complaints("scripts/run", "#!/bin/sh\nset -e\n"), 1);
    }

    #[test]
    fn long_files_and_lines_are_found() {
        let complaints = |text: &str| lengths(&Tree::of(&[("a/src/x.rs", text)])).len();
        assert_eq!(complaints(&"fn a() {}\n".repeat(600)), 0);
        assert_eq!(complaints(&"fn a() {}\n".repeat(601)), 1);
        let with_tests =
            |n| format!("{}#[cfg(test)]\nmod t {{\n{}}}\n", "\n".repeat(600), "\n".repeat(n));
        assert_eq!(complaints(&with_tests(397)), 0);
        assert_eq!(complaints(&with_tests(398)), 1);
        assert_eq!(complaints(&"a".repeat(100)), 0);
        assert_eq!(complaints(&"a".repeat(101)), 1);
        assert_eq!(complaints(&format!("// {}", "a".repeat(118))), 1);
        assert_eq!(complaints(&format!("\"{}\"", "a".repeat(158))), 0);
        assert_eq!(complaints(&format!("\"{}\"", "a".repeat(159))), 1);
    }

    #[test]
    fn banned_words_and_empty_names_are_found() {
        let complaints = |text: &str| words(&Tree::of(&[("a/src/x.rs", text)])).len();
        assert_eq!(complaints(&format!("// {} later", BANNED[0])), 1);
        assert_eq!(complaints(&format!("let a = \"{}\";", BANNED[1])), 0);
        assert_eq!(complaints(&format!("{}();", UNWRITTEN[0])), 1);
        assert_eq!(complaints("std::process::exit(1);"), 1);
        assert_eq!(complaints("pub fn get_room() {}"), 1);
        assert_eq!(complaints("map.get(1); fn target_of() {}"), 0);
        assert_eq!(complaints("struct RoomManager;"), 1);
        assert_eq!(complaints("mod util;"), 1);
        assert_eq!(complaints("struct Utilisation;"), 0);
    }

    #[test]
    fn a_sleeping_test_is_found() {
        let complaints = |path, text| sleeps(&Tree::of(&[(path, text)])).len();
        let sleep = "std::thread::sleep(d);";
        assert_eq!(complaints("a/src/x.rs", sleep), 0);
        assert_eq!(complaints("a/tests/x.rs", sleep), 1);
        assert_eq!(complaints("tests/netns/x.rs", sleep), 0);
        let again = format!("while !seen() {{\nassert!(Instant::now() < end);\n{sleep}\n}}");
        assert_eq!(complaints("a/tests/x.rs", &again), 0);
        let forever = format!("while !seen() {{\n{sleep}\n}}");
        assert_eq!(complaints("a/tests/x.rs", &forever), 1);
        assert_eq!(complaints("a/src/x.rs", &format!("#[cfg(test)]\nmod t {{\n{sleep}\n}}")), 1);
    }
}
