//! Streams as a shard gets them, from what an offer says of them.

use std::collections::HashSet;

use proto::command::{EXTENSIONS_MAX, KEY_MAX};
use proto::{
    ExtensionId, Feedback, KeyMaterial, List, MemberNo, PublicationNo, PublicationSpec, RtxSpec,
    SlotCodec, SlotSpec, Token,
};
use zeroize::Zeroizing;

use super::ids::{Entropy, fresh, random};
use crate::signalling::offer::CodecFeedback;
use crate::signalling::{SectionOffer, Security};

/// A master key with its salt.
pub(super) fn key(entropy: &mut dyn Entropy, bytes: usize) -> KeyMaterial {
    let mut key = Zeroizing::new([0; KEY_MAX]);
    entropy.fill(&mut key[..bytes]);
    KeyMaterial { bytes: List::from_slice(&key[..bytes]).expect("no suite has a longer key") }
}

/// A stream that the peer sends, under a number of its own.
pub(super) fn publication(
    section: &SectionOffer,
    entropy: &mut dyn Entropy,
    taken: &mut HashSet<u32>,
) -> PublicationSpec {
    let codec = &section.codecs[0];
    let mut layers = List::default();
    for layer in &section.layers {
        layers.push(token(layer));
    }
    let rtx = codec
        .rtx
        .map(|payload_type| RtxSpec { payload_type, ssrc: section.rtx_ssrc.unwrap_or_default() });
    PublicationSpec {
        publication: PublicationNo(fresh(entropy, taken)),
        ssrc: section.ssrc.unwrap_or_default(),
        kind: section.kind,
        codec: codec.codec,
        payload_type: codec.payload_type,
        clock_rate: codec.map.clock_rate,
        extensions: extensions(&section.extensions),
        mid: mid(section),
        layers,
        rtx,
        feedback: feedback(codec.feedback),
    }
}

/// A receive section, with SSRCs and a place to count from of its own.
pub(super) fn slot(
    section: &SectionOffer,
    publisher: Option<MemberNo>,
    entropy: &mut dyn Entropy,
    taken: &mut HashSet<u32>,
) -> SlotSpec {
    let mut codecs = List::default();
    for codec in &section.codecs {
        codecs.push(SlotCodec {
            codec: codec.codec,
            payload_type: codec.payload_type,
            rtx_payload_type: codec.rtx.unwrap_or_default(),
        });
    }
    let repairs = section.codecs.iter().any(|codec| codec.rtx.is_some());
    SlotSpec {
        kind: section.kind,
        ssrc: fresh(entropy, taken),
        first_sequence: u16::from_ne_bytes(random(entropy)) >> 1,
        timestamp_offset: u32::from_ne_bytes(random(entropy)),
        codecs,
        extensions: extensions(&section.extensions),
        publisher,
        mid: mid(section),
        rtx_ssrc: if repairs { fresh(entropy, taken) } else { 0 },
    }
}

fn extensions(taken: &[ExtensionId]) -> List<ExtensionId, EXTENSIONS_MAX> {
    List::from_slice(&taken[..taken.len().min(EXTENSIONS_MAX)]).expect("cut to its length")
}

fn feedback(taken: CodecFeedback) -> Feedback {
    let bit = |is_taken, bit| if is_taken { bit } else { 0 };
    Feedback(
        bit(taken.nack, Feedback::NACK)
            | bit(taken.transport_cc, Feedback::TRANSPORT_CC)
            | bit(taken.remb, Feedback::REMB),
    )
}

/// Only a bundle needs it in packets, and there it is short.
fn mid(section: &SectionOffer) -> Token {
    match (&section.security, &section.mid) {
        (Security::Dtls, Some(mid)) => token(mid),
        _ => Token::default(),
    }
}

fn token(text: &str) -> Token {
    Token::from_slice(text.as_bytes()).expect("the offer was read with this limit")
}
