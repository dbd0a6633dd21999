//! Live, both ways, with the official PyPI and npm libraries: what they make we verify, what we
//! make they decode and sign alike. Needs python3 with pip, node with npm, and a registry once;
//! skips loudly without. `ROOMLANE_REQUIRE_OFFICIAL=1` makes a skip a failure.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use common::secret;
use serde_json::{Value, json};
use token::{
    AppKeys, Check, Privileges, RoomId, UserId, make_private_map_key, make_user_sig,
    make_user_sig_with_userbuf, verify_private_map_key, verify_user_sig,
};

const ROUNDS: u64 = 300;

/// Where the libraries are, or why they cannot be had; installed once for all tests here.
static LIBRARIES: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("official-tokens");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official/install.sh");
    let output = Command::new(&script).arg(&folder).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if output.status.success() {
        return Ok(folder);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.lines().rev().take(3).collect::<Vec<_>>().join(" | "))
});

fn libraries() -> Option<&'static Path> {
    match &*LIBRARIES {
        Ok(folder) => Some(folder),
        Err(reason) => {
            eprintln!("SKIPPED: the official libraries cannot be installed: {reason}");
            let required = std::env::var_os("ROOMLANE_REQUIRE_OFFICIAL").is_some();
            assert!(!required, "the official libraries are required here");
            None
        }
    }
}

/// An official library in its own process.
struct Official {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Official {
    fn start(interpreter: &str, driver: &str, library: &Path) -> Official {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/official").join(driver);
        let mut child = Command::new(interpreter)
            .arg(driver)
            .arg(library)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter ran a moment ago");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Official { child, input, output }
    }

    fn pypi(libraries: &Path) -> Official {
        Official::start("python3", "official.py", &libraries.join("py"))
    }

    fn npm(libraries: &Path) -> Official {
        Official::start("node", "official.js", &libraries.join("js"))
    }

    fn ask(&mut self, request: &Value) -> Value {
        writeln!(self.input.as_mut().expect("open"), "{request}").expect("the library reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the library answers");
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?} to {request}"))
    }

    fn make(&mut self, request: &Value) -> String {
        self.ask(request)["token"].as_str().expect("a token").to_owned()
    }
}

impl Drop for Official {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// xorshift64*: cases that vary and can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn text(&mut self, alphabet: &str, longest: u64) -> String {
        let alphabet = alphabet.as_bytes();
        let len = 1 + self.below(longest);
        (0..len).map(|_| alphabet[self.below(alphabet.len() as u64) as usize] as char).collect()
    }
}

const ALPHANUMERIC: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

struct Case {
    app: u32,
    secret: String,
    user: String,
    room: RoomId,
    privileges: u8,
    now: u64,
    lifetime: u64,
    userbuf: Vec<u8>,
}

impl Case {
    fn random(random: &mut Random) -> Case {
        let room = if random.below(2) == 0 {
            RoomId::Number(1 + random.below(u64::from(u32::MAX)) as u32)
        } else {
            let alphabet = format!("{ALPHANUMERIC} !#$%&()+-:;<=.>?@[]^_{{}}|~,");
            RoomId::Text(random.text(&alphabet, 64))
        };
        Case {
            app: 1 + random.below(u64::from(u32::MAX)) as u32,
            secret: (0..8).map(|_| format!("{:08x}", random.next() as u32)).collect(),
            user: random.text(&format!("{ALPHANUMERIC}_-"), 32),
            room,
            privileges: random.next() as u8,
            now: 1_500_000_000 + random.below(1_000_000_000),
            lifetime: 1 + random.below(366 * 86_400),
            userbuf: (0..random.below(100)).map(|_| (random.next() >> 32) as u8).collect(),
        }
    }

    fn request(&self) -> Value {
        json!({
            "op": "make", "app": self.app, "secret": self.secret, "user": self.user,
            "now": self.now, "expire": self.lifetime,
        })
    }

    fn ticket_request(&self) -> Value {
        let mut request = self.request();
        request["privileges"] = json!(self.privileges);
        match &self.room {
            RoomId::Number(number) => request["room_number"] = json!(number),
            RoomId::Text(name) => request["room_text"] = json!(name),
        }
        request
    }

    fn userbuf_request(&self) -> Value {
        let mut request = self.request();
        let hex: String = self.userbuf.iter().map(|byte| format!("{byte:02x}")).collect();
        request["userbuf"] = json!(hex);
        request
    }

