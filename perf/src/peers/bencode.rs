//! Bencode, as rtpengine's `ng` protocol speaks it.

use std::collections::BTreeMap;

/// Nesting that is read at most.
const DEPTH_MAX: u32 = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Bytes that are taken for text.
    Text(String),
    /// An integer.
    Number(i64),
    /// A list.
    List(Vec<Value>),
    /// A dictionary; its keys are in order, as the format wants them.
    Dict(BTreeMap<String, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl Value {
    /// A list of texts.
    pub fn texts(all: &[&str]) -> Value {
        Value::List(all.iter().map(|text| Value::from(*text)).collect())
    }

    /// A dictionary.
    pub fn dict<const N: usize>(entries: [(&str, Value); N]) -> Value {
        Value::Dict(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The text under a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        let Value::Dict(entries) = self else { return None };
        match entries.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Appends the encoded value.
    pub fn write(&self, out: &mut String) {
        let text = |out: &mut String, text: &str| {
            out.push_str(&text.len().to_string());
            out.push(':');
            out.push_str(text);
        };
        match self {
            Value::Text(bytes) => text(out, bytes),
            Value::Number(number) => {
                out.push('i');
                out.push_str(&number.to_string());
                out.push('e');
            }
            Value::List(all) => {
                out.push('l');
                all.iter().for_each(|value| value.write(out));
                out.push('e');
            }
            Value::Dict(entries) => {
                out.push('d');
                for (key, value) in entries {
                    text(out, key);
                    value.write(out);
                }
                out.push('e');
            }
        }
    }

    /// Reads one value and nothing behind it.
    pub fn read(text: &str) -> Option<Value> {
        let (value, rest) = read(text, 0)?;
        rest.is_empty().then_some(value)
    }
}

fn read(text: &str, depth: u32) -> Option<(Value, &str)> {
    if depth > DEPTH_MAX {
        return None;
    }
    match text.as_bytes().first()? {
        b'i' => {
            let (number, rest) = text[1..].split_once('e')?;
            Some((Value::Number(number.parse().ok()?), rest))
        }
        b'l' => {
            let (mut rest, mut all) = (&text[1..], vec![]);
            while !rest.starts_with('e') {
                let (value, behind) = read(rest, depth + 1)?;
                all.push(value);
                rest = behind;
            }
            Some((Value::List(all), &rest[1..]))
        }
        b'd' => {
            let (mut rest, mut entries) = (&text[1..], BTreeMap::new());
            while !rest.starts_with('e') {
                let (key, behind) = read_text(rest)?;
                let (value, behind) = read(behind, depth + 1)?;
                entries.insert(key.to_owned(), value);
                rest = behind;
            }
            Some((Value::Dict(entries), &rest[1..]))
        }
        _ => {
            let (bytes, rest) = read_text(text)?;
            Some((Value::from(bytes), rest))
        }
    }
}

fn read_text(text: &str) -> Option<(&str, &str)> {
    let (len, rest) = text.split_once(':')?;
    rest.split_at_checked(len.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let value = Value::dict([
            ("sdp", Value::from("v=0\r\n")),
            ("SDES", Value::texts(&["no-A", "no-B"])),
            ("port", Value::Number(-7)),
            ("empty", Value::dict([])),
        ]);
        let mut text = String::new();
        value.write(&mut text);
        assert_eq!(text, "d4:SDESl4:no-A4:no-Be5:emptyde4:porti-7e3:sdp5:v=0\r\ne");
        assert_eq!(Value::read(&text), Some(value.clone()));
        assert_eq!((value.text("sdp"), value.text("port")), (Some("v=0\r\n"), None));
        for len in 0..text.len() {
            assert_eq!(Value::read(&text[..len]), None, "{len}");
        }
        let deep = "l".repeat(100) + &"e".repeat(100);
        for bad in ["", "x", "5:ab", "i9", "d1:a", "i1ei2e", "99999999999999999999:a", &deep] {
            assert_eq!(Value::read(bad), None, "{bad}");
        }
    }
}
