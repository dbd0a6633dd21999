//! `roomlane capture`: headers of a room's packets, or of one session's, in a file for Wireshark and its
//! like. Never a payload; addresses and names masked unless `--reveal` is given and granted.
//!
//! The file is made here, for this user alone; the control daemon writes none. It is whole after every
//! answer, so that whatever ends the capture leaves a file that can be read.

mod pcapng;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use proto::SessionId;
use proto::capture::{CAPTURE_PACKETS_MAX, CAPTURE_SECONDS_MAX};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::act::ask;
use crate::args::{Place, RoomType};
use crate::exit::{Exit, Failure};
use crate::listing::{List, ListArgs};
use crate::table::{Table, duration};

#[derive(Debug, Args)]
pub struct CaptureArgs {
    #[command(subcommand)]
    act: CaptureAct,
}

#[derive(Debug, Subcommand)]
enum CaptureAct {
    /// Write headers to a file until so many packets or seconds have passed, or Ctrl-C.
    Start(StartArgs),
    /// End a capture, or all; whoever started it keeps what came so far.
    Stop {
        /// Its number, as roomlane capture list prints it [default: all].
        capture: Option<u32>,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// List the captures that run.
    List(ListArgs),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("of").required(true).args(["room", "session"])))]
struct StartArgs {
    /// The room's name or number.
    #[arg(long, value_name = "R")]
    room: Option<String>,
    /// Which kind of room: 123 and "123" are different rooms.
    #[arg(long, value_enum, default_value_t = RoomType::String)]
    room_type: RoomType,
    /// The app (SdkAppId) of the room [default: the first of the configuration].
    #[arg(long, value_name = "N")]
    sdkappid: Option<u32>,
    /// Only packets of this session, as roomlane show session prints it: s0-1-1.
    #[arg(long, value_name = "S", conflicts_with = "sdkappid")]
    session: Option<String>,
    /// The file to write, in the form pcapng; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// End after so many packets.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CAPTURE_PACKETS_MAX)))]
    count: u32,
    /// End after so many seconds.
    #[arg(long, value_name = "N", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CAPTURE_SECONDS_MAX)))]
    seconds: u32,
    /// Write addresses and user ids as they are; the audit file has it.
    #[arg(long)]
    reveal: bool,
    /// Print what was written as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &CaptureArgs) -> Result<(), Failure> {
    match &args.act {
        CaptureAct::Start(args) => start(place, args),
        CaptureAct::Stop { capture, json } => {
            let request = json!({ "act": "capture.stop", "capture": capture });
            let answer = ask(&place.run_dirs()?, &request)?;
            let mut out = std::io::stdout().lock();
            match json {
                true => writeln!(out, "{answer}")?,
                false => writeln!(out, "capture stopped")?,
            }
            Ok(())
        }
        CaptureAct::List(args) => {
            let select = args.select()?;
            let answer = ask(&place.run_dirs()?, &json!({ "act": "capture.list" }))?;
            let table = table(&answer);
            args.print(&select, List { schema: "roomlane.capture.v1", rows: "captures", table })
        }
    }
}

/// A capture's file, and what it has.
struct Target<'a> {
    path: &'a Path,
    out: BufWriter<File>,
    packets: u64,
    skipped: u64,
}

fn start(place: &Place, args: &StartArgs) -> Result<(), Failure> {
    let request = request(place, args)?;
    let dirs = place.run_dirs()?;
    // Before anything is done: a name that is taken, or a folder that is not ours, ends it here.
    let mut target = Target::create(&args.out)?;
    let started = ask(&dirs, &request).inspect_err(|_| target.remove())?;
    let capture = started["capture"].clone();
    let label = plain(&started["room_label"]);
    let shown = if args.reveal { "as they are" } else { "pseudonyms" };
    let begun = pcapng::begin(
        &mut target.out,
        &format!(
            "headers of room {label}, never a payload; addresses are {shown}; IP and UDP headers are \
             made up, their checksums are not those of the wire"
        ),
    );
    begun.map_err(|error| target.failed(&error))?;
    eprintln!(
        "roomlane: capturing headers of room {label} into {}: {} packets or {}, or Ctrl-C",
        args.out.display(),
        args.count,
        duration(u64::from(args.seconds))
    );
    let is_interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_interrupted))?;
    }
    let ended = follow(&dirs, &capture, &is_interrupted, &mut target);
    let interrupted = is_interrupted.load(Ordering::Relaxed);
    target.out.flush().map_err(|error| target.failed(&error))?;
    target.tell(args.json)?;
    ended?;
    if interrupted { Err(Failure::new(Exit::Interrupted, "")) } else { Ok(()) }
}

