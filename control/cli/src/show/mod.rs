//! `roomlane show`: the stats region as tables, or as one JSON object with a versioned schema.

pub mod baseline;
mod buffers;
mod drops;
mod lately;
mod node;
mod port;
mod reveal;
mod room;
mod runtime;
pub mod select;
mod session;
mod stream;
mod version;
mod worker;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::link::ADMIN_SOCKET;
use serde_json::{Map, Value, json};
use stats::{Rates, Snapshot, Stats};

use crate::args::{Noun, Output, Place, ShowArgs};
use crate::exit::{Exit, Failure};
use crate::table::Table;
use crate::{act, app_cmd};
use select::Select;

/// Without a heartbeat for so long, data is old and is said to be.
pub const STALE_NS: u64 = 1_000_000_000;

/// What there is to show.
struct Scene {
    snapshot: Snapshot,
    /// Zeros for nouns that show no rates.
    rates: Rates,
    control_alive: bool,
    /// The counters of the port's driver, where they are shown.
    xstats: Vec<(String, u64)>,
}

/// A noun's table for people and its members for programs.
struct Shown {
    tables: Vec<Table>,
    json: Map<String, Value>,
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &ShowArgs) -> Result<(), Failure> {
    let select = Select::new(&args.filter, args.sort.as_deref())?;
    reveal::check(args)?;
    let dirs = place.run_dirs()?;
    // First: who may not see names is told so, and written down, whatever else they may see.
    let names = reveal::names(&dirs, args)?;
    let stats = match args.noun {
        Noun::Version => Stats::find(&dirs).ok(),
        _ => Some(Stats::find(&dirs)?),
    };
    let is_json = args.json || args.output == Output::Json;
    let mut is_first = true;
    loop {
        let scene = stats.as_ref().map(|stats| look(stats, args));
        let mut shown = match &scene {
            Some(scene) if !asks_control(args.noun) => show(scene, args)?,
            _ => asked(&dirs, args)?,
        };
        if let Some(names) = &names {
            reveal::apply(&mut shown, args.noun, names);
        }
        select.tables(&mut shown.tables)?;
        select.json(&mut shown.json);
        let mut out = std::io::stdout().lock();
        let header = !args.no_header && (is_first || args.output == Output::Table);
        if is_json {
            writeln!(out, "{}", envelope(scene.as_ref(), args.noun, shown.json))?;
        } else if args.output == Output::Csv {
            select::csv(&mut out, &shown.tables, &Value::Object(shown.json), header)?;
        } else {
            if !is_first {
                writeln!(out)?;
            }
            people(&mut out, &shown.tables, header)?;
        }
        out.flush()?;
        if let Some(scene) = &scene
            && !is_json
            && scene.snapshot.age_ns() > STALE_NS
        {
            let age = scene.snapshot.age_ns() as f64 / 1e9;
            eprintln!("roomlane: the data is {age:.1} s old: the data plane does not answer");
        }
        if !args.watch {
            return Ok(());
        }
        is_first = false;
        if !measures(args.noun) && args.noun != Noun::Stream {
            std::thread::sleep(interval(args));
        }
    }
}

fn people(out: &mut dyn Write, tables: &[Table], header: bool) -> std::io::Result<()> {
    for (index, table) in tables.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        table.write(out, header)?;
    }
    Ok(())
}

fn interval(args: &ShowArgs) -> Duration {
    // Media comes in pictures and frames: over less than a second their rate says little.
    let default = if args.watch || args.noun == Noun::Stream { 1000 } else { 250 };
    args.interval.unwrap_or(Duration::from_millis(default))
}

/// Whether showing it takes the interval's time.
fn measures(noun: Noun) -> bool {
    matches!(noun, Noun::Node | Noun::Worker | Noun::Drops)
}

/// Whether the control daemon has what is shown.
fn asks_control(noun: Noun) -> bool {
    use Noun::{App, Events, Stream, Token, Version};
    matches!(noun, App | Stream | Token | Events | Version)
}

/// What the control daemon has.
fn asked(dirs: &[PathBuf], args: &ShowArgs) -> Result<Shown, Failure> {
    let id = args.id.as_deref();
    match args.noun {
        Noun::App => app(dirs, id),
        Noun::Stream => stream::show(dirs, id, interval(args)),
        Noun::Token => lately::token(dirs, id),
        Noun::Events => lately::events(dirs, id),
        _ => no_id(id, args).map(|()| version::show(dirs, args)),
    }
}

