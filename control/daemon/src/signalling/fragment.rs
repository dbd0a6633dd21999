//! Fragments of session descriptions (RFC 8840 section 9): what a peer trickles, what an ICE restart
//! answers (RFC 9725 section 4.3).
//!
//! Candidates are passed over: an ICE-lite agent learns the peer's addresses from its checks.

use std::fmt::Write;

use proto::{MediaKind, Token};
use zeroize::Zeroizing;

use crate::limits::FRAGMENT_LINES_MAX;
use crate::problem::{Code, Problem};
use crate::signalling::PeerIce;
use crate::signalling::answer::{GrantedIce, write_candidates};
use crate::signalling::bundle::credentials;

/// The media type.
pub const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";

/// Reads a fragment: the credentials it is for, if it names them.
///
/// # Errors
/// 400 for what is no fragment, or names several credentials: our peers have one transport.
pub fn parse(body: &[u8]) -> Result<Option<PeerIce>, Problem> {
    let malformed = |what: &str| Code::FragmentInvalid.because(what);
    let text = std::str::from_utf8(body).map_err(|_| malformed("it is not UTF-8"))?;
    let (mut ufrags, mut passwords) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if at == FRAGMENT_LINES_MAX {
            return Err(malformed("it is too long"));
        }
        if !line.is_empty() && !line.starts_with("a=") && !line.starts_with("m=") {
            return Err(malformed("a line is neither a= nor m="));
        }
        ufrags.extend(line.strip_prefix("a=ice-ufrag:"));
        passwords.extend(line.strip_prefix("a=ice-pwd:"));
    }
    ufrags.dedup();
    passwords.dedup();
    match (&ufrags[..], &passwords[..]) {
        ([], []) => Ok(None),
        ([ufrag], [password]) => {
            let peer = credentials(ufrag, password);
            peer.map(Some).ok_or_else(|| malformed("a=ice-ufrag or a=ice-pwd is malformed"))
        }
        _ => Err(malformed("a=ice-ufrag and a=ice-pwd are not one pair")),
    }
}

/// Our side of a restarted ICE session, for the section that stands for the bundle: the first of
/// `sections`.
pub fn write(ice: &GrantedIce, sections: &[(MediaKind, Token)]) -> Zeroizing<String> {
    // Grown once: a string that moves while it grows leaves the password behind.
    let mut out = Zeroizing::new(String::with_capacity(2048 + 32 * sections.len()));
    write_to(&mut out, ice, sections).expect("a string takes whatever is written");
    out
}

fn write_to(
    out: &mut String,
    ice: &GrantedIce,
    sections: &[(MediaKind, Token)],
) -> std::fmt::Result {
    write!(out, "a=ice-lite\r\na=ice-options:ice2 trickle\r\n")?;
    if sections.len() > 1 {
        write!(out, "a=group:BUNDLE")?;
        for (_, mid) in sections {
            write!(out, " {}", String::from_utf8_lossy(mid))?;
        }
        write!(out, "\r\n")?;
    }
    if let Some((kind, mid)) = sections.first() {
        let media = if *kind == MediaKind::Audio { "audio" } else { "video" };
        write!(out, "m={media} 9 UDP/TLS/RTP/SAVPF 0\r\n")?;
        write!(out, "a=mid:{}\r\n", String::from_utf8_lossy(mid))?;
    }
    let password = &*ice.password;
    write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{password}\r\n", ice.ufrag)?;
    write_candidates(out, &ice.candidates)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of RFC 9725, figure 4, with the section's m-line as in RFC 8840.
    const RFC: &str = "a=group:BUNDLE 0 1\r\na=ice-ufrag:EsAw\r\n\
        a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\n\
        a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host generation 0\r\n\
        a=end-of-candidates\r\n";

    #[test]
    fn the_fragment_of_the_rfc_names_its_credentials() {
        assert_eq!(parse(RFC.as_bytes()).unwrap().unwrap().ufrag, "EsAw");
        assert_eq!(parse(RFC.replace('\r', "").as_bytes()).unwrap().unwrap().ufrag, "EsAw");
        assert_eq!(parse(b"m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=end-of-candidates\r\n"), Ok(None));
        assert_eq!(parse(b""), Ok(None));
        let twice = format!("{RFC}m=video 9 RTP/AVP 0\r\na=ice-ufrag:EsAw\r\n");
        assert!(parse(twice.as_bytes()).is_ok(), "the same again");
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for bad in [
            format!("v=0\r\n{RFC}"),
            format!("{RFC}a=ice-ufrag:Other\r\n"),
            RFC.replace("a=ice-pwd", "a=x"),
            RFC.replace("EsAw", "E"),
            RFC.replace("P2uYro0UCOQ4zxjKXaWCBui1", "short"),
            "a=x\r\n".repeat(FRAGMENT_LINES_MAX + 1),
        ] {
            assert_eq!(parse(bad.as_bytes()).unwrap_err().code, "sdpfrag_invalid");
        }
        assert!(parse(b"a=\xff\r\n").is_err());
    }

    #[test]
    fn an_answer_reads_back_and_has_its_candidates_in_a_section() {
        let ice = GrantedIce {
            ufrag: "A".repeat(16),
            password: Zeroizing::new("p".repeat(24)),
            candidates: vec!["198.18.1.2:8001".parse().unwrap()],
        };
        let mid = |text: &str| Token::from_slice(text.as_bytes()).unwrap();
        let text = write(&ice, &[(MediaKind::Substream, mid("v")), (MediaKind::Audio, mid("a"))]);
        let peer = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!((peer.ufrag, peer.password), (ice.ufrag, ice.password));
        assert!(
            text.contains("a=group:BUNDLE v a\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:v\r\n")
        );
        assert!(text.ends_with("198.18.1.2 8001 typ host\r\na=end-of-candidates\r\n"));
    }
}
