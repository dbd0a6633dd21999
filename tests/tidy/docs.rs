//! Documents: links lead somewhere, cited tests exist, lists are complete.

use crate::manifest;
use crate::rust::{Rust, has_word};
use crate::tree::{File, Tree};

/// Links between documents, to files, and from a promise to the test that holds it: a link whose text
/// is `` `a_name` `` and whose target is a Rust file needs a word `a_name` in that file's code.
pub fn links(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for file in tree.with("md") {
        for (text, target) in links_of(&prose(&file.text)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if let Err(why) = follow(tree, file, &text, &target) {
                complaints.push(format!("{}: [{text}]({target}): {why}", file.path));
            }
        }
    }
    complaints
}

fn follow(tree: &Tree, file: &File, text: &str, target: &str) -> Result<(), String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let path = if path.is_empty() { file.path.clone() } else { resolve(folder, path) };
    let is_folder = || tree.files.iter().any(|file| file.path.starts_with(&format!("{path}/")));
    let Some(found) = tree.find(&path) else {
        return if is_folder() { Ok(()) } else { Err("leads nowhere".into()) };
    };
    let heading =
        |line: &str| line.starts_with('#') && slug(line.trim_start_matches('#')) == anchor;
    if !anchor.is_empty() && found.extension() == "md" && !found.text.lines().any(heading) {
        return Err("there is no such heading".into());
    }
    let name = text.trim_matches('`');
    let is_name = text.starts_with('`') && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_name && found.extension() == "rs" {
        let code = Rust::of(found).code;
        if !has_word(&code, name) {
            return Err(format!("{} has no {name}", found.path));
        }
    }
    Ok(())
}

fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A heading as GitHub's renderer names its anchor.
pub fn slug(heading: &str) -> String {
    let kept =
        heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The text without fenced blocks.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    };
    text.lines().filter(keep).collect::<Vec<_>>().join("\n")
}

/// The lines of fenced blocks of a language.
fn fenced<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut inside = None;
    let mut found = vec![];
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), inside) {
            // What stands behind the language says what becomes of the block.
            (Some(name), None) => inside = Some(name.split(' ').next() == Some(language)),
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => found.push(line),
            _ => {}
        }
    }
    found
}

/// Text and target of each inline link.
fn links_of(text: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for (at, _) in text.match_indices("](") {
        let Some(target) = text[at + 2..].split([')', '\n']).next() else { continue };
        let Some(start) = text[..at].rfind('[') else { continue };
        found.push((text[start + 1..at].to_owned(), target.to_owned()));
    }
    found
}

/// Pages every block of which has a class, and the classes.
const CLASSED: &[&str] = &["docs/bare-metal.md"];
const CLASSES: &[&str] = &["sh run", "sh lint", "sh hardware", "toml config", "ini unit"];

/// Every block says what becomes of it: run by a test, parsed by one, or parsed for want of a machine.
pub fn classes(tree: &Tree) -> Vec<String> {
    let mut complaints = vec![];
    for path in CLASSED {
        let Some(file) = tree.find(path) else {
            complaints.push(format!("{path} is missing"));
            continue;
        };
        let mut inside = false;
        for (at, line) in file.text.lines().enumerate() {
            let Some(info) = line.trim_start().strip_prefix("```") else { continue };
            inside ^= true;
            if inside && !CLASSES.contains(&info) {
                let known = CLASSES.join(", ");
                complaints.push(format!("{path}:{}: {info:?} is none of {known}", at + 1));
            }
        }
        for class in CLASSES {
            if !file.text.contains(&format!("```{class}\n")) {
                complaints.push(format!("{path}: no block of {class}: is it still tried?"));
            }
        }
    }
    complaints
}

const SAMPLE: &str = "control/config/src/sample.toml";
const CONFIGURATION: &str = "docs/configuration.md";

/// The page names every key of the sample as `` `section.key` `` at the start of a table row.
pub fn configuration(tree: &Tree) -> Vec<String> {
    let (Some(sample), Some(page)) = (tree.find(SAMPLE), tree.find(CONFIGURATION)) else {
        return vec![format!("{SAMPLE} or {CONFIGURATION} is missing")];
    };
    compare(CONFIGURATION, &keys(&sample.text), &first_cells(&page.text))
}

