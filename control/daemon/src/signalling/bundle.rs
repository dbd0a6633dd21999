//! The BUNDLE group of an offer (RFC 9143) and the transport it shares: ICE (RFC 8839), the peer's
//! certificate (RFC 8122, RFC 8842), who opens DTLS.
//!
//! All m-sections with DTLS are in one group, or there is only one of them. What a group's sections
//! say about the transport must be the same: which of them is right could not be told.

use dtls::{Fingerprint, FingerprintError};
use proto::MediaKind;
use proto::command::{PUBLICATIONS_MAX, TOKEN_MAX};
use sdp_types::Session;
use zeroize::Zeroizing;

use crate::limits::FINGERPRINTS_MAX;
use crate::problem::{Code, Problem};
use crate::signalling::offer::{Bundle, PeerIce, Role, Section, SectionOffer, Security, Terms};
use crate::signalling::section::{Reader, values};

/// Mids of every BUNDLE group, in its order.
///
/// # Errors
/// 400 for a mid that no section has, or that stands twice.
pub(super) fn groups(
    session: &Session,
    mids: &[Option<String>],
) -> Result<Vec<Vec<String>>, Problem> {
    let malformed = |what: &str| Code::SdpInvalid.because(format!("a=group:BUNDLE: {what}"));
    let mut seen = Vec::new();
    let mut groups = Vec::new();
    for value in values(&session.attributes, "group") {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("BUNDLE") {
            continue;
        }
        let group: Vec<String> = words.map(str::to_owned).collect();
        for mid in &group {
            if !mids.iter().flatten().any(|known| known == mid) {
                return Err(malformed("no m-section has one of its a=mid"));
            }
            if seen.contains(mid) {
                return Err(malformed("an a=mid stands twice"));
            }
            seen.push(mid.clone());
        }
        groups.push(group);
    }
    Ok(groups)
}

/// Reads the shared transport of sections with DTLS; `None` where there are none. Sections of another
/// group are declined.
///
/// # Errors
/// 406 where the offer asks for what we do not do, 400 where it is malformed.
pub(super) fn read(
    session: &Session,
    terms: Terms<'_>,
    groups: &[Vec<String>],
    sections: &mut [Section],
) -> Result<Option<Bundle>, Problem> {
    let is_dtls = |section: &Section| is_served(section, |s| matches!(s.security, Security::Dtls));
    let dtls: Vec<usize> = (0..sections.len()).filter(|at| is_dtls(&sections[*at])).collect();
    let Some(first) = dtls.first() else { return Ok(None) };
    let is_sdes = |section: &Section| is_served(section, |s| !matches!(s.security, Security::Dtls));
    if sections.iter().any(is_sdes) {
        return Err(Code::MixedSecurity.into());
    }
    for at in &dtls {
        if mid(&sections[*at]).is_none_or(|mid| mid.len() > TOKEN_MAX) {
            return Err(Reader::new(session, *at, terms).refuse(Code::MidRequired));
        }
    }
    let group = groups.iter().find(|group| contains(group, &sections[*first]));
    if group.is_none() && dtls.len() > 1 {
        return Err(Code::BundleRequired.into());
    }
    let mut members = Vec::new();
    for at in dtls {
        if group.is_none_or(|group| contains(group, &sections[at])) {
            members.push(Reader::new(session, at, terms));
        } else {
            let declined =
                Reader::new(session, at, terms).declined(mid(&sections[at]).map(str::to_owned));
            sections[at] = declined;
        }
    }
    check_streams(sections, terms)?;
    let fingerprints = agreed(&members, fingerprints)?;
    agreed(&members, setup)?;
    Ok(Some(Bundle {
        grouped: group.is_some(),
        ice: ice(&members[0])?,
        fingerprints,
        allow_mixed: session.attributes.iter().any(|a| a.attribute == "extmap-allow-mixed"),
    }))
}

fn is_served(section: &Section, fits: impl Fn(&SectionOffer) -> bool) -> bool {
    matches!(section, Section::Served(section) if fits(section))
}

fn mid(section: &Section) -> Option<&str> {
    match section {
        Section::Served(section) => section.mid.as_deref(),
        Section::Declined(section) => section.mid.as_deref(),
    }
}

fn contains(group: &[String], section: &Section) -> bool {
    mid(section).is_some_and(|mid| group.iter().any(|known| known == mid))
}

