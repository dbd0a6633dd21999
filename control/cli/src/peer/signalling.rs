//! Joining and leaving: tokens, WHIP and WHEP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use config::{Config, Listen, SecretFile};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use token::{RoomId, Secret, UserId, make_private_map_key, make_user_sig};
use zeroize::Zeroizing;

use crate::args::{PeerArgs, Place, Role};
use crate::exit::{Exit, Failure};
use crate::peer::http::{self, Answer, Server};

/// A peer's dealings with the control daemon.
pub struct Signalling {
    server: Server,
    path: String,
    authorization: Zeroizing<String>,
    media_address: Option<IpAddr>,
    node_address: Option<IpAddr>,
    resource: Option<String>,
}

impl Signalling {
    /// Makes the tokens; asks nobody yet.
    pub fn new(place: &Place, args: &PeerArgs) -> Result<Self, Failure> {
        let config = place.load()?.map(|(_, config)| config);
        let (app, file) = app(config.as_ref(), args)?;
        let secret = file.read().map_err(|error| Failure::failed(error.to_string()))?;
        let secret = Secret::from_file_content(secret.as_bytes())
            .map_err(|error| Failure::failed(format!("{file}: {error}")))?;
        let authorization = authorization(app, &secret, args)?;
        let server = match (&args.url, &config) {
            (Some(url), _) => Server::parse(url).map_err(Failure::usage)?,
            (None, Some(config)) => of_listen(config)?,
            (None, None) => Server::Tcp("127.0.0.1:8080".to_owned()),
        };
        let node_address =
            config.as_ref().and_then(|config| config.port.addresses.first().map(|cidr| cidr.addr));
        Ok(Signalling {
            server,
            path: path(app, args),
            authorization,
            media_address: args.media_address,
            node_address,
            resource: None,
        })
    }

    /// Where we receive media: what was asked for, or the address from which signalling is reached;
    /// over a Unix socket the one from which the node's media address is reached.
    pub fn media_address(&self) -> Result<IpAddr, Failure> {
        if let Some(address) = self.media_address {
            return Ok(address);
        }
        if let Some(address) =
            self.server.local_address().map_err(|error| self.unreachable(&error))?
        {
            return Ok(address);
        }
        let routed = self.node_address.and_then(|node| {
            let any: IpAddr = if node.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
            let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
            // Connecting a UDP socket sends nothing; it only asks the host for its route.
            socket.connect((node, 9)).ok()?;
            Some(socket.local_addr().ok()?.ip())
        });
        routed.ok_or_else(|| {
            Failure::usage("over a Unix socket say where media comes to: --media-address IP")
        })
    }

