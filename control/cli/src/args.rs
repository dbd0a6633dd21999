//! The command line: what clap parses. What it means is in the modules named after the commands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use config::Config;

use crate::exit::Failure;

/// A node of a real-time media network: start it, look at it, act on it.
#[derive(Parser)]
#[command(
    name = "roomlane",
    disable_version_flag = true,
    arg_required_else_help = true,
    allow_external_subcommands = true,
    after_help = "An unknown COMMAND runs the program roomlane-COMMAND.\n\nExit codes: 0 ok, 1 failed, \
                  2 usage, 3 configuration invalid, 4 no node, 5 not permitted, 6 not found, \
                  7 refused by state, 124 timed out, 130 interrupted."
)]
pub struct Arguments {
    #[command(flatten)]
    pub place: Place,
    /// Print the version, and the ports and drivers of the data plane.
    #[arg(long, short = 'V')]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Which node is meant.
#[derive(Debug, Args, Clone, Default)]
pub struct Place {
    /// The folder of the node's sockets [default: that of the configuration, or /run/roomlane, or
    /// $XDG_RUNTIME_DIR/roomlane].
    #[arg(long, global = true, value_name = "RUN_DIR")]
    pub node: Option<PathBuf>,
    /// The node's configuration [default: /etc/roomlane/node.toml].
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Place {
    /// The configuration file to use, if there is one.
    pub fn config_path(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(config::DEFAULT_PATH)).filter(|path| path.exists());
        self.config.clone().or_else(default)
    }

    /// The configuration, when it was named or lies at its place.
    pub fn load(&self) -> Result<Option<(PathBuf, Config)>, Failure> {
        let Some(path) = self.config_path() else { return Ok(None) };
        let config = Config::load(&path).map_err(|errors| Failure::config(errors.to_string()))?;
        Ok(Some((path, config)))
    }

