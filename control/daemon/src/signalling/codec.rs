//! Codecs by what must be equal to forward a stream unchanged.
//!
//! A `CodecId` is computed, not handed out: its upper byte is the format, its lower byte the parameters
//! that decide whether a decoder can take the stream. So the numbers mean the same after a restart of
//! this process, and two nodes agree on them.

use proto::CodecId;

/// What an m-section carries, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
}

const OPUS: u8 = CodecId::OPUS;
const PCMU: u8 = CodecId::PCMU;
const PCMA: u8 = CodecId::PCMA;
const G722: u8 = CodecId::G722;
const VP8: u8 = CodecId::VP8;
const VP9: u8 = CodecId::VP9;
const AV1: u8 = CodecId::AV1;
const H264: u8 = CodecId::H264;
const H265: u8 = CodecId::H265;

const fn id(format: u8, parameters: u8) -> CodecId {
    CodecId::new(format, parameters)
}

/// An `a=rtpmap` value behind its payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    /// As written.
    pub name: String,
    /// RTP clock, in hertz.
    pub clock_rate: u32,
    /// Audio channels, 1 when not written.
    pub channels: u8,
}

impl RtpMap {
    /// Reads `opus/48000/2`.
    pub fn parse(text: &str) -> Option<RtpMap> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| is_token(name))?.to_owned();
        let clock_rate = parts.next()?.parse().ok().filter(|rate| *rate > 0)?;
        let channels = match parts.next() {
            None => 1,
            Some(text) => text.parse().ok()?,
        };
        parts.next().is_none().then_some(RtpMap { name, clock_rate, channels })
    }

    /// The assignment of a static payload type (RFC 3551 table 4), where we serve it.
    pub fn of_static(payload_type: u8) -> Option<RtpMap> {
        let name = match payload_type {
            0 => "PCMU",
            8 => "PCMA",
            9 => "G722",
            _ => return None,
        };
        Some(RtpMap { name: name.to_owned(), clock_rate: 8000, channels: 1 })
    }
}

/// RFC 8866 token characters, so that what an answer repeats cannot break its line.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b))
}

/// The codec, or `None` when we do not serve it (RTX, FEC, comfort noise, DTMF and the unknown).
pub fn identify(media: Media, map: &RtpMap, fmtp: &str) -> Option<CodecId> {
    let name = map.name.to_ascii_uppercase();
    let video = map.clock_rate == 90_000;
    match (media, name.as_str()) {
        (Media::Audio, "OPUS") => {
            (map.clock_rate == 48_000 && map.channels == 2).then_some(id(OPUS, 0))
        }
        (Media::Audio, "PCMU") => telephone(map, PCMU),
        (Media::Audio, "PCMA") => telephone(map, PCMA),
        (Media::Audio, "G722") => telephone(map, G722),
        (Media::Video, "VP8") if video => Some(id(VP8, 0)),
        (Media::Video, "VP9") if video => number(fmtp, "profile-id", 0, 3).map(|p| id(VP9, p)),
        (Media::Video, "AV1") if video => number(fmtp, "profile", 0, 2).map(|p| id(AV1, p)),
        (Media::Video, "H264") if video => h264(fmtp),
        (Media::Video, "H265") if video => h265(fmtp),
        _ => None,
    }
}

/// The payload type that a retransmission format repairs (RFC 4588 section 8.6), if it is one.
pub fn repaired(map: &RtpMap, fmtp: &str) -> Option<u8> {
    let is_rtx = map.name.eq_ignore_ascii_case("rtx");
    parameter(fmtp, "apt").filter(|_| is_rtx)?.parse().ok()
}

/// How likely a decoder takes it, 0 best: where there is no room for all, the others go first.
pub fn rank(codec: CodecId) -> u8 {
    let (format, parameters) = ((codec.0 >> 8) as u8, codec.0 as u8);
    match (format, parameters) {
        (VP9, 1 | 3) | (AV1, 1..) => 4,
        (VP9, 2) | (H265, _) => 2,
        (H264, profile) if profile & 0x80 == 0 => 3,
        (H264, profile) if profile & 0x7f > H264Profile::ConstrainedHigh as u8 => 4,
        (H264, _) => 1,
        _ => 0,
    }
}

fn telephone(map: &RtpMap, format: u8) -> Option<CodecId> {
    (map.clock_rate == 8000 && map.channels == 1).then_some(id(format, 0))
}

/// A parameter of an `a=fmtp` value; names are compared without case.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// A small number that may be absent; out of range is not served.
fn number(fmtp: &str, name: &str, default: u8, max: u8) -> Option<u8> {
    match parameter(fmtp, name) {
        None => Some(default),
        Some(text) => text.parse().ok().filter(|value| *value <= max),
    }
}

