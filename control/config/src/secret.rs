//! Secret files: where they lie, and the rules they are read by.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Largest secret file, in bytes.
pub const SECRET_BYTES_MAX: u64 = 4096;

/// A file that holds a secret, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// A file of our own.
    Path(PathBuf),
    /// A file in `$CREDENTIALS_DIRECTORY`, put there by the service manager.
    Credential(String),
}

/// Why a secret file was not accepted. None of these quote its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Operator: cannot be opened or read.
    #[error("{}: cannot be read: {source}; allowed: a file readable by the user that runs roomlane-control", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The host's answer.
        source: std::io::Error,
    },
    /// Operator: no regular file.
    #[error("{}: is no regular file", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// Operator: others may read it.
    #[error("{}: has mode {mode:04o}; allowed: 0400 or 0600; run: chmod 0400 {}", path.display(), path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Operator: belongs to somebody else.
    #[error("{}: belongs to user id {owner}; allowed: the user that reads it, or root", path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Operator: nothing, or too much, in it.
    #[error("{}: {what}; allowed: one line of at most 4096 bytes of printable ASCII", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Operator: a credential is named, but the service manager gave none.
    #[error(
        "credential {name}: $CREDENTIALS_DIRECTORY is not set; allowed: LoadCredential= in the unit, or a path"
    )]
    NoCredentials {
        /// Its name.
        name: String,
    },
}

impl SecretFile {
    /// Where the file is now.
    ///
    /// # Errors
    /// [`SecretError::NoCredentials`] when a credential is named outside of a service.
    pub fn path(&self) -> Result<PathBuf, SecretError> {
        match self {
            SecretFile::Path(path) => Ok(path.clone()),
            SecretFile::Credential(name) => std::env::var_os("CREDENTIALS_DIRECTORY")
                .map(|dir| Path::new(&dir).join(name))
                .ok_or_else(|| SecretError::NoCredentials { name: name.clone() }),
        }
    }

    /// Reads it by the rules of [`read`].
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn read(&self) -> Result<Zeroizing<String>, SecretError> {
        // The service manager's access lists show up as group bits.
        let forbidden = if matches!(self, SecretFile::Credential(_)) { 0o037 } else { 0o077 };
        read_with(&self.path()?, forbidden)
    }
}

impl std::fmt::Display for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SecretFile::Path(path) => write!(f, "{}", path.display()),
            SecretFile::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Reads a secret: a regular file of ours or root's, mode 0400 or 0600, not empty, one line of printable
/// ASCII, whose line end is not part of the secret.
///
/// # Errors
/// The first rule that is broken.
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    read_with(path, 0o077)
}

/// Checks the rules of [`read`] about the file itself, for keys in other formats (TLS).
///
/// # Errors
/// The first rule that is broken.
pub fn check_key_file(path: &Path) -> Result<(), SecretError> {
    open(path, 0o077).map(|_| ())
}

/// Opens first and judges what was opened, so that a swapped path cannot pass.
fn open(path: &Path, forbidden: u32) -> Result<File, SecretError> {
    let refused = |source| SecretError::Read { path: path.to_owned(), source };
    // A FIFO would block an open for reading; what is no file is refused before.
    let kind = std::fs::metadata(path).map_err(refused)?;
    if !kind.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(refused)?;
    let meta = file.metadata().map_err(refused)?;
    if !meta.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    let mode = meta.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(SecretError::Mode { path: path.to_owned(), mode });
    }
    let own = rustix::process::geteuid().as_raw();
    if meta.uid() != own && meta.uid() != 0 && own != 0 {
        return Err(SecretError::Owner { path: path.to_owned(), owner: meta.uid() });
    }
    if meta.len() == 0 {
        return Err(SecretError::Content { path: path.to_owned(), what: "is empty" });
    }
    Ok(file)
}

fn read_with(path: &Path, forbidden: u32) -> Result<Zeroizing<String>, SecretError> {
    let content = |what| SecretError::Content { path: path.to_owned(), what };
    let file = open(path, forbidden)?;
    // Room for everything at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX as usize + 2));
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(|source| {
        match source.kind() {
            std::io::ErrorKind::InvalidData => content("is no text"),
            _ => SecretError::Read { path: path.to_owned(), source },
        }
    })?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(content("is too long"));
    }
    let len = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(len);
    if text.is_empty() {
        return Err(content("is empty"));
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(content("has spaces, several lines or other bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &str, content: &[u8], mode: u32) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("roomlane-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(name);
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_private_file_is_read_without_its_line_end() {
        for mode in [0o400, 0o600] {
            assert_eq!(read(&file("ok", b"abc123\n", mode)).unwrap().as_str(), "abc123");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        for mode in [0o440, 0o404, 0o644, 0o620] {
            let error = read(&file("open", b"abc", mode)).unwrap_err();
            assert!(matches!(error, SecretError::Mode { .. }), "{mode:o}");
            let text = error.to_string();
            assert!(text.contains(&format!("{mode:04o}")) && text.contains("chmod 0400"), "{text}");
            assert!(!text.contains("abc"));
        }
    }

    #[test]
    fn empty_long_and_binary_files_are_refused() {
        for content in [&b""[..], b"\n", b"two lines\nhere", b"\xff\xfe", &[b'a'; 4097]] {
            let error = read(&file("content", content, 0o400)).unwrap_err();
            assert!(matches!(error, SecretError::Content { .. }), "{error}");
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        assert!(matches!(read(Path::new("/")), Err(SecretError::NotAFile { .. })));
        assert!(matches!(read(Path::new("/nonexistent/x")), Err(SecretError::Read { .. })));
        assert!(matches!(read(Path::new("/dev/null")), Err(SecretError::NotAFile { .. })));
    }
}
