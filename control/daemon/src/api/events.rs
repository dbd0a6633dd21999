//! Server-sent events of a subscriber: what its receive sections show.
//!
//! The address is a secret of the resource, as its Location is: `EventSource` sends no tokens. On
//! connect, and whenever a listener was too slow, every section is told as it stands; then changes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::api::{Api, Peer};
use crate::directory::{EventsId, ResourceId, SlotView};
use crate::limits::EVENT_KEEPALIVE;
use crate::link::hub::Hub;
use crate::link::notices::Notice;
use crate::problem::{Code, Problem};

/// The relation of the link to the events (draft-ietf-wish-whep, extensions).
const RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

/// The `Link` of a 201 that leads here.
pub fn link(id: EventsId) -> String {
    format!("</events/{id}>; rel=\"{RELATION}\"; events=\"slot\"")
}

/// `GET /events/{id}`.
pub async fn listen(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let id = match find(&api, path) {
        Ok(id) => id,
        Err(problem) => {
            // Only who guesses pays. When a node comes back all viewers behind one address return at
            // once, and a page that is refused hears no more events.
            let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer(None));
            super::handlers::spend_source(&api, peer)?;
            return Err(problem);
        }
    };
    let place = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| Code::NodeBusy)?;
    let (resource, notices, slots) = api.hub.listen(id)?;
    let waiting = slots.iter().map(slot).collect();
    let hub = Arc::clone(&api.hub);
    let listener = Listener { hub, resource, notices, waiting, is_over: false, _place: place };
    let events = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    let keep_alive = KeepAlive::new().interval(EVENT_KEEPALIVE).text("");
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((no_store, Sse::new(events).keep_alive(keep_alive)).into_response())
}

/// The id that a path names, if it is one of a resource.
fn find(api: &Api, path: Result<Path<String>, PathRejection>) -> Result<EventsId, Problem> {
    let Path(text) = path.map_err(|_| Code::PathInvalid)?;
    let id = text.parse().map_err(|()| Code::ResourceUnknown)?;
    api.hub.resource_of_events(id).map(|_| id)
}

struct Listener {
    hub: Arc<Hub>,
    resource: ResourceId,
    notices: Receiver<Notice>,
    /// Events that are still to be sent: at most one per section.
    waiting: VecDeque<Event>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.is_over {
                return None;
            }
            match self.notices.recv().await {
                Ok(Notice::Slot(view)) => return Some(slot(&view)),
                Ok(Notice::Ended(reason)) => {
                    self.is_over = true;
                    let data = json!({ "reason": reason }).to_string();
                    return Some(Event::default().event("end").data(data));
                }
                // Too slow for single changes: all of it as it stands now.
                Ok(Notice::Everything) | Err(RecvError::Lagged(_)) => {
                    self.waiting = self.hub.slots(self.resource).iter().map(slot).collect();
                }
                // This process stops; the browser will ask again.
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn slot(view: &SlotView) -> Event {
    let data = json!({
        "mid": view.mid,
        "csrc": view.publication,
        "user": view.user.as_ref().map(|user| user.as_str()),
        "kind": view.kind.name(),
        "state": view.state,
    });
    Event::default().event("slot").data(data.to_string())
}
