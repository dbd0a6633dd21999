//! What a peer says once a second: a line for people, or a JSON line for programs.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

use crate::args::{PeerArgs, Role};
use crate::exit::Failure;
use crate::peer::Section;
use crate::peer::sdp::Media;
use crate::peer::tool::Tool;

/// Remembers the last second.
pub struct Report {
    role: Role,
    json: bool,
    started: Instant,
    last: Instant,
    packets: Vec<u64>,
    frames: u64,
    decoded: u64,
}

impl Report {
    /// Nothing said yet.
    pub fn new(args: &PeerArgs) -> Self {
        let now = Instant::now();
        Report {
            role: args.role,
            json: args.json,
            started: now,
            last: now,
            packets: vec![],
            frames: 0,
            decoded: 0,
        }
    }

    /// Says what happened since the last time.
    pub fn write(&mut self, sections: &[Section], tool: Option<&Tool>) -> Result<(), Failure> {
        let seconds = self.last.elapsed().as_secs_f64().max(0.001);
        self.last = Instant::now();
        self.packets.resize(sections.len(), 0);
        let mut list: Vec<Value> = vec![];
        let (mut words, mut lost, mut frames) = (vec![], 0, None);
        for (section, before) in sections.iter().zip(&mut self.packets) {
            let counters = &section.relay.counters;
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let packets = read(&counters.packets);
            let pps = (packets - *before) as f64 / seconds;
            *before = packets;
            lost += read(&counters.lost);
            if section.offered.media == Media::Video {
                frames = Some(read(&counters.frames));
            }
            words.push(format!("{} {pps:.0} pps", section.offered.media.name()));
            list.push(json!({
                "media": section.offered.media.name(), "packets": packets, "pps": pps,
                "bytes": read(&counters.bytes), "frames": read(&counters.frames),
                "lost": read(&counters.lost), "rtcp": read(&counters.rtcp),
            }));
        }
        let decoded = tool.map(Tool::frames).filter(|_| self.role == Role::View);
        let received_fps = frames.map(|frames| (frames - self.frames) as f64 / seconds);
        let decoded_fps = decoded.map(|now| now.saturating_sub(self.decoded) as f64 / seconds);
        self.frames = frames.unwrap_or_default();
        self.decoded = decoded.unwrap_or_default();
        let mut out = std::io::stdout().lock();
        if self.json {
            let role = if self.role == Role::View { "view" } else { "publish" };
            let line = json!({
                "schema": "roomlane.peer.v1", "role": role,
                "seconds": self.started.elapsed().as_secs_f64(), "sections": list, "lost": lost,
                "received_fps": received_fps, "decoded_frames": decoded, "decoded_fps": decoded_fps,
            });
            writeln!(out, "{line}")?;
        } else if self.role == Role::View {
            let fps = decoded_fps.or(received_fps).filter(|_| frames.is_some());
            let fps = fps.map_or(String::new(), |fps| format!("{fps:.0} fps  "));
            writeln!(out, "viewer: {fps}lost {lost}  {}", words.join("  "))?;
        } else {
            writeln!(out, "publisher: {}", words.join("  "))?;
        }
        out.flush()?;
        Ok(())
    }
}
