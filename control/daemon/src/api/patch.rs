//! `PATCH` of a resource: new tokens renew its grant; fragments bring candidates or restart ICE.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::handlers::{ResourcePath, find_resource, read_body, spend_source, verify};
use crate::api::{Api, Peer};
use crate::directory::{Precondition, ResourceId, ResourceView};
use crate::problem::{Code, Problem};
use crate::signalling::fragment;

/// A fragment does what it says; nothing at all, whatever type is named for it, is a renewal.
pub async fn patch(
    State(api): State<Arc<Api>>,
    path: ResourcePath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied().unwrap_or(Peer(None));
    spend_source(&api, peer)?;
    let (id, view) = find_resource(&api, path)?;
    let kind = parts.headers.get(header::CONTENT_TYPE).map(|value| value.to_str());
    let essence = kind.map(|kind| kind.unwrap_or_default().split(';').next().unwrap_or_default());
    if essence.is_some_and(|it| it.trim().eq_ignore_ascii_case(fragment::MEDIA_TYPE)) {
        return trickle(&api, id, &parts.headers, body).await;
    }
    renew(&api, id, view, peer, parts, body).await
}

async fn renew(
    api: &Api,
    id: ResourceId,
    view: ResourceView,
    peer: Peer,
    parts: Parts,
    body: Body,
) -> Result<Response, Problem> {
    if !read_body(&parts.headers, body).await?.is_empty() {
        return Err(Code::PatchTypeUnsupported.into());
    }
    let live = api.live();
    let app = live.app(view.key.app.0)?;
    let access = verify(api, (app, live.skew_s), &parts.headers, &view.key.room, peer)?;
    if access.user != view.user {
        return Err(Code::OtherUser.into());
    }
    api.rates.spend_app(view.key.app.0)?;
    match precondition(&parts.headers)? {
        Some(Precondition::Tags(tags)) if !api.hub.has_etag(id, tags) => {
            return Err(Code::PreconditionFailed.into());
        }
        _ => {}
    }
    if !api.hub.renew(id, access.privileges, access.deadline_s) {
        return Err(Code::ResourceUnknown.into());
    }
    Ok((StatusCode::NO_CONTENT, [(header::ETAG, view.etag)]).into_response())
}

/// Whoever knows the resource's name may trickle, as with `DELETE`: no key is given out, and none of what
/// was agreed on changes.
async fn trickle(
    api: &Api,
    id: ResourceId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let precondition = precondition(headers)?.ok_or(Code::PreconditionRequired)?;
    let peer = fragment::parse(&read_body(headers, body).await?)?;
    let Some(restarted) = api.hub.trickle(id, precondition, peer)? else {
        // RFC 9725 section 4.3.2: without an entity tag.
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let text = fragment::write(&restarted.ice, &restarted.sections);
    let headers = [
        (header::CONTENT_TYPE, fragment::MEDIA_TYPE.to_owned()),
        (header::ETAG, restarted.etag),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::OK, headers, text.to_string()).into_response())
}

/// `If-Match`, if there is one.
fn precondition(headers: &HeaderMap) -> Result<Option<Precondition<'_>>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Code::PreconditionFailed)?.trim();
    // The WHIP drafts' example of an ICE restart has the star in quotes, and clients copied it. No
    // entity tag of ours can be a star.
    let any = matches!(text, "*" | "\"*\"");
    Ok(Some(if any { Precondition::Any } else { Precondition::Tags(text) }))
}
