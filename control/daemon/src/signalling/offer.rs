//! Reads an offer into what the directory needs; refuses what it must and declines what it may.
//!
//! Reads: the body, the role. Verdicts: an [`Offer`] with one [`Section`] per m-line, in order, or a
//! problem. An offer is secured in one of two ways, never in both:
//!
//! - `a=crypto` (RFC 4568): each served m-section becomes a session of its own, since it has one key per
//!   direction and section. BUNDLE groups are not accepted, which RFC 9143 lets an answerer do by
//!   leaving the group out.
//! - DTLS-SRTP (RFC 5763) over ICE: all served m-sections are one BUNDLE group and one session; see
//!   [`Bundle`].

use std::net::IpAddr;

use dtls::Fingerprint;
use proto::{CodecId, ExtensionId, MediaKind};
use sdp_types::Session;
use zeroize::{Zeroize, Zeroizing};

use crate::limits::SECTIONS_MAX;
use crate::problem::{Code, Problem};
use crate::signalling::bundle;
use crate::signalling::codec::{Media, RtpMap};
use crate::signalling::sdes::Crypto;
use crate::signalling::section::Reader;

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

/// How an offer is to be read.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What the peer comes for.
    pub role: Role,
    /// `?stream=`.
    pub stream: Stream,
    /// `?substream=`: the `a=mid` of the section that carries the screen.
    pub substream: Option<&'a str>,
}

/// A read offer.
#[derive(Debug)]
pub struct Offer {
    /// One per m-line.
    pub sections: Vec<Section>,
    /// The one transport of all served sections; `None` where each has its own (`a=crypto`).
    pub bundle: Option<Bundle>,
}

/// The transport that sections share (RFC 9143): the peer's side of ICE and DTLS.
#[derive(Debug)]
pub struct Bundle {
    /// The offer had a group, so the answer has one: a single section may come without.
    pub grouped: bool,
    /// The peer's credentials: new ones at a restart.
    pub ice: PeerIce,
    /// Any of them may be the certificate's.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=extmap-allow-mixed` was offered (RFC 8285 section 6).
    pub allow_mixed: bool,
}

/// A peer's ICE credentials (RFC 8839 5.4). As an ICE-lite agent we send no checks, and use them only
/// to tell a restart from a trickled candidate.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIce {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for PeerIce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerIce(hidden)")
    }
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
    /// `RTP/SAVP`, `UDP/TLS/RTP/SAVPF`, ..., as offered.
    pub proto: String,
    /// Identification, if any; there always is one with DTLS.
    pub mid: Option<String>,
    /// How it is secured.
    pub security: Security,
    /// Served codecs in the peer's order; never empty.
    pub codecs: Vec<OfferedCodec>,
    /// Header extensions that we take.
    pub extensions: Vec<ExtensionId>,
    /// A publisher's SSRC, where it is declared.
    pub ssrc: Option<u32>,
    /// The SSRC of its retransmissions, where it is declared (RFC 5576 FID).
    pub rtx_ssrc: Option<u32>,
    /// A publisher's simulcast layers that we take (RFC 8853); empty without simulcast.
    pub layers: Vec<String>,
    /// `a=rtcp-rsize` was offered (RFC 5506).
    pub reduced_size: bool,
}

/// How a section is secured.
#[derive(Debug)]
pub enum Security {
    /// With keys in the offer (RFC 4568), and the address that the peer names.
    Sdes {
        /// The address of c=, as written there; not judged yet.
        ip: IpAddr,
        /// The port of m=; `None` for the discard port 9, where only its packets tell.
        port: Option<u16>,
        /// The a=crypto line that we take.
        crypto: Crypto,
    },
    /// With the keys of the bundle's DTLS association.
    Dtls,
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
    /// The payload type of its retransmissions (RFC 4588), where we take them.
    pub rtx: Option<u8>,
    /// RTCP feedback that we take.
    pub feedback: CodecFeedback,
}

/// RTCP feedback of a codec (`a=rtcp-fb`, RFC 4585): offered, and taken by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CodecFeedback {
    /// Generic NACK.
    pub nack: bool,
    /// Picture-loss indication.
    pub pli: bool,
    /// Full intra request (RFC 5104).
    pub fir: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
    /// Receiver reference times (RFC 3611 4.4), which tell a subscriber its round trip.
    pub rrtr: bool,
}

impl Offer {
    /// Sections that are served.
    pub fn served(&self) -> impl Iterator<Item = &SectionOffer> {
        self.sections.iter().filter_map(|section| match section {
            Section::Served(section) => Some(&**section),
            Section::Declined(_) => None,
        })
    }

    /// Served sections by the session that carries them: all in one with DTLS, else each alone.
    pub fn sessions(&self) -> Vec<Vec<&SectionOffer>> {
        match self.bundle {
            Some(_) => vec![self.served().collect()],
            None => self.served().map(|section| vec![section]).collect(),
        }
    }
}

/// A parsed description whose keys are wiped when it goes.
pub(super) struct Parsed(pub(super) Session);

impl Parsed {
    fn read(body: &[u8]) -> Result<Parsed, Problem> {
        let parsed =
            Session::parse(body).map_err(|error| Code::SdpInvalid.because(error.to_string()))?;
        if parsed.medias.len() > SECTIONS_MAX {
            return Err(Code::SdpInvalid.because(format!("more than {SECTIONS_MAX} m-sections")));
        }
        Ok(Parsed(parsed))
    }
}

impl Drop for Parsed {
    fn drop(&mut self) {
        let attributes = self.0.medias.iter_mut().flat_map(|media| &mut media.attributes);
        for attribute in attributes.chain(&mut self.0.attributes) {
            let name = &attribute.attribute;
            if name.eq_ignore_ascii_case("crypto") || name.eq_ignore_ascii_case("ice-pwd") {
                attribute.value.zeroize();
            }
        }
    }
}

/// Reads an offer.
///
/// # Errors
/// 400 when it is malformed, 406 when it asks for what this node does not do.
pub fn parse(body: &[u8], terms: Terms<'_>) -> Result<Offer, Problem> {
    let parsed = Parsed::read(body)?;
    let mut mids = Vec::new();
    for index in 0..parsed.0.medias.len() {
        let reader = Reader::new(&parsed.0, index, terms);
        let mid = reader.mid()?;
        if mid.is_some() && mids.contains(&mid) {
            return Err(reader.malformed("its a=mid is taken by another section"));
        }
        mids.push(mid);
    }
    if terms.substream.is_some_and(|wanted| !mids.iter().flatten().any(|mid| mid == wanted)) {
        return Err(Code::QueryInvalid.because("substream: no m-section has this a=mid"));
    }
    let groups = bundle::groups(&parsed.0, &mids)?;
    let mut sections = Vec::new();
    for (index, mid) in mids.into_iter().enumerate() {
        let is_grouped = mid.as_ref().is_some_and(|mid| groups.concat().contains(mid));
        sections.push(Reader::new(&parsed.0, index, terms).section(mid, is_grouped)?);
    }
    let bundle = bundle::read(&parsed.0, terms, &groups, &mut sections)?;
    let offer = Offer { sections, bundle };
    if offer.served().next().is_none() { Err(Code::NoSection.into()) } else { Ok(offer) }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
