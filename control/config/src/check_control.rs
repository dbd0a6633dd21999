//! The rules of `[control]`.

use std::net::SocketAddr;

use toml::Spanned;

use crate::check::Checker;
use crate::model::{Control, Hook, IceServer, Listen, Tls, Workers};
use crate::raw::{RawControl, RawIceServer};

/// Web origins that may be named.
const ORIGINS_MAX: usize = 64;
/// STUN and TURN servers that peers are told.
const ICE_SERVERS_MAX: usize = 8;
/// Longest path of a hook, in bytes.
const HOOK_PATH_MAX: usize = 512;

fn listen(c: &mut Checker<'_>, raw: &Option<Spanned<String>>, key: &str, default: &str) -> Listen {
    let text = raw.as_ref().map_or(default, |value| value.get_ref().as_str());
    let parsed = match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') && path.len() <= 107 => Some(Listen::Unix(path.into())),
        Some(_) => None,
        None => text.parse().ok().map(Listen::Tcp),
    };
    parsed.unwrap_or_else(|| {
        let allowed = "\"address:port\", \"[address]:port\" or \"unix:/path\"";
        let span = raw.as_ref().map(Spanned::span);
        c.refuse(span, key, format!("{text:?} is no place to listen"), allowed);
        Listen::Tcp(default.parse().expect("defaults are valid"))
    })
}

pub(crate) fn control(c: &mut Checker<'_>, raw: &RawControl, workers: &Workers) -> Control {
    let listen_on = listen(c, &raw.listen, "control.listen", "127.0.0.1:8080");
    let admin_listen = listen(c, &raw.admin_listen, "control.admin_listen", "127.0.0.1:8081");
    let tls = match (&raw.tls_cert, &raw.tls_key) {
        (Some(cert), Some(key)) => Some(Tls {
            cert: c.path(cert, "control.tls_cert"),
            key: c.key_file(key, "control.tls_key"),
        }),
        (None, None) => None,
        (Some(one), None) => {
            c.refuse(Some(one.span()), "control.tls_cert", "needs control.tls_key", "both or none");
            None
        }
        (None, Some(one)) => {
            c.refuse(Some(one.span()), "control.tls_key", "needs control.tls_cert", "both or none");
            None
        }
    };
    let places = [
        ("control.listen", &listen_on, &raw.listen),
        ("control.admin_listen", &admin_listen, &raw.admin_listen),
    ];
    for (key, place, value) in places {
        if !place.is_local() && tls.is_none() {
            let what = format!("plain HTTP on {place}, which other hosts can reach");
            let allowed = "a loopback address, \"unix:/path\", or tls_cert and tls_key";
            c.refuse(value.as_ref().map(Spanned::span), key, what, allowed);
        }
    }
    if listen_on == admin_listen && !matches!(&listen_on, Listen::Tcp(a) if a.port() == 0) {
        let span = raw.admin_listen.as_ref().or(raw.listen.as_ref()).map(Spanned::span);
        c.refuse(span, "control.admin_listen", "is the same as control.listen", "another port");
    }
    let user = c.account(&raw.user, "control.user").or_else(|| workers.user.clone());
    let group = c.account(&raw.group, "control.group").or_else(|| match raw.user {
        Some(_) => None,
        None => workers.group.clone(),
    });
    let demo = raw.demo.as_ref().is_some_and(|demo| *demo.get_ref());
    Control {
        listen: listen_on,
        admin_listen,
        tls,
        demo,
        cors_origins: origins(c, raw),
        ice_servers: ice_servers(c, raw),
        redirect: raw.redirect.as_ref().and_then(|value| hook(c, value)),
        log_level: c.choice(
            &raw.log_level,
            "control.log_level",
            &["info", "error", "warn", "debug", "trace"].map(|word| (word, word)),
        ),
        user,
        group,
    }
}

