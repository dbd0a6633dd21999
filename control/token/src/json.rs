//! A strict reader (RFC 8259) for the one JSON shape a token has: a flat object of strings and
//! non-negative integers.
//!
//! A general parser would take the last of two equal keys, round large numbers and read 1e3 as an
//! integer; each of these lets two readers see two different tokens.

use crate::limits::INTEGER_MAX;
use crate::refusal::Refusal;

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer(u64),
}

/// Reads one object and hands every field to `field` in the order written. Duplicates are the
/// caller's to find: it knows the names.
pub(crate) fn read_object(
    bytes: &[u8],
    mut field: impl FnMut(&str, Value) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::MalformedJson)?;
    let mut reader = Reader { rest: text };
    reader.skip_space();
    reader.expect('{')?;
    reader.skip_space();
    if !reader.take('}') {
        loop {
            reader.skip_space();
            let name = reader.string()?;
            reader.skip_space();
            reader.expect(':')?;
            reader.skip_space();
            let value = reader.value()?;
            field(&name, value)?;
            reader.skip_space();
            if reader.take('}') {
                break;
            }
            reader.expect(',')?;
        }
    }
    reader.skip_space();
    if reader.rest.is_empty() { Ok(()) } else { Err(Refusal::MalformedJson) }
}

/// Writes `text` as a JSON string.
pub(crate) fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), Refusal> {
        if self.take(wanted) { Ok(()) } else { Err(Refusal::MalformedJson) }
    }

    fn next(&mut self) -> Result<char, Refusal> {
        let mut chars = self.rest.chars();
        let c = chars.next().ok_or(Refusal::MalformedJson)?;
        self.rest = chars.as_str();
        Ok(c)
    }

    fn value(&mut self) -> Result<Value, Refusal> {
        match self.rest.bytes().next() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'0'..=b'9') => self.integer().map(Value::Integer),
            // Legal JSON, but no field of a token is negative, a literal or nested.
            Some(b'-' | b't' | b'f' | b'n' | b'[' | b'{') => Err(Refusal::WrongFieldType),
            _ => Err(Refusal::MalformedJson),
        }
    }

    fn integer(&mut self) -> Result<u64, Refusal> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = self.rest.split_at(digits);
        if number.len() > 1 && number.starts_with('0') {
            return Err(Refusal::MalformedJson);
        }
        if rest.starts_with(['.', 'e', 'E']) {
            return Err(Refusal::WrongFieldType);
        }
        self.rest = rest;
        // Only digits are left, so the one possible error is overflow.
        let number: u64 = number.parse().map_err(|_| Refusal::NumberOutOfRange)?;
        if number > INTEGER_MAX { Err(Refusal::NumberOutOfRange) } else { Ok(number) }
    }

    fn string(&mut self) -> Result<String, Refusal> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(text),
                '\\' => text.push(self.escaped()?),
                c if c < ' ' => return Err(Refusal::MalformedJson),
                c => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Refusal> {
        Ok(match self.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.code_point(),
            _ => return Err(Refusal::MalformedJson),
        })
    }

    fn code_point(&mut self) -> Result<char, Refusal> {
        let first = self.four_hex_digits()?;
        if !(0xd800..=0xdbff).contains(&first) {
            // A lone low surrogate is no character and is refused here.
            return char::from_u32(first).ok_or(Refusal::MalformedJson);
        }
        self.expect('\\')?;
        self.expect('u')?;
        let second = self.four_hex_digits()?;
        if !(0xdc00..=0xdfff).contains(&second) {
            return Err(Refusal::MalformedJson);
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or(Refusal::MalformedJson)
    }

    fn four_hex_digits(&mut self) -> Result<u32, Refusal> {
        (0..4).try_fold(0, |code, _| {
            let digit = self.next()?.to_digit(16).ok_or(Refusal::MalformedJson)?;
            Ok(code << 4 | digit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<(String, Value)>, Refusal> {
        let mut fields = Vec::new();
        read_object(json.as_bytes(), |name, value| {
            fields.push((name.to_owned(), value));
            Ok(())
        })?;
        Ok(fields)
    }

    #[test]
    fn space_and_escapes_are_read_as_rfc_8259_says() {
        let fields =
            read(" {\t\"a\" : \"x\\/\\u002f\\u003d\\\\\\\"\\n\\ud83d\\ude00\" ,\r\n\"b\":0} \n");
        let expected = vec![
            ("a".to_owned(), Value::Text("x//=\\\"\n😀".to_owned())),
            ("b".to_owned(), Value::Integer(0)),
        ];
        assert_eq!(fields, Ok(expected));
        assert_eq!(read("{}"), Ok(vec![]));
    }

    #[test]
    fn broken_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":00}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":\"x}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\0\"}",
            "\u{feff}{}",
            "[]",
            "\"a\"",
            "1",
            "{\"a\":1;\"b\":2}",
            "{\"a\" 1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1}\0",
            "{\"a\":\u{a0}1}",
            "// x\n{}",
        ] {
            assert_eq!(read(bad), Err(Refusal::MalformedJson), "{bad:?}");
        }
        assert_eq!(read_object(b"{\"a\":\"\xff\"}", |_, _| Ok(())), Err(Refusal::MalformedJson));
    }

    #[test]
    fn only_strings_and_plain_integers_are_values() {
        for bad in ["-1", "-0", "1.0", "1e3", "1E3", "true", "false", "null", "[]", "{}", "0.0"] {
            let json = format!("{{\"a\":{bad}}}");
            assert_eq!(read(&json), Err(Refusal::WrongFieldType), "{bad}");
        }
        let largest = (1u64 << 53) - 1;
        assert!(read(&format!("{{\"a\":{largest}}}")).is_ok());
        for above in ["9007199254740992", "18446744073709551616", &"9".repeat(400)] {
            let json = format!("{{\"a\":{above}}}");
            assert_eq!(read(&json), Err(Refusal::NumberOutOfRange), "{above}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "a\"b\\c\nd\u{1f}/😀";
        let mut json = String::from("{");
        push_string(&mut json, text);
        json.push_str(":1}");
        assert_eq!(read(&json), Ok(vec![(text.to_owned(), Value::Integer(1))]));
    }
}
