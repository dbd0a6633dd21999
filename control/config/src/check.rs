//! From the raw structs to the typed ones: every rule about values, with the place of each violation.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use toml::Spanned;

use crate::error::{ConfigError, ConfigErrors, Span, Warning, line_column};
use crate::model::{
    Aead, App, AppQuota, Config, Control, Environment, Limits, Listen, Node, Poll, Port, PortType,
    Workers,
};
use crate::net::Cidr;
use crate::raw::{RawApp, RawConfig, RawDropIn, RawLimits, RawNode, RawQuota, RawSdes, RawWorkers};
use crate::secret::SecretFile;
use crate::{check_control, check_notify, check_port};

/// Shards in a node: a `u64` masks them.
const SHARDS_MAX: usize = 64;
/// Largest core number the kernel knows on any configuration it is built for here.
const CORE_MAX: u64 = 8191;
/// Secrets of one app: current, next, and room for two that run out.
const SECRETS_MAX: usize = 4;
/// Tenants of one node.
const APPS_MAX: usize = 1000;

/// Collects errors and warnings with their places.
pub(crate) struct Checker<'a> {
    text: &'a str,
    name: &'a str,
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
    /// Files may be looked at.
    reads: bool,
    /// What others can read is refused with its place.
    is_production: bool,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(text: &'a str, name: &'a str) -> Self {
        let (errors, warnings) = (vec![], vec![]);
        Checker { text, name, errors, warnings, reads: false, is_production: false }
    }

    /// Looks at the files that are named, too.
    pub(crate) fn reading(self) -> Self {
        Checker { reads: true, ..self }
    }

    fn place(&self, span: Option<Span>) -> (usize, usize) {
        span.map_or((0, 0), |span| line_column(self.text, span.start))
    }

    pub(crate) fn refuse(
        &mut self,
        span: Option<Span>,
        key: &str,
        what: impl Into<String>,
        allowed: &str,
    ) {
        let (line, column) = self.place(span);
        self.errors.push(ConfigError {
            file: self.name.to_owned(),
            line,
            column,
            key: key.to_owned(),
            what: what.into(),
            allowed: allowed.to_owned(),
        });
    }

    pub(crate) fn warn(&mut self, span: Option<Span>, key: &str, text: impl Into<String>) {
        let (line, column) = self.place(span);
        let (file, key) = (self.name.to_owned(), key.to_owned());
        self.warnings.push(Warning { file, line, column, key, text: text.into() });
    }

    /// A number within `range`, or `default` when the key is absent.
    pub(crate) fn number(
        &mut self,
        raw: &Option<Spanned<u64>>,
        key: &str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = raw else { return default };
        if !range.contains(value.get_ref()) {
            let allowed = format!("{} to {}", range.start(), range.end());
            self.refuse(
                Some(value.span()),
                key,
                format!("{} is out of range", value.get_ref()),
                &allowed,
            );
            return default;
        }
        *value.get_ref()
    }

    /// One of a few words, or the first when the key is absent.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        raw: &Option<Spanned<String>>,
        key: &str,
        words: &[(&str, T)],
    ) -> T {
        let Some(value) = raw else { return words[0].1 };
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == value.get_ref()) {
            return *choice;
        }
        let allowed = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        self.refuse(
            Some(value.span()),
            key,
            format!("unknown value {:?}", value.get_ref()),
            &allowed,
        );
        words[0].1
    }

    /// A path; relative ones start at the folder of the configuration file.
    pub(crate) fn path(&mut self, raw: &Spanned<String>, key: &str) -> PathBuf {
        if raw.get_ref().is_empty() {
            self.refuse(Some(raw.span()), key, "is empty", "a path");
        }
        let base = Path::new(self.name).parent().unwrap_or(Path::new(""));
        base.join(raw.get_ref())
    }

    /// A file with a secret or a key. In production one that others can read is refused here, with its
    /// place; whoever reads it refuses it everywhere.
    pub(crate) fn key_file(&mut self, raw: &Spanned<String>, key: &str) -> PathBuf {
        let path = self.path(raw, key);
        if self.reads && self.is_production {
            // What cannot be looked at is told by the process that reads it.
            let mode = std::fs::metadata(&path).map_or(0, |meta| meta.mode() & 0o7777);
            if mode & 0o077 != 0 {
                let what = format!("{} has mode {mode:04o}: others can use it", path.display());
                let allowed = format!("mode 0400 or 0600; run: chmod 0400 {}", path.display());
                self.refuse(Some(raw.span()), key, what, &allowed);
            }
        }
        path
    }

    /// A file with a secret.
    pub(crate) fn secret_file(
        &mut self,
        raw: &Spanned<String>,
        key: &str,
        allowed: &str,
    ) -> SecretFile {
        let Some(name) = raw.get_ref().strip_prefix("credential:") else {
            return SecretFile::Path(self.key_file(raw, key));
        };
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            self.refuse(Some(raw.span()), key, "is no credential's name", allowed);
        }
        SecretFile::Credential(name.to_owned())
    }

    /// A user's or group's name.
    pub(crate) fn account(&mut self, raw: &Option<Spanned<String>>, key: &str) -> Option<String> {
        let value = raw.as_ref()?;
        let name = value.get_ref();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
            let allowed = "the name of an account of this host, such as \"roomlane\"";
            self.refuse(Some(value.span()), key, "is no account name", allowed);
            return None;
        }
        if name == "root" {
            self.warn(
                Some(value.span()),
                key,
                "root keeps every privilege; name an account of its own",
            );
        }
        Some(name.clone())
    }
}

