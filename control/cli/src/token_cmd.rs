//! `roomlane token make|verify|explain`: tokens on the operator's desk.
//!
//! Exit codes: 0 done or valid, 1 failed (a file), 2 usage, 5 not valid. A secret is never
//! printed; user ids and room names are masked in text for people unless `--reveal` is given, and
//! in the clear in `--json`, which answers a program about the token it passed in.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use token::{
    AppKeys, Check, Explanation, PrivateMapKey, Privileges, Refusal, RoomId, Secret, UserId,
    UserSig, Verified, make_private_map_key, make_user_sig, verify_private_map_key,
    verify_user_sig,
};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_VALID: u8 = 5;

/// Any secret file is shorter; a longer one is malformed and need not be read.
const SECRET_FILE_MAX_BYTES: u64 = 4096;

/// Make, verify and explain UserSig and PrivateMapKey tokens.
#[derive(Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand)]
enum TokenCommand {
    /// Make a token and print it.
    Make(MakeArgs),
    /// Say whether a token is valid: exit code 0 if it is, 5 if not.
    Verify(VerifyArgs),
    /// Show what is in a token without verifying it, and with a secret why it is refused.
    Explain(ExplainArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Proves who a user is.
    #[value(name = "usersig")]
    UserSig,
    /// Names one room and what the user may do in it.
    #[value(name = "private-map-key")]
    PrivateMapKey,
}

/// What a token is for.
#[derive(Args)]
struct Subject {
    /// The user id: 1 to 32 characters of A-Z a-z 0-9 _ -
    #[arg(long, value_name = "U")]
    user: Option<String>,
    /// The string room.
    #[arg(long, value_name = "R", conflicts_with = "room_number")]
    room: Option<String>,
    /// The numeric room: 1 to 4294967295; number 123 and string "123" are different rooms.
    #[arg(long, value_name = "N")]
    room_number: Option<u64>,
    /// The time to take as now, Unix seconds [default: the clock].
    #[arg(long, value_name = "UNIX")]
    now: Option<u64>,
}

#[derive(Args)]
struct MakeArgs {
    /// Which token.
    #[arg(long)]
    kind: Kind,
    /// The app.
    #[arg(long, value_name = "N")]
    sdkappid: u32,
    /// The file with the app's secret key, 64 hexadecimal characters; not readable by others.
    #[arg(long, value_name = "F")]
    secret_file: PathBuf,
    #[command(flatten)]
    subject: Subject,
    /// The lifetime in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400,
          value_parser = clap::value_parser!(u64).range(1..))]
    expire: u64,
    /// Rights of a private-map-key: all, audience, a number, or names joined by commas
    /// [default: all].
    #[arg(long, value_name = "P")]
    privileges: Option<Privileges>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct VerifyArgs {
    /// Which token it must be.
    #[arg(long)]
    kind: Kind,
    /// The app it must be for.
    #[arg(long, value_name = "N")]
    sdkappid: u32,
    /// The file with the app's secret key, 64 hexadecimal characters; not readable by others.
    #[arg(long, value_name = "F")]
    secret_file: PathBuf,
    #[command(flatten)]
    subject: Subject,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// The token.
    token: OsString,
}

#[derive(Args)]
struct ExplainArgs {
    /// Which token it should be [default: what it looks like].
    #[arg(long)]
    kind: Option<Kind>,
    /// The app it should be for [default: the one it names].
    #[arg(long, value_name = "N")]
    sdkappid: Option<u32>,
    /// The file with the app's secret key, to say whether and why the token is refused.
    #[arg(long, value_name = "F")]
    secret_file: Option<PathBuf>,
    #[command(flatten)]
    subject: Subject,
    /// Show user ids and room names in the clear.
    #[arg(long)]
    reveal: bool,
    /// The token.
    token: OsString,
}

/// Runs the subcommand on the process's own streams and clock.
pub fn run(args: TokenArgs) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    ExitCode::from(run_with(args, unix_now(), &mut out, &mut err))
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Why a command ended without an answer: the exit code, and what, why and what to do next.
struct Stop {
    code: u8,
    words: String,
}

impl Stop {
    fn usage(words: impl fmt::Display) -> Stop {
        Stop { code: USAGE, words: words.to_string() }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop { code: FAILED, words: format!("cannot write the answer: {error}") }
    }
}

