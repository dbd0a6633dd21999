//! What only the control daemon knows, and what only it can do: asked over its admin socket, on a thread
//! of its own, so that a daemon that stands still does not hold up the dashboard.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use proto::link::ADMIN_SOCKET;
use serde_json::{Value, json};

use crate::app::Msg;

/// How long the daemon may take to answer before it is said to be silent.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long an act may take: it waits for the shards.
const ACT_PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Whether the control daemon is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It answers, but not to this user.
    Refuses,
    /// Its socket is there, and no answer comes.
    Silent,
    /// Nobody listens.
    Dead,
}

/// Which of its tables the screen needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// What runs, and how the file differs.
    pub config: bool,
    /// What happened lately: the trail of everybody.
    pub notes: bool,
    /// One session, looked at closely.
    pub session: Option<String>,
}

/// What it said last. Tables that were not asked for stay as they were.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Whether it is there.
    pub state: State,
    /// `status`.
    pub status: Value,
    /// `drain.status`.
    pub drain: Value,
    /// `app.list`.
    pub apps: Value,
    /// `config.show`.
    pub config: Value,
    /// `config.diff`.
    pub diff: Value,
    /// `trail` of everybody.
    pub notes: Value,
    /// `incident.list`.
    pub incidents: Value,
    /// `session.look`, with the session's id.
    pub session: Value,
    /// `trail` of that session.
    pub session_notes: Value,
}

impl Control {
    /// Its process, once it said so.
    pub fn pid(&self) -> Option<u64> {
        self.status["pid"].as_u64()
    }

    /// Whether it refuses new sessions.
    pub fn is_draining(&self) -> bool {
        self.status["draining"] == true
    }
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Look(Wants),
    Act(Value),
}

/// The thread's other end.
#[derive(Debug)]
pub struct Asker {
    orders: Sender<Order>,
    messages: Receiver<Msg>,
}

impl Asker {
    /// Starts the thread; it ends when this is dropped and its last answer came.
    pub fn start(run_dir: &Path) -> Asker {
        let (orders, ordered) = mpsc::channel();
        let (tell, messages) = mpsc::channel();
        let mut line = Line::new(run_dir);
        std::thread::spawn(move || {
            let mut known = Control::default();
            while let Ok(first) = ordered.recv() {
                // A daemon that stands still makes looks wait: of several the last is enough.
                let (mut wanted, mut acts) = (None, vec![]);
                for order in std::iter::once(first).chain(ordered.try_iter()) {
                    match order {
                        Order::Look(wants) => wanted = Some(wants),
                        Order::Act(request) => acts.push(request),
                    }
                }
                let done: Vec<Msg> =
                    acts.iter().map(|request| Msg::Said(act(&mut line, request))).collect();
                let seen = wanted.map(|wants| {
                    known = look(&mut line, &wants, std::mem::take(&mut known));
                    Msg::Control(Box::new(known.clone()))
                });
                if done.into_iter().chain(seen).any(|message| tell.send(message).is_err()) {
                    return;
                }
            }
        });
        Asker { orders, messages }
    }

    /// Asks for a look; the answer comes as a message.
    pub fn look(&self, wants: Wants) {
        // The thread ends with this end only.
        let _ = self.orders.send(Order::Look(wants));
    }

    /// Asks for an act; how it went comes as a message.
    pub fn act(&self, request: Value) {
        let _ = self.orders.send(Order::Act(request));
    }

    /// What came since.
    pub fn messages(&self) -> impl Iterator<Item = Msg> + '_ {
        self.messages.try_iter()
    }
}

/// A connection that is made again when it broke.
#[derive(Debug)]
pub struct Line {
    path: PathBuf,
    stream: Option<BufReader<UnixStream>>,
}

impl Line {
    /// Does not connect yet.
    pub fn new(run_dir: &Path) -> Line {
        Line { path: run_dir.join(ADMIN_SOCKET), stream: None }
    }

    /// One request, one answer. A broken connection is tried anew once: the daemon may be another.
    fn ask(&mut self, request: &Value, patience: Duration) -> io::Result<Value> {
        if self.stream.is_some() {
            match self.exchange(request, patience) {
                Err(error) if is_broken(&error) => self.stream = None,
                other => return other,
            }
        }
        self.stream = Some(BufReader::new(UnixStream::connect(&self.path)?));
        self.exchange(request, patience)
    }

