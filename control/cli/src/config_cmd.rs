//! `roomlane config check|sample`.

use std::io::Write;
use std::path::{Path, PathBuf};

use config::{Config, SecretError, secret};

use crate::args::{ConfigAct, ConfigArgs, Place};
use crate::exit::{Exit, Failure};

/// Runs the subcommand.
pub fn run(place: &Place, args: &ConfigArgs) -> Result<(), Failure> {
    match &args.act {
        ConfigAct::Sample => Ok(std::io::stdout().lock().write_all(config::sample().as_bytes())?),
        ConfigAct::Check { file, no_secrets } => {
            let path = file.clone().or_else(|| place.config.clone());
            check(&path.unwrap_or_else(|| PathBuf::from(config::DEFAULT_PATH)), *no_secrets)
        }
    }
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
