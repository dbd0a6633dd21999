//! An append-only file of JSON lines, each with a hash over itself and the line before, so that a line that
//! was changed or taken out of the middle shows.
//!
//! A disk that is full leaves no half line: space for what comes next is set aside before it is needed, and
//! what was written in part is taken back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How far back the last line is looked for, in bytes.
const TAIL_BYTES: u64 = 8192;
/// What is set aside for lines to come, in bytes: one of every connection that may act at a time.
const RESERVE_BYTES: u64 = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Chain {
    file: File,
    last: String,
    /// Half a line stands at the end and could not be taken back.
    is_torn: bool,
    was_cut: bool,
}

impl Chain {
    /// Opens or makes the file (mode 0600) and goes on with its chain.
    ///
    /// # Errors
    /// The host's.
    pub fn open(path: &Path) -> io::Result<Chain> {
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        (&mut file).take(TAIL_BYTES).read_to_end(&mut tail)?;
        // A line that was cut off by a crash stays visible as such; the next one begins a line of its own.
        let was_cut = !tail.is_empty() && tail.last() != Some(&b'\n');
        let last = tail
            .split(|byte| *byte == b'\n')
            .rev()
            .find_map(|line| serde_json::from_slice::<Value>(line).ok())
            .and_then(|line| line["hash"].as_str().map(str::to_owned))
            .unwrap_or_default();
        Ok(Chain { file, last, is_torn: was_cut, was_cut })
    }

    /// The file ended in the middle of a line when it was opened.
    pub fn was_cut(&self) -> bool {
        self.was_cut
    }

    /// The hash of the last line; empty before the first.
    pub fn last(&self) -> &str {
        &self.last
    }

    /// Bytes of the file.
    ///
    /// # Errors
    /// The host's.
    pub fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Sets space aside for the next lines, so that they can be written whatever becomes of the disk.
    /// Where the file system cannot do that, writing will tell.
    ///
    /// # Errors
    /// There is none, or the file cannot be written.
    pub fn reserve(&self) -> io::Result<()> {
        let len = self.len_bytes()?;
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, len, RESERVE_BYTES) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until what was appended is on the disk.
    ///
    /// # Errors
    /// The host's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Appends an object, with `prev` and `hash` added.
    ///
    /// # Errors
    /// The host's; then the chain is as it was.
    pub fn append(&mut self, mut line: Value) -> io::Result<()> {
        line["prev"] = self.last.as_str().into();
        let hash = hash_of(&line);
        line["hash"] = hash.as_str().into();
        let start = if self.is_torn { "\n" } else { "" };
        let text = format!("{start}{line}\n");
        let before = self.len_bytes()?;
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            let is_longer = self.len_bytes().is_ok_and(|len| len != before);
            if is_longer && self.file.set_len(before).is_err() {
                self.is_torn = true;
            }
            return Err(error);
        }
        self.is_torn = false;
        self.last = hash;
        Ok(())
    }
}

/// SHA-256 over a line without its own hash, in hexadecimal.
pub fn hash_of(line: &Value) -> String {
    let mut line = line.clone();
    if let Some(members) = line.as_object_mut() {
        members.remove("hash");
    }
    Sha256::digest(line.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::{SigSet, Signal};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use serde_json::json;

    use super::*;

    const FILE_LIMIT: u64 = 64 << 20;

    /// Lines of a file, each checked against its own hash and the line before.
    fn checked(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        let mut last = String::new();
        let parsed = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lines: Vec<Value> = parsed.collect();
        for line in &lines {
            assert_eq!((&line["prev"], &line["hash"]), (&json!(last), &json!(hash_of(line))));
            last = line["hash"].as_str().unwrap().to_owned();
        }
        lines
    }

    #[test]
    fn what_was_written_in_part_is_taken_back_and_the_chain_goes_on() {
        let path = std::env::temp_dir().join(format!("rl-chain-{}.jsonl", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let mut chain = Chain::open(&path).unwrap();
        chain.append(json!({ "n": 1 })).unwrap();
        chain.reserve().unwrap();
        let len = chain.len_bytes().unwrap();
        assert!(len < RESERVE_BYTES, "space that is set aside is no part of the file");
        // The kernel takes eleven bytes of the next line: the file is at its limit. That limit is the
        // process's, and above what other tests write.
        let room = 11;
        chain.file.set_len(FILE_LIMIT - room).unwrap();
        let before = getrlimit(Resource::Fsize);
        let blocked = SigSet::from_iter([Signal::SIGXFSZ]);
        blocked.thread_block().unwrap();
        setrlimit(Resource::Fsize, Rlimit { current: Some(FILE_LIMIT), ..before }).unwrap();
        let written = chain.append(json!({ "n": 2 }));
        setrlimit(Resource::Fsize, before).unwrap();
        assert!(written.is_err());
        assert_eq!(chain.len_bytes().unwrap(), FILE_LIMIT - room, "no half line");
        chain.file.set_len(len).unwrap();
        chain.append(json!({ "n": 3 })).unwrap();
        assert_eq!(checked(&path).iter().map(|it| &it["n"]).collect::<Vec<_>>(), [1, 3]);
        // Half a line that could not be taken back, by a crash, ends where it is.
        drop(chain);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"n\":4,\"pr").unwrap();
        let mut chain = Chain::open(&path).unwrap();
        assert!(chain.was_cut());
        chain.append(json!({ "n": 5 })).unwrap();
        assert_eq!(checked(&path).len(), 3);
        std::fs::remove_file(&path).unwrap();
    }
}
