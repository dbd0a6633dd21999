//! Acts: one JSON line to the control daemon's admin socket, one line back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use proto::SessionId;
use proto::link::ADMIN_SOCKET;
use serde_json::{Value, json};

use crate::args::{Place, RoomAct, RoomArgs, RoomType, SessionAct, SessionArgs};
use crate::exit::{Exit, Failure};

/// How long the daemon may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// `roomlane room end`.
pub fn room(place: &Place, args: &RoomArgs) -> Result<(), Failure> {
    let RoomAct::End { app, room, room_type, json } = &args.act;
    if *room_type == RoomType::Number && room.parse::<u32>().is_err() {
        return Err(Failure::usage(format!("{room:?} is no room number")));
    }
    let request =
        json!({"act": "room.end", "sdkappid": app, "room": room, "room_type": room_type.name()});
    let answer = ask(&place.run_dirs()?, &request)?;
    say(&answer, *json, "room ended")
}

/// `roomlane session kick`.
pub fn session(place: &Place, args: &SessionArgs) -> Result<(), Failure> {
    let SessionAct::Kick { id, json } = &args.act;
    if id.parse::<SessionId>().is_err() {
        return Err(Failure::usage(format!(
            "{id:?} is no session id; ids look like s0-1-1, see roomlane show session"
        )));
    }
    let answer = ask(&place.run_dirs()?, &json!({"act": "session.kick", "session": id}))?;
    say(&answer, *json, "session kicked")
}

fn say(answer: &Value, json: bool, done: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{answer}")?;
    } else {
        writeln!(out, "{done}")?;
    }
    Ok(())
}

/// Sends a request to the first daemon that answers; a refusal becomes a failure.
pub fn ask(run_dirs: &[PathBuf], request: &Value) -> Result<Value, Failure> {
    for dir in run_dirs {
        let path = dir.join(ADMIN_SOCKET);
        match UnixStream::connect(&path) {
            Ok(stream) => return exchange(stream, request),
            Err(error) => match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {}
                std::io::ErrorKind::PermissionDenied => {
                    let message = format!(
                        "{}: permission denied; acts need root or the group roomlane-admin",
                        path.display()
                    );
                    return Err(Failure::new(Exit::NotPermitted, message));
                }
                _ => return Err(Failure::failed(format!("{}: {error}", path.display()))),
            },
        }
    }
    // A data plane without its control daemon forwards and can be looked at, but not acted on.
    if stats::Stats::find(run_dirs).is_ok() {
        let message = "the control daemon is not running, so nothing can be done; media goes on. \
                       roomlane up restarts it";
        return Err(Failure::new(Exit::NoNode, message));
    }
    Err(Failure::no_node())
}

fn exchange(mut stream: UnixStream, request: &Value) -> Result<Value, Failure> {
    let broken = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            Failure::new(Exit::TimedOut, "the control daemon did not answer within 10 s")
        }
        _ => Failure::new(Exit::NoNode, format!("the control daemon's socket failed: {error}")),
    };
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(broken)?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(broken)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(broken)?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut line).map_err(broken)?;
    let answer: Value = serde_json::from_str(&line)
        .map_err(|_| Failure::new(Exit::NoNode, "the control daemon's answer is no JSON"))?;
    if answer["ok"] == Value::Bool(true) {
        return Ok(answer);
    }
    let code = answer["code"].as_str().unwrap_or("failed");
    let message = answer["message"].as_str().unwrap_or(code);
    // The daemon's words may repeat what somebody else sent.
    let message: String = message.chars().filter(|c| !c.is_control()).collect();
    let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    for error in answer["errors"].as_array().into_iter().flatten() {
        let text = |key: &str| plain(error[key].as_str().unwrap_or_default());
        let allowed = text("allowed");
        let allowed = if allowed.is_empty() { allowed } else { format!("; allowed: {allowed}") };
        let (file, key, what) = (text("file"), text("key"), text("what"));
        match (error["line"].as_u64(), error["column"].as_u64()) {
            (Some(line @ 1..), Some(column)) => {
                eprintln!("{file}:{line}:{column}: {key}: {what}{allowed}");
            }
            _ => eprintln!("{file}: {key}: {what}{allowed}"),
        }
    }
    Err(Failure::new(exit_of(code), message))
}

/// Refusals in exit codes.
fn exit_of(code: &str) -> Exit {
    match code {
        "not_found" => Exit::NotFound,
        "not_permitted" | "forbidden" | "unauthorized" => Exit::NotPermitted,
        "draining" | "limit" | "conflict" | "busy" | "refused" | "unavailable" | "audit_failed" => {
            Exit::Refused
        }
        "config_invalid" => Exit::Config,
        "invalid" | "session_invalid" | "room_invalid" | "malformed" | "too_long"
        | "unknown_act" => Exit::Usage,
        "timeout" | "timed_out" => Exit::TimedOut,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    struct Daemon {
        dir: PathBuf,
        thread: Option<std::thread::JoinHandle<String>>,
    }

    impl Daemon {
        /// Gives one answer.
        fn answering(name: &str, answer: &'static str) -> Self {
            let dir = std::env::temp_dir().join(format!("rl-act-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let _ = std::fs::remove_file(dir.join(ADMIN_SOCKET));
            let listener = UnixListener::bind(dir.join(ADMIN_SOCKET)).unwrap();
            let thread = std::thread::spawn(move || {
                let (stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                (&stream).write_all(answer.as_bytes()).unwrap();
                line
            });
            Daemon { dir, thread: Some(thread) }
        }

        fn heard(&mut self) -> Value {
            serde_json::from_str(&self.thread.take().unwrap().join().unwrap()).unwrap()
        }
    }

    impl Drop for Daemon {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn an_act_is_one_line_and_ok_is_success() {
        let mut daemon = Daemon::answering("ok", "{\"ok\":true,\"sessions\":2}\n");
        let dirs = [daemon.dir.join("absent"), daemon.dir.clone()];
        let answer = ask(&dirs, &json!({"act": "session.kick", "session": "s0-1-1"})).unwrap();
        assert_eq!(answer["sessions"], 2);
        assert_eq!(daemon.heard(), json!({"act": "session.kick", "session": "s0-1-1"}));
    }

    #[test]
    fn refusals_become_exit_codes_and_cannot_write_to_the_terminal() {
        let cases = [
            (
                "nf",
                "{\"ok\":false,\"code\":\"not_found\",\"message\":\"no \\u001b[31mroom\"}\n",
                Exit::NotFound,
            ),
            (
                "np",
                "{\"ok\":false,\"code\":\"not_permitted\",\"message\":\"x\"}\n",
                Exit::NotPermitted,
            ),
            ("xx", "{\"ok\":false,\"code\":\"other\"}\n", Exit::Failed),
            ("junk", "what?\n", Exit::NoNode),
            ("gone", "", Exit::NoNode),
        ];
        for (name, answer, code) in cases {
            let daemon = Daemon::answering(name, answer);
            let failure =
                ask(std::slice::from_ref(&daemon.dir), &json!({"act": "status"})).unwrap_err();
            assert_eq!(failure.code, code, "{name}");
            assert!(!failure.message.contains('\x1b'), "{name}");
        }
    }

    #[test]
    fn without_a_node_the_next_command_is_named() {
        let failure = ask(&[PathBuf::from("/nonexistent")], &json!({})).unwrap_err();
        assert_eq!((failure.code, failure.message.as_str()), (Exit::NoNode, crate::exit::NO_NODE));
    }
}
