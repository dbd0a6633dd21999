//! GStreamer pipelines of a peer, for `gst-launch-1.0`.

use crate::args::Role;
use crate::peer::Section;
use crate::peer::sdp::{Key, Media};

/// The pipeline as arguments, one element or property each.
pub fn arguments(sections: &[Section], role: Role) -> Vec<String> {
    // A viewer's frame rate is told by its sink, which only speaks when asked to.
    let mut words: Vec<String> = match role {
        Role::Publish => vec!["-q".into()],
        Role::View => vec!["-v".into()],
    };
    words.extend(pipeline(sections, role));
    words
}

/// The pipeline as one would paste it into a shell.
pub fn printed(sections: &[Section], role: Role) -> String {
    let words = pipeline(sections, role);
    let quoted =
        words.iter().map(|word| match word.contains(['(', ' ', ',', '!']) && word != "!" {
            true => format!("'{word}'"),
            false => word.clone(),
        });
    format!("gst-launch-1.0 {}", quoted.collect::<Vec<_>>().join(" "))
}

fn pipeline(sections: &[Section], role: Role) -> Vec<String> {
    // Feedback at once (RFC 4585): a viewer whose first picture got lost asks for a whole one.
    let mut text = String::from("rtpbin name=rtp latency=50 rtp-profile=avpf ");
    for (index, section) in sections.iter().enumerate() {
        text += &match role {
            Role::Publish => publish(index, section),
            Role::View => view(index, section),
        };
    }
    text.split_whitespace().map(str::to_owned).collect()
}

/// A test picture or tone, encoded, packed, protected, sent with sender reports.
fn publish(index: usize, section: &Section) -> String {
    let (ssrc, port) = (section.offered.ssrc, section.relay.tool_port());
    let payload_type = section.offered.media.payload_type();
    let source = match section.offered.media {
        // A whole picture each second: a viewer who comes late sees something within a second.
        Media::Video => format!(
            "videotestsrc is-live=true pattern=ball ! \
             video/x-raw,width=640,height=360,framerate=30/1 ! \
             vp8enc deadline=1 cpu-used=8 keyframe-max-dist=30 target-bitrate=600000 ! \
             rtpvp8pay pt={payload_type} ssrc={ssrc} mtu=1200 picture-id-mode=2"
        ),
        Media::Audio => format!(
            "audiotestsrc is-live=true wave=ticks samplesperbuffer=960 ! \
             audio/x-raw,rate=48000,channels=2 ! audioconvert ! opusenc frame-size=20 ! \
             rtpopuspay pt={payload_type} ssrc={ssrc} mtu=1200"
        ),
    };
    format!(
        "{source} ! rtp.send_rtp_sink_{index} \
         {enc} \
         rtp.send_rtp_src_{index} ! enc{index}.rtp_sink_0 \
         rtp.send_rtcp_src_{index} ! enc{index}.rtcp_sink_0 \
         enc{index}.rtp_src_0 ! udpsink host=127.0.0.1 port={port} sync=false async=false \
         enc{index}.rtcp_src_0 ! udpsink host=127.0.0.1 port={port} sync=false async=false ",
        enc = encryptor(index, &section.offered.key),
    )
}

/// Received, opened, decoded, counted; with receiver reports back.
fn view(index: usize, section: &Section) -> String {
    let media = section.offered.media;
    let (rtp, rtcp) = (section.relay.tool_rtp, section.relay.tool_rtp + 1);
    let key = key_caps(section);
    let (name, encoding, clock, feedback, sink) = match media {
        Media::Video => (
            "video",
            "VP8",
            90_000,
            ",rtcp-fb-nack-pli=(boolean)true",
            "rtpvp8depay request-keyframe=true wait-for-keyframe=true ! vp8dec ! videoconvert ! \
             fpsdisplaysink text-overlay=false video-sink=fakesink sync=false",
        ),
        Media::Audio => (
            "audio",
            "OPUS",
            48_000,
            "",
            "rtpopusdepay ! opusdec ! audioconvert ! fakesink sync=false",
        ),
    };
    let payload_type = media.payload_type();
    let stream = format!(
        "media=(string){name},clock-rate=(int){clock},encoding-name=(string){encoding},\
         payload=(int){payload_type}{feedback}"
    );
    format!(
        "udpsrc address=127.0.0.1 port={rtp} caps=application/x-srtp,{stream},{key} ! dec{index}.rtp_sink \
         srtpdec name=dec{index} \
         dec{index}.rtp_src ! application/x-rtp,{stream} ! rtp.recv_rtp_sink_{index} \
         udpsrc address=127.0.0.1 port={rtcp} caps=application/x-srtcp,{key} ! dec{index}.rtcp_sink \
         dec{index}.rtcp_src ! rtp.recv_rtcp_sink_{index} \
         {enc} \
         rtp.send_rtcp_src_{index} ! enc{index}.rtcp_sink_0 \
         enc{index}.rtcp_src_0 ! udpsink host=127.0.0.1 port={port} sync=false async=false \
         rtp. ! {sink} ",
        enc = encryptor(index, &section.offered.key),
        port = section.relay.tool_port(),
    )
}

fn encryptor(index: usize, key: &Key) -> String {
    format!(
        "srtpenc name=enc{index} key={} rtp-cipher=aes-128-gcm rtp-auth=null \
         rtcp-cipher=aes-128-gcm rtcp-auth=null",
        key.hex()
    )
}

fn key_caps(section: &Section) -> String {
    let ssrc = section.answered.ssrc.unwrap_or_default();
    format!(
        "ssrc=(uint){ssrc},srtp-key=(buffer){},srtp-cipher=(string)aes-128-gcm,srtp-auth=(string)null,\
         srtcp-cipher=(string)aes-128-gcm,srtcp-auth=(string)null,roc=(uint)0",
        section.answered.key.hex()
    )
}
