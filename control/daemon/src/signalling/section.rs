//! Reads one m-section of an offer: what it carries, how it is secured, what of it we take.

use std::net::IpAddr;

use proto::command::EXTENSIONS_MAX;
use proto::{Extension, ExtensionId, MediaKind};
use sdp_types::{Media as MediaLines, Session};

use crate::limits::MID_BYTES_MAX;
use crate::problem::{Code, Problem};
use crate::signalling::codec::{self, Media};
use crate::signalling::offer::{Declined, Role, Section, SectionOffer, Security, Stream, Terms};
use crate::signalling::sdes::SdesError;
use crate::signalling::{extension, sdes, streams};

/// One m-section while it is read.
pub(super) struct Reader<'a> {
    session: &'a Session,
    pub(super) media: &'a MediaLines,
    pub(super) terms: Terms<'a>,
    index: usize,
}

/// A transport that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Sdes,
    Dtls,
}

impl<'a> Reader<'a> {
    pub(super) fn new(session: &'a Session, index: usize, terms: Terms<'a>) -> Self {
        Reader { session, media: &session.medias[index], terms, index }
    }

    fn place(&self) -> String {
        format!("m-section {}", self.index + 1)
    }

    pub(super) fn malformed(&self, what: &str) -> Problem {
        Code::SdpInvalid.because(format!("{}: {what}", self.place()))
    }

    pub(super) fn refuse(&self, code: Code) -> Problem {
        code.because(self.place())
    }

    /// Values of the section's attributes of this name.
    pub(super) fn values(&self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        values(&self.media.attributes, name)
    }

