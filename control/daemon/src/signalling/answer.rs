//! Writes answers: one m-section per offered one, in order, with our address, codecs and keys.

use std::fmt::{Result, Write};
use std::net::SocketAddr;

use dtls::Fingerprint;
use proto::KeyMaterial;
use zeroize::Zeroizing;

use crate::signalling::codec::Media;
use crate::signalling::offer::{
    Declined, Offer, OfferedCodec, Role, Section, SectionOffer, Security,
};
use crate::signalling::{extension, sdes};

/// Local preference of our first candidate (RFC 8445 5.1.2.1).
const LOCAL_PREFERENCE_MAX: u32 = 65_535;
/// Type preference of host candidates (RFC 8445 5.1.2.2).
const HOST_PREFERENCE: u32 = 126;

/// What we add to a served section.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Where the peer sends to, and hears from.
    pub local: SocketAddr,
    /// We protect with it; empty with DTLS.
    pub key: KeyMaterial,
    /// Our SSRC: a subscriber's slot, or for a publisher that of our RTCP.
    pub ssrc: u32,
    /// Our SSRC for retransmissions; zero where there are none.
    pub rtx_ssrc: u32,
}

/// Our side of ICE (RFC 8839), the same for all sections of a bundle.
pub struct GrantedIce {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub password: Zeroizing<String>,
    /// Where we can be reached.
    pub candidates: Vec<SocketAddr>,
}

impl std::fmt::Debug for GrantedIce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result {
        f.write_str("GrantedIce(hidden)")
    }
}

/// The answer to an offer. `granted` has one item per served section, in order.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The role that the offer was read in.
    pub role: Role,
    /// The offer.
    pub offer: &'a Offer,
    /// What we add to its sections.
    pub granted: &'a [Granted],
    /// What we add to its bundle.
    pub ice: Option<&'a GrantedIce>,
    /// Our certificate's.
    pub fingerprint: &'a Fingerprint,
    /// Number of the description (o=).
    pub origin: u64,
    /// Canonical name of our sources (RFC 3550 6.5.1); random, says nothing.
    pub cname: &'a str,
}

impl Answer<'_> {
    /// The description, wiped when it goes: it holds our keys.
    pub fn write(&self) -> Zeroizing<String> {
        // Grown once: a string that moves while it grows leaves keys behind.
        let capacity = 1024 + 8192 * self.offer.sections.len();
        let mut text = Zeroizing::new(String::with_capacity(capacity));
        self.write_to(&mut text).expect("a string takes whatever is written");
        text
    }

    fn write_to(&self, out: &mut String) -> Result {
        let local = self.granted.first().map(|granted| granted.local);
        let (family, ip) = local.map_or(("IP4", "0.0.0.0".to_owned()), address);
        write!(out, "v=0\r\no=- {} 1 IN {family} {ip}\r\ns=-\r\nt=0 0\r\n", self.origin)?;
        self.write_bundle(out)?;
        let mut granted = self.granted.iter();
        let mut is_first = true;
        for section in &self.offer.sections {
            match section {
                Section::Declined(declined) => write_declined(out, declined)?,
                Section::Served(served) => match granted.next() {
                    Some(granted) => {
                        self.write_served(out, served, granted, is_first)?;
                        is_first = false;
                    }
                    None => return Err(std::fmt::Error),
                },
            }
        }
        Ok(())
    }

    fn write_bundle(&self, out: &mut String) -> Result {
        let Some(bundle) = &self.offer.bundle else { return Ok(()) };
        write!(out, "a=ice-lite\r\n")?;
        if bundle.grouped {
            write!(out, "a=group:BUNDLE")?;
            for mid in self.offer.served().filter_map(|section| section.mid.as_ref()) {
                write!(out, " {mid}")?;
            }
            write!(out, "\r\n")?;
        }
        if bundle.allow_mixed {
            write!(out, "a=extmap-allow-mixed\r\n")?;
        }
        Ok(())
    }

    fn write_served(
        &self,
        out: &mut String,
        offered: &SectionOffer,
        granted: &Granted,
        is_first: bool,
    ) -> Result {
        // A publisher keeps one codec: what it sends is what subscribers were told.
        let codecs = match self.role {
            Role::Publish => &offered.codecs[..1],
            Role::Subscribe => &offered.codecs[..],
        };
        let media = match offered.media {
            Media::Audio => "audio",
            Media::Video => "video",
        };
        let (family, ip) = address(granted.local);
        write!(out, "m={media} {} {}", granted.local.port(), offered.proto)?;
        let numbers = codecs.iter().flat_map(|codec| [Some(codec.payload_type), codec.rtx]);
        for number in numbers.flatten() {
            write!(out, " {number}")?;
        }
        write!(out, "\r\nc=IN {family} {ip}\r\n")?;
        if let Some(mid) = &offered.mid {
            write!(out, "a=mid:{mid}\r\n")?;
        }
        self.write_transport(out, is_first)?;
        let direction = match self.role {
            Role::Publish => "recvonly",
            Role::Subscribe => "sendonly",
        };
        write!(out, "a={direction}\r\na=rtcp-mux\r\n")?;
        if offered.reduced_size {
            write!(out, "a=rtcp-rsize\r\n")?;
        }
        codecs.iter().try_for_each(|codec| write_codec(out, codec))?;
        for taken in &offered.extensions {
            if let Some(uri) = extension::uri(taken.extension) {
                write!(out, "a=extmap:{} {uri}\r\n", taken.id)?;
            }
        }
        write_layers(out, &offered.layers)?;
        if let Security::Sdes { crypto, .. } = &offered.security {
            let line = sdes::answer(crypto.tag, crypto.profile, &granted.key);
            write!(out, "a=crypto:{}\r\n", *line)?;
        }
        self.write_sources(out, offered, granted)
    }

    /// What a bundle shares stands in each section, as browsers write it; candidates only in the one
    /// that stands for the group (RFC 9143 section 7.3).
    fn write_transport(&self, out: &mut String, is_first: bool) -> Result {
        let Some(ice) = self.ice else { return Ok(()) };
        let password = &*ice.password;
        write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{password}\r\n", ice.ufrag)?;
        write!(out, "a=ice-options:ice2 trickle\r\n")?;
        write!(out, "a=fingerprint:{}\r\na=setup:passive\r\n", self.fingerprint)?;
        if is_first { write_candidates(out, &ice.candidates) } else { Ok(()) }
    }

    fn write_sources(&self, out: &mut String, offered: &SectionOffer, granted: &Granted) -> Result {
        let (ssrc, cname) = (granted.ssrc, self.cname);
        let Some(mid) = offered.mid.as_ref().filter(|_| self.ice.is_some()) else {
            return write!(out, "a=ssrc:{ssrc} cname:{cname}\r\n");
        };
        if self.role == Role::Publish {
            return Ok(());
        }
        // One stream for the whole resource: its slots share a clock, so browsers may keep them in step.
        write!(out, "a=msid:{cname} {cname}-{mid}\r\n")?;
        if granted.rtx_ssrc == 0 {
            return write!(out, "a=ssrc:{ssrc} cname:{cname}\r\n");
        }
        let rtx = granted.rtx_ssrc;
        write!(out, "a=ssrc-group:FID {ssrc} {rtx}\r\n")?;
        write!(out, "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{rtx} cname:{cname}\r\n")
    }
}

