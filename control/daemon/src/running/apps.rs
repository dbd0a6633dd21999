//! Acts on apps: each is written down as a drop-in beside the configuration before it is in force, so
//! that a restart keeps it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::{App, AppQuota, Config, SecretFile, drop_in};
use proto::SdkAppId;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{InForce, Refused, Running, report};

/// Secrets of one app: the same bound as in the configuration.
const SECRETS_MAX: usize = 4;
/// Random bytes of a secret; written in hexadecimal.
const SECRET_BYTES: usize = 32;

/// An app to be made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewApp {
    /// Its id.
    pub sdkappid: u32,
    /// The file of its secret; without one a secret is made.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// A UserSig alone does not open a room.
    #[serde(default)]
    pub private_map_key_required: bool,
    /// Its share.
    #[serde(default)]
    pub quota: QuotaChange,
}

/// Limits to be changed; the others stay.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaChange {
    /// Sessions per shard.
    pub sessions: Option<u32>,
    /// Rooms per shard.
    pub rooms: Option<u32>,
    /// Received packets per second and shard.
    pub packets_per_s: Option<u64>,
    /// Received bytes per second and shard.
    pub bytes_per_s: Option<u64>,
    /// Joins per second on the node.
    pub joins_per_s: Option<u32>,
}

impl QuotaChange {
    fn over(self, old: AppQuota) -> AppQuota {
        AppQuota {
            sessions: self.sessions.unwrap_or(old.sessions),
            rooms: self.rooms.unwrap_or(old.rooms),
            packets_per_s: self.packets_per_s.unwrap_or(old.packets_per_s),
            bytes_per_s: self.bytes_per_s.unwrap_or(old.bytes_per_s),
            joins_per_s: self.joins_per_s.unwrap_or(old.joins_per_s),
        }
    }
}

impl Running {
    /// Every app: its settings and its use; secrets by the names of their files.
    pub fn apps(&self) -> Value {
        let apps = self.lock().now.config.apps.clone();
        let uses = self.api.hub.uses();
        let app = |app: &App| {
            let (rooms, sessions) = uses.get(&SdkAppId(app.sdkappid)).copied().unwrap_or_default();
            let files: Vec<String> = app.secret_files.iter().map(ToString::to_string).collect();
            json!({
                "sdkappid": app.sdkappid, "state": if app.suspended { "suspended" } else { "open" },
                "demo": app.demo, "private_map_key_required": app.private_map_key_required,
                "secret_files": files, "rooms": rooms, "sessions": sessions,
                "quota_rooms": app.quota.rooms, "quota_sessions": app.quota.sessions,
                "quota_packets_per_s": app.quota.packets_per_s,
                "quota_bytes_per_s": app.quota.bytes_per_s,
                "quota_joins_per_s": app.quota.joins_per_s,
            })
        };
        json!({ "apps": apps.iter().map(app).collect::<Vec<_>>() })
    }

    /// Makes an app. Writes files.
    ///
    /// # Errors
    /// There is one with this id, or it cannot be written down.
    pub fn add_app(&self, new: &NewApp) -> Result<Value, Refused> {
        if self.lock().now.config.app(new.sdkappid).is_some() {
            let message = format!("there is an app {} already", new.sdkappid);
            return Err(Refused::new("refused", message));
        }
        let (file, made) = self.secret(new.sdkappid, new.secret_file.as_deref())?;
        let text = format!("[[app]]\nsdkappid = {}\nsecret_files = [\"s\"]\n", new.sdkappid);
        let parsed = Config::parse(&text, "app").map_err(Refused::from)?;
        let Some(base) = parsed.apps.into_iter().next() else {
            return Err(Refused::new("invalid", "no app"));
        };
        let app = App {
            secret_files: vec![SecretFile::Path(file)],
            private_map_key_required: new.private_map_key_required,
            quota: new.quota.over(base.quota),
            ..base
        };
        let result = self.put(&app);
        if result.is_err() {
            discard(made.as_deref());
        }
        result
    }

    /// A new secret first, the old ones behind it; `finish` instead keeps the first alone. Writes files.
    ///
    /// # Errors
    /// No such app, or it cannot be written down.
    pub fn rotate_secret(
        &self,
        sdkappid: u32,
        secret_file: Option<&Path>,
        finish: bool,
    ) -> Result<Value, Refused> {
        let mut app = self.app(sdkappid)?;
        if finish {
            app.secret_files.truncate(1);
            return self.put(&app);
        }
        let (file, made) = self.secret(sdkappid, secret_file)?;
        app.secret_files.insert(0, SecretFile::Path(file));
        app.secret_files.truncate(SECRETS_MAX);
        let result = self.put(&app);
        if result.is_err() {
            discard(made.as_deref());
        }
        result
    }

