//! Personal data: every field of the node's programs whose type can hold some is in docs/data.md, with
//! its class, where it is, why, and for how long; and nothing is there that is not.

use std::collections::BTreeSet;

use crate::rust::{Rust, has_word};
use crate::tree::{File, Tree};

/// The page.
const PAGE: &str = "docs/data.md";
/// Folders whose programs hold data of people while they serve them. Formats (`wire`), the reading of
/// tokens and the operator's own tools keep nothing.
const FOLDERS: [&str; 6] = [
    "control/daemon/src/",
    "control/proto/src/",
    "control/dtls/src/",
    "dataplane/core/src/",
    "dataplane/port/src/",
    "dataplane/srtp/src/",
];
/// Types of identities, of addresses, and of what only its owner may know.
const TYPES: [&str; 19] = [
    "UserId",
    "RoomId",
    "RoomKey",
    "Label",
    "Endpoint",
    "Path",
    "SocketAddr",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "Mac",
    "KeyMaterial",
    "IceCredentials",
    "Fingerprint",
    "RowLabel",
    "About",
    "Note",
    "Record",
    "Source",
];
/// What a row of the first table says.
const COLUMNS: [&str; 5] = ["data", "class", "where", "why", "how long"];

/// Fields that are not on the page, fields on the page that are not in the code, and rows that leave a
/// question open.
pub fn page(tree: &Tree) -> Vec<String> {
    let Some(page) = tree.find(PAGE) else { return vec![format!("{PAGE}: there is no such page")] };
    let mut complaints = vec![];
    let kept = rows(page, COLUMNS[0]);
    for row in &kept {
        let open = COLUMNS
            .iter()
            .enumerate()
            .filter(|(at, _)| row.get(*at).is_none_or(|it| it.is_empty()));
        complaints.extend(open.map(|(_, column)| format!("{PAGE}: no {column} of {:?}", row[0])));
    }
    let named: BTreeSet<&str> = kept.iter().map(|row| row[0].as_str()).collect();
    let mut told = BTreeSet::new();
    for row in rows(page, "fields") {
        let what = row.get(1).map_or("", String::as_str);
        if what != "nobody's" && !named.contains(what) {
            complaints.push(format!("{PAGE}: {what:?} is no row of the first table"));
        }
        told.extend(row[0].split('`').skip(1).step_by(2).map(str::to_owned));
    }
    let held: BTreeSet<String> =
        tree.with("rs").filter(|file| counts(file)).flat_map(fields).collect();
    complaints.extend(held.difference(&told).map(|it| format!("{PAGE}: {it} is not there")));
    complaints.extend(told.difference(&held).map(|it| format!("{PAGE}: no {it} in the code")));
    complaints
}

fn counts(file: &File) -> bool {
    !file.is_test && FOLDERS.iter().any(|folder| file.path.starts_with(folder))
}

/// Rows of the tables whose first column is called `first`.
fn rows(page: &File, first: &str) -> Vec<Vec<String>> {
    let mut rows = vec![];
    let mut is_ours = false;
    for line in page.text.lines() {
        let Some(inside) = line.strip_prefix('|') else {
            is_ours = false;
            continue;
        };
        let cells: Vec<String> =
            inside.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        match is_ours {
            true if !cells[0].starts_with("---") => rows.push(cells),
            true => {}
            false => is_ours = cells[0] == first,
        }
    }
    rows
}

/// `Type.field` of each field of a file that can hold such data; fields of tuples by their numbers, of an
/// enum's variants as `Type::Variant.field`.
fn fields(file: &File) -> Vec<String> {
    let code = Rust::of(file).code_of(false);
    let mut found = vec![];
    let mut rest = code.as_str();
    while let Some((kind, at)) = next_type(rest) {
        let after = &rest[at..];
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let (body, end) = body_of(after);
        match kind {
            // A macro's.
            _ if name.is_empty() => {}
            "struct" => found.extend(of_body(&name, body)),
            _ => found.extend(parts(body).into_iter().flat_map(|variant| {
                let variant = variant.trim();
                let own: String =
                    variant.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                of_body(&format!("{name}::{own}"), body_of(variant).0)
            })),
        }
        rest = &after[end..];
    }
    found
}

