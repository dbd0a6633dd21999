//! The node's configuration: what an operator may write in `node.toml`, decided in this one place.
//!
//! Text becomes [`raw`] structs (serde, unknown keys refused), those become the typed [`Config`] or a
//! list of errors that each name file, line, column, key, what is wrong and what is allowed. Nothing
//! else in the tree sees TOML: core and proto get numbers, binaries get this crate's types.
//!
//! Start reading at [`model`], then [`check`]. Absent on purpose: secrets. A configuration names
//! files; [`secret`] reads them, in the process that needs them.
#![forbid(unsafe_code)]

mod check;
mod check_control;
mod check_notify;
mod check_port;
pub mod drop_in;
mod error;
pub mod keys;
mod locate;
pub mod model;
mod net;
mod raw;
mod schema;
pub mod secret;

use std::path::{Path, PathBuf};

pub use error::{ConfigError, ConfigErrors, Warning, line_column};
pub use keys::{Change, Effect, changes};
pub use model::{
    Aead, App, AppQuota, Config, Control, Device, Environment, Hook, IceServer, Limits, Listen,
    Node, Notify, Poll, Port, PortType, Tls, Workers,
};
pub use net::Cidr;
pub use schema::schema;
pub use secret::{SecretError, SecretFile};

/// Where the configuration lies when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/roomlane/node.toml";

/// Largest configuration file accepted, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// A commented configuration that shows every key; parsed, it equals the default.
pub fn sample() -> &'static str {
    include_str!("sample.toml")
}

impl Config {
    /// Reads and checks a file, and the apps in `conf.d` beside it.
    ///
    /// # Errors
    /// Every problem found, each with its place. A file that cannot be read is one of them.
    pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
        let name = path.display().to_string();
        let text = read(path).map_err(|cause| ConfigErrors::unreadable(&name, &cause))?;
        let checked = Config::checked(&text, check::Checker::new(&text, &name).reading(), &name);
        // What is wrong with drop-ins is told beside what is wrong with the file.
        let environment = checked.as_ref().map_or(Environment::Development, |c| c.node.environment);
        let (mut apps, mut warnings) = (vec![], vec![]);
        if let Ok(config) = &checked {
            apps.clone_from(&config.apps);
        }
        let read = drop_in::read(path, environment, &mut apps, &mut warnings);
        match (checked, read) {
            (Ok(mut config), Ok(())) => {
                config.apps = apps;
                config.warnings.extend(warnings);
                Ok(config.warned(&name))
            }
            (Err(mut errors), Err(more)) => {
                errors.0.extend(more.0);
                Err(errors)
            }
            (Err(errors), Ok(())) | (Ok(_), Err(errors)) => Err(errors),
        }
    }

    /// Reads and checks the file alone: who only looks for the node may not be allowed to read its apps.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn load_alone(path: &Path) -> Result<Config, ConfigErrors> {
        let name = path.display().to_string();
        let text = read(path).map_err(|cause| ConfigErrors::unreadable(&name, &cause))?;
        Config::parse(&text, &name)
    }

    /// Checks `text`; `name` stands in front of errors, and relative paths start at its folder.
    ///
    /// # Errors
    /// Every problem found, each with its place.
    pub fn parse(text: &str, name: &str) -> Result<Config, ConfigErrors> {
        Config::checked(text, check::Checker::new(text, name), name).map(|c| c.warned(name))
    }

    fn checked(
        text: &str,
        checker: check::Checker<'_>,
        name: &str,
    ) -> Result<Config, ConfigErrors> {
        let raw = toml::from_str(text).map_err(|error| locate::explain(&error, text, name))?;
        check::config(raw, checker)
    }

    /// With what can only be told once all files are read.
    fn warned(mut self, name: &str) -> Config {
        if self.apps.is_empty() {
            let (file, key) = (name.to_owned(), "app".to_owned());
            let text = "no [[app]]: nobody can join".to_owned();
            self.warnings.push(Warning { file, line: 0, column: 0, key, text });
        }
        self
    }

    /// The folder of sockets, pid file and lock.
    pub fn run_dir(&self) -> PathBuf {
        self.node.run_dir.clone().unwrap_or_else(default_run_dir)
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::parse("", "default").expect("an empty file is a valid configuration")
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(text)
}

/// `/run/roomlane` for root; for others `$XDG_RUNTIME_DIR/roomlane` where that variable is set.
pub fn default_run_dir() -> PathBuf {
    run_dirs().swap_remove(0)
}

/// Where a node of this user, or the host's node, may have its sockets: the likeliest first.
pub fn run_dirs() -> Vec<PathBuf> {
    let host = PathBuf::from("/run/roomlane");
    let mine = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join("roomlane"));
    match mine {
        Some(mine) if rustix::process::geteuid().is_root() => vec![host, mine],
        Some(mine) => vec![mine, host],
        None => vec![host],
    }
}

#[cfg(test)]
mod tests;
