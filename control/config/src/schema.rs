//! The configuration's JSON schema (draft 2020-12), from [`KEYS`] and the commented sample.

use std::fmt::Write;

use crate::keys::{KEYS, Key, Kind};

/// The schema, as JSON text.
pub fn schema() -> String {
    let mut sections: Vec<(&str, String)> = vec![];
    for key in KEYS {
        let Some((section, name)) = key.name.split_once('.') else { continue };
        if sections.last().is_none_or(|(last, _)| *last != section) {
            sections.push((section, String::new()));
        }
        if let Some((_, members)) = sections.last_mut() {
            let comma = if members.is_empty() { "" } else { "," };
            let about = quote(&comment(section, name));
            let kind = kind(key);
            let _ = write!(
                members,
                "{comma}\n        {name:?}: {{ \"description\": {about}, {kind} }}"
            );
        }
    }
    let object = |(section, members): &(&str, String)| {
        let body = format!(
            "\"type\": \"object\", \"additionalProperties\": false, \"properties\": {{{members}\n      }}"
        );
        match *section {
            "app" => format!(
                "    \"app\": {{ \"type\": \"array\", \"maxItems\": 1000, \"items\": {{ \"required\": \
                 [\"sdkappid\", \"secret_files\"], {body} }} }}"
            ),
            section => format!("    {section:?}: {{ {body} }}"),
        }
    };
    let sections: Vec<String> = sections.iter().map(object).collect();
    format!(
        "{{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n  \"title\": \
         \"Roomlane node configuration\",\n  \"type\": \"object\",\n  \"additionalProperties\": false,\n  \
         \"properties\": {{\n{}\n  }}\n}}\n",
        sections.join(",\n")
    )
}

fn kind(key: &Key) -> String {
    let count =
        |max: u64| format!("{{ \"type\": \"integer\", \"minimum\": 0, \"maximum\": {max} }}");
    match key.kind {
        Kind::Text => "\"type\": \"string\"".into(),
        Kind::Word(words) => {
            let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
            format!("\"enum\": [{}]", words.join(", "))
        }
        Kind::Number(min, max) => {
            format!("\"type\": \"integer\", \"minimum\": {min}, \"maximum\": {max}")
        }
        Kind::Flag => "\"type\": \"boolean\"".into(),
        Kind::Texts => "\"type\": \"array\", \"items\": { \"type\": \"string\" }".into(),
        Kind::Numbers => "\"type\": \"array\", \"items\": { \"type\": \"integer\" }".into(),
        Kind::IceServers => "\"type\": \"array\", \"maxItems\": 8, \"items\": { \"type\": \"object\", \
             \"additionalProperties\": false, \"required\": [\"url\"], \"properties\": { \"url\": { \"type\": \
             \"string\" }, \"username\": { \"type\": \"string\" }, \"credential_file\": { \"type\": \"string\" } } }"
            .into(),
        Kind::Quota => {
            let (few, many) = (count(u64::from(u32::MAX)), count(i64::MAX as u64));
            let joins = count(1_000_000);
            format!(
                "\"type\": \"object\", \"additionalProperties\": false, \"properties\": {{ \"sessions\": {few}, \
                 \"rooms\": {few}, \"packets_per_s\": {many}, \"bytes_per_s\": {many}, \"joins_per_s\": {joins} }}"
            )
        }
    }
}

/// What the sample says behind a key.
fn comment(section: &str, name: &str) -> String {
    let mut current = "";
    for line in crate::sample().lines() {
        let plain = line.trim_start_matches('#');
        if let Some(rest) = plain.strip_prefix('[') {
            current = rest.trim_start_matches('[').split(']').next().unwrap_or_default();
        }
        let is_it = plain.split(" = ").next() == Some(name) && current == section;
        if is_it {
            return plain.rsplit_once(" # ").map_or(String::new(), |(_, about)| about.to_owned());
        }
    }
    String::new()
}

fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
