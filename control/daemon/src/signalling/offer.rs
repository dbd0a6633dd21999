//! Reads an offer into what the directory needs; refuses what it must and declines what it may.
//!
//! Reads: the body, the role. Verdicts: an [`Offer`] with one [`Section`] per m-line, in order, or a
//! problem. Each served m-section becomes a session of its own: RTP/SAVP has one key per direction and
//! section. BUNDLE groups are therefore not accepted, which RFC 8843 lets an answerer do by leaving
//! the group out.

use std::net::IpAddr;

use proto::{CodecId, ExtensionId, MediaKind};
use sdp_types::Session;
use zeroize::Zeroize;

use crate::limits::{FMTP_BYTES_MAX, MID_BYTES_MAX, SECTIONS_MAX};
use crate::problem::{Code, Problem};
use crate::signalling::codec::{self, Media, RtpMap};
use crate::signalling::sdes::{Crypto, SdesError};
use crate::signalling::{extension, sdes};

/// What the peer comes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// WHIP.
    Publish,
    /// WHEP.
    Subscribe,
}

/// `?stream=`: what video sections carry that do not say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stream {
    /// Camera and microphone.
    #[default]
    Main,
    /// The screen.
    Substream,
}

/// A read offer.
#[derive(Debug)]
pub struct Offer {
    /// One per m-line.
    pub sections: Vec<Section>,
}

/// An m-section.
#[derive(Debug)]
pub enum Section {
    /// Not served: answered with port 0.
    Declined(Declined),
    /// Served.
    Served(Box<SectionOffer>),
}

/// What the answer repeats of a declined section.
#[derive(Debug)]
pub struct Declined {
    /// `audio`, `application`, ...
    pub media: String,
    /// Transport.
    pub proto: String,
    /// Formats.
    pub fmt: String,
    /// Identification, if any.
    pub mid: Option<String>,
}

/// A section that we serve.
#[derive(Debug)]
pub struct SectionOffer {
    /// `audio` or `video`.
    pub media: Media,
    /// What it carries.
    pub kind: MediaKind,
    /// `RTP/SAVP` or `RTP/SAVPF`, as offered.
    pub proto: String,
    /// Identification, if any.
    pub mid: Option<String>,
    /// The address of c=, as written there; not judged yet.
    pub ip: IpAddr,
    /// The port of m=; `None` for the discard port 9, where only its packets tell.
    pub port: Option<u16>,
    /// The a=crypto line that we take.
    pub crypto: Crypto,
    /// Served codecs in the peer's order; never empty.
    pub codecs: Vec<OfferedCodec>,
    /// Header extensions that we take.
    pub extensions: Vec<ExtensionId>,
    /// A publisher's SSRC.
    pub ssrc: Option<u32>,
    /// The peer understands picture-loss indications.
    pub pli: bool,
}

/// A codec of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    /// The peer's payload type.
    pub payload_type: u8,
    /// Which codec.
    pub codec: CodecId,
    /// Its rtpmap.
    pub map: RtpMap,
    /// Its format parameters, as written; may be empty.
    pub fmtp: String,
}

impl Offer {
    /// Sections that are served.
    pub fn served(&self) -> impl Iterator<Item = &SectionOffer> {
        self.sections.iter().filter_map(|section| match section {
            Section::Served(section) => Some(&**section),
            Section::Declined(_) => None,
        })
    }
}

/// A parsed description whose keys are wiped when it goes.
struct Parsed(Session);

impl Drop for Parsed {
    fn drop(&mut self) {
        let attributes = self.0.medias.iter_mut().flat_map(|media| &mut media.attributes);
        for attribute in attributes.chain(&mut self.0.attributes) {
            if attribute.attribute.eq_ignore_ascii_case("crypto") {
                attribute.value.zeroize();
            }
        }
    }
}

/// Reads an offer.
///
/// # Errors
/// 400 when it is malformed, 406 when it asks for what this node does not do.
pub fn parse(body: &[u8], role: Role, stream: Stream) -> Result<Offer, Problem> {
    let parsed =
        Session::parse(body).map_err(|error| Code::SdpInvalid.because(error.to_string()))?;
    let parsed = Parsed(parsed);
    if parsed.0.medias.len() > SECTIONS_MAX {
        return Err(Code::SdpInvalid.because(format!("more than {SECTIONS_MAX} m-sections")));
    }
    let mut sections = Vec::new();
    let mut mids = Vec::new();
    for (index, media) in parsed.0.medias.iter().enumerate() {
        let reader = Reader { session: &parsed.0, media, role, stream, index };
        let mid = reader.mid()?;
        if mid.as_ref().is_some_and(|mid| mids.contains(mid)) {
            return Err(reader.malformed("its a=mid is taken by another section"));
        }
        mids.extend(mid.clone());
        sections.push(reader.section(mid)?);
    }
    let offer = Offer { sections };
    if offer.served().next().is_none() { Err(Code::NoSection.into()) } else { Ok(offer) }
}