/// Keys of the commented sample, `section.key`; a key that is commented out counts.
fn keys(sample: &str) -> Vec<String> {
    let is_key = |line: &str| {
        let name: String = line.chars().take_while(|c| *c != ' ' && *c != '[').collect();
        line.starts_with("[[")
            || (!name.is_empty() && line[name.len()..].starts_with(" = "))
            || line.starts_with('[')
    };
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if is_key(rest) && !rest.starts_with(' ') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let plain = sample.lines().map(uncomment).collect::<Vec<_>>().join("\n");
    let name = |(section, key, _): (&str, &str, &str)| {
        format!("{}.{key}", section.trim_matches(['[', ']']))
    };
    manifest::lines(&plain).map(name).collect()
}

/// The first cell of each table row, if it is in backticks.
fn first_cells(page: &str) -> Vec<String> {
    let cell = |line: &str| {
        let rest = line.strip_prefix("| `")?;
        Some(rest.split('`').next()?.to_owned())
    };
    page.lines().filter_map(cell).collect()
}

fn compare(page: &str, wanted: &[String], shown: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|key| !shown.contains(key));
    let extra = shown.iter().filter(|key| !wanted.contains(key));
    let missing = missing.map(|key| format!("{page}: lacks {key}"));
    missing.chain(extra.map(|key| format!("{page}: has {key}, which is not there"))).collect()
}

const PROBLEMS: &str = "control/daemon/src/problem.rs";
const API: &str = "docs/api.md";

/// The page names every problem code of the API, and its status, as in the daemon's table.
pub fn problems(tree: &Tree) -> Vec<String> {
    let (Some(table), Some(page)) = (tree.find(PROBLEMS), tree.find(API)) else {
        return vec![format!("{PROBLEMS} or {API} is missing")];
    };
    let codes = codes(&table.text);
    if codes.len() < 10 {
        return vec![format!("{PROBLEMS}: the table of codes was not found")];
    }
    let rows: Vec<_> = page.text.lines().filter_map(code_row).collect();
    compare(API, &codes, &rows)
}

/// `400 name` of each line like `Variant 400 "name" "Sentence.";`.
fn codes(text: &str) -> Vec<String> {
    let code = |line: &str| {
        let mut words = line.split_whitespace();
        let (_, status) = (words.next()?, words.next()?.parse::<u16>().ok()?);
        let name = words.next()?.strip_prefix('"')?.strip_suffix('"')?;
        Some(format!("{status} {name}"))
    };
    text.lines().filter_map(code).collect()
}

