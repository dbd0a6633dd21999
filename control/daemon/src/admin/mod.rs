//! The admin socket: JSON lines over a Unix socket, for operators on this host.
//!
//! Who may do what follows from the kernel's word about the peer (SO_PEERCRED): root and our own user
//! may all; members of the group `roomlane` may read, of `roomlane-admin` act. Every act, allowed or
//! not, is one line of the audit file.

pub mod audit;
mod capture;
mod incident;
mod look;
mod node;
mod peer;
mod request;
mod reveal;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::trace::TRACE_PACKETS_MAX;
use proto::{RoomNo, SdkAppId, SessionId};
use serde::Deserialize;
use serde_json::{Value, json};
use shm::fdpass::Credentials;
use token::{RoomId, UserId};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use crate::api::server::bind_unix;
use crate::directory::RoomKey;
use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_IDLE, ADMIN_LINE_BYTES_MAX};
use crate::link::hub::{Closing, Hub, Status};
use crate::running::{Refused, Running};
use crate::trail::{About, Kind, Subject};
use crate::{mask, why};
use audit::Audit;
use peer::{Peer, Right};
use request::{Facts, Request};

/// One request line.
#[derive(Debug, Deserialize)]
#[serde(tag = "act", deny_unknown_fields)]
enum Act {
    #[serde(rename = "status")]
    Status {},
    #[serde(rename = "why")]
    Why {
        sdkappid: u32,
        room: String,
        #[serde(default)]
        room_type: RoomType,
        from: String,
        to: String,
        #[serde(default)]
        reveal: bool,
    },
    #[serde(rename = "trail")]
    Trail {
        subject: String,
        #[serde(default)]
        reveal: bool,
    },
    #[serde(rename = "trace.start")]
    StartTrace {
        sdkappid: u32,
        room: String,
        #[serde(default)]
        room_type: RoomType,
        count: u16,
        #[serde(default)]
        drop_only: bool,
    },
    #[serde(rename = "trace.stop")]
    StopTrace {},
    #[serde(rename = "trace.show")]
    ShowTrace {},
    #[serde(rename = "session.look")]
    Look { session: String },
    #[serde(rename = "stream.list")]
    Streams {
        #[serde(default)]
        session: Option<String>,
        /// The room's own number.
        #[serde(default)]
        room: Option<u64>,
    },
    #[serde(rename = "session.kick")]
    Kick { session: String },
    /// An operator is about to break something of this node on purpose: nothing but a line of the audit.
    #[serde(rename = "drill")]
    Drill { fault: Fault },
    #[serde(rename = "room.end")]
    EndRoom {
        sdkappid: u32,
        room: String,
        #[serde(default)]
        room_type: RoomType,
    },
}

/// How a request names a room.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomType {
    /// By a text.
    #[default]
    String,
    /// By a number of the app's.
    Number,
    /// The room's own number, as the stats region has it: consoles know no names.
    Internal,
}

/// What a drill breaks.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    KillControl,
    KillDataplane,
    PortDown,
    DiskFull,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Fault::KillControl => "kill-control",
            Fault::KillDataplane => "kill-dataplane",
            Fault::PortDown => "port-down",
            Fault::DiskFull => "disk-full",
        }
    }
}

