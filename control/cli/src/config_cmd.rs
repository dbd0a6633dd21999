//! `roomlane config`: the file by itself, and against what the running node obeys.

use std::io::Write;
use std::path::{Path, PathBuf};

use config::{Config, SecretError, secret};
use serde_json::{Value, json};

use crate::act;
use crate::args::{ConfigAct, ConfigArgs, Place};
use crate::exit::{Exit, Failure};
use crate::table::Table;

/// Runs the subcommand.
pub fn run(place: &Place, args: &ConfigArgs) -> Result<(), Failure> {
    match &args.act {
        ConfigAct::Sample => Ok(std::io::stdout().lock().write_all(config::sample().as_bytes())?),
        ConfigAct::Check { file, no_secrets } => {
            let path = file.clone().or_else(|| place.config.clone());
            check(&path.unwrap_or_else(|| PathBuf::from(config::DEFAULT_PATH)), *no_secrets)
        }
        ConfigAct::Schema => Ok(std::io::stdout().lock().write_all(config::schema().as_bytes())?),
        ConfigAct::Show { json } => show(place, *json),
        ConfigAct::Diff { json } => match differences(place, "config.diff", *json)? {
            0 => Ok(()),
            _ => Err(Failure::failed("")),
        },
        ConfigAct::Reload { json } => differences(place, "config.reload", *json).map(drop),
        ConfigAct::Revert { json } => differences(place, "config.revert", *json).map(drop),
    }
}

/// An answer as one JSON object of a schema.
fn print_json(answer: &Value, schema: &str) -> Result<(), Failure> {
    let mut object = answer.clone();
    object["schema"] = schema.into();
    Ok(writeln!(std::io::stdout().lock(), "{object}")?)
}

fn show(place: &Place, json: bool) -> Result<(), Failure> {
    let answer = act::ask(&place.run_dirs()?, &json!({ "act": "config.show" }))?;
    if json {
        return print_json(&answer, "roomlane.config.v1");
    }
    let mut table = Table::new(&["key", "value"]);
    for (key, value) in answer["settings"].as_object().into_iter().flatten() {
        table.row(vec![plain(key), plain(&value.to_string())]);
    }
    table.write(&mut std::io::stdout().lock(), true)?;
    Ok(())
}

/// Asks for something that answers with changed keys, prints them, and says how many there are.
fn differences(place: &Place, act: &str, json: bool) -> Result<usize, Failure> {
    let answer = act::ask(&place.run_dirs()?, &json!({ "act": act }))?;
    let keys = answer["keys"].as_array().cloned().unwrap_or_default();
    if json {
        print_json(&answer, "roomlane.config_changes.v1")?;
        return Ok(keys.len());
    }
    if keys.is_empty() {
        writeln!(std::io::stdout().lock(), "nothing differs")?;
        return Ok(0);
    }
    let mut table = Table::new(&["key", "state", "was", "now"]);
    for key in &keys {
        let text = |name: &str| plain(key[name].as_str().unwrap_or("-"));
        table.row(vec![text("key"), text("state"), text("was"), text("now")]);
    }
    table.write(&mut std::io::stdout().lock(), true)?;
    Ok(keys.len())
}

/// What a terminal would obey is left out.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn check(path: &Path, no_secrets: bool) -> Result<(), Failure> {
    let config = Config::load(path).map_err(|errors| {
        eprintln!("{errors}");
        Failure::new(Exit::Config, "")
    })?;
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    let problems = if no_secrets { vec![] } else { key_files(&config) };
    for problem in &problems {
        eprintln!("{}: {problem}", path.display());
    }
    if problems.iter().any(|problem| matches!(problem, Problem::Error(_))) {
        return Err(Failure::new(Exit::Config, ""));
    }
    let mut out = std::io::stdout().lock();
    let (apps, workers) = (config.apps.len(), config.workers.shards());
    let (port, listen) = (config.port.kind.name(), &config.control.listen);
    writeln!(
        out,
        "{}: ok: {port} port, {workers} worker(s), {apps} app(s), signalling on {listen}",
        path.display()
    )?;
    Ok(())
}

/// Something wrong with a file of secrets or keys.
pub enum Problem {
    /// The node would refuse to start.
    Error(String),
    /// This user cannot tell.
    Unknown(String),
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Error(text) => write!(f, "{text}"),
            Problem::Unknown(text) => write!(f, "warning: not checked: {text}"),
        }
    }
}

/// Checks every file of secrets and keys that a configuration names.
pub fn key_files(config: &Config) -> Vec<Problem> {
    let mut problems = vec![];
    for app in &config.apps {
        for file in &app.secret_files {
            let content = file.read().map(|text| token::Secret::from_file_content(text.as_bytes()));
            match content {
                Ok(Ok(_)) => {}
                Ok(Err(why)) => problems.push(Problem::Error(format!(
                    "app.secret_files: app {}: {file}: {why}",
                    app.sdkappid
                ))),
                Err(why) => {
                    problems.push(judged(format!("app.secret_files: app {}", app.sdkappid), why));
                }
            }
        }
    }
    if let Some(tls) = &config.control.tls {
        if let Err(why) = secret::check_key_file(&tls.key) {
            problems.push(judged("control.tls_key".to_owned(), why));
        }
        if let Err(why) = std::fs::File::open(&tls.cert) {
            let text = format!("control.tls_cert: {}: {why}", tls.cert.display());
            problems.push(Problem::Error(text));
        }
    }
    if let Some(notify) = &config.notify {
        if let Err(why) = notify.secret_file.read() {
            problems.push(judged("notify.secret_file".to_owned(), why));
        }
        if notify.is_tls
            && let Err(why) = std::fs::File::open(&notify.ca_file)
        {
            let text = format!("notify.ca_file: {}: {why}", notify.ca_file.display());
            problems.push(Problem::Error(text));
        }
    }
    problems
}

/// Files of the service's own user cannot be judged by another one.
fn judged(key: String, why: SecretError) -> Problem {
    let unknown = match &why {
        SecretError::Read { source, .. } => source.kind() == std::io::ErrorKind::PermissionDenied,
        SecretError::NoCredentials { .. } | SecretError::Owner { .. } => true,
        _ => false,
    };
    let text = format!("{key}: {why}");
    if unknown { Problem::Unknown(text) } else { Problem::Error(text) }
}