    /// Posts the offer; the answer's text.
    pub fn join(&mut self, offer: &str) -> Result<Zeroizing<String>, Failure> {
        let headers = [
            ("Authorization", self.authorization.as_str()),
            ("Content-Type", "application/sdp"),
            ("Accept", "application/sdp"),
        ];
        let answer = http::request(&self.server, "POST", &self.path, &headers, offer.as_bytes())
            .map_err(|error| self.unreachable(&error))?;
        if answer.status != 201 {
            return Err(refused("the node refused to let us in", &answer));
        }
        let location = answer.header("location").unwrap_or_default();
        // A path of the same server; an absolute URL loses its scheme and host.
        let path = location
            .split_once("://")
            .map_or(location, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
        self.resource = Some(path.to_owned()).filter(|path| path.starts_with('/'));
        if self.resource.is_none() {
            return Err(Failure::failed("the node's answer has no Location"));
        }
        String::from_utf8(answer.body)
            .map(Zeroizing::new)
            .map_err(|_| Failure::failed("the node's answer is no text"))
    }

    /// Deletes the resource, if there is one.
    pub fn leave(&mut self) -> Result<(), Failure> {
        let Some(path) = self.resource.take() else { return Ok(()) };
        let headers = [("Authorization", self.authorization.as_str())];
        let answer = http::request(&self.server, "DELETE", &path, &headers, b"")
            .map_err(|error| self.unreachable(&error))?;
        match answer.status {
            200..=299 => Ok(()),
            // Kicked, ended or timed out before.
            404 | 410 => Ok(()),
            _ => Err(refused("the node did not let us leave", &answer)),
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let place = match &self.server {
            Server::Tcp(host) => format!("http://{host}"),
            Server::Unix(path) => format!("unix:{}", path.display()),
        };
        match error.kind() {
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => {
                Failure::new(Exit::NoNode, format!("{place}: {}", crate::exit::NO_NODE))
            }
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                Failure::new(Exit::TimedOut, format!("{place} did not answer in time"))
            }
            _ => Failure::new(Exit::NoNode, format!("{place}: {error}")),
        }
    }
}

/// The app and its secret: named both, or both from the configuration.
fn app(config: Option<&Config>, args: &PeerArgs) -> Result<(u32, SecretFile), Failure> {
    if let (Some(app), Some(file)) = (args.sdkappid, &args.secret_file) {
        return Ok((app, SecretFile::Path(PathBuf::from(file))));
    }
    let Some(config) = config else {
        return Err(Failure::usage(
            "no configuration to take an app from; give --sdkappid N --secret-file F, or --config",
        ));
    };
    let found = match args.sdkappid {
        Some(app) => config.app(app),
        None => config.apps.first(),
    };
    let found = found.ok_or_else(|| Failure::usage("the configuration has no such app"))?;
    let file = match &args.secret_file {
        Some(file) => SecretFile::Path(file.clone()),
        None => found.secret_files[0].clone(),
    };
    Ok((found.sdkappid, file))
}

/// `Bearer USERSIG.PRIVATEMAPKEY`: with the ticket, so that it works whether or not the app needs one.
fn authorization(app: u32, secret: &Secret, args: &PeerArgs) -> Result<Zeroizing<String>, Failure> {
    let user =
        UserId::new(&args.user).map_err(|error| Failure::usage(format!("--user: {error}")))?;
    let room = match (&args.room, args.room_number) {
        (_, Some(number)) => RoomId::number(u64::from(number)),
        (Some(name), None) => RoomId::text(name),
        (None, None) => return Err(Failure::usage("--room R or --room-number N is needed")),
    };
    let room = room.map_err(|error| Failure::usage(format!("--room: {error}")))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let too_far = |error: token::MakeError| Failure::usage(format!("--expire: {error}"));
    let sig = Zeroizing::new(make_user_sig(app, secret, &user, now, args.expire).map_err(too_far)?);
    let ticket = make_private_map_key(app, secret, &user, &room, args.privileges, now, args.expire);
    let ticket = Zeroizing::new(ticket.map_err(too_far)?);
    Ok(Zeroizing::new(format!("Bearer {}.{}", *sig, *ticket)))
}

fn path(app: u32, args: &PeerArgs) -> String {
    let verb = match args.role {
        Role::Publish => "whip",
        Role::View => "whep",
    };
    let room = match (args.room_number, &args.room) {
        (Some(number), _) => number.to_string(),
        (None, room) => {
            let room = room.as_deref().unwrap_or_default();
            utf8_percent_encode(room, NON_ALPHANUMERIC).to_string()
        }
    };
    let mut query = vec![];
    if args.room_number.is_some() {
        query.push("room_type=number".to_owned());
    }
    if args.substream {
        query.push("stream=substream".to_owned());
    }
    if let Some(publisher) = &args.publisher {
        query.push(format!("publisher={}", utf8_percent_encode(publisher, NON_ALPHANUMERIC)));
    }
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("/{verb}/{app}/{room}{query}")
}

fn of_listen(config: &Config) -> Result<Server, Failure> {
    match &config.control.listen {
        Listen::Unix(path) => Ok(Server::Unix(path.clone())),
        Listen::Tcp(_) if config.control.tls.is_some() => Err(Failure::usage(
            "the node's signalling is HTTPS, which peers do not speak; give --url of a loopback listener",
        )),
        Listen::Tcp(addr) => Ok(Server::Tcp(addr.to_string())),
    }
}

/// A refusal with its problem document (RFC 9457).
fn refused(what: &str, answer: &Answer) -> Failure {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |key: &str| problem[key].as_str().map(str::to_owned);
    let mut message = format!("{what}: {}", answer.status);
    for part in [text("code"), text("title"), text("detail")].into_iter().flatten() {
        message += ": ";
        message.extend(part.chars().filter(|c| !c.is_control()));
    }
    if let Some(after) = answer.header("retry-after") {
        message += &format!("; try again in {after} s");
    }
    let code = match answer.status {
        401 | 403 => Exit::NotPermitted,
        404 => Exit::NotFound,
        409 | 429 | 503 => Exit::Refused,
        _ => Exit::Failed,
    };
    Failure::new(code, message)
}

#[cfg(test)]
#[path = "signalling_tests.rs"]
mod tests;
