//! What bounds connections: how many a source holds, and how long one may be without a request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::watch;

use crate::api::rates::Source;
use crate::limits::{CONNECTION_IDLE, HEADER_TIMEOUT};

/// How many connections each source has. No larger than the connections there are.
pub(super) struct Sources {
    held: Arc<Mutex<HashMap<Source, usize>>>,
    per_source: usize,
}

impl Sources {
    pub(super) fn new(per_source: usize) -> Sources {
        Sources { held: Arc::default(), per_source }
    }

    /// A place for one more connection; `None` when the source has as many as it may.
    pub(super) fn hold(&self, source: Source) -> Option<Held> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&source).copied().unwrap_or(0);
        if count >= self.per_source {
            return None;
        }
        held.insert(source, count + 1);
        Some(Held { held: Arc::clone(&self.held), source })
    }
}

/// A place of a source, free again when this is dropped.
pub(super) struct Held {
    held: Arc<Mutex<HashMap<Source, usize>>>,
    source: Source,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.source)),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Requests of now.
    open: usize,
    /// There was one.
    has_begun: bool,
}

/// The requests of one connection.
#[derive(Clone, Default)]
pub(super) struct Requests(watch::Sender<Progress>);

impl Requests {
    /// Another one, until what is returned is dropped.
    pub(super) fn begin(&self) -> Serving {
        self.0.send_modify(|progress| {
            progress.open += 1;
            progress.has_begun = true;
        });
        Serving(self.clone())
    }

    /// Waits until the connection has been without a request for too long. `false` when it never had
    /// one: whoever connects has something to ask.
    pub(super) fn idle(&self) -> impl Future<Output = bool> + use<> {
        let mut progress = self.0.subscribe();
        async move {
            loop {
                let Progress { open, has_begun } = *progress.borrow_and_update();
                let patience = if has_begun { CONNECTION_IDLE } else { HEADER_TIMEOUT };
                let change = progress.changed();
                let changed = if open > 0 {
                    change.await
                } else {
                    let Ok(changed) = tokio::time::timeout(patience, change).await else {
                        return has_begun;
                    };
                    changed
                };
                if changed.is_err() {
                    // The connection itself is over.
                    return has_begun;
                }
            }
        }
    }
}

/// A request in progress.
pub(super) struct Serving(Requests);

impl Serving {
    /// The body of its answer: it is in progress until this ends.
    pub(super) fn with_body(self, body: Body) -> Body {
        Body::new(Answer { body, _serving: self })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.send_modify(|progress| progress.open -= 1);
    }
}

struct Answer {
    body: Body,
    _serving: Serving,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_shares_its_places_and_what_is_dropped_is_free_again() {
        let sources = Sources::new(2);
        let hold = |text: &str| sources.hold(Source::of(Some(text.parse().unwrap())));
        let first = hold("2001:db8::1").unwrap();
        let _second = hold("2001:db8::ffff:2").unwrap();
        assert!(hold("2001:db8::3").is_none());
        let _elsewhere = hold("2001:db8:0:1::1").unwrap();
        let mapped = (hold("::ffff:192.0.2.1").unwrap(), hold("192.0.2.1").unwrap());
        assert!(hold("192.0.2.1").is_none() && hold("192.0.2.2").is_some());
        drop(first);
        assert!(hold("2001:db8::3").is_some());
        drop(mapped);
        let held = sources.held.lock().unwrap();
        assert_eq!(held.len(), 2, "nothing is kept of sources that left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_its_beginning_and_from_the_end_of_its_last_request() {
        let requests = Requests::default();
        let begin = tokio::time::Instant::now();
        assert!(!requests.idle().await);
        assert_eq!(begin.elapsed(), HEADER_TIMEOUT);
        let (one, two) = (requests.begin(), requests.begin());
        let idle = tokio::spawn(requests.idle());
        tokio::time::advance(10 * CONNECTION_IDLE).await;
        drop(one);
        tokio::time::advance(10 * CONNECTION_IDLE).await;
        assert!(!idle.is_finished());
        let end = tokio::time::Instant::now();
        drop(two);
        assert!(idle.await.unwrap());
        assert_eq!(end.elapsed(), CONNECTION_IDLE);
    }
}