fn run_with(args: TokenArgs, clock_unix: u64, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let done = match args.command {
        TokenCommand::Make(args) => make(&args, clock_unix, out),
        TokenCommand::Verify(args) => verify(&args, clock_unix, out),
        TokenCommand::Explain(args) => explain(&args, clock_unix, out),
    };
    let done = done.and_then(|code| out.flush().map(|()| code).map_err(Stop::from));
    done.unwrap_or_else(|stop| {
        // Nothing is left to tell it to if this fails too.
        let _ = writeln!(err, "roomlane: {}", stop.words);
        stop.code
    })
}

fn make(args: &MakeArgs, clock_unix: u64, out: &mut dyn Write) -> Result<u8, Stop> {
    let subject = &args.subject;
    let user = subject.user.as_deref().ok_or_else(|| Stop::usage("make needs --user U"))?;
    let user = UserId::new(user).map_err(|error| Stop::usage(format!("--user: {error}")))?;
    let room = subject.room().transpose().map_err(|error| Stop::usage(format!("room: {error}")))?;
    let now = subject.now.unwrap_or(clock_unix);
    if args.kind == Kind::UserSig && (room.is_some() || args.privileges.is_some()) {
        return Err(Stop::usage(
            "a usersig holds in every room with every right; \
             for --room, --room-number and --privileges make a --kind private-map-key",
        ));
    }
    if args.kind == Kind::PrivateMapKey && room.is_none() {
        return Err(Stop::usage("a private-map-key needs --room R or --room-number N"));
    }
    let secret = read_secret(&args.secret_file)?;
    let made = match &room {
        None => make_user_sig(args.sdkappid, &secret, &user, now, args.expire),
        Some(room) => {
            let privileges = args.privileges.unwrap_or(Privileges::ALL);
            make_private_map_key(args.sdkappid, &secret, &user, room, privileges, now, args.expire)
        }
    };
    let made = made.map_err(|error| Stop::usage(format!("--expire: {error}")))?;
    if args.json {
        let (user, expires) = (user.as_str(), now + args.expire);
        writeln!(out, r#"{{"token":"{made}","user":"{user}","expires":{expires}}}"#)?;
    } else {
        writeln!(out, "{made}")?;
    }
    Ok(DONE)
}

fn verify(args: &VerifyArgs, clock_unix: u64, out: &mut dyn Write) -> Result<u8, Stop> {
    let keys = app_keys(args.sdkappid, &args.secret_file)?;
    let verdict = verdict(args.kind, &args.token, &keys, &args.subject, clock_unix);
    if args.json {
        write_verdict_json(out, &verdict)?;
    } else {
        let now = args.subject.now.unwrap_or(clock_unix);
        write_verdict(out, args.kind, &verdict, now)?;
    }
    Ok(if verdict.is_ok() { DONE } else { NOT_VALID })
}

/// Verifies exactly, without skew. Whatever is illegal in the expectation is an answer ("not
/// valid") and not a usage error: no token can be valid for it.
fn verdict(
    kind: Kind,
    token: &OsStr,
    keys: &AppKeys,
    subject: &Subject,
    clock_unix: u64,
) -> Result<Verified, Refusal> {
    let now_unix = subject.now.unwrap_or(clock_unix);
    let check = Check { now_unix, skew_s: 0, user: subject.user.as_deref() };
    let (room, malformed) = match subject.room() {
        Some(Ok(room)) => (Some(room), false),
        Some(Err(_)) => (None, true),
        None => (None, false),
    };
    let verified = match kind {
        Kind::UserSig => verify_user_sig(token.as_bytes(), keys, &check),
        Kind::PrivateMapKey => {
            verify_private_map_key(token.as_bytes(), keys, &check, room.as_ref())
        }
    }?;
    if malformed { Err(Refusal::MalformedRoom) } else { Ok(verified) }
}

/// One object. No escaping is due: codes, names and verified user ids are of `A-Za-z0-9_-`.
fn write_verdict_json(
    out: &mut dyn Write,
    verdict: &Result<Verified, Refusal>,
) -> Result<(), Stop> {
    match verdict {
        Ok(verified) => {
            let names: Vec<_> = verified
                .privileges
                .iter()
                .flat_map(|privileges| privileges.names())
                .map(|name| format!("\"{name}\""))
                .collect();
            writeln!(
                out,
                r#"{{"valid":true,"reason":null,"user":"{}","expires":{},"privileges":[{}]}}"#,
                verified.user.as_str(),
                verified.expires_unix,
                names.join(",")
            )?;
        }
        Err(refusal) => writeln!(
            out,
            r#"{{"valid":false,"reason":"{}","user":null,"expires":null,"privileges":[]}}"#,
            refusal.code()
        )?,
    }
    Ok(())
}

fn write_verdict(
    out: &mut dyn Write,
    kind: Kind,
    verdict: &Result<Verified, Refusal>,
    now_unix: u64,
) -> Result<(), Stop> {
    let kind = match kind {
        Kind::UserSig => "UserSig",
        Kind::PrivateMapKey => "PrivateMapKey",
    };
    match verdict {
        Ok(verified) => {
            write!(
                out,
                "valid: {kind} of {} in app {}, until {} (in {} s)",
                verified.user.masked(),
                verified.app,
                verified.expires_unix,
                verified.expires_unix.saturating_sub(now_unix)
            )?;
            if let (Some(room), Some(privileges)) = (&verified.room, verified.privileges) {
                write!(out, ", room {}, may: {}", room.masked(), privileges)?;
            }
            writeln!(out)?;
        }
        Err(refusal) => writeln!(out, "not valid: {}: {refusal}", refusal.code())?,
    }
    Ok(())
}

fn explain(args: &ExplainArgs, clock_unix: u64, out: &mut dyn Write) -> Result<u8, Stop> {
    let now_unix = args.subject.now.unwrap_or(clock_unix);
    let claims = match UserSig::parse(args.token.as_bytes()) {
        Ok(claims) => claims,
        Err(refusal) => {
            writeln!(out, "cannot be read: {}: {refusal}", refusal.code())?;
            return Ok(NOT_VALID);
        }
    };
    write!(out, "{}", Explanation { claims: &claims, reveal: args.reveal, now_unix })?;
    let Some(secret_file) = &args.secret_file else {
        writeln!(out, "To learn whether it is valid, add --secret-file F.")?;
        return Ok(DONE);
    };
    let Some(app) = args.sdkappid.or_else(|| u32::try_from(claims.app()).ok()) else {
        return Err(Stop::usage("the token's SdkAppId is out of range; add --sdkappid N"));
    };
    let looks_like = match claims.userbuf().map(|bytes| bytes.map(|b| PrivateMapKey::parse(&b))) {
        Ok(Some(Ok(_))) => Kind::PrivateMapKey,
        _ => Kind::UserSig,
    };
    let kind = args.kind.unwrap_or(looks_like);
    let keys = app_keys(app, secret_file)?;
    let verdict = verdict(kind, &args.token, &keys, &args.subject, clock_unix);
    write!(out, "With this secret: ")?;
    write_verdict(out, kind, &verdict, now_unix)?;
    if verdict == Err(Refusal::BadSignature) && u64::from(app) != claims.app() {
        writeln!(out, "  (it names app {}, and was held against app {app})", claims.app())?;
    }
    Ok(if verdict.is_ok() { DONE } else { NOT_VALID })
}

impl Subject {
    /// The room that was named, if one was.
    fn room(&self) -> Option<Result<RoomId, token::RoomError>> {
        match (&self.room, self.room_number) {
            (Some(name), _) => Some(RoomId::text(name)),
            (None, Some(number)) => Some(RoomId::number(number)),
            (None, None) => None,
        }
    }
}

fn app_keys(app: u32, secret_file: &Path) -> Result<AppKeys, Stop> {
    let secret = read_secret(secret_file)?;
    AppKeys::new(app, vec![secret]).map_err(Stop::usage)
}

/// Reads a secret file: one that others can open is refused, since its secret is no longer one.
fn read_secret(path: &Path) -> Result<Secret, Stop> {
    let name = quoted(path);
    let stop = |why: String, next: String| Stop {
        code: FAILED,
        words: format!("cannot use the secret file {name}: {why}\n  next: {next}"),
    };
    let unreadable = |error: io::Error| {
        let next = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("install -m 0400 /dev/stdin {name}   (then paste the key and press Ctrl-D)")
            }
            _ => format!("ls -ld {name}"),
        };
        stop(error.to_string(), next)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.is_file() && mode & 0o007 != 0 {
        // A warning only: a token is as valid as ever, and the node itself refuses such a file.
        eprintln!(
            "warning: everyone on this host can open {name} (mode {mode:04o}); chmod 0400 {name}"
        );
    }
    let mut content = Vec::with_capacity(SECRET_FILE_MAX_BYTES as usize);
    let read = (&mut file).take(SECRET_FILE_MAX_BYTES).read_to_end(&mut content);
    let secret = match read {
        Ok(_) => Secret::from_file_content(&content)
            .map_err(|error| stop(error.to_string(), format!("wc -lc {name}"))),
        Err(error) => Err(unreadable(error)),
    };
    // The copy outside `Secret` is overwritten before its memory goes back. This crate has no
    // `zeroize` of its own; `black_box` keeps the stores.
    content.fill(0);
    std::hint::black_box(&content);
    secret
}

