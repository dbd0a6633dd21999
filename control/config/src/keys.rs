//! A configuration as a flat list of keys: to be shown, compared, reloaded, and described to editors.

use std::collections::BTreeMap;

use toml::Value;

use crate::model::{App, Config, Environment, IceServer, Poll, PortType};

/// What it takes until a changed key is in effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A reload.
    Reload,
    /// A restart of the control process; media goes on meanwhile.
    RestartControl,
    /// A restart of the node.
    RestartNode,
}

impl Effect {
    /// As reports say it.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Reload => "applied",
            Effect::RestartControl => "needs restart of control",
            Effect::RestartNode => "needs restart",
        }
    }
}

/// What may stand behind a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number between these.
    Number(u64, u64),
    /// `true` or `false`.
    Flag,
    /// A list of texts.
    Texts,
    /// A list of whole numbers.
    Numbers,
    /// A list of `{ url, username, credential_file }`.
    IceServers,
    /// `{ sessions, rooms, packets_per_s, bytes_per_s, joins_per_s }`.
    Quota,
}

/// A key of the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// When a change is in effect.
    pub effect: Effect,
}

const fn node(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::RestartNode }
}

const fn control(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::RestartControl }
}

const fn live(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, effect: Effect::Reload }
}

/// Every key, in the order of the sample.
pub const KEYS: &[Key] = &[
    node("node.name", Kind::Text),
    node("node.environment", Kind::Word(&["development", "production"])),
    node("node.run_dir", Kind::Text),
    node("port.type", Kind::Word(&["dpdk", "uring", "udp", "sim"])),
    node("port.device", Kind::Text),
    node("port.eal_args", Kind::Texts),
    node("port.addresses", Kind::Texts),
    node("port.gateway", Kind::Texts),
    node("port.advertise", Kind::Texts),
    node("port.udp_base", Kind::Number(1, 65_535)),
    node("port.vlan", Kind::Number(0, 4094)),
    node("port.mtu", Kind::Number(576, 2000)),
    node("port.memory_mb", Kind::Number(64, 65_536)),
    node("port.mempool_buffers", Kind::Number(1024, 1_048_576)),
    node("workers.cores", Kind::Numbers),
    node("workers.poll", Kind::Word(&["adaptive", "busy"])),
    node("workers.aead", Kind::Word(&["auto", "vaes512", "vaes", "aesni", "ring"])),
    node("workers.time_turns", Kind::Flag),
    node("workers.user", Kind::Text),
    node("workers.group", Kind::Text),
    node("limits.sessions_max", Kind::Number(1, 262_144)),
    node("limits.rooms_max", Kind::Number(1, 262_144)),
    node("limits.room_linger_s", Kind::Number(0, 3600)),
    node("limits.session_timeout_s", Kind::Number(5, 3600)),
    live("limits.source_joins_per_s", Kind::Number(1, 1_000_000)),
    node("limits.history_packets", Kind::Number(0, 1 << 20)),
    control("control.listen", Kind::Text),
    control("control.admin_listen", Kind::Text),
    control("control.tls_cert", Kind::Text),
    control("control.tls_key", Kind::Text),
    control("control.demo", Kind::Flag),
    control("control.cors_origins", Kind::Texts),
    live("control.ice_servers", Kind::IceServers),
    live("control.redirect", Kind::Text),
    live("control.log_level", Kind::Word(&["info", "error", "warn", "debug", "trace"])),
    node("control.user", Kind::Text),
    node("control.group", Kind::Text),
    control("sdes.allow", Kind::Texts),
    live("tokens.skew_s", Kind::Number(0, 300)),
    control("notify.url", Kind::Text),
    control("notify.secret_file", Kind::Text),
    control("notify.ca_file", Kind::Text),
    live("app.sdkappid", Kind::Number(1, u32::MAX as u64)),
    live("app.secret_files", Kind::Texts),
    live("app.private_map_key_required", Kind::Flag),
    live("app.quota", Kind::Quota),
    live("app.demo", Kind::Flag),
    live("app.suspended", Kind::Flag),
];

