//! `roomlane-top`: a node at a glance.
//!
//! [`source`] reads the stats region, [`control`] asks the control daemon, [`app`] decides (a pure function
//! of messages), [`panes`] makes tables of it, [`ui`] draws them from `&App`, [`keymap`] is the table of
//! keys that also prints the help.
#![forbid(unsafe_code)]

mod alarms;
mod app;
mod captures;
mod control;
mod grid;
mod history;
mod keymap;
mod once;
mod panes;
mod screen;
mod settings;
mod source;
mod theme;
mod ui;

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{CommandFactory, Parser};
use config::Config;
use crossterm::event::{self, Event, KeyEventKind};

use app::{App, Effect, Msg, Pane};
use captures::Captures;
use control::Asker;
use screen::{Screen, Told};
use settings::Settings;
use source::Source;
use theme::Theme;

/// Exit code when there is no node.
const EXIT_NO_NODE: u8 = 4;
/// Exit code of an invalid configuration.
const EXIT_CONFIG: u8 = 3;
/// Exit code of a wrong command line.
const EXIT_USAGE: u8 = 2;
/// How soon a signal is noticed.
const LOOK: Duration = Duration::from_millis(200);

/// The dashboard of a Roomlane node.
#[derive(Debug, Parser)]
#[command(name = "roomlane-top", version)]
struct Arguments {
    /// The folder of the node's sockets [default: /run/roomlane or $XDG_RUNTIME_DIR/roomlane].
    #[arg(long, value_name = "RUN_DIR")]
    node: Option<PathBuf>,
    /// The node's configuration, for its run_dir.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one frame as text and exit.
    #[arg(long)]
    once: bool,
    /// With --once: print one JSON object.
    #[arg(long, requires = "once")]
    json: bool,
    /// The pane at the start, or the one to print.
    #[arg(long, default_value = "overview", value_name = "PANE",
          value_parser = clap::builder::PossibleValuesParser::new(Pane::ALL.map(Pane::name)))]
    pane: String,
    /// Offer acts: drain, kick, end, trace, capture. Each asks for a word; control decides and audits.
    #[arg(long)]
    admin: bool,
    /// Time between two looks, in milliseconds [default: that of tui.toml, or 1000].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    interval: Option<u64>,
    /// Keys, colours, columns [default: $XDG_CONFIG_HOME/roomlane/tui.toml or /etc/roomlane/tui.toml].
    #[arg(long, value_name = "FILE")]
    tui_config: Option<PathBuf>,
    /// Print a tui.toml with every default, commented, and exit.
    #[arg(long)]
    print_config: bool,
    /// With --once: columns of the frame.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(60..=500))]
    width: u16,
    /// With --once: lines of the frame.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(15..=200))]
    height: u16,
    /// Print the manual page, and exit.
    #[arg(long, hide = true)]
    man: bool,
}

impl Arguments {
    fn pane(&self) -> Pane {
        Pane::ALL.into_iter().find(|pane| pane.name() == self.pane).unwrap_or_default()
    }
}

fn print_page() -> ExitCode {
    let page = clap_mangen::Man::new(Arguments::command()).manual("Roomlane");
    match page.render(&mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.man {
        return print_page();
    }
    if arguments.print_config {
        return match std::io::stdout().lock().write_all(settings::text().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let chosen = Settings::load(arguments.tui_config.as_deref());
    let (settings, run_dirs) = match chosen.and_then(|s| Ok((s, run_dirs(&arguments)?))) {
        Ok(both) => both,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let mut source = match Source::connect(&run_dirs) {
        Ok(source) => source,
        Err(error) => {
            eprintln!("roomlane-top: {error}");
            return ExitCode::from(EXIT_NO_NODE);
        }
    };
    let interval = arguments.interval.map_or(settings.interval, Duration::from_millis);
    let result = if arguments.once {
        once::print(&mut source, interval, &arguments, &settings)
    } else if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        let app = App::at(arguments.pane(), arguments.admin, &settings);
        let theme = Theme::of_environment().chosen(settings.scheme, settings.colours);
        dashboard(source, interval, app, theme)
    } else {
        eprintln!("roomlane-top: this is no terminal; use --once, or --once --json");
        return ExitCode::from(EXIT_USAGE);
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roomlane-top: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_dirs(arguments: &Arguments) -> Result<Vec<PathBuf>, config::ConfigErrors> {
    if let Some(dir) = &arguments.node {
        return Ok(vec![dir.clone()]);
    }
    match &arguments.config {
        Some(file) => Ok(vec![Config::load_alone(file)?.run_dir()]),
        None => Ok(config::run_dirs()),
    }
}

fn dashboard(mut source: Source, interval: Duration, mut app: App, theme: Theme) -> Result<()> {
    let signals = Told::listen()?;
    let asker = Asker::start(source.run_dir());
    let mut captures = Captures::of(source.run_dir());
    let mut screen = Screen::open()?;
    let mut due = Instant::now();
    let mut is_old = true;
    while !app.quits() && !signals.ends() {
        for message in asker.messages() {
            app.update(message);
            is_old = true;
        }
        for told in captures.ended() {
            app.update(Msg::Said(told));
            is_old = true;
        }
        if Instant::now() >= due {
            app.update(Msg::Seen(Box::new(source.look())));
            asker.look(app.wants());
            // A successor of a silent data plane is shown soon.
            let pause = if app.is_stale() { LOOK.min(interval) } else { interval };
            due = Instant::now() + pause;
            is_old = true;
        }
        if signals.suspends() {
            screen.suspend()?;
            is_old = true;
        }
        if std::mem::take(&mut is_old) {
            let theme = theme.turned(app.theme_turns);
            screen.draw(|frame| ui::draw(frame, &app, &theme))?;
        }
        // Every event that waits is taken before the next drawing: pasting must not draw per key.
        let mut patience = due.saturating_duration_since(Instant::now()).min(LOOK);
        while event::poll(patience)? {
            patience = Duration::ZERO;
            is_old = true;
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                let wanted = app.wants();
                app.update(Msg::Key(key));
                if app.wants() != wanted {
                    // A pane that needs more of control has it at once.
                    asker.look(app.wants());
                }
            }
        }
        for effect in app.take_effects() {
            is_old = true;
            match effect {
                Effect::Act(request) => asker.act(request),
                Effect::Capture(session) => app.update(Msg::Said(captures.start(&session))),
                Effect::Suspend => screen.suspend()?,
                Effect::Copy(text) => app.update(Msg::Said(screen::copy(&text)?)),
                Effect::Export(name, text) => app.update(Msg::Said(export(&name, &text))),
            }
        }
    }
    Ok(())
}

/// Makes a file that nobody else can read.
fn export(name: &str, text: &str) -> String {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(name);
    match file.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => format!("written: {name}"),
        Err(error) => format!("{name}: {error}"),
    }
}