/// The next `struct` or `enum` and where its name begins.
fn next_type(code: &str) -> Option<(&'static str, usize)> {
    let places = ["struct", "enum"].into_iter().filter_map(|kind| {
        let word = format!("{kind} ");
        let at = code.match_indices(&word).find(|(at, _)| {
            let before = code[..*at].chars().next_back();
            before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        });
        at.map(|(at, _)| (kind, at + word.len()))
    });
    places.min_by_key(|(_, at)| *at)
}

/// What is between the first bracket and its partner, and where that ends. Nothing for `struct A;`.
fn body_of(code: &str) -> (&str, usize) {
    let Some(open) = code.find(['{', '(', ';']).filter(|at| !code[*at..].starts_with(';')) else {
        return ("", code.find(';').map_or(code.len(), |at| at + 1));
    };
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&code[open + 1..open + at], open + at + 1);
        }
    }
    (&code[open + 1..], code.len())
}

/// A body at its outer commas.
fn parts(body: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (vec![], 0_i32, 0);
    for (at, c) in body.char_indices() {
        match c {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            '>' if !body[..at].ends_with(['-', '=']) => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[from..]);
    parts
}

/// A field without `#[..]` before it.
fn without_attributes(field: &str) -> &str {
    let field = field.trim_start();
    let after = field.strip_prefix("#[").and_then(|rest| rest.split_once(']'));
    after.map_or(field, |(_, rest)| without_attributes(rest))
}

fn of_body(name: &str, body: &str) -> Vec<String> {
    let holds = |text: &str| TYPES.iter().any(|kind| has_word(text, kind));
    let field = |(at, part): (usize, &str)| {
        let part = without_attributes(part);
        let split = part.split_once(':').filter(|(_, kind)| !kind.starts_with(':'));
        let (field, kind) = match split {
            Some((field, kind)) => (field.split_whitespace().last().unwrap_or("").to_owned(), kind),
            None => (at.to_string(), part),
        };
        holds(kind).then(|| format!("{name}.{field}"))
    };
    parts(body).into_iter().enumerate().filter_map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "pub struct A<'a> { #[x(1)] pub user: UserId, n: HashMap<u8, u8>, all: [IpAddr; 2] }\n\
        struct B(u8, pub Label);\nenum C { One { path: Path, x: u8 }, Two(SocketAddr), Three }\nstruct D;\n";
    const KEPT: &str = "| data | class | where | why | how long |\n|---|---|---|---|---|\n\
        | ids | personal | memory | names | until it ends |\n\n";

    fn told(page: &str) -> Vec<String> {
        self::page(&Tree::of(&[("control/daemon/src/a.rs", CODE), (PAGE, page)]))
    }

    #[test]
    fn every_field_is_found_and_named() {
        let fields = "| fields | data |\n|---|---|\n| `A.user`, `A.all` | ids |\n\
            | `B.1`, `C::One.path`, `C::Two.0` | ids |\n";
        assert_eq!(told(&format!("{KEPT}{fields}")), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_stale_or_open_is_said() {
        let fields =
            "| fields | data |\n|---|---|\n| `A.user`, `A.gone` | ids |\n| `B.1` | what |\n";
        let said = told(&format!("{}{fields}", KEPT.replace("names", "")));
        let wanted =
            ["no why of", "\"what\" is no row", "A.all is not there", "C::One.path is not there"];
        for wanted in wanted.iter().chain(&["C::Two.0 is not there", "no A.gone in the code"]) {
            assert!(said.iter().any(|line| line.contains(wanted)), "{wanted}: {said:#?}");
        }
        assert_eq!(said.len(), 6, "{said:#?}");
    }
}
