//! Demux: which stream of a BUNDLE an SSRC is that the session has not bound yet (RFC 9143 9.2,
//! RFC 8852), by the header of a packet that is not authentic yet. Only `open` binds it.
//!
//! An identification in the header decides; without one, a payload type that one publication alone has.
//! What contradicts itself, or names nothing that was negotiated, is no stream of the session.

use proto::{Extension, PublicationSpec};
use srtp::Provider;
use wire::rtp::Rtp;
use wire::rtp_ext::Elements;

use crate::ingress::Role;
use crate::session::Session;
use crate::shard::Shard;

/// What a header says about itself.
#[derive(Debug, Clone, Copy, Default)]
struct Names<'a> {
    mid: Option<&'a [u8]>,
    rid: Option<&'a [u8]>,
    repaired_rid: Option<&'a [u8]>,
}

/// Index of the publication, and what the packet carries of it.
pub fn demux<P: Provider>(
    shard: &Shard<P>,
    session: &Session,
    bytes: &[u8],
) -> Option<(u32, Role)> {
    let packet = Rtp::new_sealed(bytes).ok()?;
    let names = read(session, &packet);
    let payload_type = packet.payload_type();
    let spec = |index: u32| &shard.publications[index].spec;
    let is_meant = |index: &u32| match names.mid {
        Some(mid) => *spec(*index).mid == *mid,
        None => is_repair(spec(*index), payload_type).is_some(),
    };
    let mut meant = session.publications.iter().copied().filter(is_meant);
    let publication = meant.next().filter(|_| meant.next().is_none())?;
    Some((publication, role(spec(publication), &names, payload_type)?))
}

/// The names in the header extension, by the ids that the session negotiated.
fn read<'a>(session: &Session, packet: &'a Rtp<&[u8]>) -> Names<'a> {
    let mut names = Names::default();
    let Some(block) = packet.extension() else { return names };
    for element in Elements::new(block).flatten() {
        match session.names.iter().find(|known| known.id == element.id).map(|known| known.extension)
        {
            Some(Extension::Mid) => names.mid = Some(element.data),
            Some(Extension::Rid) => names.rid = Some(element.data),
            Some(Extension::RepairedRid) => names.repaired_rid = Some(element.data),
            _ => {}
        }
    }
    names
}

/// Whether a payload type is that of the publication's repair stream; `None` when it has no such type.
fn is_repair(spec: &PublicationSpec, payload_type: u8) -> Option<bool> {
    match spec.rtx {
        Some(rtx) if rtx.payload_type == payload_type => Some(true),
        _ if spec.payload_type == payload_type => Some(false),
        _ => None,
    }
}

fn role(spec: &PublicationSpec, names: &Names<'_>, payload_type: u8) -> Option<Role> {
    let is_repair = is_repair(spec, payload_type)?;
    if spec.layers.is_empty() {
        return Some(Role { layer: 0, is_repair });
    }
    let name = if is_repair { names.repaired_rid } else { names.rid }?;
    let layer = spec.layers.iter().position(|layer| **layer == *name)?;
    Some(Role { layer: layer as u8, is_repair })
}

#[cfg(test)]
mod tests {
    use proto::{List, RtxSpec};

    use super::*;

    fn spec(layers: &[&[u8]]) -> PublicationSpec {
        let layers: Vec<_> = layers.iter().map(|rid| List::from_slice(rid).unwrap()).collect();
        PublicationSpec {
            payload_type: 96,
            rtx: Some(RtxSpec { payload_type: 97, ssrc: 0 }),
            layers: List::from_slice(&layers).unwrap(),
            ..PublicationSpec::default()
        }
    }

    #[test]
    fn the_payload_type_tells_media_from_repair() {
        let (spec, names) = (spec(&[]), Names::default());
        assert_eq!(role(&spec, &names, 96), Some(Role { layer: 0, is_repair: false }));
        assert_eq!(role(&spec, &names, 97), Some(Role { layer: 0, is_repair: true }));
        assert_eq!(role(&spec, &names, 98), None);
    }

    #[test]
    fn a_layer_must_be_named_as_what_it_is() {
        let spec = spec(&[b"h", b"l"]);
        let rid = Names { rid: Some(b"l"), ..Names::default() };
        let repaired = Names { repaired_rid: Some(b"l"), ..Names::default() };
        assert_eq!(role(&spec, &rid, 96), Some(Role { layer: 1, is_repair: false }));
        assert_eq!(role(&spec, &repaired, 97), Some(Role { layer: 1, is_repair: true }));
        assert_eq!(role(&spec, &repaired, 96), None);
        assert_eq!(role(&spec, &rid, 97), None);
        assert_eq!(role(&spec, &Names { rid: Some(b"x"), ..Names::default() }, 96), None);
        assert_eq!(role(&spec, &Names::default(), 96), None);
    }
}
