//! Marks of pictures, read from payload descriptors and one header extension: where a switch of
//! streams may begin. Best effort, and never needed for correctness: a payload may be sealed end to
//! end, and its sender is believed only about its own stream.

use crate::bytes;

/// The codecs whose payloads carry marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// The AV1 RTP specification of the Alliance for Open Media.
    Av1,
}

/// Whether this payload begins a picture from which decoding can start. `None` is "cannot tell": cut
/// short, of a kind that real-time senders do not use, or sealed.
///
/// H.264 may say `true` for several packets of one picture: its parameter sets and each slice.
pub fn keyframe_start(codec: Codec, payload: &[u8]) -> Option<bool> {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload),
    }
}

/// RFC 7741 section 4.2 for the descriptor, 4.3 for the first byte behind it.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extended = *payload.get(at)?;
        at += 1;
        if extended & 0x80 != 0 {
            at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extended & 0x40 != 0);
        at += usize::from(extended & 0x30 != 0);
    }
    let header = payload.get(at..)?;
    // Anything but the start of partition 0 has no payload header.
    if first & 0x17 != 0x10 {
        return header.first().map(|_| false);
    }
    let is_key = *header.first()? & 1 == 0;
    // A key frame goes on with a start code (RFC 6386 section 9.1); without it, it is sealed.
    match header.get(3..6) {
        _ if !is_key => Some(false),
        Some([0x9d, 0x01, 0x2a]) => Some(true),
        _ => None,
    }
}

/// RFC 9628 section 4.2: not predicted from another picture, the start of a frame, and that frame
/// of the lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    let [has_id, is_predicted, has_layers, is_start] =
        [0x80, 0x40, 0x20, 0x08].map(|flag| first & flag != 0);
    if is_predicted || !is_start {
        return Some(false);
    }
    if !has_layers {
        return Some(true);
    }
    let mut at = 1;
    if has_id {
        at += if *payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    let spatial = *payload.get(at)? >> 1 & 7;
    Some(spatial == 0)
}

/// RFC 6184 sections 5.3 and 5.6 to 5.8: a slice of an IDR picture (5) or a sequence parameter set
/// (7), alone, within a STAP-A, or as the start of an FU-A.
fn h264(payload: &[u8]) -> Option<bool> {
    let is_mark = |byte: u8| matches!(byte & 0x1f, 5 | 7);
    let first = *payload.first()?;
    if first & 0x80 != 0 {
        return None;
    }
    match first & 0x1f {
        1..=23 => Some(is_mark(first)),
        24 => {
            let mut rest = bytes::tail(payload, 1);
            while !rest.is_empty() {
                let (len, tail) = rest.split_first_chunk::<2>()?;
                let (unit, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
                if is_mark(*unit.first()?) {
                    return Some(true);
                }
                rest = tail;
            }
            Some(false)
        }
        28 => {
            let header = *payload.get(1)?;
            Some(header & 0x80 != 0 && is_mark(header))
        }
        // Interleaved packets, which need `packetization-mode=2`, and what is reserved.
        _ => None,
    }
}

/// Section 4.4 of the AV1 RTP specification: N marks the first packet of a coded video sequence,
/// which cannot continue an OBU (Z).
fn av1(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    match (first & 0x08 != 0, first & 0x80 != 0) {
        (true, true) => None,
        (is_new, _) => Some(is_new),
    }
}

/// The mandatory fields of AV1's dependency descriptor (appendix A.8.2 of the AV1 RTP
/// specification), a header extension that other codecs may use too. It stays readable when the
/// payload is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// The first packet of a frame.
    pub start_of_frame: bool,
    /// The last packet of a frame.
    pub end_of_frame: bool,
    /// The frame dependency template, six bits.
    pub template_id: u8,
    /// Counts frames in decoding order.
    pub frame_number: u16,
    /// Whether a template dependency structure follows: a sender attaches it where decoding may
    /// start.
    pub has_structure: bool,
}

impl DependencyDescriptor {
    /// Reads the element's bytes; `None` below three.
    pub fn read(value: &[u8]) -> Option<DependencyDescriptor> {
        let [flags, high, low] = *value.first_chunk()?;
        Some(DependencyDescriptor {
            start_of_frame: flags & 0x80 != 0,
            end_of_frame: flags & 0x40 != 0,
            template_id: flags & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
            // The extended fields are there when there are more than three bytes.
            has_structure: bytes::u8_at(value, 3) & 0x80 != 0,
        })
    }