/// A key that differs between two configurations, with its values as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `section.key`, or `app.SDKAPPID.key`.
    pub key: String,
    /// `None` where it had no value.
    pub was: Option<String>,
    /// `None` where it has no value.
    pub now: Option<String>,
    /// When it is in effect.
    pub effect: Effect,
}

/// What differs, by key.
pub fn changes(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (old.settings(), new.settings());
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    let change = |key: &String| Change {
        key: key.clone(),
        was: old.get(key).map(ToString::to_string),
        now: new.get(key).map(ToString::to_string),
        effect: effect_of(key),
    };
    differing.map(change).collect()
}

/// When a changed `section.key` is in effect; apps are always reloaded.
fn effect_of(key: &str) -> Effect {
    KEYS.iter().find(|known| known.name == key).map_or(Effect::Reload, |known| known.effect)
}

impl Config {
    /// Every key that has a value. Secrets are named by their files.
    pub fn settings(&self) -> BTreeMap<String, Value> {
        let mut settings = BTreeMap::new();
        for key in KEYS.iter().filter(|key| !key.name.starts_with("app.")) {
            if let Some(value) = self.value(key.name) {
                settings.insert(key.name.to_owned(), value);
            }
        }
        for app in &self.apps {
            for (name, value) in app.values() {
                settings.insert(format!("app.{}.{name}", app.sdkappid), value);
            }
        }
        settings
    }

    /// This configuration with every key of `new` that a reload applies.
    pub fn reloaded(&self, new: &Config) -> Config {
        let mut next = self.clone();
        next.limits.source_joins_per_s = new.limits.source_joins_per_s;
        next.control.ice_servers.clone_from(&new.control.ice_servers);
        next.control.redirect.clone_from(&new.control.redirect);
        next.control.log_level = new.control.log_level;
        next.token_skew_s = new.token_skew_s;
        next.apps.clone_from(&new.apps);
        next.warnings.clone_from(&new.warnings);
        next
    }

