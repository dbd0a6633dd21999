//! The configuration that runs: how it is shown, compared with its file, reloaded, and put back.
//!
//! A reload is one step. Everything is read and checked before anything changes; then the directory
//! learns the apps and requests see the new [`Live`] by the exchange of one pointer. Sessions and media
//! are not touched. Keys that a reload cannot apply keep their running value until a restart.

mod apps;
mod drain;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::{Change, Config, ConfigErrors, Effect, keys};
use proto::SecurityEvent;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use apps::{NewApp, QuotaChange};
use drain::Drain;

use crate::api::{Api, Live};
use crate::daemon;
use crate::incidents::Incidents;
use crate::logs;

/// Why nothing was changed.
#[derive(Debug)]
pub struct Refused {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Every problem of a configuration, with its place.
    pub errors: Vec<Value>,
}

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Refused {
        Refused { code, message: message.into(), errors: vec![] }
    }
}

impl From<ConfigErrors> for Refused {
    fn from(ConfigErrors(errors): ConfigErrors) -> Refused {
        let place = |error: &config::ConfigError| {
            json!({
                "file": error.file, "line": error.line, "column": error.column, "key": error.key,
                "what": error.what, "allowed": error.allowed, "state": "rejected",
            })
        };
        Refused {
            code: "config_invalid",
            message: "the configuration is invalid; what ran before goes on".to_owned(),
            errors: errors.iter().map(place).collect(),
        }
    }
}

/// How the last reload went; the start counts as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReload {
    /// Whether it was applied.
    pub successful: bool,
    /// When one was applied last, in Unix seconds.
    pub success_unix_s: u64,
    /// SHA-256 over what runs, in hexadecimal.
    pub hash: String,
}

/// What runs, and what its secrets are.
#[derive(Clone)]
struct InForce {
    config: Config,
    live: Arc<Live>,
}

struct State {
    now: InForce,
    /// What ran before the last reload.
    before: Option<InForce>,
    last: LastReload,
}

/// See the module.
pub struct Running {
    file: PathBuf,
    run_dir: PathBuf,
    api: Arc<Api>,
    state: Mutex<State>,
    drain: Mutex<Drain>,
}

