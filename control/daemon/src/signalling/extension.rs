//! Header extensions (RFC 8285): URIs and what they mean to the data plane.

use proto::{Extension, ExtensionId};

use crate::signalling::Role;

const TABLE: &[(&str, Extension)] = &[
    ("urn:ietf:params:rtp-hdrext:ssrc-audio-level", Extension::AudioLevel),
    ("urn:ietf:params:rtp-hdrext:sdes:mid", Extension::Mid),
    ("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", Extension::Rid),
    ("urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id", Extension::RepairedRid),
    (
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        Extension::TransportCc,
    ),
    ("http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", Extension::AbsSendTime),
    ("urn:ietf:params:rtp-hdrext:toffset", Extension::TransmissionOffset),
    ("urn:3gpp:video-orientation", Extension::VideoOrientation),
    ("http://www.webrtc.org/experiments/rtp-hdrext/playout-delay", Extension::PlayoutDelay),
    ("http://www.webrtc.org/experiments/rtp-hdrext/video-content-type", Extension::ContentType),
    ("http://www.webrtc.org/experiments/rtp-hdrext/video-timing", Extension::VideoTiming),
    ("http://www.webrtc.org/experiments/rtp-hdrext/color-space", Extension::ColorSpace),
    (
        "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
        Extension::DependencyDescriptor,
    ),
    (
        "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
        Extension::VideoLayersAllocation,
    ),
];

/// An `a=extmap` value that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// What a URI means.
pub fn of_uri(uri: &str) -> Option<Extension> {
    TABLE.iter().find(|(known, _)| *known == uri).map(|(_, extension)| *extension)
}

/// The URI of an extension.
pub fn uri(extension: Extension) -> Option<&'static str> {
    TABLE.iter().find(|(_, known)| *known == extension).map(|(uri, _)| *uri)
}

/// Reads an `a=extmap` value. `Ok(None)` for what is unknown, or longer than the one-byte form's ids.
///
/// # Errors
/// [`Malformed`].
pub fn parse(value: &str) -> Result<Option<ExtensionId>, Malformed> {
    let mut words = value.split_ascii_whitespace();
    let (id, uri) = (words.next().ok_or(Malformed)?, words.next().ok_or(Malformed)?);
    let id = id.split_once('/').map_or(id, |(id, _direction)| id);
    let id: u16 = id.parse().map_err(|_| Malformed)?;
    Ok(match (of_uri(uri), u8::try_from(id)) {
        (Some(extension), Ok(id @ 1..=14)) => Some(ExtensionId { extension, id }),
        _ => None,
    })
}

/// Whether the answer keeps it. End to end ones pass through. Of those that are written anew at each
/// hop: a bundle's streams are told apart by mid and rid; a publisher's packets are numbered for
/// congestion control; send times serve nothing here.
pub fn is_taken(extension: Extension, role: Role, is_dtls: bool) -> bool {
    use Extension::{Mid, RepairedRid, Rid, TransportCc};
    match (extension, role) {
        (extension, _) if !extension.is_hop_by_hop() => true,
        (Mid, _) => is_dtls,
        (Rid | RepairedRid | TransportCc, Role::Publish) => is_dtls,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_both_ways() {
        for (uri_text, extension) in TABLE {
            assert_eq!(of_uri(uri_text), Some(*extension));
            assert_eq!(uri(*extension), Some(*uri_text));
        }
    }

    #[test]
    fn known_extensions_are_read_with_ids_of_the_one_byte_form() {
        let level = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
        let taken = Some(ExtensionId { extension: Extension::AudioLevel, id: 1 });
        assert_eq!(parse(&format!("1 {level}")), Ok(taken));
        assert_eq!(parse(&format!("1/sendonly {level} vad=on")), Ok(taken));
        assert_eq!(parse(&format!("15 {level}")), Ok(None));
        assert_eq!(parse(&format!("0 {level}")), Ok(None));
        assert_eq!(parse("4 urn:example:unknown"), Ok(None));
        assert_eq!(parse("x urn:3gpp:video-orientation"), Err(Malformed));
        assert_eq!(parse("4"), Err(Malformed));
    }
}
