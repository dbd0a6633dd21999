//! What is wrong with a configuration, where, and what is allowed instead.

use std::fmt;
use std::ops::Range;

/// One problem. Prints as `file:line:col: key: what is wrong; allowed: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// As given to the parser.
    pub file: String,
    /// From 1; 0 when the problem has no place in the file.
    pub line: usize,
    /// In characters from 1; 0 when the problem has no place in the file.
    pub column: usize,
    /// Dotted path, such as `port.udp_base`; `syntax` when the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What would be right; may be empty.
    pub allowed: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line, self.column)?;
        write!(f, "{}: {}", self.key, self.what)?;
        if self.allowed.is_empty() { Ok(()) } else { write!(f, "; allowed: {}", self.allowed) }
    }
}

impl std::error::Error for ConfigError {}

/// Everything wrong with one file, in the order of the checks; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    pub(crate) fn unreadable(file: &str, cause: &std::io::Error) -> Self {
        ConfigErrors(vec![ConfigError {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: "file".to_owned(),
            what: format!("cannot be read: {cause}"),
            allowed:
                "a readable UTF-8 file of at most 1 MiB; print one with: roomlane config sample"
                    .to_owned(),
        }])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Something allowed that an operator should know. Prints as `file:line:col: key: warning: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// As given to the parser.
    pub file: String,
    /// From 1; 0 when it has no place in the file.
    pub line: usize,
    /// In characters from 1; 0 when it has no place in the file.
    pub column: usize,
    /// Dotted path.
    pub key: String,
    /// The sentence.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line, self.column)?;
        write!(f, "{}: warning: {}", self.key, self.text)
    }
}

fn place(f: &mut fmt::Formatter<'_>, file: &str, line: usize, column: usize) -> fmt::Result {
    match line {
        0 => write!(f, "{file}: "),
        _ => write!(f, "{file}:{line}:{column}: "),
    }
}

/// Line and column of a byte offset, both from 1; the column counts characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// A byte range of the configuration's text.
pub(crate) type Span = Range<usize>;