    /// Folders in which the node's sockets may be, the likeliest first.
    pub fn run_dirs(&self) -> Result<Vec<PathBuf>, Failure> {
        if let Some(dir) = &self.node {
            return Ok(vec![dir.clone()]);
        }
        if let Some(path) = &self.config {
            let config = Config::load_alone(path);
            let config = config.map_err(|errors| Failure::config(errors.to_string()))?;
            return Ok(vec![config.run_dir()]);
        }
        let mut dirs = config::run_dirs();
        // A host-wide configuration may name a folder; one that does not parse must not hide a node.
        if let Ok(config) = Config::load_alone(Path::new(config::DEFAULT_PATH))
            && let Some(dir) = config.node.run_dir
            && !dirs.contains(&dir)
        {
            dirs.insert(0, dir);
        }
        Ok(dirs)
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Start a node: the data plane and the control daemon, restarted when they die.
    Up,
    /// Show what a node does.
    Show(ShowArgs),
    /// Say at which step media between two members of a room stops, and what to do.
    Why(WhyArgs),
    /// Show what happened lately to one user, room, session, app or address.
    Trail(TrailArgs),
    /// Trace the next packets of a room through the stages: headers and masked ids only.
    #[command(arg_required_else_help = true)]
    Trace(TraceArgs),
    /// Write packet headers of a room or session to a file for Wireshark: never a payload, masked.
    #[command(arg_required_else_help = true)]
    Capture(crate::capture::CaptureArgs),
    /// Write what support needs into one file: masked, without secrets.
    SupportBundle(BundleArgs),
    /// See and steer what somebody has to look after.
    #[command(arg_required_else_help = true)]
    Incident(crate::incident_cmd::IncidentArgs),
    /// Act on a room.
    #[command(arg_required_else_help = true)]
    Room(RoomArgs),
    /// Act on a session.
    #[command(arg_required_else_help = true)]
    Session(SessionArgs),
    /// Let figures count from now on, for this user.
    Clear {
        /// Whose.
        what: Cleared,
    },
    /// Make, list, suspend and bound apps while the node runs.
    #[command(arg_required_else_help = true)]
    App(crate::app_cmd::AppArgs),
    /// Take no new sessions; wait until the others have ended.
    Drain(crate::node_cmd::DrainArgs),
    /// Take new sessions again.
    Undrain,
    /// Change the log level, a limit, or whether new sessions are taken.
    #[command(arg_required_else_help = true)]
    Set(crate::node_cmd::SetArgs),
    /// Check, show, compare, reload or revert the configuration; print a commented one or its schema.
    #[command(arg_required_else_help = true)]
    Config(ConfigArgs),
    /// Look at the host: memory, privileges, cores, devices; print what would fix each problem.
    Doctor(crate::doctor::DoctorArgs),
    /// Break one thing of a lab node on purpose, measure what is promised for that, write a report.
    Drill(crate::drill::DrillArgs),
    /// Publish to a room or view one with an ordinary media tool.
    #[command(arg_required_else_help = true)]
    Peer(PeerArgs),
    /// Make, verify and explain UserSig and PrivateMapKey tokens.
    Token(crate::token_cmd::TokenArgs),
    /// Check the record of operators' acts.
    #[command(arg_required_else_help = true)]
    Audit(crate::audit_cmd::AuditArgs),
    /// The terminal dashboard (runs roomlane-top).
    Top(TopArgs),
    /// Measure: loads, ladders, flame graphs (runs roomlane-perf).
    Perf(PerfArgs),
    /// Clear away what a data plane that was killed left behind; service units run it.
    #[command(hide = true)]
    Release,
    /// Print what makes a shell complete these commands.
    #[command(arg_required_else_help = true)]
    Completions(crate::pages::CompletionsArgs),
    /// Print the manual page, or write those of all commands and programs.
    Man(crate::pages::ManArgs),
    #[command(external_subcommand)]
    External(Vec<OsString>),
}

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Noun {
    /// The node as a whole.
    Node,
    /// Workers: core, load, buffers.
    Worker,
    /// The port: device, counters below UDP.
    Port,
    /// Rooms.
    Room,
    /// Sessions.
    Session,
    /// Drops by reason.
    Drops,
    /// Calls, packets and cycles by stage.
    Runtime,
    /// Packet buffers of each worker.
    Buffers,
    /// Apps: state, use and quotas (asks the control daemon).
    App,
    /// Streams: each SSRC in, each slot out, with loss, jitter, repairs, round trip (asks control).
    Stream,
    /// Why tokens were refused lately, by reason, and what to do (asks control).
    Token,
    /// What happened lately: joins, refusals, changes, ends, acts, drops (asks control).
    Events,
    /// Versions of this command, the data plane and control.
    Version,
}

impl Noun {
    /// The word on the command line and in schemas.
    pub fn name(self) -> &'static str {
        match self {
            Noun::Node => "node",
            Noun::Worker => "worker",
            Noun::Port => "port",
            Noun::Room => "room",
            Noun::Session => "session",
            Noun::Drops => "drops",
            Noun::Runtime => "runtime",
            Noun::Buffers => "buffers",
            Noun::App => "app",
            Noun::Stream => "stream",
            Noun::Token => "token",
            Noun::Events => "events",
            Noun::Version => "version",
        }
    }
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// What to show.
    pub noun: Noun,
    /// Only this worker, room (its number), session (its id); of streams those of a room or session; of
    /// events a subject as in roomlane trail; of tokens a reason; of port xstats, its driver's counters.
    pub id: Option<String>,
    /// Print JSON: one object, with --watch one a line.
    #[arg(long)]
    pub json: bool,
    /// The form of the output; json is the same as --json.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Only rows where a member of --json has this value; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    /// Sort rows by a member of --json; -KEY for the largest first.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Show it again and again, until interrupted.
    #[arg(long, short)]
    pub watch: bool,
    /// Without the line of column names.
    #[arg(long)]
    pub no_header: bool,
    /// Of rooms and sessions: names as they are; needs the right to act, and the audit file has it.
    #[arg(long, conflicts_with = "watch")]
    pub reveal: bool,
    /// Drop reasons without a drop, too.
    #[arg(long)]
    pub all: bool,
    /// How long rates are measured, and with --watch how often it is shown: 500ms, 1s; milliseconds
    /// without a unit [default: 250ms; of streams, and with --watch, 1s].
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
}

/// What can be cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Cleared {
    /// The figures of roomlane show runtime.
    Runtime,
}