/// `*`, or origins as browsers write them (RFC 6454 section 6.2): no path, not even a slash.
fn origins(c: &mut Checker<'_>, raw: &RawControl) -> Vec<String> {
    let key = "control.cors_origins";
    let mut origins: Vec<String> = Vec::new();
    for value in raw.cors_origins.iter().flatten() {
        let text = value.get_ref();
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]".contains(&b);
        let is_origin = host.is_some_and(|host| !host.is_empty() && host.bytes().all(plain));
        if !is_origin && text != "*" {
            let allowed = "\"*\", or origins such as \"https://app.example\", in lower case";
            c.refuse(Some(value.span()), key, format!("{text:?} is no origin"), allowed);
        } else if origins.len() == ORIGINS_MAX {
            let allowed = format!("at most {ORIGINS_MAX}");
            c.refuse(Some(value.span()), key, "too many origins", &allowed);
            break;
        }
        origins.push(text.clone());
    }
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        let span = raw.cors_origins.as_ref().and_then(|list| list.first()).map(Spanned::span);
        c.refuse(span, key, "\"*\" beside others", "\"*\" alone, or a list without it");
    }
    origins
}

fn ice_servers(c: &mut Checker<'_>, raw: &RawControl) -> Vec<IceServer> {
    let key = "control.ice_servers";
    if let Some(extra) = raw.ice_servers.get(ICE_SERVERS_MAX) {
        c.refuse(Some(extra.span()), key, "too many", &format!("at most {ICE_SERVERS_MAX}"));
    }
    let entries = raw.ice_servers.iter().take(ICE_SERVERS_MAX);
    entries.filter_map(|entry| ice_server(c, entry)).collect()
}

fn ice_server(c: &mut Checker<'_>, entry: &Spanned<RawIceServer>) -> Option<IceServer> {
    let (key, raw) = ("control.ice_servers", entry.get_ref());
    let Some(url) = &raw.url else {
        c.refuse(Some(entry.span()), key, "an entry without url", "url = \"stun:host:port\"");
        return None;
    };
    let scheme = url.get_ref().split(':').next().unwrap_or_default();
    let is_turn = matches!(scheme, "turn" | "turns");
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]?=_".contains(&b);
    let is_url = (is_turn || matches!(scheme, "stun" | "stuns"))
        && url.get_ref().len() > scheme.len() + 1
        && url.get_ref().bytes().all(plain);
    if !is_url {
        let what = format!("{:?} is no STUN or TURN URL", url.get_ref());
        let allowed = "stun:, stuns:, turn: or turns: and a host (RFC 7064, RFC 7065)";
        c.refuse(Some(url.span()), key, what, allowed);
        return None;
    }
    if let Some(name) = &raw.username
        && (name.get_ref().is_empty() || !name.get_ref().bytes().all(is_quotable))
    {
        c.refuse(Some(name.span()), key, "is no username", "printable ASCII without quotes");
    }
    let allowed = "username and credential_file with turn: and turns:, neither with stun:";
    if is_turn != raw.username.is_some() || is_turn != raw.credential_file.is_some() {
        c.refuse(Some(entry.span()), key, format!("credentials of {scheme}:"), allowed);
    }
    let file = raw.credential_file.as_ref();
    Some(IceServer {
        url: url.get_ref().clone(),
        username: raw.username.as_ref().map(|name| name.get_ref().clone()),
        credential_file: file.map(|file| c.secret_file(file, key, "a path, or credential:NAME")),
    })
}

/// Fits a quoted string of a header without being escaped.
fn is_quotable(b: u8) -> bool {
    b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')
}

/// Plain HTTP, so on this host only.
fn hook(c: &mut Checker<'_>, value: &Spanned<String>) -> Option<Hook> {
    let text = value.get_ref();
    let rest = text.strip_prefix("http://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = authority.parse::<SocketAddr>().ok().filter(|a| a.ip().is_loopback());
    let is_path = path.bytes().all(is_quotable) && !path.contains('#');
    let Some(address) = address.filter(|_| is_path && path.len() <= HOOK_PATH_MAX) else {
        let allowed = "\"http://127.0.0.1:port/path\": plain HTTP on a loopback address";
        c.refuse(Some(value.span()), "control.redirect", format!("{text:?} is no hook"), allowed);
        return None;
    };
    let path = if path.is_empty() { "/" } else { path }.to_owned();
    Some(Hook { address, path })
}