fn write_codec(out: &mut String, codec: &OfferedCodec) -> Result {
    let (number, map) = (codec.payload_type, &codec.map);
    write!(out, "a=rtpmap:{number} {}/{}", map.name, map.clock_rate)?;
    match map.channels {
        1 => write!(out, "\r\n")?,
        channels => write!(out, "/{channels}\r\n")?,
    }
    if !codec.fmtp.is_empty() {
        write!(out, "a=fmtp:{number} {}\r\n", codec.fmtp)?;
    }
    let feedback = codec.feedback;
    for (is_taken, what) in [
        (feedback.transport_cc, "transport-cc"),
        (feedback.remb, "goog-remb"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
        (feedback.rrtr, "rrtr"),
    ] {
        if is_taken {
            write!(out, "a=rtcp-fb:{number} {what}\r\n")?;
        }
    }
    if let Some(rtx) = codec.rtx {
        write!(out, "a=rtpmap:{rtx} rtx/{}\r\na=fmtp:{rtx} apt={number}\r\n", map.clock_rate)?;
    }
    Ok(())
}

fn write_layers(out: &mut String, layers: &[String]) -> Result {
    if layers.is_empty() {
        return Ok(());
    }
    for layer in layers {
        write!(out, "a=rid:{layer} recv\r\n")?;
    }
    write!(out, "a=simulcast:recv {}\r\n", layers.join(";"))
}

/// Host candidates, the first preferred, and their end.
pub(super) fn write_candidates(out: &mut String, candidates: &[SocketAddr]) -> Result {
    for (at, candidate) in candidates.iter().enumerate() {
        let local_preference = LOCAL_PREFERENCE_MAX.saturating_sub(at as u32);
        // One component: RTCP is muxed.
        let priority = HOST_PREFERENCE << 24 | local_preference << 8 | 255;
        let (ip, port) = (candidate.ip(), candidate.port());
        write!(out, "a=candidate:{} 1 udp {priority} {ip} {port} typ host\r\n", at + 1)?;
    }
    write!(out, "a=end-of-candidates\r\n")
}

fn write_declined(out: &mut String, declined: &Declined) -> Result {
    write!(
        out,
        "m={} 0 {} {}\r\nc=IN IP4 0.0.0.0\r\n",
        declined.media, declined.proto, declined.fmt
    )?;
    if let Some(mid) = &declined.mid {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    write!(out, "a=inactive\r\n")
}

fn address(local: SocketAddr) -> (&'static str, String) {
    (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip().to_string())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
