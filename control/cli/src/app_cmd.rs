//! `roomlane app`: tenants, while the node runs. The control daemon writes each change down beside the
//! configuration, so that a restart keeps it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::act::ask;
use crate::args::Place;
use crate::exit::{Exit, Failure};
use crate::table::Table;

#[derive(Debug, Args)]
pub struct AppArgs {
    #[command(subcommand)]
    act: AppAct,
}

#[derive(Debug, Subcommand)]
enum AppAct {
    /// List apps: state, use and quotas.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show one app.
    Show {
        /// The app (SdkAppId).
        app: u32,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Make an app; without --secret-file the node makes a secret and says where it lies.
    Add {
        /// Its id (SdkAppId).
        app: u32,
        /// The file of its secret: mode 0400, readable by the control daemon.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// A UserSig alone does not open a room.
        #[arg(long)]
        private_map_key_required: bool,
        #[command(flatten)]
        quota: Limits,
    },
    /// Put a new secret first; the old ones verify on until --finish.
    RotateSecret {
        /// The app (SdkAppId).
        app: u32,
        /// The file of the new secret [default: the node makes one].
        #[arg(long, value_name = "FILE", conflicts_with = "finish")]
        secret_file: Option<PathBuf>,
        /// Keep the first secret only: tokens made with older ones are refused.
        #[arg(long)]
        finish: bool,
    },
    /// Refuse joins and renewals of an app; its calls go on until their grants end.
    Suspend {
        /// The app (SdkAppId).
        app: u32,
        /// End its rooms, too.
        #[arg(long)]
        end_rooms: bool,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
    /// Take joins of a suspended app again.
    Resume {
        /// The app (SdkAppId).
        app: u32,
    },
    /// Change limits of an app; 0 is unlimited, what is not named stays.
    #[command(arg_required_else_help = true)]
    Quota {
        /// The app (SdkAppId).
        app: u32,
        #[command(flatten)]
        quota: Limits,
    },
}

/// Limits of an app.
#[derive(Debug, Args)]
struct Limits {
    /// Sessions per shard.
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
    /// Rooms per shard.
    #[arg(long, value_name = "N")]
    rooms: Option<u32>,
    /// Received packets per second and shard.
    #[arg(long, value_name = "N")]
    packets_per_s: Option<u64>,
    /// Received bytes per second and shard.
    #[arg(long, value_name = "N")]
    bytes_per_s: Option<u64>,
    /// Joins per second on the node.
    #[arg(long, value_name = "N")]
    joins_per_s: Option<u32>,
}

impl Limits {
    fn json(&self) -> Value {
        let all = json!({
            "sessions": self.sessions, "rooms": self.rooms, "packets_per_s": self.packets_per_s,
            "bytes_per_s": self.bytes_per_s, "joins_per_s": self.joins_per_s,
        });
        let named = all.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        Value::Object(named.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

/// Runs the subcommand.
pub fn run(place: &Place, args: &AppArgs) -> Result<(), Failure> {
    let (request, done) = match &args.act {
        AppAct::List { json } => return show(place, None, *json),
        AppAct::Show { app, json } => return show(place, Some(*app), *json),
        AppAct::Add { app, secret_file, private_map_key_required, quota } => {
            let file = absolute(secret_file)?;
            let request = json!({
                "act": "app.add", "sdkappid": app, "secret_file": file, "quota": quota.json(),
                "private_map_key_required": private_map_key_required,
            });
            (request, format!("app {app} added"))
        }
        AppAct::RotateSecret { app, secret_file, finish } => {
            let file = absolute(secret_file)?;
            let act = "app.rotate_secret";
            let request =
                json!({ "act": act, "sdkappid": app, "secret_file": file, "finish": finish });
            let done = match finish {
                true => format!("app {app}: only the newest secret is left"),
                false => format!(
                    "app {app}: a new secret is first; once issuers use it: \
                     roomlane app rotate-secret {app} --finish"
                ),
            };
            (request, done)
        }
        AppAct::Suspend { app, end_rooms, yes } => {
            if *end_rooms {
                crate::node_cmd::confirm(*yes, &format!("end all rooms of app {app}"))?;
            }
            let request = json!({ "act": "app.suspend", "sdkappid": app, "end_rooms": end_rooms });
            (request, format!("app {app} suspended"))
        }
        AppAct::Resume { app } => {
            (json!({ "act": "app.resume", "sdkappid": app }), format!("app {app} resumed"))
        }
        AppAct::Quota { app, quota } => {
            let quota = quota.json();
            if quota.as_object().is_some_and(serde_json::Map::is_empty) {
                return Err(Failure::usage("no limit named; see roomlane app quota --help"));
            }
            let request = json!({ "act": "app.quota", "sdkappid": app, "quota": quota });
            (request, format!("app {app}: quota changed"))
        }
    };
    let answer = ask(&place.run_dirs()?, &request)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{done}")?;
    for key in answer["keys"].as_array().into_iter().flatten() {
        let text = |name: &str| key[name].as_str().unwrap_or("-").to_owned();
        writeln!(out, "{}: {} -> {}", text("key"), text("was"), text("now"))?;
    }
    Ok(())
}

/// The daemon has another working directory.
fn absolute(file: &Option<PathBuf>) -> Result<Option<PathBuf>, Failure> {
    Ok(file.as_ref().map(std::path::absolute).transpose()?)
}

fn show(place: &Place, only: Option<u32>, json: bool) -> Result<(), Failure> {
    let mut answer = ask(&place.run_dirs()?, &json!({ "act": "app.list" }))?;
    if let (Some(only), Some(apps)) = (only, answer["apps"].as_array_mut()) {
        apps.retain(|app| app["sdkappid"] == only);
        if apps.is_empty() {
            let text = format!("no app {only}; see roomlane app list");
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    let mut out = std::io::stdout().lock();
    if json {
        answer["schema"] = "roomlane.app.v1".into();
        writeln!(out, "{answer}")?;
        return Ok(());
    }
    let apps = answer["apps"].as_array().into_iter().flatten();
    table(apps).write(&mut out, true)?;
    Ok(())
}

/// A row for each app.
pub fn table<'a>(apps: impl Iterator<Item = &'a Value>) -> Table {
    let names = [
        ">app",
        "state",
        ">rooms",
        ">of",
        ">sessions",
        ">of",
        ">joins/s",
        ">packets/s",
        ">bytes/s",
        ">secrets",
        "demo",
    ];
    let mut table = Table::new(&names);
    for app in apps {
        let number = |key: &str| app[key].as_u64().unwrap_or_default();
        let limit = |key: &str| match number(key) {
            0 => "-".to_owned(),
            limit => limit.to_string(),
        };
        table.row(vec![
            number("sdkappid").to_string(),
            app["state"].as_str().unwrap_or("-").to_owned(),
            number("rooms").to_string(),
            limit("quota_rooms"),
            number("sessions").to_string(),
            limit("quota_sessions"),
            limit("quota_joins_per_s"),
            limit("quota_packets_per_s"),
            limit("quota_bytes_per_s"),
            app["secret_files"].as_array().map_or(0, Vec::len).to_string(),
            if app["demo"] == true { "yes" } else { "no" }.to_owned(),
        ]);
        table.about(app.clone());
    }
    table
}