/// Checks everything; errors of all sections are reported together.
pub(crate) fn config(raw: RawConfig, mut c: Checker<'_>) -> Result<Config, ConfigErrors> {
    let node = node(&mut c, &raw.node);
    c.is_production = node.environment == Environment::Production;
    let workers = workers(&mut c, &raw.workers);
    let port = check_port::port(&mut c, &raw.port, workers.shards());
    let limits = limits(&mut c, &raw.limits);
    let control = check_control::control(&mut c, &raw.control, &workers);
    let sdes_allow = sdes(&mut c, &raw.sdes);
    let notify = check_notify::notify(&mut c, &raw.notify);
    let token_skew_s = c.number(&raw.tokens.skew_s, "tokens.skew_s", 0..=300, 5) as u32;
    let apps = apps(&mut c, &raw.app, node.environment);
    across(&mut c, &raw, &node, &port, &control);
    if !c.errors.is_empty() {
        return Err(ConfigErrors(c.errors));
    }
    let warnings = c.warnings;
    Ok(Config {
        node,
        port,
        workers,
        limits,
        control,
        sdes_allow,
        token_skew_s,
        notify,
        apps,
        warnings,
    })
}

fn node(c: &mut Checker<'_>, raw: &RawNode) -> Node {
    let name = match &raw.name {
        None => "roomlane".to_owned(),
        Some(value) => {
            let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
            let name = value.get_ref();
            if name.is_empty() || name.len() > 63 || !name.bytes().all(ok) {
                let allowed = "1 to 63 letters, digits, '-' and '.'";
                c.refuse(Some(value.span()), "node.name", "is no node name", allowed);
            }
            name.clone()
        }
    };
    let words =
        [("development", Environment::Development), ("production", Environment::Production)];
    let environment = c.choice(&raw.environment, "node.environment", &words);
    let run_dir = raw.run_dir.as_ref().map(|value| {
        let path = PathBuf::from(value.get_ref());
        // A Unix socket's path has 107 bytes, and the longest file name there needs 16.
        if !path.is_absolute() || value.get_ref().len() > 90 {
            let what = "is relative or too long for a socket's path";
            c.refuse(
                Some(value.span()),
                "node.run_dir",
                what,
                "an absolute path of at most 90 bytes",
            );
        }
        path
    });
    Node { name, environment, run_dir }
}

