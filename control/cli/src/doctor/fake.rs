//! Hosts made of files, for tests.

use std::path::PathBuf;

use config::Config;

use super::host::Host;

/// A host of its own for one test.
pub struct Fake(PathBuf);

impl Fake {
    /// With these files; `name` is the test's alone.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("rl-doctor-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let fake = Fake(root);
        for (path, text) in files {
            std::fs::write(fake.place(path), text).unwrap();
        }
        fake
    }

    fn place(&self, path: &str) -> PathBuf {
        let path = self.0.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Adds a symbolic link.
    pub fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.place(path)).unwrap();
    }

    /// It, as checks see it.
    pub fn host(&self, is_root: bool) -> Host {
        Host::at(&self.0, is_root)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration.
pub fn config(text: &str) -> Config {
    Config::parse(text, "test").unwrap()
}