    fn value(&self, key: &str) -> Option<Value> {
        let section = key.split('.').next().unwrap_or_default();
        match section {
            "node" | "workers" => self.value_of_node(key),
            "port" => self.value_of_port(key),
            "control" => self.value_of_control(key),
            "limits" => {
                let limits = &self.limits;
                let number = match key {
                    "limits.sessions_max" => limits.sessions_max,
                    "limits.rooms_max" => limits.rooms_max,
                    "limits.room_linger_s" => limits.room_linger_s,
                    "limits.session_timeout_s" => limits.session_timeout_s,
                    "limits.source_joins_per_s" => limits.source_joins_per_s,
                    "limits.history_packets" => limits.history_packets,
                    _ => return None,
                };
                Some(number_value(number.into()))
            }
            "sdes" => Some(texts(&self.sdes_allow)),
            "tokens" => Some(number_value(self.token_skew_s.into())),
            "notify" => {
                let notify = self.notify.as_ref()?;
                let scheme = if notify.is_tls { "https" } else { "http" };
                let (host, port, path) = (&notify.host, notify.port, &notify.path);
                match key {
                    "notify.url" if host.contains(':') => {
                        Some(text(format_args!("{scheme}://[{host}]:{port}{path}")))
                    }
                    "notify.url" => Some(text(format_args!("{scheme}://{host}:{port}{path}"))),
                    "notify.secret_file" => Some(text(&notify.secret_file)),
                    "notify.ca_file" => Some(text(notify.ca_file.display())),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn value_of_node(&self, key: &str) -> Option<Value> {
        let (node, workers) = (&self.node, &self.workers);
        let value = match key {
            "node.name" => text(&node.name),
            "node.environment" => text(match node.environment {
                Environment::Development => "development",
                Environment::Production => "production",
            }),
            "node.run_dir" => text(node.run_dir.as_ref()?.display()),
            "workers.cores" => Value::Array(
                workers.cores.iter().map(|core| number_value((*core).into())).collect(),
            ),
            "workers.poll" => text(match workers.poll {
                Poll::Busy => "busy",
                Poll::Adaptive => "adaptive",
            }),
            "workers.aead" => text(workers.aead.name()),
            "workers.time_turns" => Value::from(workers.time_turns),
            "workers.user" => text(workers.user.as_ref()?),
            "workers.group" => text(workers.group.as_ref()?),
            _ => return None,
        };
        Some(value)
    }

    fn value_of_port(&self, key: &str) -> Option<Value> {
        let port = &self.port;
        let (device, eal_args) = match &port.kind {
            PortType::Dpdk { device, eal_args } => (device.as_ref(), eal_args.as_slice()),
            _ => (None, [].as_slice()),
        };
        let value = match key {
            "port.type" => text(port.kind.name()),
            "port.device" => text(device?.as_str()),
            "port.eal_args" => texts(eal_args),
            "port.addresses" => texts(&port.addresses),
            "port.gateway" => texts(&port.gateways),
            "port.advertise" => texts(&port.advertise),
            "port.udp_base" => number_value(port.udp_base.into()),
            "port.vlan" => number_value(port.vlan.unwrap_or_default().into()),
            "port.mtu" => number_value(port.mtu.into()),
            "port.memory_mb" => number_value(port.memory_mb.into()),
            "port.mempool_buffers" => number_value(port.mempool_buffers.into()),
            _ => return None,
        };
        Some(value)
    }

    fn value_of_control(&self, key: &str) -> Option<Value> {
        let control = &self.control;
        let tls = || control.tls.as_ref();
        let value = match key {
            "control.listen" => text(&control.listen),
            "control.admin_listen" => text(&control.admin_listen),
            "control.tls_cert" => text(tls()?.cert.display()),
            "control.tls_key" => text(tls()?.key.display()),
            "control.demo" => Value::from(control.demo),
            "control.cors_origins" => texts(&control.cors_origins),
            "control.ice_servers" => {
                Value::Array(control.ice_servers.iter().map(ice_server).collect())
            }
            "control.redirect" => {
                let hook = control.redirect.as_ref()?;
                text(format_args!("http://{}{}", hook.address, hook.path))
            }
            "control.log_level" => text(control.log_level),
            "control.user" => text(control.user.as_ref()?),
            "control.group" => text(control.group.as_ref()?),
            _ => return None,
        };
        Some(value)
    }
}

impl App {
    /// Its keys, without `sdkappid`.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let quota = [
            ("sessions", u64::from(self.quota.sessions)),
            ("rooms", u64::from(self.quota.rooms)),
            ("packets_per_s", self.quota.packets_per_s),
            ("bytes_per_s", self.quota.bytes_per_s),
            ("joins_per_s", u64::from(self.quota.joins_per_s)),
        ];
        let quota = quota.into_iter().map(|(name, limit)| (name.to_owned(), number_value(limit)));
        vec![
            ("secret_files", texts(&self.secret_files)),
            ("private_map_key_required", Value::from(self.private_map_key_required)),
            ("quota", Value::Table(quota.collect())),
            ("demo", Value::from(self.demo)),
            ("suspended", Value::from(self.suspended)),
        ]
    }

    /// The block of a file that holds this app alone.
    pub fn to_toml(&self) -> String {
        let mut block = format!("[[app]]\nsdkappid = {}\n", self.sdkappid);
        for (name, value) in self.values() {
            block.push_str(&format!("{name} = {value}\n"));
        }
        block
    }
}

fn text(value: impl std::fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn texts<T: ToString>(values: &[T]) -> Value {
    Value::Array(values.iter().map(|value| Value::String(value.to_string())).collect())
}

fn number_value(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn ice_server(server: &IceServer) -> Value {
    let mut table = toml::Table::new();
    table.insert("url".into(), text(&server.url));
    if let Some(username) = &server.username {
        table.insert("username".into(), text(username));
    }
    if let Some(file) = &server.credential_file {
        table.insert("credential_file".into(), text(file));
    }
    Value::Table(table)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