fn request(place: &Place, args: &StartArgs) -> Result<Value, Failure> {
    let mut request = json!({
        "act": "capture.start", "count": args.count, "seconds": args.seconds, "reveal": args.reveal,
    });
    if let Some(session) = &args.session {
        if session.parse::<SessionId>().is_err() {
            let text = format!("{session:?} is no session id; ids look like s0-1-1");
            return Err(Failure::usage(text));
        }
        request["session"] = session.as_str().into();
        return Ok(request);
    }
    let room = args.room.as_deref().unwrap_or_default();
    if args.room_type == RoomType::Number && room.parse::<u32>().is_err() {
        return Err(Failure::usage("a room of type number is named by a number"));
    }
    request["room"] = room.into();
    request["room_type"] = args.room_type.name().into();
    request["sdkappid"] =
        args.sdkappid.map_or_else(|| crate::why_cmd::first_app(place), Ok)?.into();
    Ok(request)
}

/// Reads until nothing comes any more.
fn follow(
    dirs: &[PathBuf],
    capture: &Value,
    is_interrupted: &AtomicBool,
    target: &mut Target<'_>,
) -> Result<(), Failure> {
    let mut is_stopped = false;
    loop {
        if is_interrupted.load(Ordering::Relaxed) && !is_stopped {
            is_stopped = true;
            // It may have ended by itself just now.
            match ask(dirs, &json!({ "act": "capture.stop", "capture": capture })) {
                Err(failure) if failure.code != Exit::NotFound => return Err(failure),
                _ => {}
            }
        }
        let answer = ask(dirs, &json!({ "act": "capture.read", "capture": capture }))?;
        for packet in answer["packets"].as_array().into_iter().flatten() {
            let read = read(packet).ok_or_else(|| {
                Failure::failed("the control daemon's answer is not what this command reads")
            })?;
            pcapng::packet(&mut target.out, &read).map_err(|error| target.failed(&error))?;
            target.packets += 1;
        }
        target.out.flush().map_err(|error| target.failed(&error))?;
        target.skipped = answer["skipped"].as_u64().unwrap_or_default();
        if answer["is_cut"] == true && answer["is_over"] == true {
            let message = "the data plane went away; what was captured before is in the file";
            return Err(Failure::new(Exit::NoNode, message));
        }
        if answer["is_over"] == true {
            return Ok(());
        }
    }
}

/// A packet of an answer; `None` when it is none.
fn read(packet: &Value) -> Option<pcapng::Packet> {
    let end = |key: &str| -> Option<(IpAddr, u16)> {
        let ip = packet[key][0].as_str()?.parse().ok()?;
        Some((ip, packet[key][1].as_u64()?.try_into().ok()?))
    };
    let hex = packet["head"].as_str()?.as_bytes();
    let byte = |pair: &[u8]| -> Option<u8> {
        // An odd one out is no byte.
        (pair.len() == 2).then_some(())?;
        u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
    };
    let user = packet["user"].as_str().unwrap_or("-");
    let user: String = user.chars().filter(|c| !c.is_control()).collect();
    Some(pcapng::Packet {
        unix_ns: packet["unix_ns"].as_u64()?,
        is_sent: packet["sent"].as_bool()?,
        local: end("local")?,
        remote: end("remote")?,
        len: packet["len"].as_u64()?.try_into().ok()?,
        head: hex.chunks(2).map(byte).collect::<Option<_>>()?,
        comment: format!("{} {user}", packet["session"].as_str()?),
    })
}

