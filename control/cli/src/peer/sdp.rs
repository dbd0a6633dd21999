//! Offers with keys (RFC 4568) and the answers to them: as much SDP as a test peer writes and reads.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::args::Role;
use crate::exit::Failure;

/// What a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Opus.
    Audio,
    /// VP8.
    Video,
}

impl Media {
    /// The word of the m-line.
    pub fn name(self) -> &'static str {
        match self {
            Media::Audio => "audio",
            Media::Video => "video",
        }
    }

    /// Our payload type.
    pub fn payload_type(self) -> u8 {
        match self {
            Media::Audio => 111,
            Media::Video => 96,
        }
    }

    /// The value of a=rtpmap, without the payload type.
    pub fn map(self) -> &'static str {
        match self {
            Media::Audio => "opus/48000/2",
            Media::Video => "VP8/90000",
        }
    }
}

/// A protection suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RFC 7714.
    AeadAes128Gcm,
    /// RFC 4568.
    AesCm128HmacSha1_80,
}

impl Suite {
    /// The name in a=crypto.
    pub fn name(self) -> &'static str {
        match self {
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        }
    }

    /// Bytes of master key and salt.
    fn key_bytes(self) -> usize {
        match self {
            Suite::AeadAes128Gcm => 28,
            Suite::AesCm128HmacSha1_80 => 30,
        }
    }
}

/// A master key with its salt.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    fn random(suite: Suite) -> Result<Key, Failure> {
        let mut bytes = Zeroizing::new(vec![0; suite.key_bytes()]);
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::failed(format!("the host has no randomness: {error}")))?;
        Ok(Key(bytes))
    }

    /// As in a=crypto.
    pub fn base64(&self) -> String {
        STANDARD.encode(&*self.0)
    }

    /// As GStreamer reads it.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A section of our offer.
pub struct Offered {
    /// What it carries.
    pub media: Media,
    /// How it is protected.
    pub suite: Suite,
    /// Where we receive.
    pub port: u16,
    /// We protect with it.
    pub key: Key,
    /// A publisher's source.
    pub ssrc: u32,
}

impl Offered {
    /// A section with a key and a source of its own.
    pub fn new(media: Media, suite: Suite, port: u16, _role: Role) -> Result<Offered, Failure> {
        let mut ssrc = [0; 4];
        getrandom::fill(&mut ssrc)
            .map_err(|error| Failure::failed(format!("the host has no randomness: {error}")))?;
        // Some tools take a source as a signed number, and zero as none.
        let ssrc = (u32::from_be_bytes(ssrc) & 0x7fff_ffff).max(1);
        Ok(Offered { media, suite, port, key: Key::random(suite)?, ssrc })
    }
}

/// What the node answered to a section.
pub struct Answered {
    /// Where it receives.
    pub remote: SocketAddr,
    /// It protects with it.
    pub key: Key,
    /// The source that we receive.
    pub ssrc: Option<u32>,
}

/// The offer.
pub fn offer(address: IpAddr, sections: &[Offered], role: Role) -> Zeroizing<String> {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let direction = match role {
        Role::Publish => "sendonly",
        Role::View => "recvonly",
    };
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let mut line = |content: String| {
        // A string takes whatever is written.
        let _ = write!(text, "{content}\r\n");
    };
    line(format!("v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nt=0 0"));
    for (index, section) in sections.iter().enumerate() {
        let (media, payload_type) = (section.media, section.media.payload_type());
        line(format!("m={} {} RTP/SAVP {payload_type}", media.name(), section.port));
        line(format!("c=IN {family} {address}"));
        line(format!("a=mid:{index}\r\na={direction}\r\na=rtcp-mux"));
        line(format!("a=rtpmap:{payload_type} {}", media.map()));
        line(format!("a=crypto:1 {} inline:{}", section.suite.name(), section.key.base64()));
        if role == Role::Publish {
            line(format!("a=ssrc:{} cname:roomlane-peer", section.ssrc));
        }
    }
    text
}

/// The answer's sections, in the offer's order; `None` for one that was declined.
pub fn read_answer(text: &str, offered: &[Offered]) -> Result<Vec<Option<Answered>>, String> {
    let mut parts = text.split("\nm=");
    let session = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    if parts.len() != offered.len() {
        return Err(format!("{} sections instead of {}", parts.len(), offered.len()));
    }
    parts.iter().zip(offered).map(|(part, offered)| section(session, part, offered)).collect()
}

