//! `/demo/`: one page that publishes and watches through this node, for trying it out with a browser.
//!
//! The page is a file without any other resource. It is served with a policy that lets run only what
//! stands in it, by hash, and lets it talk to this server only; it holds no secret, tokens reach it in
//! the fragment of its address, which browsers keep to themselves.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::problem::{Code, Problem};

/// The page.
const PAGE: &str = include_str!("index.html");

/// `/demo/`, and `/demo` which leads there.
pub fn router() -> Router {
    let policy: Arc<str> = policy(PAGE).into();
    let not_allowed =
        || async { Problem { allow: Some("GET, HEAD"), ..Code::MethodNotAllowed.into() } };
    let page = move || {
        let policy = Arc::clone(&policy);
        async move {
            let headers = [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, &*policy),
                (header::CACHE_CONTROL, "no-cache"),
                (header::REFERRER_POLICY, "no-referrer"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            (headers, PAGE).into_response()
        }
    };
    Router::new()
        .route("/demo/", get(page).fallback(not_allowed))
        .route("/demo", get(|| async { Redirect::permanent("/demo/") }).fallback(not_allowed))
}

/// Content Security Policy (level 3) of a page: its own script and style by their hashes, workers that
/// the script makes itself, requests to this server, and nothing else.
fn policy(page: &str) -> String {
    let hash = |tag: &str| {
        let text = between(page, &format!("<{tag}>"), &format!("</{tag}>"));
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
    };
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; worker-src blob:; \
         media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// What stands between two marks; nothing where they are missing.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let inside = text.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    inside.map_or("", |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, Response};
    use tower::ServiceExt;

    use super::*;

    async fn ask(method: &str, uri: &str) -> Response<Body> {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).unwrap();
        router().oneshot(request).await.unwrap()
    }

    #[test]
    fn the_page_is_one_file_with_one_script_and_one_style_and_refers_to_nothing_else() {
        for tag in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(between(PAGE, &format!("<{tag}>"), &format!("</{tag}>")).len() > 1000, "{tag}");
        }
        let script = between(PAGE, "<script>", "</script>");
        let markup = PAGE.replace(script, "");
        for outside in ["src=", "href=", "style=", "@import", "url(", "onclick", "http:", "https:"]
        {
            assert!(!markup.contains(outside), "{outside}");
        }
        for outside in ["import(", "importScripts", "eval(", "innerHTML", "https:", "http:"] {
            assert!(!script.contains(outside), "{outside}");
        }
    }

    #[test]
    fn the_policy_allows_the_script_by_the_hash_of_its_bytes() {
        let text = policy("<style>a</style><script>alert('Hello, world.');</script>");
        // The example of Content Security Policy Level 2, section 7.17.1 and of MDN's script-src.
        assert!(text.contains("script-src 'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"));
        // printf a | openssl dgst -sha256 -binary | openssl base64
        assert!(text.contains("style-src 'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='"));
        assert!(!text.contains("unsafe"));
    }

    #[tokio::test]
    async fn the_page_comes_with_its_policy_and_takes_no_other_method() {
        let reply = ask("GET", "/demo/").await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["content-type"], "text/html; charset=utf-8");
        assert_eq!(reply.headers()["content-security-policy"], policy(PAGE).as_str());
        assert_eq!(reply.headers()["referrer-policy"], "no-referrer");
        let reply = ask("GET", "/demo").await;
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["location"]),
            (308, &"/demo/".parse().unwrap())
        );
        assert_eq!(ask("POST", "/demo/").await.status(), 405);
    }
}