    fn keys(&self) -> AppKeys {
        AppKeys::new(self.app, vec![secret(&self.secret)]).unwrap()
    }

    fn check(&self) -> Check<'_> {
        Check { now_unix: self.now, skew_s: 0, user: Some(&self.user) }
    }

    fn assert_our_verdicts(&self, user_sig: &str, ticket: Option<&str>) {
        let verified = verify_user_sig(user_sig.as_bytes(), &self.keys(), &self.check())
            .unwrap_or_else(|refusal| panic!("{refusal}: {user_sig}"));
        assert_eq!(verified.expires_unix, self.now + self.lifetime);
        let late = Check { now_unix: self.now + self.lifetime + 1, ..self.check() };
        assert!(verify_user_sig(user_sig.as_bytes(), &self.keys(), &late).is_err());
        let Some(ticket) = ticket else { return };
        let room = Some(&self.room);
        let verified = verify_private_map_key(ticket.as_bytes(), &self.keys(), &self.check(), room)
            .unwrap_or_else(|refusal| panic!("{refusal}: {ticket}"));
        assert_eq!(verified.privileges, Some(Privileges::from_bits(self.privileges)));
        assert_eq!(verified.expires_unix, self.now + self.lifetime);
        assert!(
            verify_private_map_key(ticket.as_bytes(), &self.keys(), &late, room).is_err(),
            "{ticket}"
        );
    }
}

#[test]
fn tokens_of_the_official_libraries_are_verified_here() {
    let Some(libraries) = libraries() else { return };
    let (mut pypi, mut npm) = (Official::pypi(libraries), Official::npm(libraries));
    let mut random = Random(0x0ff1_c1a1);
    for _ in 0..ROUNDS {
        let case = Case::random(&mut random);
        case.assert_our_verdicts(&pypi.make(&case.request()), None);
        let ticket = npm.make(&case.ticket_request());
        case.assert_our_verdicts(&npm.make(&case.request()), Some(&ticket));
        case.assert_our_verdicts(&pypi.make(&case.userbuf_request()), None);
        case.assert_our_verdicts(&npm.make(&case.userbuf_request()), None);
    }
}

#[test]
fn tokens_made_here_are_decoded_and_signed_alike_by_the_official_libraries() {
    let Some(libraries) = libraries() else { return };
    let (mut pypi, mut npm) = (Official::pypi(libraries), Official::npm(libraries));
    let mut random = Random(0x5eed_0002);
    for _ in 0..ROUNDS {
        let case = Case::random(&mut random);
        let (key, user) = (secret(&case.secret), UserId::new(&case.user).unwrap());
        let (app, now, lifetime) = (case.app, case.now, case.lifetime);
        let bits = Privileges::from_bits(case.privileges);
        let ours = [
            (make_user_sig(app, &key, &user, now, lifetime), case.request()),
            (
                make_user_sig_with_userbuf(app, &key, &user, now, lifetime, &case.userbuf),
                case.userbuf_request(),
            ),
            (
                make_private_map_key(app, &key, &user, &case.room, bits, now, lifetime),
                case.ticket_request(),
            ),
        ];
        for (token, request) in ours {
            let token = token.unwrap();
            let mut examine = json!({ "op": "examine", "secret": case.secret, "token": token });
            if request.get("privileges").is_some() {
                examine["expect_ticket"] = request.clone();
            }
            let theirs = npm.ask(&examine);
            assert_eq!(theirs["mac_matches"], true, "{examine}");
            assert_ne!(theirs.get("ticket_matches"), Some(&json!(false)), "{examine}");
            let made = npm.make(&request);
            let made = npm.ask(&json!({ "op": "examine", "secret": case.secret, "token": made }));
            assert_eq!(theirs["json"], made["json"], "byte for byte as npm: {request}");
            let theirs = pypi.ask(&examine);
            assert_eq!(theirs["mac_matches"], true, "{examine}");
            assert_eq!(theirs["claims"], made["claims"], "{request}");
        }
        let wrong = json!({
            "op": "examine", "secret": common::OTHER_SECRET,
            "token": make_user_sig(app, &key, &user, now, lifetime).unwrap(),
        });
        assert_eq!(pypi.ask(&wrong)["mac_matches"], false, "the oracle can say no");
        assert_eq!(npm.ask(&wrong)["mac_matches"], false, "the oracle can say no");
    }
}