/// RFC 6184 8.2.2: packetization-mode and profile must be equal; the level is the receiver's limit and
/// may differ.
fn h264(fmtp: &str) -> Option<CodecId> {
    let mode = number(fmtp, "packetization-mode", 0, 1)?;
    let profile = match parameter(fmtp, "profile-level-id") {
        None => H264Profile::Baseline,
        Some(text) => H264Profile::parse(text)?,
    };
    Some(id(H264, mode << 7 | profile as u8))
}

/// The profiles of RFC 6184 table 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum H264Profile {
    ConstrainedBaseline = 1,
    Baseline,
    Main,
    Extended,
    High,
    ConstrainedHigh,
    High10,
    High422,
    High444,
}

impl H264Profile {
    fn parse(text: &str) -> Option<H264Profile> {
        use H264Profile::*;
        if text.len() != 6 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let value = u32::from_str_radix(text, 16).ok()?;
        let (profile, constraints) = ((value >> 16) as u8, (value >> 8) as u8);
        let set = |bits: u8| constraints & bits == bits;
        Some(match profile {
            0x42 if set(0x40) => ConstrainedBaseline,
            0x42 => Baseline,
            0x4d if set(0x80) => ConstrainedBaseline,
            0x4d => Main,
            0x58 if set(0xc0) => ConstrainedBaseline,
            0x58 if set(0x80) => Baseline,
            0x58 => Extended,
            0x64 if set(0x0c) => ConstrainedHigh,
            0x64 => High,
            0x6e => High10,
            0x7a => High422,
            0xf4 => High444,
            _ => return None,
        })
    }
}

/// RFC 7798: the profile; single-stream transmission only.
fn h265(fmtp: &str) -> Option<CodecId> {
    if parameter(fmtp, "tx-mode").is_some_and(|mode| !mode.eq_ignore_ascii_case("SRST")) {
        return None;
    }
    number(fmtp, "profile-id", 1, 31).map(|profile| id(H265, profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(map: &str, fmtp: &str) -> Option<CodecId> {
        identify(Media::Video, &RtpMap::parse(map).unwrap(), fmtp)
    }

    fn audio(map: &str) -> Option<CodecId> {
        identify(Media::Audio, &RtpMap::parse(map)?, "")
    }

    #[test]
    fn formats_differ_and_spelling_does_not_matter() {
        let ids = [
            audio("opus/48000/2"),
            audio("PCMU/8000"),
            audio("PCMA/8000"),
            audio("G722/8000"),
            video("VP8/90000", ""),
            video("VP9/90000", ""),
            video("AV1/90000", ""),
            video("H264/90000", ""),
            video("H265/90000", ""),
        ];
        assert!(ids.iter().all(Option::is_some));
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(audio("OPUS/48000/2"), audio("opus/48000/2"));
        assert_eq!(video("vp8/90000", "max-fr=30"), video("VP8/90000", ""));
    }

    #[test]
    fn what_we_do_not_serve_has_no_id() {
        for map in ["telephone-event/8000", "CN/8000", "opus/48000", "opus/8000/2", "red/48000/2"] {
            assert_eq!(audio(map), None, "{map}");
        }
        for map in ["rtx/90000", "red/90000", "ulpfec/90000", "VP8/8000", "opus/48000/2"] {
            assert_eq!(video(map, ""), None, "{map}");
        }
        assert_eq!(RtpMap::parse("opus"), None);
        assert_eq!(RtpMap::parse("opus/0/2"), None);
        assert_eq!(RtpMap::parse("a b/1"), None);
        assert_eq!(RtpMap::parse("opus/48000/2/9"), None);
    }

    /// The rows of RFC 6184 table 5; levels differ within a row.
    #[test]
    fn h264_profiles_are_equal_across_their_spellings_and_levels() {
        let of = |profile: &str| {
            video("H264/90000", &format!("packetization-mode=1;profile-level-id={profile}"))
        };
        assert!(of("42e01f").is_some());
        assert_eq!(of("42e01f"), of("42C028"));
        assert_eq!(of("42e01f"), of("4d801f"));
        assert_eq!(of("42001f"), of("58801f"));
        assert_ne!(of("42e01f"), of("42001f"));
        assert_ne!(of("4d001f"), of("64001f"));
        assert_ne!(of("64001f"), of("640c1f"));
        assert_eq!(of("ff001f"), None);
        assert_eq!(of("42e0"), None);
        assert_ne!(of("42e01f"), video("H264/90000", "profile-level-id=42e01f"));
        assert_eq!(video("H264/90000", "packetization-mode=2"), None);
    }

    #[test]
    fn profiles_of_vp9_and_av1_part_streams() {
        assert_eq!(video("VP9/90000", "profile-id=0"), video("VP9/90000", ""));
        assert_ne!(video("VP9/90000", "profile-id=2"), video("VP9/90000", ""));
        assert_eq!(video("VP9/90000", "profile-id=9"), None);
        assert_ne!(video("AV1/90000", "profile=1"), video("AV1/90000", ""));
        assert_eq!(video("H265/90000", "tx-mode=MRST"), None);
    }
}
