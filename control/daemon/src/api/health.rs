//! The admin address: is this process alive, may it take rooms, what was counted.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::export::Metrics;
use crate::link::hub::{Hub, Status};
use crate::problem::{Code, Problem};

#[derive(Clone)]
struct Health {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn router(hub: Arc<Hub>, metrics: Arc<Metrics>) -> Router {
    let not_allowed =
        || async { Problem { allow: Some("GET, HEAD"), ..Code::MethodNotAllowed.into() } };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }).fallback(not_allowed))
        .route("/readyz", get(ready).fallback(not_allowed))
        .route("/metrics", get(metrics_text).fallback(not_allowed))
        .fallback(|| async { Problem::from(Code::NotFound) })
        .with_state(Health { hub, metrics })
}

async fn ready(State(health): State<Health>) -> Response {
    match health.hub.status() {
        Status::Up { .. } if health.hub.is_draining() => {
            Problem::from(Code::Draining).into_response()
        }
        Status::Up { .. } => "ready\n".into_response(),
        Status::Down => Problem::from(Code::DataPlaneDown).into_response(),
    }
}

async fn metrics_text(State(health): State<Health>) -> Response {
    let render = move || health.metrics.render(&health.hub);
    match tokio::task::spawn_blocking(render).await {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
            (kind, text).into_response()
        }
        Err(_) => Problem::from(Code::Internal).into_response(),
    }
}
