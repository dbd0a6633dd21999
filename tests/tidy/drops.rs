//! Drop reasons: each is produced, each is tested, and the handbook's page is the table.

use proto::DropReason;

use crate::rust::{Rust, has_word};
use crate::tree::Tree;

/// The page that is made from the table. Written anew by the tests with `ROOMLANE_BLESS=1`.
const PAGE: &str = "docs/drop-reasons.md";

/// Reasons that no test brings about, each with why. An entry that a test reaches is a complaint.
const UNTESTED: &[(DropReason, &str)] = &[];

/// Complaints about reasons that nothing produces or no test names.
pub fn reasons(tree: &Tree) -> Vec<String> {
    check(
        tree,
        DropReason::ALL.iter().map(|reason| (format!("{reason:?}"), reason.name())),
        UNTESTED,
    )
}

fn check<'a>(
    tree: &Tree,
    reasons: impl Iterator<Item = (String, &'a str)>,
    untested: &[(DropReason, &str)],
) -> Vec<String> {
    let (mut product, mut tests, mut quoted) = (String::new(), String::new(), String::new());
    for file in tree.with("rs") {
        // The ports' tests read reasons by name alone.
        let is_core = file.path.starts_with("dataplane/") || file.path.starts_with("tests/sim/");
        let speaks = file.text.contains("DropReason") || file.path.contains("/port/tests/");
        if is_core && speaks {
            let rust = Rust::of(file);
            product.push_str(&rust.code_of(false));
            tests.push_str(&rust.code_of(true));
            let test_lines = file.text.lines().zip(&rust.is_test).filter(|(_, is_test)| **is_test);
            quoted.extend(test_lines.map(|(line, _)| line));
        }
    }
    let mut complaints = vec![];
    for (variant, name) in reasons {
        let excuse = untested.iter().find(|(reason, _)| format!("{reason:?}") == variant);
        if !has_word(&product, &variant) {
            complaints.push(format!("{name}: nothing in dataplane/ drops for this reason"));
        }
        let is_tested = has_word(&tests, &variant) || quoted.contains(&format!("(\"{name}\","));
        match (is_tested, excuse) {
            (false, None) => complaints.push(format!("{name}: no test names {variant}")),
            (true, Some(_)) => complaints.push(format!("{name}: is tested; take it off UNTESTED")),
            _ => {}
        }
    }
    complaints
}

/// Complaints when the handbook's page differs from the table.
pub fn page(tree: &Tree) -> Vec<String> {
    let expected = rendered();
    if std::env::var_os("ROOMLANE_BLESS").is_some() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        std::fs::write(format!("{root}{PAGE}"), &expected).expect("the page is writable");
        return vec![];
    }
    let found = tree.find(PAGE).map_or("", |file| file.text.as_str());
    let differs = found != expected;
    differs
        .then(|| format!("{PAGE}: differs from the table; run with ROOMLANE_BLESS=1"))
        .into_iter()
        .collect()
}

/// Where a packet is when a reason meets it, in the order of the table.
const PLACES: &[(DropReason, &str)] = &[
    (DropReason::BadFrame, "Below UDP, counted by the port"),
    (DropReason::UnknownClass, "Before authentication"),
    (DropReason::BadPacket, "After authentication"),
];

fn rendered() -> String {
    let mut out = String::from(concat!(
        "# Drop reasons\n\n",
        "<!-- Made from control/proto/src/drop_reason.rs by tests/tidy; do not edit. -->\n\n",
        "Every packet that is not forwarded, ended or handed on is counted under exactly one of these names.\n",
        "`roomlane show drops` lists those that are not zero. Drops of received packets and copies that a\n",
        "subscriber did not get are counted apart, since one received packet may be many copies.\n",
    ));
    for reason in DropReason::ALL {
        if let Some((_, place)) = PLACES.iter().find(|(first, _)| first == reason) {
            out.push_str(&format!("\n## {place}\n\n| name | meaning |\n|---|---|\n"));
        }
        out.push_str(&format!("| `{}` | {} |\n", reason.name(), reason.sentence()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_without_producer_or_test_is_found() {
        let run = |product: &str, test: &str, excused: &[(DropReason, &str)]| {
            let files = [("dataplane/core/src/a.rs", product), ("tests/sim/a.rs", test)];
            check(&Tree::of(&files), [("Replay".to_owned(), "replay")].into_iter(), excused)
        };
        let product = "DropReason::Replay";
        assert_eq!(run(product, product, &[]), [""; 0]);
        assert_eq!(run(product, "DropReason; assert_eq!(drops, [(\"replay\", 1)]);", &[]), [""; 0]);
        assert_eq!(run("// DropReason::Replay", product, &[]).len(), 1);
        assert_eq!(run(product, "DropReason::ALL", &[]).len(), 1);
        assert_eq!(run(product, "DropReason::ALL", &[(DropReason::Replay, "why")]), [""; 0]);
        assert_eq!(run(product, product, &[(DropReason::Replay, "why")]).len(), 1);
    }

    #[test]
    fn the_page_has_every_reason_once() {
        let page = rendered();
        for reason in DropReason::ALL {
            assert_eq!(page.matches(&format!("| `{}` |", reason.name())).count(), 1);
        }
        assert!(!super::page(&Tree::of(&[(PAGE, "# Drop reasons\n")])).is_empty());
    }
}