    /// Whether the packet begins a picture from which decoding can start, as far as this tells.
    pub fn keyframe_start(&self) -> bool {
        self.start_of_frame && self.has_structure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(s: &str) -> Vec<u8> {
        (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
    }

    fn all(codec: Codec, packets: &[&str]) -> Vec<Option<bool>> {
        packets.iter().map(|packet| keyframe_start(codec, &unhex(packet))).collect()
    }

    // Beginnings of payloads that GStreamer made of its own test picture: a key frame in pieces,
    // frames predicted from it, and the next key frame.

    #[test]
    fn vp8_of_gstreamer_is_marked() {
        let packets = [
            "9080be4f7014009d012aa00078000307",
            "8080be4fb4c185c39527f30fad4dd799",
            "8080be4f73df2d369bf2aa0dabfc54ad",
            "9080be50910700101020001b780d4338",
            "9080be51910600101014001ec70e4390",
            "8080be511f5000",
            "9080be53d013009d012aa00078000007",
        ];
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(all(Codec::Vp8, &packets), [yes, no, no, no, no, no, yes]);
    }

    #[test]
    fn vp9_of_gstreamer_is_marked() {
        let packets = [
            "0a1800a00078010401b124c1a148004f",
            "0488fa6dda97217acce49f29d3196fba",
            "4cb30020497870948000067000007a15",
            "4cb30020494e3025b00001807000006073",
            "0a1800a00078010401b124c1a148004f",
            "04399692269374fab064ab0fd7019269",
        ];
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(all(Codec::Vp9, &packets), [yes, no, no, no, yes, no]);
    }

    #[test]
    fn h264_of_gstreamer_is_marked() {
        // Aggregated: a STAP-A of parameter sets, an IDR in two FU-As, single slices.
        let stap = "78000f6742d00b8c8d41422f2c03c2211a80000468ce3c80";
        let packets = [
            stap,
            "7c85b8000400007ffffe1e8a0002047e",
            "7c450d2dd0000023b5be7fe138052e20",
            "61e0004000be47f7fc4f0b3619161116",
        ];
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(all(Codec::H264, &packets), [yes, yes, no, no]);
        // The same parameter sets alone.
        let single = ["6742d00b8c8d41422f2c03c2211a80", "68ce3c80"];
        assert_eq!(all(Codec::H264, &single), [yes, no]);
    }

    #[test]
    fn vp8_descriptors_of_every_length_lead_to_the_header() {
        // RFC 7741 section 4.2, figure: X, then I (7 or 15 bits), L, T, K.
        let header = "7014009d012a";
        let descriptors = [
            "10",
            "9000",
            "908005",
            "90808005",
            "904007",
            "902000",
            "901000",
            "903000",
            "90f0800507aa",
            "90e00507aa",
        ];
        for descriptor in descriptors {
            let key = unhex(&format!("{descriptor}{header}"));
            assert_eq!(keyframe_start(Codec::Vp8, &key), Some(true), "{descriptor}");
            let mut delta = key.clone();
            delta[descriptor.len() / 2] |= 1;
            assert_eq!(keyframe_start(Codec::Vp8, &delta), Some(false), "{descriptor}");
            let mut second_partition = key;
            second_partition[0] |= 1;
            assert_eq!(keyframe_start(Codec::Vp8, &second_partition), Some(false));
        }
        // Sealed, or cut before the start code: cannot tell.
        assert_eq!(all(Codec::Vp8, &["107014aabbccdd", "107014", "10", "90", ""]), [None; 5]);
    }

    #[test]
    fn vp9_marks_the_lowest_spatial_layer_only() {
        // I and L: a 15-bit picture id, then TID, U, SID, D.
        for spatial in 0..8u8 {
            for (is_flexible, id) in [(0x10, "8001"), (0, "8001"), (0x10, "05")] {
                let mut b = vec![0xa8 | is_flexible];
                b.extend(unhex(id));
                b.push(0x20 | spatial << 1);
                assert_eq!(keyframe_start(Codec::Vp9, &b), Some(spatial == 0));
            }
        }
        assert_eq!(all(Codec::Vp9, &["", "a8", "a880", "a88001"]), [None; 4]);
    }

    #[test]
    fn h264_finds_a_parameter_set_behind_others_and_refuses_what_it_cannot_read() {
        let [yes, no] = [Some(true), Some(false)];
        let behind = ["180001090003674200", "18000109000168", "65", "61"];
        assert_eq!(all(Codec::H264, &behind), [yes, no, yes, no]);
        let unreadable = ["", "80", "1800", "18000567", "180000", "1c", "19", "1d85", "00", "1f"];
        assert_eq!(all(Codec::H264, &unreadable), [None; 10]);
    }

    #[test]
    fn av1_marks_a_new_coded_video_sequence() {
        // Z Y W W N: one OBU; two with a new sequence; the second piece of an OBU; N with Z.
        let packets = ["10", "28", "68", "90", "98", ""];
        let [yes, no] = [Some(true), Some(false)];
        assert_eq!(all(Codec::Av1, &packets), [no, yes, yes, no, None, None]);
    }

    #[test]
    fn a_dependency_descriptor_tells_frame_and_structure() {
        let read = |b: &[u8]| DependencyDescriptor::read(b);
        let short = read(&[0xc5, 0x12, 0x34]).unwrap();
        assert!(short.start_of_frame && short.end_of_frame && !short.keyframe_start());
        assert_eq!((short.template_id, short.frame_number), (5, 0x1234));
        assert!(read(&[0x80, 0, 1, 0x80]).unwrap().keyframe_start());
        assert!(!read(&[0x80, 0, 1, 0x40]).unwrap().keyframe_start());
        assert!(!read(&[0x40, 0, 1, 0x80]).unwrap().keyframe_start());
        assert_eq!(read(&[0x80, 0]), None);
    }
}