/// The form of what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs, with a schema.
    Json,
    /// For spreadsheets; lists inside rows are left out.
    Csv,
}

/// 20 ms to a minute.
fn interval(text: &str) -> Result<Duration, String> {
    let time = match text.parse() {
        Ok(ms) => Duration::from_millis(ms),
        Err(_) => crate::node_cmd::duration(text)?,
    };
    let allowed = Duration::from_millis(20)..=Duration::from_secs(60);
    if allowed.contains(&time) { Ok(time) } else { Err("allowed: 20ms to 60s".to_owned()) }
}

#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The room's name or number.
    #[arg(long, value_name = "R")]
    pub room: String,
    /// Who is not heard or seen: a user id.
    #[arg(long, value_name = "A")]
    pub from: String,
    /// Who does not hear or see: a user id.
    #[arg(long, value_name = "B")]
    pub to: String,
    /// The app (SdkAppId) [default: the first of the configuration].
    #[arg(long, value_name = "N")]
    pub sdkappid: Option<u32>,
    /// Which kind of room: 123 and "123" are different rooms.
    #[arg(long, value_enum, default_value_t = RoomType::String)]
    pub room_type: RoomType,
    /// Names as they are; needs the right to act, and the audit file has it.
    #[arg(long)]
    pub reveal: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TrailArgs {
    /// A mask as consoles print it (al***e, 203.0.113.x), a session (s0-1-1) or an app (app:7). A name in
    /// the clear is masked first; whoever shares its mask is shown, too.
    pub subject: String,
    /// Names of those who are there still; needs the right to act, and the audit file has it.
    #[arg(long)]
    pub reveal: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Without the line of column names.
    #[arg(long)]
    pub no_header: bool,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    #[command(subcommand)]
    pub act: TraceAct,
}

