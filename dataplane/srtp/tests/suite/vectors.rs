//! Reads the vector files: blocks of `name = value`, parted by blank lines; `#` starts a comment.

/// One block of a vector file.
pub struct Record(Vec<(String, String)>);

/// All blocks of a file.
pub fn records(file: &str) -> Vec<Record> {
    file.split("\n\n").map(record).filter(|record| !record.0.is_empty()).collect()
}

fn record(block: &str) -> Record {
    let lines = block.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pairs = lines.map(|line| {
        let (name, value) = line.split_once(" = ").expect("name = value");
        (name.to_owned(), value.to_owned())
    });
    Record(pairs.collect())
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Record {
    /// A value as it stands.
    pub fn text(&self, name: &str) -> &str {
        self.find(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// Whether there is such a value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A value as bytes.
    pub fn hex(&self, name: &str) -> Vec<u8> {
        hex(self.text(name))
    }

    /// A value as a big-endian number.
    pub fn number(&self, name: &str) -> u64 {
        self.hex(name).iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// All values whose name begins with `prefix`, with the rest of the name.
    pub fn names_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Vec<u8>)> {
        self.0
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, hex(value))))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{c} in {text}")))
        .collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {text}");
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}
