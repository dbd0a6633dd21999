//! ffmpeg's command lines as a peer. It knows AES_CM_128_HMAC_SHA1_80 only.

use std::fmt::Write;

use crate::args::Role;
use crate::peer::Section;
use crate::peer::sdp::Media;

/// Its arguments.
pub fn arguments(sections: &[Section], role: Role) -> Vec<String> {
    let text = match role {
        Role::Publish => publish(sections),
        // The description with the keys comes on its standard input; progress goes to its output.
        Role::View => "-hide_banner -loglevel warning -nostats -progress pipe:1 \
                       -protocol_whitelist pipe,file,rtp,srtp,udp,crypto -f sdp -i pipe:0 -f null -"
            .to_owned(),
    };
    text.split_whitespace().map(str::to_owned).collect()
}

fn publish(sections: &[Section]) -> String {
    let mut inputs = String::from("-hide_banner -loglevel warning -nostats");
    let mut outputs = String::new();
    for (index, section) in sections.iter().enumerate() {
        let (source, codec) = match section.offered.media {
            Media::Video => (
                "testsrc2=size=640x360:rate=30",
                "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 600k -g 30",
            ),
            Media::Audio => ("sine=frequency=440:sample_rate=48000", "-ac 2 -c:a libopus -b:a 64k"),
        };
        // A string takes whatever is written.
        let _ = write!(inputs, " -re -f lavfi -i {source}");
        let port = section.relay.tool_port();
        let _ = write!(
            outputs,
            " -map {index} {codec} -payload_type {} -ssrc {} -f rtp \
             -srtp_out_suite {} -srtp_out_params {} srtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200",
            section.offered.media.payload_type(),
            section.offered.ssrc,
            section.offered.suite.name(),
            section.offered.key.base64(),
        );
    }
    inputs + &outputs
}

/// What a viewing ffmpeg reads on its standard input: where it receives, and the node's keys.
pub fn description(sections: &[Section]) -> String {
    let mut text = String::from("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n");
    for section in sections {
        let (media, payload_type) = (section.offered.media, section.offered.media.payload_type());
        let _ = write!(
            text,
            "m={} {} RTP/SAVP {payload_type}\na=rtpmap:{payload_type} {}\na=crypto:1 {} inline:{}\n",
            media.name(),
            section.relay.tool_rtp,
            media.map(),
            section.offered.suite.name(),
            section.answered.key.base64(),
        );
    }
    text
}
