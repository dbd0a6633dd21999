//! Turns errors of the TOML parser into ours: the key by its place, the message split into what is
//! wrong and what is allowed.

use toml::de::{DeTable, DeValue};

use crate::error::{ConfigError, ConfigErrors, Span, line_column};

/// The one error of a text that is no TOML, or does not fit the raw structs.
pub(crate) fn explain(error: &toml::de::Error, text: &str, name: &str) -> ConfigErrors {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = line_column(text, span.start);
    let (what, allowed) = split(error.message());
    let key = key_at(text, &span).unwrap_or_else(|| "syntax".to_owned());
    ConfigErrors(vec![ConfigError { file: name.to_owned(), line, column, key, what, allowed }])
}

/// The dotted path of the innermost key or value around `span`; `None` when the text is no TOML.
fn key_at(text: &str, span: &Span) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut best: Option<(usize, String)> = None;
    visit(table.get_ref(), "", &mut |path, place| {
        let around = place.start <= span.start && span.end <= place.end;
        if around && best.as_ref().is_none_or(|(len, _)| place.len() <= *len) {
            best = Some((place.len(), path.to_owned()));
        }
    });
    Some(best.map_or_else(|| "file".to_owned(), |(_, path)| path))
}

fn visit(table: &DeTable<'_>, prefix: &str, found: &mut dyn FnMut(&str, Span)) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.get_ref().to_string(),
            _ => format!("{prefix}.{}", key.get_ref()),
        };
        found(&path, key.span());
        visit_value(value.get_ref(), value.span(), &path, found);
    }
}

fn visit_value(value: &DeValue<'_>, span: Span, path: &str, found: &mut dyn FnMut(&str, Span)) {
    found(path, span);
    match value {
        DeValue::Table(table) => visit(table, path, found),
        DeValue::Array(array) => {
            for (index, item) in array.iter().enumerate() {
                visit_value(item.get_ref(), item.span(), &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

/// serde says `unknown field `x`, expected one of `a`, `b``; operators say keys.
fn split(message: &str) -> (String, String) {
    let message = message.trim().replace('\n', " ");
    let (what, allowed) = message.split_once(", expected ").unwrap_or((&message, ""));
    let what = [
        ("unknown field", "unknown key"),
        ("invalid type", "wrong type"),
        ("invalid value", "wrong value"),
    ]
    .iter()
    .fold(what.replace('`', ""), |what, (theirs, ours)| what.replace(theirs, ours));
    let allowed = allowed.strip_prefix("one of ").unwrap_or(allowed).replace('`', "");
    (what, words(&allowed))
}

/// Rust's names of types in the operator's words.
fn words(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or larger".to_owned(),
        "i64" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list in [ ]".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}
