//! The media tool as a process: started, listened to, stopped with its own signal.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exit::Failure;

/// Lines of complaint that are kept.
const LINES_MAX: usize = 8;
/// How long it may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What a viewing tool says about its pictures.
#[derive(Debug, Default)]
struct Heard {
    /// Pictures decoded so far.
    frames: AtomicU64,
    /// Its last complaints.
    lines: Mutex<VecDeque<String>>,
}

/// A running tool.
pub struct Tool {
    name: &'static str,
    process: Child,
    heard: Arc<Heard>,
}

impl Tool {
    /// Starts it; `input` is written to its standard input.
    pub fn start(
        name: &'static str,
        arguments: &[String],
        input: Option<String>,
    ) -> Result<Tool, Failure> {
        let mut command = Command::new(name);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        // Ctrl-C is for us: we stop it, then leave the room.
        command.process_group(0);
        let mut process = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::failed(format!(
                "{name} is not installed; on Debian: apt-get install {}",
                if name == "ffmpeg" {
                    "ffmpeg"
                } else {
                    "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
                     gstreamer1.0-plugins-bad"
                }
            )),
            _ => Failure::failed(format!("{name}: {error}")),
        })?;
        if let (Some(text), Some(mut stdin)) = (input, process.stdin.take()) {
            // A tool that ends at once is noticed by its end.
            let _ = stdin.write_all(text.as_bytes());
        }
        let heard = Arc::new(Heard::default());
        if let Some(stdout) = process.stdout.take() {
            listen(stdout, Arc::clone(&heard), false);
        }
        if let Some(stderr) = process.stderr.take() {
            listen(stderr, Arc::clone(&heard), true);
        }
        Ok(Tool { name, process, heard })
    }

    /// Pictures decoded so far.
    pub fn frames(&self) -> u64 {
        self.heard.frames.load(Ordering::Relaxed)
    }

    /// What to say when it ended by itself.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok().flatten()?;
        let lines = self.heard.lines.lock().map(|lines| lines.iter().cloned().collect::<Vec<_>>());
        let mut text = format!("{} ended by itself ({status})", self.name);
        for line in lines.unwrap_or_default() {
            text += "\n  ";
            text += &line;
        }
        Some(text)
    }

    /// Interrupts it and waits; a tool that does not end is killed.
    pub fn stop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT);
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

fn listen(stream: impl Read + Send + 'static, heard: Arc<Heard>, complaints: bool) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(frames) = frames_of(&line) {
                heard.frames.store(frames, Ordering::Relaxed);
            } else if complaints && let Ok(mut lines) = heard.lines.lock() {
                // Keys stand in pipelines that tools repeat when they cannot parse them.
                let safe = !line.contains("key=") && !line.contains("inline:");
                if safe && lines.len() == LINES_MAX {
                    lines.pop_front();
                }
                if safe {
                    lines.push_back(line.chars().filter(|c| !c.is_control()).collect());
                }
            }
        }
    });
}

/// Decoded pictures: `rendered: 63, dropped: 0, ...` (GStreamer), `frame=63` (ffmpeg).
fn frames_of(line: &str) -> Option<u64> {
    if let Some(rest) = line.split("rendered: ").nth(1) {
        return rest.split(',').next()?.trim().parse().ok();
    }
    line.strip_prefix("frame=")?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_pictures_are_heard_from_both_tools() {
        let gst = "/GstPipeline:pipeline0/GstFPSDisplaySink:fps: last-message = \
                   rendered: 63, dropped: 0, current: 30.02, average: 30.01";
        assert_eq!(frames_of(gst), Some(63));
        assert_eq!(frames_of("frame=  41 fps= 30"), Some(41));
        assert_eq!(frames_of("frame=41"), Some(41));
        assert_eq!(frames_of("fps=30"), None);
    }

    #[test]
    fn a_tool_that_ends_is_told_with_its_words_but_without_keys() {
        let script = "echo 'bad key=00ff' >&2; echo 'no element' >&2; exit 3";
        let mut tool = Tool::start("sh", &["-c".to_owned(), script.to_owned()], None).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let words = loop {
            match tool.ended() {
                Some(words) if words.contains("no element") => break words,
                _ if Instant::now() > deadline => panic!("silent"),
                _ => std::thread::yield_now(),
            }
        };
        assert!(words.contains("exit status: 3") && !words.contains("00ff"), "{words}");
    }

    #[test]
    fn a_missing_tool_is_named_with_the_packages_that_have_it() {
        let failure = Tool::start("gst-launch-9.9", &[], None).err().unwrap();
        assert!(failure.message.contains("apt-get install gstreamer1.0-tools"));
    }
}