/// The same of a row like `| 400 | `name` | Sentence. |`.
fn code_row(line: &str) -> Option<String> {
    let (status, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
    let status = status.parse::<u16>().ok()?;
    Some(format!("{status} {}", rest.split('`').next()?))
}

const ARGUMENTS: &str = "control/cli/src/args.rs";

/// `roomlane X` in a shell block is a subcommand, a script is there, and README's table has every
/// subcommand.
pub fn commands(tree: &Tree) -> Vec<String> {
    let Some(arguments) = tree.find(ARGUMENTS) else {
        return vec![format!("{ARGUMENTS} is missing")];
    };
    let known = subcommands(&arguments.text);
    let mut complaints = vec![];
    let readme = tree.find("README.md").map_or("", |file| file.text.as_str());
    for name in known.iter().filter(|name| *name != "external") {
        if !readme.contains(&format!("| `roomlane {name}"))
            && !readme.contains(&format!(", `roomlane {name}"))
        {
            complaints.push(format!("README.md: the table of commands lacks roomlane {name}"));
        }
    }
    for file in tree.with("md") {
        for line in fenced(&file.text, "sh") {
            let words: Vec<_> = line.split_whitespace().collect();
            for (at, word) in words.iter().enumerate() {
                let next = words.get(at + 1).copied().unwrap_or_default();
                let is_command = *word == "roomlane" && !next.starts_with('-') && !next.is_empty();
                if is_command && !known.iter().any(|name| name == next) && next != "top" {
                    complaints.push(format!("{}: roomlane {next} is no command", file.path));
                }
                if word.starts_with("scripts/") && tree.find(word).is_none() {
                    complaints.push(format!("{}: {word} is not there", file.path));
                }
            }
        }
    }
    complaints
}

/// Names of the variants of `enum Command`, as clap spells them.
fn subcommands(text: &str) -> Vec<String> {
    let body = text.split("enum Command").nth(1).unwrap_or_default();
    let body = body.split("\n}").next().unwrap_or_default();
    let name = |line: &str| {
        let rest = line.strip_prefix("    ")?;
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        rest.starts_with(char::is_uppercase).then(|| kebab(&name))
    };
    body.lines().filter_map(name).collect()
}

/// `SupportBundle` as `support-bundle`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_and_absent_tests_are_found() {
        let files = |text| {
            Tree::of(&[
                ("docs/a.md", text),
                ("x/t.rs", "fn it_holds() {}"),
                ("B.md", "# The Way\n"),
            ])
        };
        let complaints = |text| links(&files(text)).len();
        assert_eq!(complaints("[b](../B.md#the-way) [x](../x) [w](https://example.org/)"), 0);
        assert_eq!(complaints("[`it_holds`](../x/t.rs)"), 0);
        assert_eq!(complaints("[`it_does_not`](../x/t.rs)"), 1);
        assert_eq!(complaints("[b](B.md)"), 1);
        assert_eq!(complaints("[b](../B.md#no-way)"), 1);
        assert_eq!(complaints("```\n[b](B.md)\n```\n"), 0);
    }

    #[test]
    fn a_block_without_a_class_is_found() {
        let all: String = CLASSES.iter().map(|class| format!("```{class}\ntrue\n```\n")).collect();
        let complaints = |page: &str| classes(&Tree::of(&[(CLASSED[0], page)]));
        assert_eq!(complaints(&all), [""; 0]);
        let more = complaints(&format!("{all}\n```sh\nreboot\n```\n"));
        assert!(more.len() == 1 && more[0].contains("\"sh\""), "{more:?}");
        assert_eq!(complaints(&all.replace("sh run", "sh lint")).len(), 1);
        assert_eq!(classes(&Tree::of(&[])).len(), 1);
    }

    #[test]
    fn keys_that_are_missing_or_made_up_are_found() {
        let sample = "# words = no\n[a]\nx = 1 # c\n#y = 2\n#[[app]]\n#z = { q = 1 }\n";
        assert_eq!(keys(sample), ["a.x", "a.y", "app.z"]);
        let complaints =
            |page| configuration(&Tree::of(&[(SAMPLE, sample), (CONFIGURATION, page)]));
        assert_eq!(complaints("| `a.x` | 1 |\n| `a.y` | 1 |\n| `app.z` | 1 |\n"), [""; 0]);
        assert_eq!(complaints("| `a.x` | 1 |\n| `app.z` | 1 |\n| `a.w` | 1 |\n").len(), 2);
    }

    #[test]
    fn problem_codes_are_compared_with_their_status() {
        let rows: String = (0..10).map(|n| format!("    V{n} 40{n} \"c{n}\" \"S.\";\n")).collect();
        let page: String = (0..10).map(|n| format!("| 40{n} | `c{n}` | S. |\n")).collect();
        let complaints = |page: &str| problems(&Tree::of(&[(PROBLEMS, &rows), (API, page)])).len();
        assert_eq!(complaints(&page), 0);
        assert_eq!(complaints(&page.replace("403", "404")), 2);
        assert_eq!(complaints(""), 10);
    }

    #[test]
    fn unknown_commands_and_scripts_are_found() {
        assert_eq!(kebab("SupportBundle"), "support-bundle");
        let arguments =
            "enum Command {\n    /// Doc.\n    Up(Up),\n    Show {\n        X: u8,\n    },\n}\n";
        assert_eq!(subcommands(arguments), ["up", "show"]);
        let complaints = |block: &str| {
            let page = format!("```sh\n{block}\n```\n");
            let readme = ("README.md", "| `roomlane up`, `roomlane show X` |");
            commands(&Tree::of(&[(ARGUMENTS, arguments), ("a.md", &page), readme])).len()
        };
        assert_eq!(commands(&Tree::of(&[(ARGUMENTS, arguments)])).len(), 2);
        assert_eq!(complaints("sudo roomlane up -c x && roomlane --version"), 0);
        assert_eq!(complaints("roomlane fly"), 1);
        assert_eq!(complaints("scripts/nothing"), 1);
    }
}