    /// Suspends or resumes. Writes a file.
    ///
    /// # Errors
    /// No such app, or it cannot be written down.
    pub fn suspend(&self, sdkappid: u32, suspended: bool) -> Result<Value, Refused> {
        let app = App { suspended, ..self.app(sdkappid)? };
        self.put(&app)
    }

    /// Changes limits. Writes a file.
    ///
    /// # Errors
    /// No such app, or it cannot be written down.
    pub fn set_quota(&self, sdkappid: u32, change: QuotaChange) -> Result<Value, Refused> {
        let app = self.app(sdkappid)?;
        self.put(&App { quota: change.over(app.quota), ..app })
    }

    fn app(&self, sdkappid: u32) -> Result<App, Refused> {
        let missing =
            || Refused::new("not_found", format!("no app {sdkappid}; see roomlane app list"));
        self.lock().now.config.app(sdkappid).cloned().ok_or_else(missing)
    }

    /// Writes an app down and puts it in force; on failure nothing has changed.
    fn put(&self, app: &App) -> Result<Value, Refused> {
        let mut app = app.clone();
        for file in &mut app.secret_files {
            // The drop-in lies in another folder than the file that may have named it.
            if let SecretFile::Path(path) = file
                && let Ok(absolute) = std::path::absolute(&*path)
            {
                *path = absolute;
            }
        }
        let folder = drop_in::folder(&self.file);
        let path = folder.join(format!("app-{}.toml", app.sdkappid));
        let was = fs::read(&path).ok();
        let text = format!("# Written by roomlane app.\n{}", app.to_toml());
        write(&path, text.as_bytes()).map_err(|error| unwritten(&path, &error))?;
        self.put_in_force(app.sdkappid).inspect_err(|_| match &was {
            // Should this fail too, the next start says what is wrong with the file.
            Some(old) => drop(write(&path, old)),
            None => drop(fs::remove_file(&path)),
        })
    }

    fn put_in_force(&self, sdkappid: u32) -> Result<Value, Refused> {
        // Through the file, so that what runs is what the next start reads.
        let loaded = Config::load(&self.file)?;
        let app = loaded.app(sdkappid).cloned();
        let app = app.ok_or_else(|| Refused::new("not_found", format!("no app {sdkappid}")))?;
        let mut state = self.lock();
        let mut config = state.now.config.clone();
        match config.apps.iter_mut().find(|known| known.sdkappid == sdkappid) {
            Some(known) => *known = app,
            None => config.apps.push(app),
        }
        let live = self.read(&config)?;
        let next = InForce { config, live };
        let keys = report(&state.now, &next, true);
        self.apply(&mut state, next);
        // A revert must not undo what is written down.
        state.before = None;
        Ok(json!({ "keys": keys }))
    }

    /// The file of a secret, and the one that was made for it.
    fn secret(
        &self,
        sdkappid: u32,
        named: Option<&Path>,
    ) -> Result<(PathBuf, Option<PathBuf>), Refused> {
        if let Some(path) = named {
            if !path.is_absolute() {
                return Err(Refused::new("invalid", "secret_file must be an absolute path"));
            }
            return Ok((path.to_owned(), None));
        }
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        let failed = |error: &dyn std::fmt::Display| Refused::new("failed", error.to_string());
        getrandom::fill(&mut bytes[..]).map_err(|error| failed(&error))?;
        let mut text = Zeroizing::new(String::with_capacity(2 * SECRET_BYTES + 1));
        for byte in bytes.iter() {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        text.push('\n');
        let name = format!("app-{sdkappid}-{:016x}.secret", shm::clock::unix_ns());
        let path = drop_in::folder(&self.file).join(name);
        write(&path, text.as_bytes()).map_err(|error| unwritten(&path, &error))?;
        Ok((path.clone(), Some(path)))
    }
}

fn discard(made: Option<&Path>) {
    if let Some(path) = made {
        let _ = fs::remove_file(path);
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Refused {
    let message = format!(
        "{}: {error}; the user of roomlane-control must be able to write in that folder",
        path.display()
    );
    Refused::new("failed", message)
}

/// All or nothing, readable by us alone, on the disk when it returns.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