    /// The same, or where the section has none, those of the session.
    pub(super) fn inherited(&self, name: &'a str) -> Vec<&'a str> {
        let own: Vec<_> = self.values(name).collect();
        if own.is_empty() { values(&self.session.attributes, name).collect() } else { own }
    }

    pub(super) fn has(&self, name: &'a str) -> bool {
        self.values(name).next().is_some()
    }

    pub(super) fn mid(&self) -> Result<Option<String>, Problem> {
        match self.values("mid").next() {
            None => Ok(None),
            Some(mid) if codec::is_token(mid) && mid.len() <= MID_BYTES_MAX => {
                Ok(Some(mid.to_owned()))
            }
            Some(_) => Err(self.malformed("its a=mid is not a short token")),
        }
    }

    pub(super) fn declined(&self, mid: Option<String>) -> Section {
        Section::Declined(Declined {
            media: token_or(&self.media.media, "application"),
            proto: proto_or(&self.media.proto, "RTP/SAVP"),
            fmt: formats(&self.media.fmt),
            mid,
        })
    }

    /// `is_grouped`: a BUNDLE group has its mid, so that it may be bundle-only (RFC 9143 section 6).
    pub(super) fn section(
        &self,
        mid: Option<String>,
        is_grouped: bool,
    ) -> Result<Section, Problem> {
        let media = match self.media.media.as_str() {
            "audio" => Media::Audio,
            "video" => Media::Video,
            _ => return Ok(self.declined(mid)),
        };
        let is_bundle_only = is_grouped && self.has("bundle-only");
        let is_off = self.media.port == 0 && !is_bundle_only;
        if is_off || self.direction() == Direction::Inactive {
            return Ok(self.declined(mid));
        }
        let (transport, proto) = self.transport()?;
        let is_dtls = transport == Transport::Dtls;
        let extensions = self.extensions(is_dtls)?;
        let has_cc = extensions.iter().any(|known| known.extension == Extension::TransportCc);
        let codecs = streams::codecs(self, media, is_dtls, has_cc)?;
        if codecs.is_empty() {
            return Ok(self.declined(mid));
        }
        self.check_direction()?;
        if !self.has("rtcp-mux") {
            return Err(self.refuse(Code::RtcpMuxRequired));
        }
        let security = match transport {
            Transport::Sdes => self.sdes()?,
            Transport::Dtls => Security::Dtls,
        };
        let publishes = self.terms.role == Role::Publish;
        // Where nothing of the codec in use is told about feedback, nothing is numbered for it.
        let extensions = match codecs.first().is_some_and(|codec| codec.feedback.transport_cc) {
            true => extensions,
            false => without(extensions, Extension::TransportCc),
        };
        let layers = match publishes && is_dtls {
            true => streams::layers(self, codecs[0].payload_type),
            false => Vec::new(),
        };
        let (ssrc, rtx_ssrc) = match publishes {
            true => streams::ssrcs(self, !is_dtls, !layers.is_empty())?,
            false => (None, None),
        };
        Ok(Section::Served(Box::new(SectionOffer {
            media,
            kind: self.kind(media, mid.as_deref()),
            proto: proto.to_owned(),
            mid,
            security,
            codecs,
            extensions,
            ssrc,
            rtx_ssrc,
            layers,
            reduced_size: is_dtls && self.has("rtcp-rsize"),
        })))
    }

    fn transport(&self) -> Result<(Transport, &'static str), Problem> {
        match self.media.proto.to_ascii_uppercase().as_str() {
            "RTP/SAVP" => Ok((Transport::Sdes, "RTP/SAVP")),
            "RTP/SAVPF" => Ok((Transport::Sdes, "RTP/SAVPF")),
            "UDP/TLS/RTP/SAVP" => Ok((Transport::Dtls, "UDP/TLS/RTP/SAVP")),
            "UDP/TLS/RTP/SAVPF" => Ok((Transport::Dtls, "UDP/TLS/RTP/SAVPF")),
            "RTP/AVP" | "RTP/AVPF" => Err(self.refuse(Code::EncryptionRequired)),
            proto if proto.contains("TLS") => Err(self.refuse(Code::TransportNotSupported)),
            _ => Err(self.refuse(Code::EncryptionRequired)),
        }
    }

    fn sdes(&self) -> Result<Security, Problem> {
        let crypto = sdes::choose(self.values("crypto")).map_err(|error| match error {
            SdesError::Malformed(what) => self.malformed(&format!("a=crypto: {what}")),
            SdesError::NoneAcceptable => self.refuse(Code::CryptoNotAcceptable),
        })?;
        Ok(Security::Sdes { ip: self.ip()?, port: self.port()?, crypto })
    }

    fn kind(&self, media: Media, mid: Option<&str>) -> MediaKind {
        let slides = self
            .values("content")
            .flat_map(|value| value.split(','))
            .any(|content| content.trim().eq_ignore_ascii_case("slides"));
        let named = self.terms.substream.is_some() && self.terms.substream == mid;
        match media {
            Media::Audio => MediaKind::Audio,
            Media::Video if slides || named || self.terms.stream == Stream::Substream => {
                MediaKind::Substream
            }
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
        match (self.terms.role, self.direction()) {
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
        match (self.terms.role, self.media.port) {
            (Role::Publish, 9) => Ok(None),
            (Role::Subscribe, 9) => Err(self.refuse(Code::MediaPortMissing)),
            (_, port) => Ok(Some(port)),
        }
    }

    fn extensions(&self, is_dtls: bool) -> Result<Vec<ExtensionId>, Problem> {
        let of_session = values(&self.session.attributes, "extmap");
        let mut taken: Vec<ExtensionId> = Vec::new();
        for value in of_session.chain(self.values("extmap")) {
            let parsed =
                extension::parse(value).map_err(|_| self.malformed("an a=extmap is malformed"))?;
            let Some(found) = parsed else { continue };
            let doubled = taken
                .iter()
                .any(|known| known.id == found.id || known.extension == found.extension);
            if doubled {
                return Err(self.malformed("two a=extmap have one id or one meaning"));
            }
            taken.push(found);
        }
        let role = self.terms.role;
        taken.retain(|known| extension::is_taken(known.extension, role, is_dtls));
        taken.truncate(EXTENSIONS_MAX);
        Ok(taken)
    }
}

fn without(mut extensions: Vec<ExtensionId>, declined: Extension) -> Vec<ExtensionId> {
    extensions.retain(|known| known.extension != declined);
    extensions
}

pub(super) fn values<'a>(
    attributes: &'a [sdp_types::Attribute],
    name: &'a str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim())
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
