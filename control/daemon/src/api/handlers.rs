//! What each method does.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto::{SdkAppId, SecurityEvent};
use serde::Deserialize;
use token::{RoomId, UserId};
use zeroize::Zeroizing;

use crate::api::auth::{self, Access, Clocks, Credentials};
use crate::api::{Api, AppAccess, Live, Peer, events, redirect};
use crate::directory::{JoinRequest, ResourceId, ResourceView, RoomKey, about};
use crate::limits::OFFER_BYTES_MAX;
use crate::mask;
use crate::problem::{Code, Problem};
use crate::signalling::answer::Answer;
use crate::signalling::{Role, Stream, Terms, offer};
use crate::trail::{self, About};

/// What a path segment keeps as it is (RFC 3986 unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinQuery {
    #[serde(default)]
    room_type: RoomType,
    #[serde(default)]
    stream: StreamName,
    publisher: Option<String>,
    substream: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoomType {
    #[default]
    String,
    Number,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StreamName {
    #[default]
    Main,
    Substream,
}

impl JoinQuery {
    fn room(&self, text: &str) -> Result<RoomId, Problem> {
        let invalid = |error: token::RoomError| Code::RoomInvalid.because(error.to_string());
        match self.room_type {
            RoomType::String => RoomId::text(text).map_err(invalid),
            RoomType::Number => {
                let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
                let number = text.parse().ok().filter(|_| plain).unwrap_or(0);
                RoomId::number(number).map_err(invalid)
            }
        }
    }

    fn stream(&self) -> Stream {
        match self.stream {
            StreamName::Main => Stream::Main,
            StreamName::Substream => Stream::Substream,
        }
    }

    fn terms(&self, role: Role) -> Terms<'_> {
        Terms { role, stream: self.stream(), substream: self.substream.as_deref() }
    }

    fn publisher(&self) -> Result<Option<UserId>, Problem> {
        let user = self.publisher.as_deref().map(UserId::new).transpose();
        user.map_err(|error| Code::QueryInvalid.because(format!("publisher: {error}")))
    }
}

type RoomPath = Result<Path<(String, String)>, PathRejection>;
pub(super) type ResourcePath = Result<Path<(String, String, String)>, PathRejection>;

/// `POST /whip/{sdkappid}/{room}`.
pub async fn whip(State(api): State<Arc<Api>>, path: RoomPath, request: Request) -> Response {
    join(api, Role::Publish, path, request).await
}

/// `POST /whep/{sdkappid}/{room}`.
pub async fn whep(State(api): State<Arc<Api>>, path: RoomPath, request: Request) -> Response {
    join(api, Role::Subscribe, path, request).await
}

async fn join(api: Arc<Api>, role: Role, path: RoomPath, request: Request) -> Response {
    let started = Instant::now();
    let result = try_join(&api, role, path, request).await;
    let code = result.as_ref().map_or_else(|problem| problem.code, |_| "ok");
    api.metrics.join(role, code, started.elapsed());
    result.unwrap_or_else(IntoResponse::into_response)
}

/// What is to be done about a request that has passed everything but the directory.
enum Prepared {
    /// To be served here.
    Here(Box<Ready>),
    /// To be served by another node.
    Elsewhere(HeaderValue),
}

/// A request that has passed everything but the directory.
struct Ready {
    app: u32,
    room: RoomId,
    room_text: String,
    access: Access,
    query: JoinQuery,
    publisher: Option<UserId>,
    offer: offer::Offer,
    peer: Peer,
}

async fn try_join(
    api: &Arc<Api>,
    role: Role,
    path: RoomPath,
    request: Request,
) -> Result<Response, Problem> {
    let ready = match prepare(api, role, path, request).await? {
        Prepared::Here(ready) => *ready,
        Prepared::Elsewhere(location) => {
            let headers = [(header::LOCATION, location)];
            return Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response());
        }
    };
    // On a task of its own: a client that goes away in the middle must not leave half a join.
    let api = Arc::clone(api);
    let joined = tokio::spawn(async move { open(&api, role, ready).await });
    joined.await.map_err(|_| Problem::from(Code::Internal))?
}

