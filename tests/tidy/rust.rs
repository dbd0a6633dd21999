//! Just enough of Rust's lexical grammar: which characters are code, which are comments or literals,
//! which lines are tests.

use crate::tree::File;

/// A source file with parts of it blanked; lines and columns stay where they were.
pub struct Rust {
    /// Code alone: comments and the insides of literals are spaces.
    pub code: String,
    /// Code and comments: the insides of literals are spaces.
    pub spoken: String,
    /// Per line: whether a string literal touches it.
    pub has_string: Vec<bool>,
    /// Per line: whether it belongs to a test.
    pub is_test: Vec<bool>,
    /// Per line: whether it lies inside a `proptest!` block, which rustfmt leaves alone.
    pub is_macro: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Rust {
    /// Reads a file of the tree.
    pub fn of(file: &File) -> Rust {
        Rust::read(&file.text, file.is_test)
    }

    /// Reads a text; `all_test` says that every line of it is a test.
    pub fn read(text: &str, all_test: bool) -> Rust {
        let (mut code, mut spoken) = (String::new(), String::new());
        let mut has_string = vec![false];
        for (character, part) in parts(text) {
            if character == '\n' {
                code.push('\n');
                spoken.push('\n');
                has_string.push(part == Part::Literal);
                continue;
            }
            let blank = |keep: bool| if keep { character } else { ' ' };
            code.push(blank(part == Part::Code));
            spoken.push(blank(part != Part::Literal));
            if part == Part::Literal {
                *has_string.last_mut().expect("one line at least") = true;
            }
        }
        let lines = has_string.len();
        let is_test =
            if all_test { vec![true; lines] } else { blocks(&code, "#[cfg(test)]", lines) };
        let is_macro = blocks(&code, "proptest!", lines);
        Rust { code, spoken, has_string, is_test, is_macro }
    }

    /// The code of the test lines, or of the others.
    pub fn code_of(&self, tests: bool) -> String {
        let keep = |(line, is_test): (&str, &bool)| {
            if *is_test == tests { line.to_owned() } else { String::new() }
        };
        self.code.split('\n').zip(&self.is_test).map(keep).collect::<Vec<_>>().join("\n")
    }
}

/// Whether all of a file is test code, by its place.
pub fn is_test_place(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.contains("/benches/")
}

/// Files of the modules that a file declares behind `#[cfg(test)]`.
pub fn test_modules(path: &str, text: &str) -> Vec<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let home = match name {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let mut found = vec![];
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            continue;
        }
        let mut elsewhere = None;
        for line in lines.by_ref() {
            if let Some(path) = line.strip_prefix("#[path = \"") {
                elsewhere = path.strip_suffix("\"]");
            } else if !line.starts_with("#[") {
                if let Some(name) = line.strip_prefix("mod ").and_then(|l| l.strip_suffix(';')) {
                    found.push(match elsewhere {
                        Some(file) => format!("{folder}/{file}"),
                        None => format!("{home}/{name}.rs"),
                    });
                    found.push(format!("{home}/{name}/mod.rs"));
                }
                break;
            }
        }
    }
    found
}

/// Identifiers, keywords and numbers, in order.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Whether `word` occurs as a whole word.
pub fn has_word(code: &str, word: &str) -> bool {
    words(code).any(|found| found == word)
}

/// Marks the lines from each `start` to the brace that closes what it opens, or to its semicolon.
fn blocks(code: &str, start: &str, lines: usize) -> Vec<bool> {
    let mut marked = vec![false; lines];
    let mut from = 0;
    while let Some(at) = code[from..].find(start) {
        let begin = from + at;
        let mut depth = 0i32;
        let mut end = code.len();
        for (offset, character) in code[begin + start.len()..].char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ';' if depth == 0 => {}
                _ => continue,
            }
            if depth == 0 {
                end = begin + start.len() + offset;
                break;
            }
        }
        let line_of = |at: usize| code[..at].matches('\n').count();
        marked[line_of(begin)..=line_of(end)].fill(true);
        from = end.min(code.len());
        if from == code.len() {
            break;
        }
    }
    marked
}

