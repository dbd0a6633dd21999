//! Drop-ins: files of apps in `conf.d` beside the configuration. An app there replaces the one with the
//! same id in the configuration itself, so that an act on an app never edits a file that people write.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::check::{self, Checker};
use crate::error::{ConfigErrors, Warning};
use crate::locate;
use crate::model::{App, Environment};
use crate::raw::RawDropIn;

/// Files of `conf.d` that are read.
const FILES_MAX: usize = 1000;

/// The folder of drop-ins of a configuration file.
pub fn folder(config: &Path) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join("conf.d")
}

/// Reads them all in the order of their names, into `apps`.
pub(crate) fn read(
    config: &Path,
    environment: Environment,
    apps: &mut Vec<App>,
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigErrors> {
    let mut errors = vec![];
    let mut taken: HashMap<u32, String> = HashMap::new();
    for path in files(&folder(config))? {
        let name = path.display().to_string();
        let read = crate::read(&path).map_err(|cause| ConfigErrors::unreadable(&name, &cause));
        let parsed = read.and_then(|text| {
            let raw: RawDropIn =
                toml::from_str(&text).map_err(|error| locate::explain(&error, &text, &name))?;
            check::drop_in(&raw, Checker::new(&text, &name).reading(), environment, &mut taken)
        });
        match parsed {
            Ok((found, told)) => {
                for app in found {
                    apps.retain(|known| known.sdkappid != app.sdkappid);
                    apps.push(app);
                }
                warnings.extend(told);
            }
            Err(ConfigErrors(found)) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(ConfigErrors(errors)) }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let unreadable = |error| ConfigErrors::unreadable(&folder.display().to_string(), &error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = vec![];
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "toml") {
            files.push(path);
        }
    }
    if files.len() > FILES_MAX {
        let error = std::io::Error::other(format!("more than {FILES_MAX} files"));
        return Err(unreadable(error));
    }
    files.sort();
    Ok(files)
}
