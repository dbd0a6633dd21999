//! WHIP (RFC 9725) and WHEP over HTTP, with tokens instead of opaque bearers.
//!
//! A request passes, cheapest first: the source's rate, the path, the headers, the tokens, the app's
//! rate, the size, the offer, the directory; every refusal is a problem document. What is answered
//! with 201 is open in the shard.

pub mod auth;
mod connections;
pub mod cors;
mod events;
mod handlers;
pub mod health;
mod patch;
pub mod rates;
mod redirect;
pub mod server;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use token::AppKeys;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::export::Metrics;
use crate::handshakes::identities::Identities;
use crate::limits::REQUEST_TIMEOUT;
use crate::link::hub::Hub;
use crate::logs::LogLimit;
use crate::problem::{Code, Problem, ProblemCode};
use crate::signalling::fragment;
use cors::Cors;
use rates::Rates;

/// How an app's tokens are checked.
#[derive(Debug, Clone)]
pub struct AppAccess {
    /// Its secrets.
    pub keys: AppKeys,
    /// A UserSig alone does not open a room.
    pub private_map_key_required: bool,
    /// Its share of joins, per second; zero means unlimited.
    pub joins_per_s: u32,
    /// Nobody joins, and nobody renews.
    pub is_suspended: bool,
    /// SHA-256 over its secrets, to see whether they changed.
    pub digest: [u8; 32],
}

/// What a reload exchanges; a request sees one value of it from its start to its end.
#[derive(Debug, Default, Clone)]
pub struct Live {
    /// Tenants.
    pub apps: HashMap<u32, AppAccess>,
    /// Seconds by which a token's clock may differ from ours.
    pub skew_s: u64,
    /// STUN and TURN servers as `Link` headers (RFC 9725 section 4.6), which hold their passwords.
    pub ice_links: Vec<HeaderValue>,
    /// Asked before each join whether another node should serve it.
    pub redirect: Option<config::Hook>,
}

impl Live {
    /// An app that may be used now.
    ///
    /// # Errors
    /// There is none with this id, or it is suspended.
    pub fn app(&self, id: u32) -> Result<&AppAccess, Problem> {
        match self.apps.get(&id) {
            None => Err(Code::AppUnknown.into()),
            Some(app) if app.is_suspended => Err(Code::AppSuspended.into()),
            Some(app) => Ok(app),
        }
    }
}

/// Everything that handlers share.
pub struct Api {
    /// Where joins go.
    pub hub: Arc<Hub>,
    /// Our certificates for DTLS.
    pub identities: Arc<Identities>,
    /// What a reload exchanges.
    pub live: RwLock<Arc<Live>>,
    /// Budgets.
    pub rates: Rates,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Lines that strangers can cause.
    pub log: LogLimit,
    /// Places for event streams: [`crate::limits::EVENT_STREAMS_MAX`].
    pub streams: Arc<Semaphore>,
    /// Web pages that may use the API.
    pub cors: Arc<Cors>,
}

impl Api {
    /// What holds now.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this holds.
    pub fn set_live(&self, live: Arc<Live>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }
}

/// The `Link` header for an ICE server; `None` for what a header cannot carry.
pub fn ice_link(url: &str, credentials: Option<(&str, &str)>) -> Option<HeaderValue> {
    let mut link = Zeroizing::new(format!("<{url}>; rel=\"ice-server\""));
    if let Some((username, password)) = credentials {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let password = Zeroizing::new(quoted(password));
        link.push_str(&format!("; username=\"{}\"", quoted(username)));
        link.push_str(&format!("; credential=\"{}\"", *password));
        link.push_str("; credential-type=\"password\"");
    }
    let mut value = HeaderValue::from_str(&link).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The client of a connection; `None` on a Unix socket.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub Option<IpAddr>);

/// The signalling API.
pub fn router(api: Arc<Api>) -> Router {
    let join = |allow: &'static str| move || async move { not_allowed(allow) };
    let on_room = || join("POST, OPTIONS");
    let on_resource = || join("DELETE, PATCH, OPTIONS");
    let resource = || {
        axum::routing::delete(handlers::leave)
            .patch(patch::patch)
            .options(|| async {
                options("DELETE, PATCH, OPTIONS", ("accept-patch", fragment::MEDIA_TYPE))
            })
            .fallback(on_resource())
    };
    let options_room = || async { options("POST, OPTIONS", ("accept-post", "application/sdp")) };
    let on_events = || join("GET, HEAD");
    Router::new()
        .route("/whip/{app}/{room}", post(handlers::whip).options(options_room).fallback(on_room()))
        .route("/whep/{app}/{room}", post(handlers::whep).options(options_room).fallback(on_room()))
        .route("/whip/{app}/{room}/{resource}", resource())
        .route("/whep/{app}/{room}/{resource}", resource())
        .route("/events/{id}", axum::routing::get(events::listen).fallback(on_events()))
        .fallback(|| async { Problem::from(Code::NotFound) })
        .layer(middleware::from_fn_with_state(Arc::clone(&api), watch))
        .layer(middleware::from_fn_with_state(Arc::clone(&api.cors), cors::layer))
        .with_state(api)
}

fn not_allowed(allow: &'static str) -> Problem {
    Problem { allow: Some(allow), ..Code::MethodNotAllowed.into() }
}

fn options(allow: &'static str, accepted: (&'static str, &'static str)) -> Response {
    let headers = [("allow", allow), accepted];
    (axum::http::StatusCode::NO_CONTENT, headers).into_response()
}

/// Bounds a request's time and counts its end.
async fn watch(
    axum::extract::State(api): axum::extract::State<Arc<Api>>,
    request: Request,
    next: Next,
) -> Response {
    let name = match request.uri().path() {
        path if path.starts_with("/whip/") => "whip",
        path if path.starts_with("/whep/") => "whep",
        path if path.starts_with("/events/") => "events",
        _ => "other",
    };
    let response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::from(Code::RequestTimeout).into_response(),
    };
    let code = response.extensions().get::<ProblemCode>().map_or("ok", |code| code.0);
    api.metrics.request(name, response.status().as_u16(), code);
    response
}