fn section(session: &str, part: &str, offered: &Offered) -> Result<Option<Answered>, String> {
    let value = |prefix: &str| {
        part.lines().chain(session.lines()).find_map(|line| line.trim_end().strip_prefix(prefix))
    };
    let mut first = part.split_whitespace();
    if first.next() != Some(offered.media.name()) {
        return Err("a section of another kind".to_owned());
    }
    let port: u16 =
        first.next().and_then(|port| port.parse().ok()).ok_or("a section has no port")?;
    if port == 0 {
        return Ok(None);
    }
    let address = value("c=IN IP4 ").or_else(|| value("c=IN IP6 ")).ok_or("a section has no c=")?;
    let ip: IpAddr = address.parse().map_err(|_| "c= has no IP address")?;
    let crypto = value("a=crypto:").ok_or("a section has no a=crypto")?;
    let mut words = crypto.split_whitespace();
    let (tag, suite) = (words.next(), words.next());
    if (tag, suite) != (Some("1"), Some(offered.suite.name())) {
        return Err("a=crypto is not the offered one".to_owned());
    }
    let key = words.next().and_then(|word| word.strip_prefix("inline:")).unwrap_or_default();
    let key = key.split('|').next().unwrap_or_default();
    let key = STANDARD.decode(key).map_err(|_| "the key is no base64")?;
    if key.len() != offered.suite.key_bytes() {
        return Err("the key has the wrong length".to_owned());
    }
    let ssrc = value("a=ssrc:").and_then(|line| line.split_whitespace().next()?.parse().ok());
    let remote = SocketAddr::new(ip, port);
    Ok(Some(Answered { remote, key: Key(Zeroizing::new(key)), ssrc }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(role: Role) -> Vec<Offered> {
        let new = |media, port| Offered::new(media, Suite::AeadAes128Gcm, port, role).unwrap();
        vec![new(Media::Audio, 4000), new(Media::Video, 4002)]
    }

    fn answer(key: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 198.18.1.2\r\ns=-\r\nt=0 0\r\n\
             m=audio 0 RTP/SAVP 111\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n\
             m=video 8000 RTP/SAVP 96\r\nc=IN IP4 198.18.1.2\r\na=sendonly\r\na=rtcp-mux\r\n\
             a=crypto:1 AEAD_AES_128_GCM inline:{key}\r\na=ssrc:77 cname:x\r\n"
        )
    }

    #[test]
    fn publishers_declare_their_source_and_viewers_none() {
        let address = "127.0.0.1".parse().unwrap();
        let sections = offered(Role::Publish);
        let text = offer(address, &sections, Role::Publish);
        assert!(text.contains("m=video 4002 RTP/SAVP 96\r\nc=IN IP4 127.0.0.1\r\n"), "{}", *text);
        assert!(text.contains(&format!("a=ssrc:{} cname:", sections[1].ssrc)));
        assert_eq!(text.matches("a=rtcp-mux\r\n").count(), 2);
        assert!(!offer(address, &sections, Role::View).contains("a=ssrc"));
        assert_eq!(sections[0].key.hex().len(), 56);
        assert_ne!(sections[0].key.hex(), sections[1].key.hex());
    }

    #[test]
    fn an_answer_gives_address_key_and_source_and_declined_sections_are_none() {
        let key = STANDARD.encode([7; 28]);
        let read = read_answer(&answer(&key), &offered(Role::View)).unwrap();
        assert!(read[0].is_none());
        let video = read[1].as_ref().unwrap();
        assert_eq!((video.remote, video.ssrc), ("198.18.1.2:8000".parse().unwrap(), Some(77)));
        assert_eq!(video.key.hex(), "07".repeat(28));
    }

    #[test]
    fn answers_to_something_else_are_refused() {
        let key = STANDARD.encode([7; 28]);
        let bad = [
            answer(&STANDARD.encode([7; 27])),
            answer("!!"),
            answer(&key).replace("crypto:1 ", "crypto:2 "),
            answer(&key).replace("AEAD_AES_128_GCM", "AEAD_AES_256_GCM"),
            answer(&key).replace("m=video", "m=text"),
            answer(&key).replace("m=video 8000", "m=video x"),
            answer(&key).replace("\r\nm=audio 0", "\r\nx=audio 0"),
        ];
        for text in bad {
            assert!(read_answer(&text, &offered(Role::View)).is_err(), "{text}");
        }
    }
}