fn workers(c: &mut Checker<'_>, raw: &RawWorkers) -> Workers {
    let mut cores: Vec<u16> = vec![];
    for core in raw.cores.iter().flatten() {
        let (span, number) = (Some(core.span()), *core.get_ref());
        if number > CORE_MAX {
            c.refuse(
                span,
                "workers.cores",
                format!("no core {number}"),
                &format!("0 to {CORE_MAX}"),
            );
        } else if cores.contains(&(number as u16)) {
            let what = format!("core {number} has a worker already; two workers on one core");
            c.refuse(span, "workers.cores", what, "each core once");
        } else if cores.len() == SHARDS_MAX {
            c.refuse(span, "workers.cores", "too many workers", &format!("at most {SHARDS_MAX}"));
            break;
        } else {
            cores.push(number as u16);
        }
    }
    let poll =
        c.choice(&raw.poll, "workers.poll", &[("adaptive", Poll::Adaptive), ("busy", Poll::Busy)]);
    let paths = [Aead::Auto, Aead::Vaes512, Aead::Vaes, Aead::AesNi, Aead::Ring]
        .map(|path| (path.name(), path));
    let aead = c.choice(&raw.aead, "workers.aead", &paths);
    let user = c.account(&raw.user, "workers.user");
    let group = c.account(&raw.group, "workers.group");
    if let (None, Some(value)) = (&user, &raw.group) {
        c.refuse(
            Some(value.span()),
            "workers.group",
            "needs workers.user",
            "user, or user and group",
        );
    }
    let time_turns = raw.time_turns.unwrap_or_default();
    Workers { cores, poll, aead, time_turns, user, group }
}

fn limits(c: &mut Checker<'_>, raw: &RawLimits) -> Limits {
    Limits {
        sessions_max: c.number(&raw.sessions_max, "limits.sessions_max", 1..=262_144, 4096) as u32,
        rooms_max: c.number(&raw.rooms_max, "limits.rooms_max", 1..=262_144, 1024) as u32,
        room_linger_s: c.number(&raw.room_linger_s, "limits.room_linger_s", 0..=3600, 0) as u32,
        session_timeout_s: c.number(
            &raw.session_timeout_s,
            "limits.session_timeout_s",
            5..=3600,
            90,
        ) as u32,
        source_joins_per_s: c.number(
            &raw.source_joins_per_s,
            "limits.source_joins_per_s",
            1..=1_000_000,
            20,
        ) as u32,
        history_packets: c.number(
            &raw.history_packets,
            "limits.history_packets",
            0..=1 << 20,
            24_576,
        ) as u32,
    }
}

fn sdes(c: &mut Checker<'_>, raw: &RawSdes) -> Vec<Cidr> {
    let mut allow = vec![];
    for value in raw.allow.iter().flatten() {
        match value.get_ref().parse::<Cidr>() {
            Ok(cidr) => allow.push(cidr),
            Err(why) => {
                let what = format!("{:?} is {why}", value.get_ref());
                c.refuse(Some(value.span()), "sdes.allow", what, "\"address/prefix\"");
            }
        }
    }
    allow
}

fn apps(c: &mut Checker<'_>, raw: &[Spanned<RawApp>], environment: Environment) -> Vec<App> {
    let mut apps = Vec::with_capacity(raw.len().min(APPS_MAX));
    let mut lines = HashMap::new();
    if let Some(first) = raw.get(APPS_MAX) {
        c.refuse(Some(first.span()), "app", "too many apps", &format!("at most {APPS_MAX}"));
    }
    for entry in raw.iter().take(APPS_MAX) {
        let app = app(c, entry, environment);
        let span = entry.get_ref().sdkappid.as_ref().map_or(entry.span(), Spanned::span);
        let line = c.place(Some(span.clone())).0;
        if let Some(first) = lines.insert(app.sdkappid, line).filter(|_| app.sdkappid != 0) {
            let what = format!("{} is taken by the app of line {first}", app.sdkappid);
            c.refuse(Some(span), "app.sdkappid", what, "each app once");
        }
        apps.push(app);
    }
    apps
}

/// The apps of one file of `conf.d`; `taken` has those of the files before it.
pub(crate) fn drop_in(
    raw: &RawDropIn,
    mut c: Checker<'_>,
    environment: Environment,
    taken: &mut HashMap<u32, String>,
) -> Result<(Vec<App>, Vec<Warning>), ConfigErrors> {
    c.is_production = environment == Environment::Production;
    let apps = apps(&mut c, &raw.app, environment);
    for (app, entry) in apps.iter().zip(&raw.app) {
        if let Some(first) = taken.insert(app.sdkappid, c.name.to_owned())
            && first != c.name
        {
            let what = format!("{} is taken by {first}", app.sdkappid);
            c.refuse(Some(entry.span()), "app.sdkappid", what, "each app in one file");
        }
    }
    if c.errors.is_empty() { Ok((apps, c.warnings)) } else { Err(ConfigErrors(c.errors)) }
}

