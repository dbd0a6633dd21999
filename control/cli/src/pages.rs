//! Completions for shells and manual pages, made from the same definitions that parse the command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;

use crate::args::Arguments;
use crate::exit::Failure;
use crate::programs;

/// The programs that print their own page with `--man`, and its section.
const OTHERS: [(&str, u8); 3] =
    [(programs::CONTROL, 8), (programs::DATAPLANE, 8), (programs::TOP, 1)];

/// `roomlane completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell.
    pub shell: Shell,
}

/// `roomlane man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands and programs into this folder, instead of one to stdout.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// The whole command line, as it is parsed.
fn whole() -> Command {
    let mut command = Arguments::command().version(env!("CARGO_PKG_VERSION"));
    command.build();
    command
}

/// Prints what a shell reads at its start.
pub fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = vec![];
    clap_complete::generate(args.shell, &mut whole(), "roomlane", &mut text);
    Ok(std::io::stdout().lock().write_all(&text)?)
}

/// Prints the page of `roomlane`, or writes all pages.
pub fn man(args: &ManArgs) -> Result<(), Failure> {
    let Some(dir) = &args.out else {
        return Ok(std::io::stdout().lock().write_all(&page(&whole())?)?);
    };
    let failed = |error| Failure::failed(format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut count = own(dir, &whole())?;
    for (name, section) in OTHERS {
        let program = programs::find(name.as_ref()).ok_or_else(|| {
            Failure::failed(format!("{name} is not beside this program or on PATH: no page of it"))
        })?;
        let said = Process::new(&program).arg("--man").output();
        let said =
            said.map_err(|error| Failure::failed(format!("{}: {error}", program.display())))?;
        if !said.status.success() {
            return Err(Failure::failed(format!("{} --man: {}", program.display(), said.status)));
        }
        std::fs::write(dir.join(format!("{name}.{section}")), said.stdout).map_err(failed)?;
        count += 1;
    }
    eprintln!("roomlane: {count} pages in {}", dir.display());
    Ok(())
}

/// Writes the page of a command and of everything below it; how many that were.
fn own(dir: &Path, command: &Command) -> Result<usize, Failure> {
    let name = words(command).replace(' ', "-");
    let file = dir.join(format!("{name}.1"));
    let failed = |error| Failure::failed(format!("{}: {error}", file.display()));
    std::fs::write(&file, page(command)?).map_err(failed)?;
    let below = command.get_subcommands().filter(|it| it.get_name() != "help" && !it.is_hide_set());
    below.map(|it| own(dir, it)).sum::<Result<usize, Failure>>().map(|count| count + 1)
}

/// The words that a user types for it.
fn words(command: &Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_owned()
}

fn page(command: &Command) -> Result<Vec<u8>, Failure> {
    let words = words(command);
    // Pages are found by a name without blanks.
    let titled = command.clone().name(words.replace(' ', "-")).bin_name(words);
    let mut text = vec![];
    clap_mangen::Man::new(titled).manual("Roomlane").source(version()).render(&mut text)?;
    Ok(text)
}

fn version() -> String {
    format!("roomlane {}", env!("CARGO_PKG_VERSION"))
}