impl Act {
    fn name(&self) -> &'static str {
        match self {
            Act::Status {} => "status",
            Act::Why { .. } => "why",
            Act::Trail { .. } => "trail",
            Act::StartTrace { .. } => "trace.start",
            Act::StopTrace {} => "trace.stop",
            Act::ShowTrace {} => "trace.show",
            Act::Look { .. } => "session.look",
            Act::Streams { .. } => "stream.list",
            Act::Kick { .. } => "session.kick",
            Act::Drill { .. } => "drill",
            Act::EndRoom { .. } => "room.end",
        }
    }

    fn right(&self) -> Right {
        match self {
            _ if self.reveals() => Right::Act,
            Act::Status {} | Act::Why { .. } | Act::Trail { .. } => Right::Read,
            Act::ShowTrace {} | Act::Look { .. } | Act::Streams { .. } => Right::Read,
            Act::StartTrace { .. } | Act::StopTrace {} => Right::Act,
            Act::Kick { .. } | Act::EndRoom { .. } | Act::Drill { .. } => Right::Act,
        }
    }

    /// Whether the answer has names in the clear.
    fn reveals(&self) -> bool {
        matches!(self, Act::Why { reveal: true, .. } | Act::Trail { reveal: true, .. })
    }

    /// The same for trails.
    fn about(&self) -> About {
        match self {
            Act::Kick { session } => About { session: session.parse().ok(), ..About::default() },
            Act::EndRoom { sdkappid, room, room_type }
            | Act::StartTrace { sdkappid, room, room_type, .. } => About {
                app: Some(*sdkappid),
                room: room_id(room, *room_type)
                    .map_or_else(|_| mask::identity(room), |room| mask::room(&room)),
                ..About::default()
            },
            _ => About::default(),
        }
    }

    /// What it is about, masked, for the audit.
    fn target(&self) -> String {
        match self {
            Act::Why { sdkappid, room, from, to, .. } => {
                let [room, from, to] = [room, from, to].map(|name| mask::identity(name));
                format!("{sdkappid}/{room} {from} {to}")
            }
            Act::Trail { subject, .. } => Subject::read(subject).to_string(),
            Act::Status {}
            | Act::StopTrace {}
            | Act::Look { .. }
            | Act::Streams { .. }
            | Act::ShowTrace {} => String::new(),
            Act::Drill { fault } => fault.name().to_owned(),
            Act::Kick { session } => {
                session.parse::<SessionId>().map_or_else(|()| "?".into(), |id| id.to_string())
            }
            Act::EndRoom { sdkappid, room, room_type }
            | Act::StartTrace { sdkappid, room, room_type, .. } => match room_type {
                RoomType::Internal => {
                    format!("{sdkappid}/no {}", room.parse::<u64>().unwrap_or_default())
                }
                _ => format!("{sdkappid}/{}", mask::identity(room)),
            },
        }
    }
}

fn refused<T>(code: &'static str, message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { code, message: message.into(), errors: vec![] })
}

/// The socket, bound.
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
    hub: Arc<Hub>,
    audit: Arc<Audit>,
    node: Option<Arc<Running>>,
}

impl Admin {
    /// Binds `path`. Anyone may connect; what they may do is decided by who they are.
    ///
    /// # Errors
    /// The host's.
    pub async fn bind(path: &Path, hub: Arc<Hub>, audit: Arc<Audit>) -> std::io::Result<Admin> {
        use std::os::unix::fs::PermissionsExt;
        let listener = bind_unix(path).await?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Ok(Admin { listener, path: path.to_owned(), hub, audit, node: None })
    }

    /// Acts on the node as a whole are served, too.
    pub fn with_node(self, node: Arc<Running>) -> Admin {
        Admin { node: Some(node), ..self }
    }