async fn prepare(
    api: &Api,
    role: Role,
    path: RoomPath,
    request: Request,
) -> Result<Prepared, Problem> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer(None));
    spend_source(api, peer)?;
    let Path((app_text, room_text)) = path.map_err(|_| Code::PathInvalid)?;
    let live = api.live();
    let (app, access) = find_app(&live, &app_text)?;
    check_content_type(&parts.headers)?;
    let query: JoinQuery =
        Query::try_from_uri(&parts.uri).map(|Query(query)| query).map_err(|_| {
            Code::QueryInvalid.because("known: room_type, stream, substream, publisher")
        })?;
    let room = query.room(&room_text)?;
    let publisher = query.publisher()?;
    let access = verify(api, (access, live.skew_s), &parts.headers, &room, peer)?;
    api.rates.spend_app(app).inspect_err(|_| {
        let about = format!("app {app}");
        api.metrics.security.report(SecurityEvent::JoinRateExceeded, &about, 1);
    })?;
    let body = read_body(&parts.headers, body).await?;
    let offer = offer::parse(&body, query.terms(role))?;
    if let Some(hook) = &live.redirect
        && let Some(location) = redirect::ask(hook, app, &room, role).await
    {
        return Ok(Prepared::Elsewhere(location));
    }
    let ready = Ready { app, room, room_text, access, query, publisher, offer, peer };
    Ok(Prepared::Here(Box::new(ready)))
}