impl Running {
    /// `config` came from `file` and runs already, as `api` serves it.
    pub fn new(file: PathBuf, config: &Config, api: Arc<Api>) -> Running {
        let last = LastReload { successful: true, success_unix_s: unix_s(), hash: hash_of(config) };
        let now = InForce { config: config.clone(), live: api.live() };
        let run_dir = config.run_dir();
        let drain = Mutex::new(Drain::resumed(&run_dir, &api.hub));
        Running { file, run_dir, api, state: Mutex::new(State { now, before: None, last }), drain }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody has to look after.
    pub fn incidents(&self) -> &Arc<Incidents> {
        &self.api.metrics.security.incidents
    }

    /// How the last reload went.
    pub fn last_reload(&self) -> LastReload {
        self.lock().last.clone()
    }

    /// What consoles want to know each second: the hash of what runs, and how often each security event
    /// happened since the start.
    pub fn add_status(&self, answer: &mut Value) {
        let last = self.last_reload();
        let security = &self.api.metrics.security;
        let counts = SecurityEvent::ALL.iter().map(|event| (event.name(), security.count(*event)));
        let counts: serde_json::Map<String, Value> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect();
        answer["config_hash"] = last.hash.into();
        answer["config_reload_successful"] = last.successful.into();
        answer["security"] = counts.into();
    }

    /// What runs, by key.
    pub fn show(&self) -> Value {
        let state = self.lock();
        let settings = state.now.config.settings().into_iter();
        let settings: serde_json::Map<String, Value> =
            settings.map(|(key, value)| (key, to_json(value))).collect();
        json!({
            "file": self.file.display().to_string(), "settings": settings,
            "hash": state.last.hash, "last_reload_successful": state.last.successful,
            "last_reload_success_unix_s": state.last.success_unix_s,
        })
    }

    /// What a reload would change. Reads files.
    ///
    /// # Errors
    /// The file is invalid.
    pub fn diff(&self) -> Result<Value, Refused> {
        let new = Config::load(&self.file)?;
        let live = self.read(&new)?;
        let state = self.lock();
        Ok(json!({ "keys": report(&state.now, &InForce { config: new, live }, false) }))
    }

    /// Applies the file. Reads files.
    ///
    /// # Errors
    /// The file, or a secret's, is invalid; nothing has changed.
    pub fn reload(&self) -> Result<Value, Refused> {
        let loaded = Config::load(&self.file)
            .map_err(Refused::from)
            .and_then(|new| self.read(&new).map(|live| InForce { config: new, live }));
        let mut state = self.lock();
        let new = match loaded {
            Ok(new) => new,
            Err(refused) => {
                state.last.successful = false;
                self.api.metrics.reloaded(None);
                for error in &refused.errors {
                    tracing::error!(%error, "the configuration was not reloaded");
                }
                return Err(refused);
            }
        };
        let keys = report(&state.now, &new, true);
        let next = InForce { config: state.now.config.reloaded(&new.config), live: new.live };
        for warning in &next.config.warnings {
            tracing::warn!("{warning}");
        }
        let before = state.now.clone();
        self.apply(&mut state, next);
        state.before = Some(before);
        tracing::info!(changes = keys.len(), hash = state.last.hash, "configuration reloaded");
        Ok(json!({ "keys": keys, "hash": state.last.hash }))
    }

    /// Puts back what ran before the last reload. The file stays as it is.
    ///
    /// # Errors
    /// There was no reload.
    pub fn revert(&self) -> Result<Value, Refused> {
        let mut state = self.lock();
        let Some(before) = state.before.take() else {
            let message = "nothing was reloaded since the start or the last act on an app";
            return Err(Refused::new("refused", message));
        };
        let keys = report(&state.now, &before, true);
        self.apply(&mut state, before);
        tracing::info!(changes = keys.len(), hash = state.last.hash, "configuration reverted");
        Ok(json!({ "keys": keys, "hash": state.last.hash }))
    }

    /// Changes a limit or the log's level until the next reload that changes it, or a restart.
    ///
    /// # Errors
    /// The key cannot be set, or not to this.
    pub fn set(&self, name: &str, value: &str) -> Result<Value, Refused> {
        let known = ["control.log_level", "limits.source_joins_per_s", "tokens.skew_s"];
        let key = keys::KEYS.iter().find(|key| key.name == name && known.contains(&key.name));
        let Some(key) = key else {
            let message = format!("{name} cannot be set while the node runs; {}", known.join(", "));
            return Err(Refused::new("invalid", format!("{message} can")));
        };
        let section = key.name.split_once('.').unwrap_or_default();
        let quoted = match key.kind {
            keys::Kind::Number(..) => value.to_owned(),
            _ => format!("{value:?}"),
        };
        // The file's own checks decide what is allowed.
        let text = format!("[{}]\n{} = {quoted}\n", section.0, section.1);
        let parsed = Config::parse(&text, "set").map_err(|ConfigErrors(errors)| {
            let first = errors.first();
            let said = first.map(|e| format!("{}: {}; allowed: {}", e.key, e.what, e.allowed));
            Refused::new("invalid", said.unwrap_or_default())
        })?;
        let mut state = self.lock();
        let mut next = state.now.clone();
        match name {
            "control.log_level" => next.config.control.log_level = parsed.control.log_level,
            "limits.source_joins_per_s" => {
                next.config.limits = config::Limits {
                    source_joins_per_s: parsed.limits.source_joins_per_s,
                    ..next.config.limits
                }
            }
            _ => next.config.token_skew_s = parsed.token_skew_s,
        }
        if name == "tokens.skew_s" {
            let live = Live { skew_s: u64::from(parsed.token_skew_s), ..(*next.live).clone() };
            next.live = Arc::new(live);
        }
        let keys = report(&state.now, &next, true);
        self.apply(&mut state, next);
        Ok(json!({ "keys": keys }))
    }

    fn read(&self, config: &Config) -> Result<Arc<Live>, Refused> {
        daemon::live(config).map(Arc::new).map_err(|error| {
            let what = format!("{error:#}");
            let file = self.file.display().to_string();
            let at = json!({
                "file": file, "line": 0, "column": 0, "key": "app.secret_files", "what": what,
                "allowed": "", "state": "rejected",
            });
            let message = "a secret cannot be read; what ran before goes on".to_owned();
            Refused { code: "config_invalid", message, errors: vec![at] }
        })
    }

    fn apply(&self, state: &mut State, next: InForce) {
        let config = &next.config;
        // The directory first: an app that requests can see is known to the shards by then.
        self.api.hub.set_apps(daemon::quotas(config));
        let shares = next.live.apps.iter().map(|(id, app)| (*id, app.joins_per_s));
        self.api.rates.set(config.limits.source_joins_per_s, shares);
        self.api.set_live(Arc::clone(&next.live));
        if config.control.log_level != state.now.config.control.log_level {
            logs::set_level(config.control.log_level);
        }
        state.last =
            LastReload { successful: true, success_unix_s: unix_s(), hash: hash_of(config) };
        state.now = next;
        self.api.metrics.reloaded(Some(&state.last.hash));
    }
}

/// Every difference, and what becomes of it.
fn report(old: &InForce, new: &InForce, is_applied: bool) -> Vec<Value> {
    let mut keys: Vec<Value> = config::changes(&old.config, &new.config)
        .into_iter()
        .map(|Change { key, was, now, effect }| {
            let state = match (effect, is_applied) {
                (Effect::Reload, false) => "reload applies it",
                (effect, _) => effect.name(),
            };
            json!({ "key": key, "was": was, "now": now, "state": state })
        })
        .collect();
    // The same files with other contents.
    let state = if is_applied { Effect::Reload.name() } else { "reload applies it" };
    for (id, app) in &new.live.apps {
        let key = format!("app.{id}.secret_files");
        let differs = old.live.apps.get(id).is_some_and(|was| was.digest != app.digest);
        if differs && keys.iter().all(|entry| entry["key"] != key.as_str()) {
            keys.push(json!({ "key": key, "was": "a secret", "now": "another", "state": state }));
        }
    }
    keys
}

pub(crate) fn hash_of(config: &Config) -> String {
    let mut hash = Sha256::new();
    for (key, value) in config.settings() {
        hash.update(format!("{key} = {value}\n"));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unix_s() -> u64 {
    shm::clock::unix_ns() / 1_000_000_000
}

fn to_json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