impl<'a> Target<'a> {
    /// For this user alone; what is there is not overwritten.
    fn create(path: &'a Path) -> Result<Target<'a>, Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let shown = path.display();
        let file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::new(
                Exit::Refused,
                format!("{shown}: is there already; name another file or remove it"),
            ),
            std::io::ErrorKind::PermissionDenied => {
                Failure::new(Exit::NotPermitted, format!("{shown}: {error}"))
            }
            _ => Failure::failed(format!("{shown}: {error}")),
        })?;
        Ok(Target { path, out: BufWriter::new(file), packets: 0, skipped: 0 })
    }

    /// Nothing was captured into it.
    fn remove(&self) {
        let _ = std::fs::remove_file(self.path);
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        let (path, packets) = (self.path.display(), self.packets);
        Failure::failed(format!("{path}: {error}; {packets} packets are in it"))
    }

    fn tell(&self, json: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let (path, packets) = (self.path.display().to_string(), self.packets);
        if json {
            let (skipped, schema) = (self.skipped, "roomlane.capture.v1");
            let object =
                json!({ "schema": schema, "file": path, "packets": packets, "skipped": skipped });
            writeln!(out, "{object}")?;
        } else {
            writeln!(out, "{packets} packets in {path}")?;
        }
        if self.skipped > 0 {
            eprintln!("roomlane: {} packets were left out: too many at once", self.skipped);
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or("-").chars().filter(|c| !c.is_control()).collect()
}

fn table(answer: &Value) -> Table {
    let mut table = Table::new(&[
        ">capture",
        ">app",
        ">room",
        "label",
        "session",
        ">packets",
        ">of",
        ">left",
        ">skipped",
        "addresses",
        ">uid",
    ]);
    for row in answer["captures"].as_array().into_iter().flatten() {
        let number = |key: &str| row[key].as_u64().unwrap_or_default();
        table.row(vec![
            number("capture").to_string(),
            number("sdkappid").to_string(),
            number("room").to_string(),
            plain(&row["room_label"]),
            plain(&row["session"]),
            number("packets").to_string(),
            number("count").to_string(),
            duration(number("seconds_left")),
            number("skipped").to_string(),
            if row["reveals"] == true { "in the clear" } else { "masked" }.to_owned(),
            number("uid").to_string(),
        ]);
        table.about(row.clone());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_of_an_answer_is_read_and_anything_else_is_refused() {
        let whole = json!({
            "session": "s0-1-1", "user": "al***e\u{1b}", "sent": true, "unix_ns": 5, "len": 99,
            "head": "80ff", "local": ["198.18.7.2", 8000], "remote": ["240.1.2.3", 5000],
        });
        let packet = read(&whole).unwrap();
        assert_eq!((packet.head, packet.comment.as_str()), (vec![0x80, 0xff], "s0-1-1 al***e"));
        for (key, value) in
            [("head", json!("8")), ("head", json!("zz")), ("local", json!(["x", 1]))]
        {
            let mut broken = whole.clone();
            broken[key] = value;
            assert_eq!(read(&broken), None, "{key}");
        }
    }

    #[test]
    fn a_file_that_is_there_is_refused_and_kept_and_a_new_one_is_this_users_alone() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("rl-capture-{}.pcapng", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let target = Target::create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let failure = Target::create(&path).err().unwrap();
        assert_eq!(failure.code, Exit::Refused);
        target.remove();
        assert!(!path.exists());
    }

    #[test]
    fn what_runs_is_a_line_each() {
        let answer = json!({"captures": [{
            "capture": 3, "uid": 0, "sdkappid": 7, "room": 5, "room_label": "d***\u{1b}",
            "session": null, "packets": 12, "count": 1000, "seconds_left": 70, "skipped": 0,
            "reveals": false,
        }]});
        let mut out = vec![];
        table(&answer).write(&mut out, false).unwrap();
        let line = "3  7  5  d***  -  12  1000  1m10s  0  masked  0\n";
        assert_eq!(String::from_utf8(out).unwrap(), line);
    }
}
