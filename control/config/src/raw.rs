//! The file's shape as serde reads it: nothing checked but names and types, every value with its place.

use serde::Deserialize;
use toml::Spanned;

type Text = Option<Spanned<String>>;
type Number = Option<Spanned<u64>>;
type Texts = Option<Vec<Spanned<String>>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawConfig {
    pub(crate) node: RawNode,
    pub(crate) port: RawPort,
    pub(crate) workers: RawWorkers,
    pub(crate) limits: RawLimits,
    pub(crate) control: RawControl,
    pub(crate) sdes: RawSdes,
    pub(crate) tokens: RawTokens,
    pub(crate) notify: RawNotify,
    pub(crate) app: Vec<Spanned<RawApp>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawNode {
    pub(crate) name: Text,
    pub(crate) environment: Text,
    pub(crate) run_dir: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawPort {
    pub(crate) r#type: Text,
    pub(crate) device: Text,
    pub(crate) eal_args: Texts,
    pub(crate) addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) gateway: Texts,
    pub(crate) advertise: Texts,
    pub(crate) udp_base: Number,
    pub(crate) vlan: Number,
    pub(crate) mtu: Number,
    pub(crate) memory_mb: Number,
    pub(crate) mempool_buffers: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawWorkers {
    pub(crate) cores: Option<Vec<Spanned<u64>>>,
    pub(crate) poll: Text,
    pub(crate) aead: Text,
    pub(crate) time_turns: Option<bool>,
    pub(crate) user: Text,
    pub(crate) group: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawLimits {
    pub(crate) sessions_max: Number,
    pub(crate) rooms_max: Number,
    pub(crate) room_linger_s: Number,
    pub(crate) session_timeout_s: Number,
    pub(crate) source_joins_per_s: Number,
    pub(crate) history_packets: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawControl {
    pub(crate) listen: Text,
    pub(crate) admin_listen: Text,
    pub(crate) tls_cert: Text,
    pub(crate) tls_key: Text,
    pub(crate) demo: Option<Spanned<bool>>,
    pub(crate) cors_origins: Texts,
    pub(crate) ice_servers: Vec<Spanned<RawIceServer>>,
    pub(crate) redirect: Text,
    pub(crate) log_level: Text,
    pub(crate) user: Text,
    pub(crate) group: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawIceServer {
    pub(crate) url: Text,
    pub(crate) username: Text,
    pub(crate) credential_file: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawSdes {
    pub(crate) allow: Texts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawTokens {
    pub(crate) skew_s: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawNotify {
    pub(crate) url: Text,
    pub(crate) secret_file: Text,
    pub(crate) ca_file: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawApp {
    pub(crate) sdkappid: Number,
    pub(crate) secret_files: Option<Spanned<Vec<Spanned<String>>>>,
    pub(crate) private_map_key_required: bool,
    pub(crate) quota: RawQuota,
    pub(crate) demo: Option<Spanned<bool>>,
    pub(crate) suspended: bool,
}

/// A file of `conf.d`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawDropIn {
    pub(crate) app: Vec<Spanned<RawApp>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RawQuota {
    pub(crate) sessions: Number,
    pub(crate) rooms: Number,
    pub(crate) packets_per_s: Number,
    pub(crate) bytes_per_s: Number,
    pub(crate) joins_per_s: Number,
}
