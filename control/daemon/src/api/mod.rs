//! WHIP (RFC 9725) and WHEP over HTTP, with tokens instead of opaque bearers.
//!
//! A request passes, cheapest first: the source's rate, the path, the headers, the tokens, the app's
//! rate, the size, the offer, the directory; every refusal is a problem document. What is answered
//! with 201 is open in the shard.

pub mod auth;
mod handlers;
pub mod health;
pub mod rates;
pub mod server;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use token::AppKeys;

use crate::export::Metrics;
use crate::handshakes::identities::Identities;
use crate::limits::REQUEST_TIMEOUT;
use crate::link::hub::Hub;
use crate::logs::LogLimit;
use crate::problem::{Code, Problem, ProblemCode};
use rates::Rates;

/// How an app's tokens are checked.
#[derive(Debug)]
pub struct AppAccess {
    /// Its secrets.
    pub keys: AppKeys,
    /// A UserSig alone does not open a room.
    pub private_map_key_required: bool,
    /// Its share of joins, per second; zero means unlimited.
    pub joins_per_s: u32,
}

/// Everything that handlers share.
pub struct Api {
    /// Where joins go.
    pub hub: Arc<Hub>,
    /// Our certificates for DTLS.
    pub identities: Arc<Identities>,
    /// Tenants.
    pub apps: HashMap<u32, AppAccess>,
    /// Seconds by which a token's clock may differ from ours.
    pub skew_s: u64,
    /// Budgets.
    pub rates: Rates,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Lines that strangers can cause.
    pub log: LogLimit,
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
            .patch(handlers::renew)
            .options(|| async { options("DELETE, PATCH, OPTIONS") })
            .fallback(on_resource())
    };
    let options_room = || async { options("POST, OPTIONS") };
    Router::new()
        .route("/whip/{app}/{room}", post(handlers::whip).options(options_room).fallback(on_room()))
        .route("/whep/{app}/{room}", post(handlers::whep).options(options_room).fallback(on_room()))
        .route("/whip/{app}/{room}/{resource}", resource())
        .route("/whep/{app}/{room}/{resource}", resource())
        .fallback(|| async { Problem::from(Code::NotFound) })
        .layer(middleware::from_fn_with_state(Arc::clone(&api), watch))
        .with_state(api)
}

fn not_allowed(allow: &'static str) -> Problem {
    Problem { allow: Some(allow), ..Code::MethodNotAllowed.into() }
}

fn options(allow: &'static str) -> Response {
    let headers = [("allow", allow), ("accept-post", "application/sdp")];
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