fn app(c: &mut Checker<'_>, entry: &Spanned<RawApp>, environment: Environment) -> App {
    let raw = entry.get_ref();
    if raw.sdkappid.is_none() {
        c.refuse(Some(entry.span()), "app.sdkappid", "is missing", "1 to 4294967295");
    }
    let sdkappid = c.number(&raw.sdkappid, "app.sdkappid", 1..=u64::from(u32::MAX), 0) as u32;
    let demo = raw.demo.as_ref().is_some_and(|demo| *demo.get_ref());
    if demo && environment == Environment::Production {
        let span = raw.demo.as_ref().map(Spanned::span);
        c.refuse(
            span,
            "app.demo",
            "a demo app in production",
            "false where node.environment = \"production\"",
        );
    }
    App {
        sdkappid,
        secret_files: secret_files(c, entry),
        private_map_key_required: raw.private_map_key_required,
        quota: quota(c, &raw.quota),
        demo,
        suspended: raw.suspended,
    }
}

fn secret_files(c: &mut Checker<'_>, entry: &Spanned<RawApp>) -> Vec<SecretFile> {
    let key = "app.secret_files";
    let allowed = "1 to 4 paths, or \"credential:NAME\" for a file in $CREDENTIALS_DIRECTORY";
    let Some(list) = &entry.get_ref().secret_files else {
        c.refuse(Some(entry.span()), key, "is missing", allowed);
        return vec![];
    };
    if list.get_ref().is_empty() || list.get_ref().len() > SECRETS_MAX {
        c.refuse(Some(list.span()), key, format!("{} files", list.get_ref().len()), allowed);
    }
    let mut files = vec![];
    for value in list.get_ref().iter().take(SECRETS_MAX) {
        let file = c.secret_file(value, key, allowed);
        if files.contains(&file) {
            c.refuse(Some(value.span()), key, "the same file twice", allowed);
        }
        files.push(file);
    }
    files
}

fn quota(c: &mut Checker<'_>, raw: &RawQuota) -> AppQuota {
    let count = 0..=u64::from(u32::MAX);
    let rate = 0..=i64::MAX as u64;
    AppQuota {
        sessions: c.number(&raw.sessions, "app.quota.sessions", count.clone(), 0) as u32,
        rooms: c.number(&raw.rooms, "app.quota.rooms", count, 0) as u32,
        packets_per_s: c.number(&raw.packets_per_s, "app.quota.packets_per_s", rate.clone(), 0),
        bytes_per_s: c.number(&raw.bytes_per_s, "app.quota.bytes_per_s", rate, 0),
        joins_per_s: c.number(&raw.joins_per_s, "app.quota.joins_per_s", 0..=1_000_000, 100) as u32,
    }
}

/// Rules that concern more than one section.
fn across(c: &mut Checker<'_>, raw: &RawConfig, node: &Node, port: &Port, control: &Control) {
    if port.kind == PortType::Sim && node.environment == Environment::Production {
        let span = raw.port.r#type.as_ref().map(Spanned::span);
        c.refuse(span, "port.type", "sim carries no traffic", "dpdk, uring or udp in production");
    }
    let places = [
        ("control.listen", &control.listen, &raw.control.listen),
        ("control.admin_listen", &control.admin_listen, &raw.control.admin_listen),
    ];
    for (key, place, value) in places {
        let Listen::Tcp(addr) = place else { continue };
        let on_port = port.addresses.iter().any(|cidr| cidr.addr == addr.ip());
        if on_port && matches!(port.kind, PortType::Dpdk { .. }) {
            let what = format!("{} belongs to the DPDK port, which carries no HTTP", addr.ip());
            let allowed = "an address of another interface, or \"unix:/path\"";
            c.refuse(value.as_ref().map(Spanned::span), key, what, allowed);
        }
    }
    if let Some(page) = raw.control.demo.as_ref().filter(|page| *page.get_ref())
        && node.environment == Environment::Production
    {
        let allowed = "false where node.environment = \"production\"";
        c.refuse(Some(page.span()), "control.demo", "the demo page in production", allowed);
    }
    let demo = raw.app.iter().find_map(|app| app.get_ref().demo.as_ref().filter(|d| *d.get_ref()));
    if let Some(demo) = demo.filter(|_| !control.listen.is_local()) {
        c.warn(
            Some(demo.span()),
            "app.demo",
            "a demo app on a listener that other hosts can reach",
        );
    }
}
