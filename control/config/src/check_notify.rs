//! The rules of `[notify]`.

use toml::Spanned;

use crate::check::Checker;
use crate::model::Notify;
use crate::raw::RawNotify;

/// Longest URL, in bytes.
const URL_MAX: usize = 1024;
/// Where Debian keeps the certificates that this host trusts.
const CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
const ALLOWED: &str = "\"https://host/path\", or \"http://\" on a loopback address";

pub(crate) fn notify(c: &mut Checker<'_>, raw: &RawNotify) -> Option<Notify> {
    let Some(url) = &raw.url else {
        for (key, value) in [("secret_file", &raw.secret_file), ("ca_file", &raw.ca_file)] {
            if let Some(value) = value {
                let key = format!("notify.{key}");
                c.refuse(Some(value.span()), &key, "without notify.url", "notify.url, too");
            }
        }
        return None;
    };
    let Some((is_tls, host, port, path)) = parts(url.get_ref()) else {
        let what = format!("{:?} is no webhook", url.get_ref());
        c.refuse(Some(url.span()), "notify.url", what, ALLOWED);
        return None;
    };
    let Some(secret) = &raw.secret_file else {
        let allowed = "a file with the secret that requests are signed with";
        c.refuse(Some(url.span()), "notify.secret_file", "is missing", allowed);
        return None;
    };
    let secret_file = c.secret_file(secret, "notify.secret_file", "a path, or credential:NAME");
    let ca_file =
        raw.ca_file.as_ref().map(|value: &Spanned<String>| c.path(value, "notify.ca_file"));
    let ca_file = ca_file.unwrap_or_else(|| CA_FILE.into());
    Some(Notify { is_tls, host, port, path, secret_file, ca_file })
}

/// Whether it is HTTPS, the host without brackets, the port, path and query.
fn parts(url: &str) -> Option<(bool, String, u16, String)> {
    let (is_tls, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://")?),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port =
        authority.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let (host, port) = match has_port {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (authority, if is_tls { 443 } else { 80 }),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
    let is_ip = bare.parse::<std::net::IpAddr>();
    let is_loopback = is_ip.as_ref().is_ok_and(|ip| ip.to_canonical().is_loopback());
    let is_path = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    let fits = !bare.is_empty()
        && bare.bytes().all(is_host)
        && (is_ip.is_ok() || !bare.contains(':'))
        && is_path
        && url.len() <= URL_MAX;
    let path = if path.is_empty() { "/" } else { path };
    (fits && (is_tls || is_loopback)).then(|| (is_tls, bare.to_owned(), port, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_https_or_on_this_host() {
        let of = |url: &str| {
            parts(url).map(|(tls, host, port, path)| format!("{tls} {host} {port} {path}"))
        };
        assert_eq!(
            of("https://hooks.example/a?b=c").as_deref(),
            Some("true hooks.example 443 /a?b=c")
        );
        assert_eq!(of("https://[2001:db8::1]:8443").as_deref(), Some("true 2001:db8::1 8443 /"));
        assert_eq!(of("http://127.0.0.1:9099/x").as_deref(), Some("false 127.0.0.1 9099 /x"));
        assert_eq!(of("http://[::1]/x").as_deref(), Some("false ::1 80 /x"));
        for bad in [
            "",
            "https://",
            "http://hooks.example/",
            "http://192.0.2.1/",
            "ftp://127.0.0.1/",
            "https://user@hooks.example/",
            "https://hooks.example:0/",
            "https://hooks.example:99999/",
            "https://hooks.example/ x",
            "https://hooks.example/#x",
            "https://2001:db8::x/",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
