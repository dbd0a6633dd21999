//! `roomlane peer`: an ordinary media tool as a member of a room.
//!
//! It makes tokens, keys and an offer, joins by WHIP or WHEP, and builds the tool's pipeline from the
//! answer. The tool encrypts and decrypts; between it and the node stands [`relay`], because RTP and RTCP
//! share one port towards the node (RFC 5761) and no tool can share a socket between its two halves. On
//! exit the resource is deleted, so that the room does not wait for a timeout.

mod ffmpeg;
mod gst;
mod http;
mod relay;
mod report;
mod sdp;
mod signalling;
mod tool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::args::{Kind, PeerArgs, Place, Role, Via};
use crate::exit::{Exit, Failure};
use relay::Relay;
use report::Report;
use sdp::{Answered, Media, Offered, Suite};
use signalling::Signalling;
use tool::Tool;

/// A section after the answer: what was offered, what came back, and its packets' way.
pub struct Section {
    offered: Offered,
    answered: Answered,
    relay: Relay,
}

/// Runs a peer until it is interrupted or its time is over.
pub fn run(place: &Place, args: &PeerArgs) -> Result<(), Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicBool::new(false));
    for (signal, flag) in [(SIGINT, &interrupted), (SIGTERM, &ended)] {
        signal_hook::flag::register(signal, Arc::clone(flag))
            .map_err(|error| Failure::failed(format!("no signal handler: {error}")))?;
    }
    let mut signalling = Signalling::new(place, args)?;
    let joined = join(&mut signalling, args);
    let result = joined.and_then(|sections| {
        let stop = || interrupted.load(Ordering::Relaxed) || ended.load(Ordering::Relaxed);
        carry(&sections, args, &stop)
    });
    let left = signalling.leave();
    result?;
    left?;
    match interrupted.load(Ordering::Relaxed) {
        true => Err(Failure::new(Exit::Interrupted, "")),
        false => Ok(()),
    }
}

/// Offers, and makes sections of the answer. What was made on the way goes with an error.
fn join(signalling: &mut Signalling, args: &PeerArgs) -> Result<Vec<Section>, Failure> {
    let suite = match args.via {
        Via::Ffmpeg => Suite::AesCm128HmacSha1_80,
        Via::Gst | Via::Print => Suite::AeadAes128Gcm,
    };
    let medias: &[Media] = match args.kind {
        Kind::Av => &[Media::Audio, Media::Video],
        Kind::Audio => &[Media::Audio],
        Kind::Video => &[Media::Video],
    };
    let address = signalling.media_address()?;
    let mut offered = vec![];
    let mut relays = vec![];
    for media in medias {
        let relay = Relay::bind(address)
            .map_err(|error| Failure::failed(format!("no UDP socket on {address}: {error}")))?;
        offered.push(Offered::new(*media, suite, relay.port(), args.role)?);
        relays.push(relay);
    }
    let answer = signalling.join(&sdp::offer(address, &offered, args.role))?;
    let answers = sdp::read_answer(&answer, &offered)
        .map_err(|what| Failure::failed(format!("the node's answer is malformed: {what}")))?;
    let mut sections = vec![];
    for ((offered, answered), mut relay) in offered.into_iter().zip(answers).zip(relays) {
        let Some(answered) = answered else {
            eprintln!("roomlane: the node declined the {} section", offered.media.name());
            continue;
        };
        relay
            .start(answered.remote, args.role)
            .map_err(|error| Failure::failed(format!("{}: {error}", answered.remote)))?;
        sections.push(Section { offered, answered, relay });
    }
    match sections.is_empty() {
        true => Err(Failure::failed("the node declined every section")),
        false => Ok(sections),
    }
}

/// Runs the tool and reports once a second.
fn carry(sections: &[Section], args: &PeerArgs, stop: &dyn Fn() -> bool) -> Result<(), Failure> {
    let mut tool = start(sections, args)?;
    let started = Instant::now();
    let mut report = Report::new(args);
    let mut due = started + Duration::from_secs(1);
    let over = |started: Instant| {
        args.duration.is_some_and(|seconds| started.elapsed() >= Duration::from_secs(seconds))
    };
    while !stop() && !over(started) {
        std::thread::sleep(Duration::from_millis(20));
        if let Some(tool) = &mut tool
            && let Some(words) = tool.ended()
        {
            return Err(Failure::failed(words));
        }
        if Instant::now() >= due {
            due += Duration::from_secs(1);
            report.write(sections, tool.as_ref())?;
        }
    }
    if let Some(tool) = &mut tool {
        tool.stop();
    }
    Ok(())
}

/// Starts the tool; `None` where somebody else runs it.
fn start(sections: &[Section], args: &PeerArgs) -> Result<Option<Tool>, Failure> {
    match args.via {
        Via::Print => {
            println!("{}", gst::printed(sections, args.role));
            eprintln!("roomlane: run this pipeline on this host; Ctrl-C here leaves the room");
            Ok(None)
        }
        Via::Gst => {
            Tool::start("gst-launch-1.0", &gst::arguments(sections, args.role), None).map(Some)
        }
        Via::Ffmpeg => {
            if args.role == Role::View {
                eprintln!(
                    "roomlane: ffmpeg sends no receiver reports, so the node takes this viewer for gone \
                     after limits.session_timeout_s"
                );
            }
            let description = (args.role == Role::View).then(|| ffmpeg::description(sections));
            let arguments = ffmpeg::arguments(sections, args.role);
            Tool::start("ffmpeg", &arguments, description).map(Some)
        }
    }
}
