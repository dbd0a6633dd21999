//! The host as its kernel describes it: small files under `/proc` and `/sys`, read relative to a root.

use std::path::PathBuf;

/// Where facts are read.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    /// Whether this process is root's.
    pub is_root: bool,
}

impl Host {
    /// The host that this process runs on.
    pub fn this() -> Self {
        Host { root: PathBuf::from("/"), is_root: rustix::process::geteuid().is_root() }
    }

    /// A host made of files below `root`.
    #[cfg(test)]
    pub fn at(root: &std::path::Path, is_root: bool) -> Self {
        Host { root: root.to_owned(), is_root }
    }

    /// A path of the host.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Whether it exists.
    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A file's text without blanks around it.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.path(path)).ok()?.trim().to_owned())
    }

    /// A file's number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The text behind `key` and a colon in a file such as `/proc/self/status`.
    pub fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    }

    /// Names in a folder, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return vec![] };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// A list of cores as the kernel writes it: `0-3,8`.
    pub fn cores(&self, path: &str) -> Vec<u32> {
        self.text(path).map(|text| parse_cores(&text)).unwrap_or_default()
    }

    /// What a symbolic link's last part names: a PCI device's driver.
    pub fn link_name(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }
}

/// `0-3,8` as numbers; what is malformed is left out.
pub fn parse_cores(text: &str) -> Vec<u32> {
    let mut cores = vec![];
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            cores.extend(first..=last.min(first.saturating_add(8192)));
        }
    }
    cores
}