/// Each character with the part it belongs to; delimiters of literals count as literal.
fn parts(text: &str) -> Vec<(char, Part)> {
    let characters: Vec<char> = text.chars().collect();
    let mut out = Vec::with_capacity(characters.len());
    let at = |i: usize| characters.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < characters.len() {
        let end = match (at(i), at(i + 1)) {
            ('/', '/') => (end_of_line(&characters, i), Part::Comment),
            ('/', '*') => (end_of_comment(&characters, i), Part::Comment),
            ('"', _) => (end_of_string(&characters, i), Part::Literal),
            ('r', '"' | '#') if !is_word(&characters, i) => match end_of_raw(&characters, i + 1) {
                Some(end) => (end, Part::Literal),
                None => (i + 1, Part::Code),
            },
            ('\'', '\\') => (end_of_char(&characters, i + 2), Part::Literal),
            ('\'', _) if at(i + 2) == '\'' => (i + 3, Part::Literal),
            _ => (i + 1, Part::Code),
        };
        out.extend(characters[i..end.0.min(characters.len())].iter().map(|c| (*c, end.1)));
        i = end.0;
    }
    out
}

/// Whether the character before `i` continues a word, `br"` and `cr"` excepted.
fn is_word(characters: &[char], i: usize) -> bool {
    let Some(before) = i.checked_sub(1).map(|before| characters[before]) else { return false };
    let prefix = matches!(before, 'b' | 'c')
        && !i
            .checked_sub(2)
            .is_some_and(|b| characters[b].is_alphanumeric() || characters[b] == '_');
    (before.is_alphanumeric() || before == '_') && !prefix
}

fn end_of_line(characters: &[char], from: usize) -> usize {
    characters[from..].iter().position(|c| *c == '\n').map_or(characters.len(), |n| from + n)
}

fn end_of_comment(characters: &[char], from: usize) -> usize {
    let (mut depth, mut i) = (0, from);
    while i + 1 < characters.len() {
        match (characters[i], characters[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    characters.len()
}

fn end_of_string(characters: &[char], from: usize) -> usize {
    let mut i = from + 1;
    while i < characters.len() {
        match characters[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    characters.len()
}

/// The end of a raw string whose hashes start at `from`; `None` when it is none (`r#type`).
fn end_of_raw(characters: &[char], from: usize) -> Option<usize> {
    let hashes = characters[from..].iter().take_while(|c| **c == '#').count();
    if characters.get(from + hashes) != Some(&'"') {
        return None;
    }
    let body = from + hashes + 1;
    let closes = |at: usize| {
        characters[at] == '"'
            && characters[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let end = (body..characters.len()).find(|at| closes(*at));
    Some(end.map_or(characters.len(), |end| end + 1 + hashes))
}

/// The end of a character literal that begins with a backslash; `from` is what stands behind it.
fn end_of_char(characters: &[char], from: usize) -> usize {
    let body = characters.get(from + 1..).unwrap_or_default();
    body.iter().position(|c| *c == '\'').map_or(characters.len(), |n| from + n + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_no_code() {
        let text = r##"let a = "x // y \" z"; // unsafe "q"
let b = r#"raw " unsafe"#; /* one /* two */ unsafe */ let c = 'u'; let d = '\''; let e: &'static str;
let f = b"bytes unsafe"; let r#type = br"u"; end
"##;
        let rust = Rust::read(text, false);
        assert!(!has_word(&rust.code, "unsafe"), "{}", rust.code);
        assert!(has_word(&rust.spoken, "unsafe"));
        assert!(has_word(&rust.code, "static") && has_word(&rust.code, "end"));
        assert_eq!(rust.code.matches('\n').count(), text.matches('\n').count());
        assert_eq!(rust.has_string, [true, true, true, false]);
    }

    #[test]
    fn files_of_test_modules_are_found() {
        let text = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\n#[path = \"c_t.rs\"]\nmod c;\n\
            #[cfg(test)]\nmod d {\n}\n";
        let found = |path| test_modules(path, text);
        assert!(found("x/lib.rs").contains(&"x/b.rs".to_owned()));
        assert!(found("x/y.rs").contains(&"x/y/b.rs".to_owned()));
        assert!(found("x/y.rs").contains(&"x/c_t.rs".to_owned()));
        assert!(found("x/lib.rs").iter().all(|path| path != "x/a.rs" && path != "x/d.rs"));
    }

    #[test]
    fn test_modules_are_told_from_the_rest() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let rust = Rust::read(text, false);
        assert_eq!(rust.is_test, [false, true, true, true, true, false, false]);
        assert!(has_word(&rust.code_of(false), "c") && !has_word(&rust.code_of(false), "b"));
        assert!(has_word(&rust.code_of(true), "b") && !has_word(&rust.code_of(true), "a"));
        let outside = Rust::read("#[cfg(test)]\nmod tests;\nfn c() {}\n", false);
        assert_eq!(outside.is_test, [true, true, false, false]);
        assert!(Rust::read("fn a() {}", true).is_test[0]);
    }
}
