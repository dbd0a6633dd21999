//! The repository's files as text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rust::{is_test_place, test_modules};

/// One file of the repository.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its text; empty when it is not UTF-8.
    pub text: String,
    /// All of it is test code.
    pub is_test: bool,
}

impl File {
    fn new(path: String, bytes: Vec<u8>) -> File {
        let text = String::from_utf8(bytes.clone()).unwrap_or_default();
        File { path, bytes, text, is_test: false }
    }

    /// `rs`, `md`; empty without a dot.
    pub fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

/// All files that belong to the repository.
pub struct Tree {
    /// In the order of their paths.
    pub files: Vec<File>,
}

impl Tree {
    /// What Git tracks or would track; without Git, everything but `target` and hidden folders.
    pub fn load() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent");
        let mut paths = tracked(root).unwrap_or_else(|| walk(root));
        paths.sort();
        paths.dedup();
        let read = |path: String| {
            // A file that Git knows and somebody has just removed is not there to be checked.
            let bytes = std::fs::read(root.join(&path)).ok()?;
            Some(File::new(path, bytes))
        };
        let files: Vec<_> = paths.into_iter().filter_map(read).collect();
        assert!(files.len() > 100, "the tree has {} files only; looked in {root:?}", files.len());
        Tree::new(files)
    }

    fn new(mut files: Vec<File>) -> Tree {
        let rust = || files.iter().filter(|file| file.extension() == "rs");
        let tests: HashSet<String> =
            rust().flat_map(|file| test_modules(&file.path, &file.text)).collect();
        for file in &mut files {
            file.is_test = is_test_place(&file.path) || tests.contains(&file.path);
        }
        Tree { files }
    }

    /// A tree that a unit test makes up.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File::new((*path).into(), (*text).into());
        Tree::new(files.iter().map(file).collect())
    }

    /// The file at `path`.
    pub fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The files whose extension is `extension`.
    pub fn with(&self, extension: &str) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.extension() == extension)
    }
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = output.status.success().then(|| String::from_utf8(output.stdout).ok())??;
    let paths: Vec<_> = text.split('\0').filter(|path| !path.is_empty()).map(Into::into).collect();
    (!paths.is_empty()).then_some(paths)
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = vec![];
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).expect("the tree is readable").flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = folder.join(&name);
            let hidden = name.starts_with('.') && name != ".ci" && name != ".gitignore";
            if hidden || name == "target" || name == "node_modules" {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(_) => found.push(path.to_string_lossy().replace('\\', "/")),
                Err(_) => {}
            }
        }
    }
    found
}

#[test]
fn git_and_a_walk_find_the_same_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let Some(tracked) = tracked(root) else { return };
    let walked = walk(root);
    let sources = |path: &&String| path.ends_with(".rs") && root.join(path).exists();
    let missed: Vec<_> = tracked.iter().filter(sources).filter(|p| !walked.contains(p)).collect();
    assert!(missed.is_empty(), "{missed:?}");
}