    /// Serves until `stop` turns true; then the socket file goes.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
        while !*stop.borrow() {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (hub, audit) = (Arc::clone(&self.hub), Arc::clone(&self.audit));
                        let node = self.node.clone();
                        tokio::spawn(async move {
                            let _slot = slot;
                            if let Err(error) = talk(stream, &hub, &audit, node.as_ref()).await {
                                tracing::debug!(%error, "an admin connection ended");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::error!(%error, "an admin connection could not be accepted");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                },
                _ = stop.changed() => break,
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn talk(
    stream: UnixStream,
    hub: &Hub,
    audit: &Arc<Audit>,
    node: Option<&Arc<Running>>,
) -> std::io::Result<()> {
    let credentials = shm::fdpass::peer_credentials(&stream)?;
    // The group database may live in a directory service: not on this thread.
    let peer = tokio::task::spawn_blocking(move || Peer::identify(credentials)).await;
    let peer = peer.map_err(|error| std::io::Error::other(error.to_string()))?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = ADMIN_LINE_BYTES_MAX as u64 + 1;
        let mut limited = (&mut reader).take(limit);
        let read = tokio::time::timeout(ADMIN_IDLE, limited.read_until(b'\n', &mut line)).await;
        if read.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
            return Ok(());
        }
        let too_long = line.len() > ADMIN_LINE_BYTES_MAX;
        let answer = match too_long {
            true => answer_of("?", refused("too_long", "a line is at most 4096 bytes")),
            false => answer(&line, &peer, hub, audit, node).await,
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
        if too_long {
            return Ok(());
        }
    }
}

fn answer_of(act: &str, result: Result<Value, Refused>) -> Value {
    match result {
        Ok(mut value) => {
            value["ok"] = true.into();
            value["act"] = act.into();
            value
        }
        Err(refused) => {
            let mut value =
                json!({ "ok": false, "code": refused.code, "message": refused.message });
            if !refused.errors.is_empty() {
                value["errors"] = refused.errors.into();
            }
            value
        }
    }
}

async fn answer(
    line: &[u8],
    peer: &Peer,
    hub: &Hub,
    audit: &Arc<Audit>,
    node: Option<&Arc<Running>>,
) -> Value {
    let request = match Request::parse(line, node.is_some()) {
        Ok(request) => request,
        Err(error) => {
            let at = format!("not an act in JSON, at column {}", error.column());
            return answer_of("?", refused("malformed", at));
        }
    };
    let Facts { name, target, right, about, is_audited, reveals } = request.facts();
    let who = peer.credentials();
    // What cannot be written down is not done.
    let prepared = match is_audited && peer.may(right) {
        true => prepare(audit, who, name).await,
        false => Ok(()),
    };
    let is_recorded = prepared.is_ok();
    let mut result = match (request, node) {
        _ if !is_recorded => prepared.map(|()| Value::Null),
        _ if !peer.may(right) => {
            let group = right.group();
            refused("not_permitted", format!("needs root, the node's own user, or group {group}"))
        }
        (Request::Node(act), Some(node)) => act.carry_out(node, hub).await,
        (Request::Inside(Act::Status {}), Some(node)) => {
            let mut answer = status(hub);
            node.add_status(&mut answer);
            Ok(answer)
        }
        (Request::Inside(act), _) => carry_out(&act, hub).await,
        (Request::Capture(act), _) => act.carry_out(hub, who.uid).await,
        (Request::Incident(act), Some(node)) => act.carry_out(node.incidents(), who.uid).await,
        (Request::Reveal(act), _) => act.carry_out(hub),
        (Request::Node(_) | Request::Incident(_), None) => {
            refused("unknown_act", "no such act here")
        }
    };
    if is_audited {
        let code = result.as_ref().map_or_else(|refused| refused.code, |_| "ok");
        let what = format!("{name} by uid {}: {code}", who.uid);
        match about {
            About { session: Some(id), .. } => hub.trail.of_session(Kind::Act, id, &what, 1),
            about => hub.trail.note(Kind::Act, about, &what, 1),
        }
    }
    if is_audited && is_recorded {
        let code = result.as_ref().map_or_else(|refused| refused.code, |_| "ok");
        let audit = Arc::clone(audit);
        let written =
            tokio::task::spawn_blocking(move || audit.record(who, name, &target, code)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::error!(act = name, "an act could not be written to the audit file");
            if reveals {
                result = refused("audit_failed", "nothing is shown that is not written down");
            }
        }
    }
    answer_of(name, result)
}

/// Whether an act can be written down.
async fn prepare(audit: &Arc<Audit>, who: Credentials, act: &'static str) -> Result<(), Refused> {
    let audit = Arc::clone(audit);
    let prepared = tokio::task::spawn_blocking(move || audit.prepare(who, act)).await;
    match prepared.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::error!(act, %error, "refused: the audit file cannot be written");
            refused(
                "audit_failed",
                format!(
                    "nothing was done: the audit file cannot be written ({error}); media goes on"
                ),
            )
        }
    }
}

async fn carry_out(act: &Act, hub: &Hub) -> Result<Value, Refused> {
    match act {
        Act::Status {} => Ok(status(hub)),
        Act::Why { sdkappid, room, room_type, from, to, reveal } => {
            let key = room_key(hub, *sdkappid, room, *room_type)?;
            let user = |id: &str| match UserId::new(id) {
                Ok(user) => Ok(user),
                Err(_) => refused("user_invalid", "not a legal user id"),
            };
            let mut answer = why::ask(hub, &key, &user(from)?, &user(to)?).await;
            if *reveal {
                answer["room"] = reveal::room_name(&key)["room"].clone();
                (answer["from"], answer["to"]) = (from.as_str().into(), to.as_str().into());
            }
            Ok(answer)
        }
        Act::Trail { subject, reveal } => {
            let mut answer = hub.trail.answer(&Subject::read(subject));
            if *reveal {
                reveal::in_notes(hub, &mut answer);
            }
            Ok(answer)
        }
        Act::StartTrace { sdkappid, room, room_type, count, drop_only } => {
            if !(1..=TRACE_PACKETS_MAX).contains(count) {
                return refused("malformed", "a trace has 1 to 1000 packets");
            }
            match hub.trace(&room_key(hub, *sdkappid, room, *room_type)?, *count, *drop_only) {
                true => Ok(json!({ "count": count })),
                false => refused("not_found", "no such room"),
            }
        }
        Act::StopTrace {} => match hub.stop_trace() {
            true => Ok(json!({})),
            false => refused("not_found", "no trace was started"),
        },
        Act::ShowTrace {} => match hub.traces.answer() {
            Some(answer) => Ok(answer),
            None => refused("not_found", "no trace was started"),
        },
        Act::Look { session } => {
            let id = session_id(session)?;
            match hub.look(id).await {
                parts if parts.is_empty() => refused("not_found", format!("no session {id}")),
                parts => Ok(look::json(id, &parts)),
            }
        }
        Act::Streams { session, room } => {
            let only = session.as_deref().map(session_id).transpose()?;
            let seated = hub.seated(only, room.map(RoomNo));
            match (seated.is_empty(), only, room) {
                (true, Some(id), _) => refused("not_found", format!("no session {id}")),
                (true, None, Some(room)) => refused("not_found", format!("no room {room}")),
                _ => Ok(look::list(hub, seated).await),
            }
        }
        Act::Drill { .. } => Ok(json!({})),
        Act::Kick { session } => {
            let id = session_id(session)?;
            match hub.kick(id) {
                Some(closing) => finish(closing).await,
                None => refused("not_found", format!("no session {id}")),
            }
        }
        Act::EndRoom { sdkappid, room, room_type } => {
            match hub.end_room(&room_key(hub, *sdkappid, room, *room_type)?) {
                Some(closing) => finish(closing).await,
                None => refused("not_found", "no such room"),
            }
        }
    }
}

fn session_id(text: &str) -> Result<SessionId, Refused> {
    match text.parse() {
        Ok(id) => Ok(id),
        Err(()) => refused("session_invalid", "a session looks like s0-12-3"),
    }
}

fn room_key(hub: &Hub, app: u32, room: &str, room_type: RoomType) -> Result<RoomKey, Refused> {
    if let RoomType::Internal = room_type {
        let key = room.parse().ok().and_then(|no| hub.key_of(RoomNo(no)));
        return match key.filter(|key| key.app == SdkAppId(app)) {
            Some(key) => Ok(key),
            None => refused("not_found", "no such room"),
        };
    }
    Ok(RoomKey { app: SdkAppId(app), room: room_id(room, room_type)? })
}

/// The room that a name means; an internal number names none.
fn room_id(room: &str, room_type: RoomType) -> Result<RoomId, Refused> {
    let id = match room_type {
        RoomType::String => RoomId::text(room),
        RoomType::Number => RoomId::number(room.parse().unwrap_or(0)),
        RoomType::Internal => return refused("room_invalid", "a number of our own"),
    };
    id.or_else(|_| refused("room_invalid", "not a legal room"))
}

async fn finish(closing: Closing) -> Result<Value, Refused> {
    let sessions: Vec<String> = closing.sessions.iter().map(ToString::to_string).collect();
    let confirmed = closing.finished().await;
    Ok(json!({ "sessions": sessions, "confirmed": confirmed }))
}

fn status(hub: &Hub) -> Value {
    let totals = hub.totals();
    let (data_plane, instance, shards) = match hub.status() {
        Status::Up { instance, shards } => ("up", Some(format!("{instance:016x}")), shards),
        Status::Down => ("down", None, 0),
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "data_plane": data_plane,
        "instance": instance,
        "shards": shards,
        "rooms": totals.rooms,
        "publishing": totals.publishing,
        "subscribing": totals.subscribing,
        "sessions": totals.sessions,
        "draining": hub.is_draining(),
    })
}