    fn exchange(&mut self, request: &Value, patience: Duration) -> io::Result<Value> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut line = vec![];
        let mut talk = || -> io::Result<()> {
            stream.get_ref().set_read_timeout(Some(patience))?;
            stream.get_ref().set_write_timeout(Some(patience))?;
            stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
            stream.take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
            match line.last() {
                Some(b'\n') => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        let talked = talk();
        if talked.is_err() {
            // What is still under way would be taken for the next answer.
            self.stream = None;
        }
        talked?;
        serde_json::from_slice(&line).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::UnexpectedEof | K::BrokenPipe | K::ConnectionReset)
}

/// Asks for everything that `wants` needs; `known` is what is kept of the rest.
pub fn look(line: &mut Line, wants: &Wants, known: Control) -> Control {
    let mut control = known;
    let mut ask = |request: Value| line.ask(&request, PATIENCE);
    match ask(json!({"act": "status"})) {
        Ok(status) if status["ok"] == true => {
            control.state = State::Up;
            control.status = status;
        }
        Ok(_) => {
            control.state = State::Refuses;
            return control;
        }
        Err(error) => {
            control.state = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => State::Dead,
                io::ErrorKind::PermissionDenied => State::Refuses,
                _ if is_broken(&error) => State::Dead,
                _ => State::Silent,
            };
            return control;
        }
    }
    let mut fill = |into: &mut Value, request: Value| {
        if let Ok(answer) = ask(request)
            && answer["ok"] == true
        {
            *into = answer;
        }
    };
    fill(&mut control.drain, json!({"act": "drain.status"}));
    fill(&mut control.apps, json!({"act": "app.list"}));
    if wants.config {
        fill(&mut control.config, json!({"act": "config.show"}));
        fill(&mut control.diff, json!({"act": "config.diff"}));
    }
    if wants.notes {
        fill(&mut control.notes, json!({"act": "trail", "subject": "*"}));
        fill(&mut control.incidents, json!({"act": "incident.list"}));
    }
    if let Some(session) = &wants.session {
        if control.session["session"] != session.as_str() {
            (control.session, control.session_notes) = (Value::Null, Value::Null);
        }
        fill(&mut control.session, json!({"act": "session.look", "session": session}));
        fill(&mut control.session_notes, json!({"act": "trail", "subject": session}));
    }
    control
}

/// Asks for an act, once: it is not repeated on another connection. How it went, in words.
fn act(line: &mut Line, request: &Value) -> String {
    // The connection may be one that broke since.
    line.stream = None;
    let name = request["act"].as_str().unwrap_or_default();
    match line.ask(request, ACT_PATIENCE) {
        Ok(answer) if answer["ok"] == true => format!("done: {name}"),
        Ok(answer) => {
            format!("refused: {name}: {}", answer["message"].as_str().unwrap_or("no reason given"))
        }
        Err(error) => format!("not done: {name}: control does not answer ({})", error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("rl-top-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Answers `answers` lines on each of two connections, then is gone.
    fn daemon(dir: &Path, answers: usize) -> std::thread::JoinHandle<()> {
        let listener = UnixListener::bind(dir.join(ADMIN_SOCKET)).unwrap();
        std::thread::spawn(move || {
            for pid in [1, 2] {
                let (stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(&stream).lines();
                for _ in 0..answers {
                    lines.next().unwrap().unwrap();
                    (&stream)
                        .write_all(format!("{{\"ok\":true,\"pid\":{pid}}}\n").as_bytes())
                        .unwrap();
                }
            }
        })
    }

    #[test]
    fn a_restarted_daemon_is_found_again_and_a_dead_one_is_told_from_one_that_stands_still() {
        let dir = folder("line");
        let thread = daemon(&dir, 3);
        let mut line = Line::new(&dir);
        let first = look(&mut line, &Wants::default(), Control::default());
        assert_eq!((first.state, first.pid()), (State::Up, Some(1)));
        let second = look(&mut line, &Wants::default(), first);
        assert_eq!((second.state, second.pid()), (State::Up, Some(2)));
        thread.join().unwrap();
        let third = look(&mut line, &Wants::default(), second);
        assert_eq!((third.state, third.pid()), (State::Dead, Some(2)));
        std::fs::remove_file(dir.join(ADMIN_SOCKET)).unwrap();
        let _never_accepts = UnixListener::bind(dir.join(ADMIN_SOCKET)).unwrap();
        assert_eq!(look(&mut line, &Wants::default(), third).state, State::Silent);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