/// A path as a shell takes it, without anything a terminal would act on.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.into_owned();
    }
    let harmless: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("'{}'", harmless.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use clap::Parser;

    use super::*;

    const SECRET: &str = "5f0c1d2e3b4a59687786a5b4c3d2e1f00112233445566778899aabbccddeeff0";
    const NOW: u64 = 1_750_000_000;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        token: TokenArgs,
    }

    /// A secret file of its own for each test, removed at the end.
    struct SecretFile(PathBuf);

    impl SecretFile {
        fn new(test: &str, content: &str, mode: u32) -> SecretFile {
            let name = format!("roomlane-token-{}-{test}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let mut options = File::options();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path).unwrap();
            file.write_all(content.as_bytes()).unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            SecretFile(path)
        }

        /// Exit code, standard output and standard error; `F` stands for this file.
        fn run(&self, words: &str, token: Option<&str>) -> (u8, String, String) {
            let path = self.0.to_str().unwrap();
            let line = words.split(' ').map(|word| if word == "F" { path } else { word });
            let line = std::iter::once("roomlane").chain(line);
            let line = line.chain(token.map(|_| "--")).chain(token);
            let cli = match Cli::try_parse_from(line) {
                Ok(cli) => cli,
                Err(error) => return (error.exit_code() as u8, String::new(), error.to_string()),
            };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = run_with(cli.token, NOW, &mut out, &mut err);
            let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
            assert!(!format!("{out}{err}").contains(SECRET), "the secret was printed");
            (code, out, err)
        }
    }

    impl Drop for SecretFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    const MAKE: &str = "make --sdkappid 7 --secret-file F --user alice";
    const VERIFY: &str = "verify --sdkappid 7 --secret-file F --json";

    #[test]
    fn what_make_prints_verify_accepts_and_reports_in_one_object() {
        let file = SecretFile::new("round", &format!("{SECRET}\n"), 0o400);
        let (code, made, err) = file.run(&format!("{MAKE} --kind usersig"), None);
        assert_eq!((code, err.as_str()), (DONE, ""));
        let answer = file.run(&format!("{VERIFY} --kind usersig --user alice"), Some(made.trim()));
        let object =
            r#"{"valid":true,"reason":null,"user":"alice","expires":1750086400,"privileges":[]}"#;
        assert_eq!((answer.0, answer.1.trim_end()), (DONE, object));
        let ticket = format!("{MAKE} --kind private-map-key --room-number 8 --expire 60");
        let (_, made, _) = file.run(&format!("{ticket} --privileges audience"), None);
        let verify = format!("{VERIFY} --kind private-map-key --room-number 8");
        let answer = file.run(&verify, Some(made.trim()));
        let object = r#"{"valid":true,"reason":null,"user":"alice","expires":1750000060,"privileges":["enter_room","receive_audio","receive_video"]}"#;
        assert_eq!((answer.0, answer.1.trim_end()), (DONE, object));
    }

    #[test]
    fn every_refusal_exits_5_with_its_code_and_no_claims() {
        let file = SecretFile::new("refuse", SECRET, 0o600);
        let (_, made, _) =
            file.run(&format!("{MAKE} --kind private-map-key --room 8888 --expire 60"), None);
        let kind = "--kind private-map-key";
        for (more, code) in [
            (format!("{kind} --room-number 8888"), "ticket_wrong_room_kind"),
            (format!("{kind} --room 8889"), "ticket_wrong_room"),
            (format!("{kind} --room {}", "r".repeat(65)), "malformed_room"),
            (format!("{kind} --room-number 0"), "malformed_room"),
            (format!("{kind} --user bob"), "wrong_user"),
            (format!("{kind} --now 1750000061"), "expired"),
            (format!("{kind} --now 1749999999"), "not_yet_valid"),
            ("--kind usersig".to_owned(), "not_a_user_sig"),
        ] {
            let (exit, out, err) = file.run(&format!("{VERIFY} {more}"), Some(made.trim()));
            let object = format!(
                r#"{{"valid":false,"reason":"{code}","user":null,"expires":null,"privileges":[]}}"#
            );
            assert_eq!((exit, out.trim_end(), err.as_str()), (NOT_VALID, &*object, ""), "{more}");
        }
        for broken in ["", "x", "-x", "--json", &made.trim()[1..], &"A".repeat(2000)] {
            let (exit, ..) = file.run(&format!("{VERIFY} --kind usersig"), Some(broken));
            assert_eq!(exit, NOT_VALID, "{broken:?}");
        }
    }

    #[test]
    fn a_bad_secret_file_fails_with_what_why_and_the_next_command() {
        for (test, content, mode, why, next) in [
            ("short", &SECRET[1..], 0o600, "63 bytes", "wc -lc "),
            ("empty", "", 0o600, "empty", "wc -lc "),
            ("text", &SECRET.replace('5', "x"), 0o600, "other than 0-9", "wc -lc "),
        ] {
            let file = SecretFile::new(test, content, mode);
            let (exit, out, err) = file.run(&format!("{VERIFY} --kind usersig"), Some("x"));
            assert_eq!((exit, out.as_str()), (FAILED, ""), "{test}");
            let path = file.0.to_str().unwrap();
            for words in [why, path, &format!("next: {next}{path}")] {
                assert!(err.contains(words), "{test}: {words:?} not in {err:?}");
            }
            assert!(!err.contains("1d2e3b4a"), "{err}");
        }
        let gone = SecretFile::new("gone", "", 0o600);
        std::fs::remove_file(&gone.0).unwrap();
        let (exit, _, err) = gone.run(&format!("{MAKE} --kind usersig"), None);
        assert_eq!((exit, err.contains("next: install -m 0400")), (FAILED, true), "{err}");
    }

    #[test]
    fn make_refuses_what_it_could_not_keep() {
        let file = SecretFile::new("usage", SECRET, 0o600);
        for more in [
            "--kind usersig --room demo",
            "--kind usersig --privileges all",
            "--kind private-map-key",
            "--kind private-map-key --room-number 0",
            "--kind private-map-key --room demo --room-number 1",
            "--kind private-map-key --room demo --privileges fly",
            "--kind private-map-key --room demo --expire 4294967295",
            "--kind usersig --expire 0",
            "--kind usersig --user b@d",
            "--kind other",
        ] {
            let (exit, out, err) = file.run(&format!("{MAKE} {more}"), None);
            assert_eq!((exit, out.as_str()), (USAGE, ""), "{more}");
            assert!(!err.is_empty(), "{more}");
        }
    }

    #[test]
    fn explain_masks_says_not_verified_and_with_a_secret_why_refused() {
        let file = SecretFile::new("explain", SECRET, 0o600);
        let (_, made, _) = file.run(&format!("{MAKE} --kind private-map-key --room demo"), None);
        let made = made.trim();
        let (exit, out, _) = file.run("explain", Some(made));
        assert_eq!(exit, DONE);
        assert!(out.starts_with("NOT verified") && out.contains("a***"), "{out}");
        assert!(!out.contains("alice") && !out.contains("demo") && !out.contains(made), "{out}");
        let (_, out, _) = file.run("explain --reveal", Some(made));
        assert!(out.contains("alice") && out.contains("demo"), "{out}");
        let late = "explain --secret-file F --now 1850000000";
        let (exit, out, _) = file.run(late, Some(made));
        assert!(exit == NOT_VALID && out.contains("not valid: expired:"), "{out}");
        let (exit, out, _) = file.run("explain --secret-file F", Some(made));
        assert!(exit == DONE && out.contains("With this secret: valid"), "{out}");
        let (exit, out, _) = file.run("explain --secret-file F --sdkappid 8", Some(made));
        assert!(exit == NOT_VALID && out.contains("wrong_app"), "{out}");
        assert_eq!(file.run("explain", Some("junk")).0, NOT_VALID);
    }
}