async fn open(api: &Api, role: Role, ready: Ready) -> Result<Response, Problem> {
    let identity = api.identities.current(shm::clock::unix_ns() / 1_000_000_000);
    let request = JoinRequest {
        identity: &identity,
        app: SdkAppId(ready.app),
        room: &ready.room,
        user: &ready.access.user,
        privileges: ready.access.privileges,
        deadline_s: ready.access.deadline_s,
        role,
        stream: ready.query.stream(),
        publisher: ready.publisher.as_ref(),
        offer: &ready.offer,
        client: ready.peer.0,
    };
    let key = RoomKey { app: request.app, room: ready.room.clone() };
    let owner = |session| about(&key, &ready.access.user, session);
    let joined = api.hub.join(&request).await.inspect_err(|problem| {
        api.hub.trail.note(trail::Kind::Refusal, owner(None), problem.code, 1);
    })?;
    for session in &joined.sessions {
        let what = if role == Role::Publish { "publishes" } else { "subscribes" };
        api.hub.trail.joined(*session, owner(Some(*session)), what);
    }
    api.metrics.entered(api.hub.members_of(&key));
    let origin = joined.sessions.first().map_or(0, |session| session.0);
    let answer = Answer {
        role,
        offer: &ready.offer,
        granted: &joined.granted,
        ice: joined.ice.as_ref(),
        fingerprint: identity.fingerprint(),
        origin,
        cname: &joined.cname,
    };
    let text = answer.write();
    if let Some(suppressed) = api.log.allow() {
        tracing::info!(
            app = ready.app,
            room = mask::room(&ready.room),
            user = mask::identity(ready.access.user.as_str()),
            role = ?role,
            sessions = joined.sessions.len(),
            suppressed,
            "joined"
        );
    }
    let name = if role == Role::Publish { "whip" } else { "whep" };
    let room = utf8_percent_encode(&ready.room_text, SEGMENT);
    let location = format!("/{name}/{}/{room}/{}", ready.app, joined.resource);
    let headers = [
        (header::CONTENT_TYPE, "application/sdp".to_owned()),
        (header::LOCATION, location),
        (header::ETAG, joined.etag),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut links = HeaderMap::new();
    for link in &api.live().ice_links {
        links.append(header::LINK, link.clone());
    }
    let events = joined.events.map(events::link).and_then(|link| HeaderValue::from_str(&link).ok());
    links.extend(events.map(|link| (header::LINK, link)));
    Ok((StatusCode::CREATED, headers, links, text.to_string()).into_response())
}

/// `DELETE` of a resource: whoever knows its name may leave it.
pub async fn leave(
    State(api): State<Arc<Api>>,
    path: ResourcePath,
    request: Request,
) -> Result<Response, Problem> {
    spend_source(&api, request.extensions().get::<Peer>().copied().unwrap_or(Peer(None)))?;
    let (id, _) = find_resource(&api, path)?;
    let closing = api.hub.leave(id);
    if closing.sessions.is_empty() {
        return Err(Code::ResourceUnknown.into());
    }
    closing.finished().await;
    Ok(StatusCode::OK.into_response())
}

pub(super) fn spend_source(api: &Api, peer: Peer) -> Result<(), Problem> {
    api.rates.spend_source(peer.0).inspect_err(|problem| {
        if let Some(suppressed) = api.log.allow() {
            let from = About { source: source(peer), ..About::default() };
            api.hub.trail.note(trail::Kind::Refusal, from, problem.code, 1 + suppressed);
        }
        api.metrics.security.report(SecurityEvent::JoinRateExceeded, &source(peer), 1);
    })
}

pub(super) fn verify(
    api: &Api,
    (app, skew_s): (&AppAccess, u64),
    headers: &HeaderMap,
    room: &RoomId,
    peer: Peer,
) -> Result<Access, Problem> {
    let access = Credentials::read(headers)
        .and_then(|credentials| auth::verify(app, credentials, room, Clocks::now(), skew_s));
    access.inspect_err(|problem| {
        api.metrics.token_rejected(problem.code);
        if let Some(suppressed) = api.log.allow() {
            let from = About { source: source(peer), ..About::default() };
            api.hub.trail.note(trail::Kind::Refusal, from, problem.code, 1 + suppressed);
        }
        let about = format!("{} from {}", problem.code, source(peer));
        api.metrics.security.report(SecurityEvent::TokensRefused, &about, 1);
    })
}

/// Who asked, masked.
fn source(peer: Peer) -> String {
    peer.0.map_or_else(|| "unix".to_owned(), mask::address)
}

fn find_app<'a>(live: &'a Live, text: &str) -> Result<(u32, &'a AppAccess), Problem> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    let id: u32 = text.parse().ok().filter(|_| plain).ok_or(Code::PathInvalid)?;
    live.app(id).map(|app| (id, app))
}

/// The resource that a path names, if app, room and id belong together.
pub(super) fn find_resource(
    api: &Api,
    path: ResourcePath,
) -> Result<(ResourceId, ResourceView), Problem> {
    let Path((app, room, resource)) = path.map_err(|_| Code::PathInvalid)?;
    let id: ResourceId = resource.parse().map_err(|()| Code::ResourceUnknown)?;
    let view = api.hub.resource(id)?;
    let name = match &view.key.room {
        RoomId::Number(number) => number.to_string(),
        RoomId::Text(name) => name.clone(),
    };
    let fits = app == view.key.app.0.to_string() && room == name;
    if fits { Ok((id, view)) } else { Err(Code::ResourceUnknown.into()) }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case("application/sdp") => Ok(()),
        _ => Err(Code::MediaTypeUnsupported.into()),
    }
}

/// The body, wiped when it goes: it holds keys.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if announced.and_then(|text| text.parse::<u64>().ok()) > Some(OFFER_BYTES_MAX as u64) {
        return Err(Code::OfferTooLarge.into());
    }
    let bytes = to_bytes(body, OFFER_BYTES_MAX).await.map_err(|_| Code::OfferTooLarge)?;
    Ok(Zeroizing::new(Vec::from(bytes)))
}