/// What must be unambiguous across sections that share a transport (RFC 9143 sections 9 and 10).
fn check_streams(sections: &[Section], terms: Terms<'_>) -> Result<(), Problem> {
    let served = || {
        sections.iter().filter_map(|section| match section {
            Section::Served(section) => Some(section),
            Section::Declined(_) => None,
        })
    };
    let malformed = |what: &str| Err(Code::SdpInvalid.because(format!("BUNDLE: {what}")));
    let extensions: Vec<_> = served().flat_map(|section| &section.extensions).collect();
    let conflict = extensions.iter().any(|one| {
        extensions.iter().any(|two| (one.id == two.id) != (one.extension == two.extension))
    });
    if conflict {
        return malformed("sections disagree about an a=extmap");
    }
    if terms.role == Role::Subscribe {
        return Ok(());
    }
    if served().count() > PUBLICATIONS_MAX {
        return Err(Code::TooManySections.into());
    }
    if served().filter(|section| section.kind == MediaKind::Substream).count() > 1 {
        return Err(Code::SubstreamTaken.because("the offer has two"));
    }
    let mut ssrcs = Vec::new();
    for ssrc in served().flat_map(|section| [section.ssrc, section.rtx_ssrc]).flatten() {
        if ssrcs.contains(&ssrc) {
            return malformed("two sections declare one SSRC");
        }
        ssrcs.push(ssrc);
    }
    let published: Vec<_> = served().map(|section| &section.codecs[0]).collect();
    let confused = published.iter().any(|one| {
        published.iter().any(|two| one.payload_type == two.payload_type && one.codec != two.codec)
    });
    if confused { malformed("one payload type has two codecs") } else { Ok(()) }
}

/// What all sections of a group say alike. A bundle-only section says nothing (RFC 9143 section 7.1.3).
fn agreed<T: PartialEq>(
    members: &[Reader<'_>],
    of: impl Fn(&Reader<'_>) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let first = of(&members[0])?;
    for member in &members[1..] {
        let is_silent = member.media.port == 0 && !member.has("fingerprint");
        if !is_silent && of(member)? != first {
            return Err(member.refuse(Code::BundleMismatch));
        }
    }
    Ok(first)
}

/// Fingerprints under hash functions that we take; RFC 8122 lets a peer name several.
fn fingerprints(reader: &Reader<'_>) -> Result<Vec<Fingerprint>, Problem> {
    let mut taken = Vec::new();
    for value in reader.inherited("fingerprint") {
        match value.parse::<Fingerprint>() {
            Ok(print) => taken.push(print),
            Err(FingerprintError::Algorithm) => {}
            Err(FingerprintError::Digest) => {
                return Err(reader.malformed("an a=fingerprint is malformed"));
            }
        }
    }
    match taken.len() {
        1..=FINGERPRINTS_MAX => Ok(taken),
        _ => Err(reader.refuse(Code::FingerprintNotAcceptable)),
    }
}

/// We answer `passive`, so that our order of profiles decides; the peer must be able to open.
fn setup(reader: &Reader<'_>) -> Result<(), Problem> {
    match reader.inherited("setup").first() {
        Some(&"actpass" | &"active") => Ok(()),
        _ => Err(reader.refuse(Code::SetupNotAcceptable)),
    }
}

fn ice(reader: &Reader<'_>) -> Result<PeerIce, Problem> {
    let one = |name| reader.inherited(name).first().copied();
    let (Some(ufrag), Some(password)) = (one("ice-ufrag"), one("ice-pwd")) else {
        return Err(reader.refuse(Code::IceRequired));
    };
    credentials(ufrag, password)
        .ok_or_else(|| reader.malformed("its a=ice-ufrag or a=ice-pwd is malformed"))
}

/// Credentials of legal length and letters (RFC 8839 section 5.4).
pub(in crate::signalling) fn credentials(ufrag: &str, password: &str) -> Option<PeerIce> {
    let is_ice = |text: &str| {
        text.len() <= 256
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
    };
    let fits = ufrag.len() >= 4 && password.len() >= 22 && is_ice(ufrag) && is_ice(password);
    fits.then(|| PeerIce { ufrag: ufrag.to_owned(), password: Zeroizing::new(password.to_owned()) })
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