#[derive(Debug, Subcommand)]
pub enum TraceAct {
    /// Start a trace; the one before is forgotten.
    Start {
        /// The room's name or number.
        #[arg(long, value_name = "R")]
        room: String,
        /// Which kind of room: 123 and "123" are different rooms.
        #[arg(long, value_enum, default_value_t = RoomType::String)]
        room_type: RoomType,
        /// The app (SdkAppId) [default: the first of the configuration].
        #[arg(long, value_name = "N")]
        sdkappid: Option<u32>,
        /// How many packets, on each shard that has sessions of the room.
        #[arg(long, value_name = "N", default_value_t = 50,
              value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        /// Only packets that are dropped, or a copy of which is.
        #[arg(long)]
        drop_only: bool,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop it.
    Stop {
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what was traced.
    Show {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Without the line of column names.
        #[arg(long)]
        no_header: bool,
    },
}

#[derive(Debug, Args)]
pub struct BundleArgs {
    /// The file to write, a tar archive under zstd; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The node's log [default: the journal of its units].
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RoomArgs {
    #[command(subcommand)]
    pub act: RoomAct,
}

#[derive(Debug, Subcommand)]
pub enum RoomAct {
    /// End a room: everybody is removed, and no packet of theirs passes any more.
    End {
        /// The app (SdkAppId).
        app: u32,
        /// The room's name or number.
        room: String,
        /// Which kind of room: 123 and "123" are different rooms.
        #[arg(long, value_enum, default_value_t = RoomType::String)]
        room_type: RoomType,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct SessionArgs {
    #[command(subcommand)]
    pub act: SessionAct,
}

#[derive(Debug, Subcommand)]
pub enum SessionAct {
    /// End a session: its next packet is counted and dropped.
    Kick {
        /// Its id, as roomlane show session prints it: s0-1-1.
        id: String,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How a room is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoomType {
    /// By a text.
    String,
    /// By a number.
    Number,
}

impl RoomType {
    /// The word in requests.
    pub fn name(self) -> &'static str {
        match self {
            RoomType::String => "string",
            RoomType::Number => "number",
        }
    }
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub act: ConfigAct,
}

#[derive(Debug, Subcommand)]
pub enum ConfigAct {
    /// Say whether a configuration is valid: exit code 0 if it is, 3 if not. Changes nothing.
    Check {
        /// The file [default: --config, or /etc/roomlane/node.toml].
        file: Option<PathBuf>,
        /// Do not look at the files of secrets and keys.
        #[arg(long)]
        no_secrets: bool,
    },
    /// Print a commented configuration with every key and its default.
    Sample,
    /// Print the configuration's JSON schema, for editors.
    Schema,
    /// Show what the running node obeys; secrets by the names of their files.
    Show {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what a reload would change, and what needs a restart: exit code 0 if nothing, 1 if something.
    Diff {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Apply the file to the running node without losing a session or a packet.
    Reload {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Put back what ran before the last reload; the file stays as it is.
    Revert {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// Arguments of roomlane-top.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub rest: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct PerfArgs {
    /// Arguments of roomlane-perf.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub rest: Vec<OsString>,
}

#[derive(Debug, Args)]
pub struct PeerArgs {
    /// What the peer does.
    #[arg(value_enum)]
    pub role: Role,
    /// The tool that makes or takes the media; print only says how.
    #[arg(long, value_enum, default_value_t = Via::Gst)]
    pub via: Via,
    /// The room, by name.
    #[arg(long, value_name = "R", required_unless_present = "room_number")]
    pub room: Option<String>,
    /// The room, by number.
    #[arg(long, value_name = "N", conflicts_with = "room")]
    pub room_number: Option<u32>,
    /// The user id.
    #[arg(long, value_name = "U")]
    pub user: String,
    /// Which media.
    #[arg(long, value_enum, default_value_t = Kind::Av)]
    pub kind: Kind,
    /// The app [default: the first of the configuration].
    #[arg(long, value_name = "N")]
    pub sdkappid: Option<u32>,
    /// The file with the app's secret [default: the configuration's].
    #[arg(long, value_name = "F")]
    pub secret_file: Option<PathBuf>,
    /// Rights in the room: all, audience, a number, or names joined by commas.
    #[arg(long, value_name = "P", default_value = "all")]
    pub privileges: token::Privileges,
    /// Lifetime of the tokens, in seconds.
    #[arg(long, value_name = "S", default_value_t = 86_400,
          value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub expire: u64,
    /// Where the node's signalling listens: http://HOST:PORT or unix:/PATH [default: the
    /// configuration's, or http://127.0.0.1:8080].
    #[arg(long)]
    pub url: Option<String>,
    /// Our address for media [default: the one from which signalling is reached].
    #[arg(long, value_name = "IP")]
    pub media_address: Option<std::net::IpAddr>,
    /// Only this publisher (view).
    #[arg(long, value_name = "U")]
    pub publisher: Option<String>,
    /// Publish as the room's substream (screen).
    #[arg(long)]
    pub substream: bool,
    /// Leave after so many seconds [default: when interrupted].
    #[arg(long, value_name = "S")]
    pub duration: Option<u64>,
    /// Print figures as JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Sends a test picture and tone.
    Publish,
    /// Receives and counts.
    View,
}

/// The tool behind a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// GStreamer (AEAD_AES_128_GCM).
    Gst,
    /// ffmpeg (AES_CM_128_HMAC_SHA1_80).
    Ffmpeg,
    /// Joins, prints the GStreamer pipeline to run elsewhere on this host, and carries its packets.
    Print,
}

/// Which media a peer sends or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Sound and picture.
    Av,
    /// Sound.
    Audio,
    /// Picture.
    Video,
}
