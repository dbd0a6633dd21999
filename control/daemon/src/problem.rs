//! Errors of the API: problem documents (RFC 9457) with stable codes.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::signalling::fragment;

macro_rules! codes {
    ($($variant:ident $status:literal $code:literal $title:literal;)*) => {
        /// What went wrong, for programs. Codes never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code, for tables and tests.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// One sentence, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    PathInvalid 400 "path_invalid" "The path is not /whip or /whep, a SdkAppId and a room.";
    QueryInvalid 400 "query_invalid" "A query parameter is unknown, doubled or has a value that is not allowed.";
    RoomInvalid 400 "room_invalid" "The room is not a legal room number or name.";
    AuthorizationInvalid 400 "authorization_invalid" "The Authorization header is not one bearer credential.";
    SdpInvalid 400 "sdp_invalid" "The body is not a session description (RFC 8866).";
    FragmentInvalid 400 "sdpfrag_invalid" "The body is not a fragment of a session description (RFC 8840).";
    AuthorizationMissing 401 "authorization_missing" "The request carries no bearer credential.";
    MediaAddressNotAllowed 403 "media_address_not_allowed" "The media address is neither the client's own nor one that the node allows.";
    RoomDoesNotExist 403 "room_does_not_exist" "The room does not exist, and the tokens do not allow creating it.";
    EnterNotAllowed 403 "enter_not_allowed" "The tokens do not allow entering the room.";
    AppSuspended 403 "app_suspended" "The app is suspended: nobody joins, and no grant is renewed.";
    OtherUser 403 "other_user" "The tokens are for another user than the resource's.";
    AppUnknown 404 "app_unknown" "No app has this SdkAppId here.";
    ResourceUnknown 404 "resource_unknown" "No such resource: it was left, has ended or never was.";
    NotFound 404 "not_found" "Nothing is served at this path.";
    MethodNotAllowed 405 "method_not_allowed" "The path does not serve this method.";
    RtcpMuxRequired 406 "rtcp_mux_required" "An m-section lacks a=rtcp-mux.";
    EncryptionRequired 406 "encryption_required" "An m-section offers media without encryption.";
    TransportNotSupported 406 "transport_not_supported" "An m-section names a transport that the node does not speak.";
    MixedSecurity 406 "mixed_security" "The offer has m-sections with a=crypto and m-sections with DTLS.";
    BundleRequired 406 "bundle_required" "Several m-sections with DTLS are not one BUNDLE group.";
    BundleMismatch 406 "bundle_mismatch" "M-sections of one BUNDLE group disagree about certificate or DTLS role.";
    MidRequired 406 "mid_required" "An m-section with DTLS has no a=mid of at most 16 bytes.";
    IceRequired 406 "ice_required" "An m-section with DTLS has no a=ice-ufrag and a=ice-pwd.";
    FingerprintNotAcceptable 406 "fingerprint_not_acceptable" "An m-section has no a=fingerprint of SHA-256, SHA-384 or SHA-512, or too many.";
    SetupNotAcceptable 406 "setup_not_acceptable" "An m-section has no a=setup of actpass or active; the node is passive.";
    TooManySections 406 "too_many_sections" "The offer publishes more than eight streams.";
    CryptoNotAcceptable 406 "crypto_not_acceptable" "An m-section has no a=crypto line that the node accepts.";
    DirectionNotAcceptable 406 "direction_not_acceptable" "An m-section has a direction that does not fit the resource.";
    SsrcRequired 406 "ssrc_required" "A publishing m-section declares no a=ssrc.";
    NoSection 406 "no_acceptable_section" "The offer has no m-section that the node can serve.";
    MediaPortMissing 406 "media_port_missing" "A receiving m-section names no port to send to.";
    AddressTaken 409 "address_taken" "Another session receives or sends at this media address.";
    SubstreamTaken 409 "substream_taken" "The room has a substream already.";
    TooManySubscriptions 409 "too_many_subscriptions" "The user has four subscribing resources in this room already.";
    Refused 409 "refused_by_shard" "The shard refused the session.";
    PreconditionFailed 412 "precondition_failed" "If-Match names another state of the resource.";
    OfferTooLarge 413 "offer_too_large" "The body is larger than 64 KiB.";
    MediaTypeUnsupported 415 "media_type_unsupported" "The body must be application/sdp.";
    PatchTypeUnsupported 415 "patch_type_unsupported" "The body must be application/trickle-ice-sdpfrag; a renewal has none.";
    NoIce 422 "no_ice" "The resource has no ICE: its addresses are in its offer.";
    PreconditionRequired 428 "precondition_required" "A fragment needs If-Match: the entity tag, or * for an ICE restart.";
    TooManyEventStreams 429 "too_many_event_streams" "The resource has two event streams already.";
    JoinRate 429 "join_rate" "Too many joins from this source.";
    AppJoinRate 429 "app_join_rate" "The app is over its quota of joins per second.";
    AppSessionsQuota 429 "app_sessions_quota" "The app is over its quota of sessions.";
    AppRoomsQuota 429 "app_rooms_quota" "The app is over its quota of rooms.";
    AppQuota 429 "app_quota" "The app is over its quota on this shard.";
    Internal 500 "internal" "The node failed; the fault is ours.";
    DataPlaneDown 503 "data_plane_down" "The data plane is not reachable just now.";
    NodeFull 503 "node_full" "The node has no place for another session or room.";
    NodeBusy 503 "node_busy" "The node did not answer in time.";
    Draining 503 "draining" "The node takes no new sessions.";
    RequestTimeout 503 "request_timeout" "The request took too long.";
}

/// An error as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub code: &'static str,
    /// The sentence of the code.
    pub title: Cow<'static, str>,
    /// About this occurrence; never a secret, a key or somebody else's identity.
    pub detail: Option<String>,
    /// Seconds after which trying again makes sense.
    pub retry_after_s: Option<u64>,
    /// For 405: the methods that are served.
    pub allow: Option<&'static str>,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        let retry_after_s = match code.status() {
            429 | 503 => Some(1),
            _ => None,
        };
        Problem {
            status: code.status(),
            code: code.name(),
            title: Cow::Borrowed(code.title()),
            detail: None,
            retry_after_s,
            allow: None,
        }
    }
}