/// One m-section while it is read.
struct Reader<'a> {
    session: &'a Session,
    media: &'a sdp_types::Media,
    role: Role,
    stream: Stream,
    index: usize,
}

impl<'a> Reader<'a> {
    fn place(&self) -> String {
        format!("m-section {}", self.index + 1)
    }

    fn malformed(&self, what: &str) -> Problem {
        Code::SdpInvalid.because(format!("{}: {what}", self.place()))
    }

    fn refuse(&self, code: Code) -> Problem {
        code.because(self.place())
    }

    /// Values of the section's attributes of this name.
    fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.media
            .attributes
            .iter()
            .filter(move |attribute| attribute.attribute == name)
            .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim())
    }

    fn has(&self, name: &'a str) -> bool {
        self.values(name).next().is_some()
    }

    fn mid(&self) -> Result<Option<String>, Problem> {
        match self.values("mid").next() {
            None => Ok(None),
            Some(mid) if codec::is_token(mid) && mid.len() <= MID_BYTES_MAX => {
                Ok(Some(mid.to_owned()))
            }
            Some(_) => Err(self.malformed("its a=mid is not a short token")),
        }
    }

    fn declined(&self, mid: Option<String>) -> Section {
        Section::Declined(Declined {
            media: token_or(&self.media.media, "application"),
            proto: proto_or(&self.media.proto, "RTP/SAVP"),
            fmt: formats(&self.media.fmt),
            mid,
        })
    }

    fn section(&self, mid: Option<String>) -> Result<Section, Problem> {
        let media = match self.media.media.as_str() {
            "audio" => Media::Audio,
            "video" => Media::Video,
            _ => return Ok(self.declined(mid)),
        };
        if self.media.port == 0 || self.direction() == Direction::Inactive {
            return Ok(self.declined(mid));
        }
        let proto = self.proto()?;
        let codecs = self.codecs(media)?;
        if codecs.is_empty() {
            return Ok(self.declined(mid));
        }
        self.check_direction()?;
        if !self.has("rtcp-mux") {
            return Err(self.refuse(Code::RtcpMuxRequired));
        }
        let crypto = sdes::choose(self.values("crypto")).map_err(|error| match error {
            SdesError::Malformed(what) => self.malformed(&format!("a=crypto: {what}")),
            SdesError::NoneAcceptable => self.refuse(Code::CryptoNotAcceptable),
        })?;
        Ok(Section::Served(Box::new(SectionOffer {
            media,
            kind: self.kind(media),
            proto: proto.to_owned(),
            mid,
            ip: self.ip()?,
            port: self.port()?,
            crypto,
            codecs,
            extensions: self.extensions()?,
            ssrc: self.ssrc()?,
            pli: self.values("rtcp-fb").any(|value| value.ends_with(" nack pli")),
        })))
    }

    fn proto(&self) -> Result<&'static str, Problem> {
        match self.media.proto.to_ascii_uppercase().as_str() {
            "RTP/SAVP" => Ok("RTP/SAVP"),
            "RTP/SAVPF" => Ok("RTP/SAVPF"),
            "RTP/AVP" | "RTP/AVPF" => Err(self.refuse(Code::EncryptionRequired)),
            proto if proto.contains("TLS") => Err(self.refuse(Code::DtlsNotSupported)),
            _ => Err(self.refuse(Code::EncryptionRequired)),
        }
    }

    fn kind(&self, media: Media) -> MediaKind {
        let slides = self
            .values("content")
            .flat_map(|value| value.split(','))
            .any(|content| content.trim().eq_ignore_ascii_case("slides"));
        match media {
            Media::Audio => MediaKind::Audio,
            Media::Video if slides || self.stream == Stream::Substream => MediaKind::Substream,
            Media::Video => MediaKind::Video,
        }
    }

    fn direction(&self) -> Direction {
        let of = |attributes: &[sdp_types::Attribute]| {
            attributes.iter().find_map(|attribute| Direction::of_name(&attribute.attribute))
        };
        of(&self.media.attributes)
            .or_else(|| of(&self.session.attributes))
            .unwrap_or(Direction::SendRecv)
    }

    fn check_direction(&self) -> Result<(), Problem> {
        match (self.role, self.direction()) {
            (Role::Publish, Direction::SendOnly | Direction::SendRecv)
            | (Role::Subscribe, Direction::RecvOnly) => Ok(()),
            (Role::Publish, _) => Err(Code::DirectionNotAcceptable
                .because(format!("{}: a publisher offers sendonly or sendrecv", self.place()))),
            (Role::Subscribe, _) => Err(Code::DirectionNotAcceptable
                .because(format!("{}: a subscriber offers recvonly", self.place()))),
        }
    }

    fn ip(&self) -> Result<IpAddr, Problem> {
        let connection = self.media.connections.first().or(self.session.connection.as_ref());
        let connection = connection.ok_or_else(|| self.malformed("it has no c= line"))?;
        if self.media.connections.len() > 1 {
            return Err(self.malformed("it has several c= lines"));
        }
        let refused = || {
            Code::MediaAddressNotAllowed
                .because(format!("{}: c= must hold one plain unicast IP address", self.place()))
        };
        let ip: IpAddr = connection.connection_address.parse().map_err(|_| refused())?;
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let written = (connection.nettype.as_str(), connection.addrtype.as_str());
        if written == ("IN", family) { Ok(ip) } else { Err(refused()) }
    }

    fn port(&self) -> Result<Option<u16>, Problem> {
        if self.media.num_ports.is_some_and(|ports| ports != 1) {
            return Err(self.malformed("it has several ports"));
        }
        match (self.role, self.media.port) {
            (Role::Publish, 9) => Ok(None),
            (Role::Subscribe, 9) => Err(self.refuse(Code::MediaPortMissing)),
            (_, port) => Ok(Some(port)),
        }
    }

    /// Served codecs in the order of the m-line. With rtcp-mux, payload types 64 to 95 would look like
    /// RTCP (RFC 5761 section 4) and are passed over.
    fn codecs(&self, media: Media) -> Result<Vec<OfferedCodec>, Problem> {
        let mut codecs: Vec<OfferedCodec> = Vec::new();
        for format in self.media.fmt.split_ascii_whitespace() {
            let payload_type: u8 = match format.parse() {
                Ok(number @ (0..64 | 96..128)) => number,
                _ => continue,
            };
            if codecs.iter().any(|known| known.payload_type == payload_type) {
                return Err(self.malformed("a payload type stands twice in its m-line"));
            }
            let of_format = |name| {
                self.values(name).find_map(|value| {
                    let (number, rest) = value.split_once(' ')?;
                    (number.parse() == Ok(payload_type)).then_some(rest.trim())
                })
            };
            let map = match of_format("rtpmap") {
                Some(text) => RtpMap::parse(text),
                None => RtpMap::of_static(payload_type),
            };
            let fmtp = of_format("fmtp").unwrap_or_default();
            let Some(map) = map.filter(|_| fmtp.len() <= FMTP_BYTES_MAX) else { continue };
            if let Some(codec) = codec::identify(media, &map, fmtp) {
                codecs.push(OfferedCodec { payload_type, codec, map, fmtp: fmtp.to_owned() });
            }
        }
        Ok(codecs)
    }

    fn extensions(&self) -> Result<Vec<ExtensionId>, Problem> {
        let session = self.session.attributes.iter().filter(|a| a.attribute == "extmap");
        let session = session.map(|attribute| attribute.value.as_deref().unwrap_or_default());
        let mut taken: Vec<ExtensionId> = Vec::new();
        for value in session.chain(self.values("extmap")) {
            let parsed =
                extension::parse(value).map_err(|_| self.malformed("an a=extmap is malformed"))?;
            let Some(found) = parsed else { continue };
            let doubled = taken
                .iter()
                .any(|known| known.id == found.id || known.extension == found.extension);
            if doubled {
                return Err(self.malformed("two a=extmap have one id or one meaning"));
            }
            if taken.len() < proto::command::EXTENSIONS_MAX {
                taken.push(found);
            }
        }
        Ok(taken)
    }

    fn ssrc(&self) -> Result<Option<u32>, Problem> {
        if self.role == Role::Subscribe {
            return Ok(None);
        }
        let value = self.values("ssrc").next().ok_or_else(|| self.refuse(Code::SsrcRequired))?;
        let number = value.split_ascii_whitespace().next().unwrap_or_default();
        match number.parse() {
            Ok(0) | Err(_) => {
                Err(self.malformed("its a=ssrc is not a number from 1 to 4294967295"))
            }
            Ok(ssrc) => Ok(Some(ssrc)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    fn of_name(name: &str) -> Option<Direction> {
        Some(match name {
            "sendrecv" => Direction::SendRecv,
            "sendonly" => Direction::SendOnly,
            "recvonly" => Direction::RecvOnly,
            "inactive" => Direction::Inactive,
            _ => return None,
        })
    }
}

fn token_or(text: &str, otherwise: &str) -> String {
    if codec::is_token(text) && text.len() <= 32 { text } else { otherwise }.to_owned()
}

fn proto_or(text: &str, otherwise: &str) -> String {
    let plain = text.split('/').all(codec::is_token) && text.len() <= 32;
    if plain { text } else { otherwise }.to_owned()
}

/// The first format is enough: the section is declined.
fn formats(fmt: &str) -> String {
    token_or(fmt.split_ascii_whitespace().next().unwrap_or_default(), "0")
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
