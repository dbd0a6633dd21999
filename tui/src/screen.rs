//! The terminal: taken, given back however the dashboard ends, lent to the shell meanwhile.

use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossterm::cursor::Show;
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{DefaultTerminal, Frame, Terminal};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

/// How long a dashboard that was told to end may take.
const END: Duration = Duration::from_secs(1);

/// The terminal while the dashboard has it.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Also hooks panics, so that their message appears on an ordinary screen.
    pub fn open() -> Result<Self> {
        Ok(Screen(ratatui::try_init().context("the terminal cannot be prepared")?))
    }

    /// Draws what changed.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.0.draw(draw)?;
        Ok(())
    }

    /// Gives the terminal to the shell and stops; takes it again when the shell lets us go on.
    pub fn suspend(&mut self) -> Result<()> {
        ratatui::try_restore()?;
        execute!(stdout(), Show)?;
        signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen)?;
        // One that knows of nothing on the screen; clearing would ask the terminal where its cursor is.
        self.0 = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

/// What signals told.
pub struct Told {
    ends: Arc<AtomicBool>,
    suspends: Arc<AtomicBool>,
}

impl Told {
    /// Listens from now on. Ends the program if the dashboard cannot: the library that reads keys does
    /// not come back from a terminal that was hung up.
    pub fn listen() -> Result<Told> {
        let told = Told { ends: Arc::default(), suspends: Arc::default() };
        let (ends, suspends) = (Arc::clone(&told.ends), Arc::clone(&told.suspends));
        let mut signals = Signals::new([SIGTERM, SIGHUP, SIGTSTP, SIGCONT])?;
        std::thread::spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGTSTP => suspends.store(true, Ordering::Relaxed),
                    SIGCONT => {}
                    signal => {
                        ends.store(true, Ordering::Relaxed);
                        std::thread::sleep(END);
                        // A dead terminal takes nothing back, and complaining to it would end in a panic.
                        let _ = ratatui::try_restore();
                        // As if nobody had listened: this ends the process.
                        let _ = signal_hook::low_level::emulate_default_handler(signal);
                    }
                }
            }
        });
        Ok(told)
    }

    /// Whether the program shall end.
    pub fn ends(&self) -> bool {
        self.ends.load(Ordering::Relaxed)
    }

    /// Whether it shall stop for a while; once.
    pub fn suspends(&self) -> bool {
        self.suspends.swap(false, Ordering::Relaxed)
    }
}

/// Gives text to the terminal's clipboard (OSC 52); what it does with it is its own matter.
pub fn copy(text: &str) -> Result<String> {
    let mut out = stdout();
    write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(text))?;
    out.flush()?;
    Ok("copied, if the terminal allows it".to_owned())
}