impl Code {
    /// The problem with something about this occurrence.
    pub fn because(self, detail: impl Into<String>) -> Problem {
        Problem { detail: Some(detail.into()), ..self.into() }
    }

    /// The problem with a time after which to try again, in seconds.
    pub fn retry_after(self, seconds: u64) -> Problem {
        Problem { retry_after_s: Some(seconds.max(1)), ..self.into() }
    }
}

impl From<token::Refusal> for Problem {
    fn from(refusal: token::Refusal) -> Problem {
        let status = match refusal.class() {
            token::RefusalClass::Request => 400,
            token::RefusalClass::Unauthenticated => 401,
            token::RefusalClass::Forbidden => 403,
        };
        Problem {
            status,
            code: refusal.code(),
            title: Cow::Owned(refusal.to_string()),
            detail: None,
            retry_after_s: None,
            allow: None,
        }
    }
}

impl Problem {
    /// The document: RFC 9457 members and `code`.
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "type": format!("urn:roomlane:problem:{}", self.code),
            "title": self.title,
            "status": self.status,
            "code": self.code,
        });
        if let Some(detail) = &self.detail {
            document["detail"] = detail.as_str().into();
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        match self.status {
            401 => {
                let scheme = HeaderValue::from_static("Bearer realm=\"roomlane\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            415 if self.code == Code::PatchTypeUnsupported.name() => {
                let accepted = HeaderValue::from_static(fragment::MEDIA_TYPE);
                headers.insert("accept-patch", accepted);
            }
            415 => {
                let accepted = HeaderValue::from_static("application/sdp");
                headers.insert("accept-post", accepted);
            }
            _ => {}
        }
        response.extensions_mut().insert(ProblemCode(self.code));
        response
    }
}

/// Left in a response for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct ProblemCode(pub &'static str);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_distinct_from_each_other_and_from_the_tokens() {
        let mut names: HashSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        // One name may stand in both tables only where it means the same.
        names.extend(token::Refusal::ALL.iter().map(|refusal| refusal.code()));
        assert_eq!(names.len(), Code::ALL.len() + token::Refusal::ALL.len() - 1);
        assert!(Code::ALL.iter().all(|code| code.title().ends_with('.')));
    }

    #[test]
    fn every_refusal_of_a_token_is_a_client_error() {
        for refusal in token::Refusal::ALL {
            assert!(matches!(Problem::from(*refusal).status, 400 | 401 | 403), "{refusal:?}");
        }
    }

    #[test]
    fn a_document_has_the_members_of_rfc_9457() {
        let problem = Code::RtcpMuxRequired.because("section 1");
        let document = problem.document();
        assert_eq!(document["type"], "urn:roomlane:problem:rtcp_mux_required");
        assert_eq!(document["status"], 406);
        assert_eq!(document["detail"], "section 1");
        let response = Problem::from(Code::JoinRate).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("application/problem+json"));
    }
}