/// Apps, from the control daemon.
fn app(dirs: &[PathBuf], id: Option<&str>) -> Result<Shown, Failure> {
    let mut answer = act::ask(dirs, &json!({ "act": "app.list" }))?;
    let only: Option<u32> = match id {
        None => None,
        Some(id) => {
            let wrong = |_| Failure::usage(format!("{id:?} is no app; see roomlane app list"));
            Some(id.parse().map_err(wrong)?)
        }
    };
    if let (Some(only), Some(apps)) = (only, answer["apps"].as_array_mut()) {
        apps.retain(|app| app["sdkappid"] == only);
        if apps.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("no app {only}")));
        }
    }
    let table = app_cmd::table(answer["apps"].as_array().into_iter().flatten());
    Ok(Shown { tables: vec![table], json: members(json!({ "apps": answer["apps"] })) })
}

fn look(stats: &Stats, args: &ShowArgs) -> Scene {
    let mut snapshot = stats.snapshot();
    let mut rates = Rates::between(&snapshot, &snapshot);
    if measures(args.noun) {
        std::thread::sleep(interval(args));
        let later = stats.snapshot();
        rates = Rates::between(&snapshot, &later);
        snapshot = later;
    }
    if args.noun == Noun::Runtime {
        baseline::apply(&mut snapshot);
    }
    let xstats = match args.noun {
        Noun::Port => stats.xstats(),
        _ => vec![],
    };
    Scene { snapshot, rates, control_alive: control_alive(stats.run_dir()), xstats }
}

/// Whether somebody listens on the admin socket.
fn control_alive(run_dir: &Path) -> bool {
    match UnixStream::connect(run_dir.join(ADMIN_SOCKET)) {
        Ok(_) => true,
        // Somebody is there who does not talk to us.
        Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

fn show(scene: &Scene, args: &ShowArgs) -> Result<Shown, Failure> {
    let id = args.id.as_deref();
    match args.noun {
        Noun::Node => no_id(id, args).map(|()| node::show(scene)),
        Noun::Worker => worker::show(scene, id),
        Noun::Port => match id {
            Some("xstats") => Ok(port::xstats(&scene.xstats)),
            _ => no_id(id, args).map(|()| port::show(scene)),
        },
        Noun::Room => room::show(scene, id),
        Noun::Session => session::show(scene, id),
        Noun::Drops => no_id(id, args).map(|()| drops::show(scene, args.all)),
        Noun::Runtime => runtime::show(scene, id),
        Noun::Buffers => buffers::show(scene, id),
        Noun::App | Noun::Stream | Noun::Token | Noun::Events | Noun::Version => {
            Err(Failure::usage("this is shown by the control daemon"))
        }
    }
}

fn no_id(id: Option<&str>, args: &ShowArgs) -> Result<(), Failure> {
    match id {
        None => Ok(()),
        Some(id) => Err(Failure::usage(format!("show {} takes no {id:?}", args.noun.name()))),
    }
}

/// The index that an id names, or why not.
fn shard_of(scene: &Scene, id: Option<&str>) -> Result<Option<usize>, Failure> {
    let Some(id) = id else { return Ok(None) };
    let index = id.parse().map_err(|_| Failure::usage(format!("{id:?} is no worker's number")))?;
    if index < scene.snapshot.shards.len() {
        return Ok(Some(index));
    }
    let last = scene.snapshot.shards.len() - 1;
    Err(Failure::new(Exit::NotFound, format!("no worker {id}; there are 0 to {last}")))
}

fn envelope(scene: Option<&Scene>, noun: Noun, members: Map<String, Value>) -> Value {
    let mut object = Map::new();
    object.insert("schema".into(), json!(format!("roomlane.{}.v1", noun.name())));
    let snapshot = scene.map(|scene| &scene.snapshot);
    let age_ns = snapshot.map(Snapshot::age_ns);
    let instance = snapshot.map(|snapshot| format!("{:016x}", snapshot.node.instance));
    object.insert("instance".into(), json!(instance));
    object.insert("age_ms".into(), json!(age_ns.map(|age_ns| age_ns / 1_000_000)));
    object.insert("stale".into(), json!(age_ns.is_none_or(|age_ns| age_ns > STALE_NS)));
    object.insert("control_alive".into(), json!(scene.is_some_and(|scene| scene.control_alive)));
    object.extend(members);
    Value::Object(object)
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// The node's self-description; null where it wrote none.
fn about(scene: &Scene) -> Value {
    serde_json::from_str(&scene.snapshot.node.about).unwrap_or(Value::Null)
}

/// A member of the self-description as text for a terminal.
fn about_text(about: &Value, key: &str) -> String {
    let text = match &about[key] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let texts = items.iter().map(|i| i.as_str().map_or(i.to_string(), str::to_owned));
            texts.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    };
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A member of an answer as text for a terminal.
pub(crate) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        other => other.to_string(),
    }
}

/// A moment of the monotonic clock, as seconds ago.
fn ago_s(scene: &Scene, then_ns: u64) -> u64 {
    scene.snapshot.taken_ns.saturating_sub(then_ns) / 1_000_000_000
}

#[cfg(test)]
mod tests;
