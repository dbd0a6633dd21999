//! Asks a service of the operator whether another node should serve a join.
//!
//! Only the configured address on this host is asked, once per join and after the tokens were
//! verified; it learns the app, a hash of the room and the role. No answer, a late one or one that is
//! not understood means: serve it here.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, StatusCode, header};
use config::Hook;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use token::RoomId;
use tokio::net::TcpStream;

use crate::limits::{HOOK_ANSWER_BYTES_MAX, HOOK_TIMEOUT, LOCATION_BYTES_MAX};
use crate::signalling::Role;

#[derive(Deserialize)]
struct Answer {
    location: Option<String>,
}

/// Where the hook sends this join; `None` to serve it here.
pub async fn ask(hook: &Hook, app: u32, room: &RoomId, role: Role) -> Option<HeaderValue> {
    let question = serde_json::json!({
        "sdkappid": app,
        "room": room_hash(app, room),
        "role": if role == Role::Publish { "publish" } else { "subscribe" },
    });
    let answer =
        tokio::time::timeout(HOOK_TIMEOUT, post(hook, question.to_string())).await.ok()??;
    let answer: Answer = serde_json::from_slice(&answer).ok()?;
    answer.location.and_then(|location| absolute(&location))
}

/// Lower-case hexadecimal SHA-256 of `app`, `number` or `string`, and the room, with slashes between:
/// the same for every join of a room, on every node.
pub fn room_hash(app: u32, room: &RoomId) -> String {
    let text = match room {
        RoomId::Number(number) => format!("{app}/number/{number}"),
        RoomId::Text(name) => format!("{app}/string/{name}"),
    };
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An absolute URL that a header can carry.
fn absolute(location: &str) -> Option<HeaderValue> {
    let is_web = location.starts_with("https://") || location.starts_with("http://");
    let is_plain = location.bytes().all(|b| b.is_ascii_graphic());
    let fits = is_web && is_plain && location.len() <= LOCATION_BYTES_MAX;
    fits.then(|| HeaderValue::from_str(location).ok()).flatten()
}

async fn post(hook: &Hook, question: String) -> Option<Vec<u8>> {
    let stream = TcpStream::connect(hook.address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, String>(TokioIo::new(stream)).await.ok()?;
    let request = Request::post(&hook.path)
        .header(header::HOST, hook.address.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .body(question)
        .ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        // Redirects are not followed: whatever is not 200 is no answer.
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = to_bytes(Body::new(response.into_body()), HOOK_ANSWER_BYTES_MAX).await;
        body.ok().map(Vec::from)
    };
    // The connection is driven only for as long as we wait, and closed with it. Its end says nothing:
    // the answer may have arrived with it.
    let drive = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = exchange => answer,
        () = drive => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_an_absolute_web_address_of_bounded_length() {
        assert!(absolute("https://b.example/whip/1/x?stream=main").is_some());
        for bad in ["/whip/1/x", "ftp://b.example/", "javascript:alert(1)", "https://b.example/ x"]
        {
            assert_eq!(absolute(bad), None, "{bad}");
        }
        assert_eq!(absolute("https://b.example/\r\nx: y"), None);
        assert_eq!(absolute(&format!("https://b/{}", "x".repeat(LOCATION_BYTES_MAX))), None);
    }

    /// From `printf '1/string/demo' | sha256sum`.
    #[test]
    fn rooms_are_told_by_a_hash_that_knows_their_kind() {
        let hash = room_hash(1, &RoomId::text("demo").unwrap());
        assert_eq!(hash, "d30c3ee5fb9b5c4c4b4297c5146d5540b846cc342593fd492230324b56b1bf84");
        let number = room_hash(1, &RoomId::number(123).unwrap());
        assert_ne!(number, room_hash(1, &RoomId::text("123").unwrap()));
    }
}
