//! Codecs, retransmissions, feedback, SSRCs and simulcast layers of one m-section.

use proto::command::{LAYERS_MAX, SLOT_CODECS_MAX, TOKEN_MAX};

use crate::limits::FMTP_BYTES_MAX;
use crate::problem::{Code, Problem};
use crate::signalling::codec::{self, Media, RtpMap};
use crate::signalling::offer::{CodecFeedback, OfferedCodec, Role};
use crate::signalling::section::Reader;

/// Of a stream, and of its retransmissions.
type Ssrcs = (Option<u32>, Option<u32>);

/// Served codecs in the order of the m-line, at most as many as a slot holds; where there are more, the
/// commonly decoded ones stay. With rtcp-mux, payload types 64 to 95 would look like RTCP (RFC 5761
/// section 4) and are passed over.
pub(super) fn codecs(
    reader: &Reader<'_>,
    media: Media,
    is_dtls: bool,
    has_cc: bool,
) -> Result<Vec<OfferedCodec>, Problem> {
    let mut codecs: Vec<OfferedCodec> = Vec::new();
    let mut repairs: Vec<(u8, u8)> = Vec::new();
    let mut seen = Vec::new();
    for format in reader.media.fmt.split_ascii_whitespace() {
        let payload_type: u8 = match format.parse() {
            Ok(number @ (0..64 | 96..128)) => number,
            _ => continue,
        };
        if seen.contains(&payload_type) {
            return Err(reader.malformed("a payload type stands twice in its m-line"));
        }
        seen.push(payload_type);
        let of_format = |name| {
            reader.values(name).find_map(|value| {
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
        if let Some(of) = codec::repaired(&map, fmtp) {
            repairs.push((payload_type, of));
        } else if let Some(codec) = codec::identify(media, &map, fmtp) {
            codecs.push(OfferedCodec {
                payload_type,
                codec,
                map,
                fmtp: fmtp.to_owned(),
                rtx: None,
                feedback: feedback(reader, payload_type),
            });
        }
    }
    keep_best(&mut codecs);
    for codec in &mut codecs {
        if is_dtls {
            let repair = repairs.iter().find(|(_, of)| *of == codec.payload_type);
            codec.rtx = repair.map(|(payload_type, _)| *payload_type);
        }
        codec.feedback = taken(codec, reader.terms.role, is_dtls, has_cc);
        // The profile without feedback (RFC 5124) has none.
        if !reader.media.proto.to_ascii_uppercase().ends_with('F') {
            codec.feedback = CodecFeedback::default();
        }
    }
    Ok(codecs)
}

/// More codecs than a slot holds: those that rank worst go, the order stays.
fn keep_best(codecs: &mut Vec<OfferedCodec>) {
    while codecs.len() > SLOT_CODECS_MAX {
        let worst = (0..codecs.len()).max_by_key(|at| (codec::rank(codecs[*at].codec), *at));
        codecs.remove(worst.expect("there are more than none"));
    }
}

/// What is offered for a payload type, by its number or by `*`.
fn feedback(reader: &Reader<'_>, payload_type: u8) -> CodecFeedback {
    let mut found = CodecFeedback::default();
    for value in reader.values("rtcp-fb") {
        let Some((of, what)) = value.split_once(' ') else { continue };
        if of != "*" && of.parse() != Ok(payload_type) {
            continue;
        }
        match what.trim() {
            "nack" => found.nack = true,
            "nack pli" => found.pli = true,
            "ccm fir" => found.fir = true,
            "transport-cc" => found.transport_cc = true,
            "goog-remb" => found.remb = true,
            "rrtr" => found.rrtr = true,
            _ => {}
        }
    }
    found
}

/// What we take of it. To a publisher we say what arrived, by one way of congestion control; from a
/// subscriber a NACK needs retransmissions, and its congestion control is not served yet.
fn taken(codec: &OfferedCodec, role: Role, is_dtls: bool, has_cc: bool) -> CodecFeedback {
    let offered = codec.feedback;
    if !is_dtls {
        return CodecFeedback { pli: offered.pli, ..CodecFeedback::default() };
    }
    match role {
        Role::Publish => {
            let transport_cc = offered.transport_cc && has_cc;
            let remb = offered.remb && !transport_cc;
            CodecFeedback { transport_cc, remb, rrtr: false, ..offered }
        }
        Role::Subscribe => CodecFeedback {
            nack: offered.nack && codec.rtx.is_some(),
            transport_cc: false,
            remb: false,
            ..offered
        },
    }
}

/// A publisher's SSRC and that of its retransmissions: the first FID group, else the first SSRC. With
/// simulcast they would name one layer of several; the layers' names tell them apart instead.
pub(super) fn ssrcs(
    reader: &Reader<'_>,
    required: bool,
    has_layers: bool,
) -> Result<Ssrcs, Problem> {
    let number = |text: Option<&str>| match text.unwrap_or_default().parse() {
        Ok(0) | Err(_) => Err(reader.malformed("its a=ssrc is not a number from 1 to 4294967295")),
        Ok(ssrc) => Ok(Some(ssrc)),
    };
    let Some(value) = reader.values("ssrc").next() else {
        return if required { Err(reader.refuse(Code::SsrcRequired)) } else { Ok((None, None)) };
    };
    let first = number(value.split_ascii_whitespace().next())?;
    if has_layers {
        return Ok((None, None));
    }
    let group = reader.values("ssrc-group").find_map(|value| value.strip_prefix("FID "));
    let Some(group) = group.filter(|_| !required) else { return Ok((first, None)) };
    let mut words = group.split_ascii_whitespace();
    let (main, repair) = (number(words.next())?, number(words.next())?);
    if main == repair {
        return Err(reader.malformed("an a=ssrc-group names one SSRC twice"));
    }
    Ok((main, repair))
}

/// The layers that a publisher sends (RFC 8853), in its order, as far as they may carry
/// `payload_type` (RFC 8851) and have room here. Of alternatives, the first one.
pub(super) fn layers(reader: &Reader<'_>, payload_type: u8) -> Vec<String> {
    let Some(value) = reader.values("simulcast").next() else { return Vec::new() };
    let mut words = value.split_ascii_whitespace().skip_while(|word| *word != "send").skip(1);
    let mut layers: Vec<String> = Vec::new();
    for stream in words.next().unwrap_or_default().split(';') {
        let rid = stream.split(',').next().unwrap_or_default();
        let rid = rid.strip_prefix('~').unwrap_or(rid);
        let fits = is_rid(rid) && may_carry(reader, rid, payload_type);
        if fits && layers.len() < LAYERS_MAX && !layers.iter().any(|known| known == rid) {
            layers.push(rid.to_owned());
        }
    }
    layers
}

/// What fits a header extension (RFC 8852 section 3.1) and a token of ours.
fn is_rid(rid: &str) -> bool {
    (1..=TOKEN_MAX).contains(&rid.len())
        && rid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Whether `a=rid:<rid> send` is there, and not for other payload types only.
fn may_carry(reader: &Reader<'_>, rid: &str, payload_type: u8) -> bool {
    reader.values("rid").any(|value| {
        let mut words = value.split_ascii_whitespace();
        if (words.next(), words.next()) != (Some(rid), Some("send")) {
            return false;
        }
        let restrictions = words.next().unwrap_or_default();
        match restrictions.split(';').find_map(|part| part.strip_prefix("pt=")) {
            None => true,
            Some(list) => list.split(',').any(|number| number.parse() == Ok(payload_type)),
        }
    })
}
