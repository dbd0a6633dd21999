//! A terminal for programs that draw: a pty whose output an emulator reads, so that a test sees what a
//! person would see.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, ttyname};

/// How long anything on a screen may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    keys: File,
    /// Kept open: a pty whose other end is closed forgets what was written.
    line: OwnedFd,
    path: PathBuf,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts `command` on a terminal of such a size, as the leader of a session of its own.
    pub fn start(command: &[&str], columns: u16, lines: u16) -> Terminal {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("the host has terminals");
        let path = ttyname(&pty.slave).expect("it has a name");
        let end = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).args(command).env("TERM", "xterm-256color");
        setsid.env_remove("NO_COLOR").stdin(end()).stdout(end()).stderr(end());
        let child = setsid.spawn().expect("util-linux is there");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size_of(lines), size_of(columns), 0)));
        let keys = File::from(pty.master);
        let (mut output, seen) = (keys.try_clone().expect("a descriptor"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends when the last other end is closed.
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                seen.lock().expect("no reader panics").process(&bytes[..len]);
            }
        });
        Terminal { child, keys, line: pty.slave, path, screen }
    }

    /// What stands on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().expect("no reader panics").screen().contents()
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Changes the size; the program hears of it.
    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.screen
            .lock()
            .expect("no reader panics")
            .screen_mut()
            .set_size(size_of(lines), size_of(columns));
        let (rows, cols) = (lines.to_string(), columns.to_string());
        let words = ["-F", &self.path.to_string_lossy(), "rows", &rows, "cols", &cols];
        assert!(Command::new("stty").args(words).status().expect("coreutils").success());
    }

    /// Waits until the screen shows `text`, doing `meanwhile` over and over; how long that took.
    pub fn until_meanwhile(&self, text: &str, mut meanwhile: impl FnMut()) -> Duration {
        let began = Instant::now();
        while !self.text().contains(text) {
            meanwhile();
            assert!(began.elapsed() < PATIENCE, "not within 20 s: {text}\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    /// Waits until the screen shows `text`; how long that took.
    pub fn until(&self, text: &str) -> Duration {
        self.until_meanwhile(text, || {})
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Waits until the program is stopped by the shell's key.
    pub fn until_stopped(&self) {
        let began = Instant::now();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
            let stat = stat.expect("it runs");
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).expect("a state")
        };
        while state() != 'T' {
            assert!(began.elapsed() < PATIENCE, "it did not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end.
    pub fn end(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "it did not end\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the terminal is as a shell left it: echoing lines, on its ordinary screen, with a cursor.
    pub fn until_ordinary(&self) {
        let began = Instant::now();
        loop {
            let flags = tcgetattr(&self.line).expect("a terminal").local_flags;
            let parser = self.screen.lock().expect("no reader panics");
            let screen = parser.screen();
            if flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
                && !screen.alternate_screen()
                && !screen.hide_cursor()
            {
                return;
            }
            drop(parser);
            assert!(began.elapsed() < PATIENCE, "the terminal was not given back");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn size_of(count: u16) -> NonZero<u16> {
    NonZero::new(count).expect("a terminal has some")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
