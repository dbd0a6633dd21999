//! A Chromium in a namespace, driven by `chromium.mjs` over its standard input and output.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use roomlane_tests::netns::{NetNs, run, skip};
use serde_json::{Value, json};

/// How long any act of the driver may take; a first start reads some hundred megabytes.
const ACT_TIMEOUT: Duration = Duration::from_secs(60);
/// What a browser reports while it is watched: kept for messages, this many lines.
const CONSOLE_LINES_MAX: usize = 200;

/// A running browser.
pub struct Chromium {
    child: Child,
    inner: RefCell<Inner>,
}

struct Inner {
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    console: Vec<String>,
    last: u64,
}

fn driver() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/chromium.mjs")
}

/// Whether browser, Node.js and the driver's packages are there; if not, says what to do.
pub fn is_there() -> bool {
    let packages = driver().with_file_name("node_modules/playwright-core");
    let missing = run(&["node", "--version"]).err().or_else(|| {
        let browser = std::env::var("ROOMLANE_CHROMIUM").unwrap_or("/usr/bin/chromium".to_owned());
        [PathBuf::from(browser), packages]
            .iter()
            .find(|path| !path.exists())
            .map(|path| format!("no {}; scripts/install test", path.display()))
    });
    if let Some(why) = &missing {
        skip(&format!("no browser: {why}"));
    }
    missing.is_none()
}

impl Chromium {
    /// Starts one in `ns`.
    pub fn start(ns: &NetNs) -> Chromium {
        let mut command = ns.command("node".as_ref());
        command.arg(driver()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("ip is there, or no namespace would be");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(json!({ "console": line }));
                if send.send(value).is_err() {
                    break;
                }
            }
        });
        let inner = Inner { stdin: child.stdin.take(), lines, console: vec![], last: 0 };
        let browser = Chromium { child, inner: RefCell::new(inner) };
        let ready = browser.inner.borrow_mut().next(|line| line.get("ready").is_some());
        ready.unwrap_or_else(|why| panic!("the browser did not start: {why}"));
        browser
    }

    /// One act of the driver.
    ///
    /// # Errors
    /// The driver's words.
    pub fn ask(&self, act: &str, page: &str, more: &Value) -> Result<Value, String> {
        let mut inner = self.inner.borrow_mut();
        inner.last += 1;
        let id = inner.last;
        let mut line = json!({ "id": id, "act": act, "page": page });
        for (key, value) in more.as_object().into_iter().flatten() {
            line[key] = value.clone();
        }
        let stdin = inner.stdin.as_mut().expect("open while it lives");
        writeln!(stdin, "{line}").map_err(|error| format!("the driver: {error}"))?;
        let mut answer = inner.next(|line| line["id"] == id)?;
        match answer.get("error") {
            Some(why) => Err(format!("{act} on {page}: {why}")),
            None => Ok(answer["ok"].take()),
        }
    }

    /// What pages wrote to their consoles, errors of their scripts included.
    pub fn console(&self) -> String {
        self.inner.borrow().console.join("\n")
    }
}

impl Inner {
    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            let line = self.lines.recv_timeout(ACT_TIMEOUT).map_err(|error| match error {
                RecvTimeoutError::Timeout => "no answer within 60 s".to_owned(),
                RecvTimeoutError::Disconnected => "the driver ended".to_owned(),
            })?;
            if wanted(&line) {
                return Ok(line);
            }
            if let Some(text) = line["console"].as_str().filter(|text| !text.starts_with("verbose"))
                && self.console.len() < CONSOLE_LINES_MAX
            {
                self.console.push(format!("{}: {text}", line["page"].as_str().unwrap_or("?")));
            }
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the pages' consoles:\n{}", self.console());
        }
        // The driver closes the browser when its input ends.
        self.inner.borrow_mut().stdin = None;
        let _ = self.child.wait();
    }
}
