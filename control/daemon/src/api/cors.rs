//! Which web pages may use the API from a browser (the Fetch standard's CORS protocol).
//!
//! Requests carry tokens in headers, never cookies, so credentials are never allowed. A page of another
//! origin is answered like everybody; its browser keeps the answer from it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What a page may send.
const ALLOW_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-match, x-private-map-key");
/// What a page may do.
const ALLOW_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, DELETE, OPTIONS");
/// What a page may see of an answer.
const EXPOSE_HEADERS: HeaderValue =
    HeaderValue::from_static("location, etag, link, retry-after, accept-post, accept-patch");
/// For how long a browser remembers, in seconds.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
/// Asks whether a request would be allowed.
const REQUEST_METHOD: HeaderName = header::ACCESS_CONTROL_REQUEST_METHOD;

/// Origins that are allowed.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    /// As browsers send them; `*` alone for all.
    pub origins: Vec<String>,
}

impl Cors {
    /// What to answer an `Origin` with.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        if self.origins.iter().any(|known| known == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let is_known = self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes());
        is_known.then(|| origin.clone())
    }
}

/// Answers preflights, and marks every other answer for its origin.
pub async fn layer(State(cors): State<Arc<Cors>>, request: Request, next: Next) -> Response {
    if cors.origins.is_empty() {
        return next.run(request).await;
    }
    let allowed = cors.allowed(request.headers());
    let asks =
        request.method() == Method::OPTIONS && request.headers().contains_key(REQUEST_METHOD);
    let mut response = match (&allowed, asks) {
        (Some(_), true) => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSE_HEADERS);
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
