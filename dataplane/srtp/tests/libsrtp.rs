//! Against libsrtp, through pylibsrtp: it opens what we seal and we open what it seals, with loss,
//! reorder, duplicates, damage and sequence wraps; and both must refuse the same packets.
//!
//! The interpreter is `$ROOMLANE_PYTHON`, or one that is set up with `venv` and `pip` in the
//! target directory. Where that fails the tests say so and pass, unless `$ROOMLANE_REQUIRE_LIBSRTP`
//! is set. `$ROOMLANE_LIBSRTP_PACKETS` is the number of RTP packets per profile and direction.

#[path = "suite/mod.rs"]
#[allow(dead_code, reason = "the parts that are claims are run by tests/provider.rs")]
mod suite;

use std::env;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use srtp::{
    AesGcmProvider, Inbound, MasterKey, Outbound, PacketIndex, Profile, Provider, RingProvider,
    RtcpIndex, RtcpReplayWindow, peek_rtcp,
};
use suite::stream::{Random, Receiver};
use suite::{Leg, rtcp};

const PYLIBSRTP: &str = "pylibsrtp==1.0.0";
const SSRC: u32 = 0x4d61_7273;

/// Finds or makes the interpreter, once per run.
fn python() -> Result<&'static Path, &'static str> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    PYTHON.get_or_init(set_up).as_deref().map_err(String::as_str)
}

fn set_up() -> Result<PathBuf, String> {
    if let Some(python) = env::var_os("ROOMLANE_PYTHON") {
        let python = PathBuf::from(python);
        return run(&python, &["-c", "import pylibsrtp"]).map(|()| python);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libsrtp-venv");
    let python = venv.join("bin/python");
    if run(&python, &["-c", "import pylibsrtp"]).is_err() {
        run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()])?;
        run(&python, &["-m", "pip", "install", "--quiet", PYLIBSRTP])?;
    }
    Ok(python)
}

fn run(program: &Path, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output();
    let done = done.map_err(|error| format!("{}: {error}", program.display()))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{}: {}", arguments.join(" "), said.trim().lines().last().unwrap_or_default()))
}

/// A running `libsrtp_peer.py`; it ends when its standard input closes.
struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
}

type Reply = Result<Vec<u8>, String>;

impl Peer {
    /// `None` where libsrtp cannot be had; it has then said why, past the capture of the tests.
    fn start(profile: Profile, master: &[u8]) -> Option<Peer> {
        let python = match python() {
            Ok(python) => python,
            Err(reason) => {
                assert!(env::var_os("ROOMLANE_REQUIRE_LIBSRTP").is_none(), "no libsrtp: {reason}");
                let _ = writeln!(io::stderr(), "SKIPPED, no libsrtp to compare with: {reason}");
                return None;
            }
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/libsrtp_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter ran before");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let mut peer = Peer { child, stdin, stdout };
        let request = [profile.sdes_name().as_bytes(), b" ", master].concat();
        assert_eq!(peer.ask(b'C', &[request]), [Ok(Vec::new())]);
        Some(peer)
    }

    /// Sends one batch of requests of the same operation, and reads the replies.
    fn ask(&mut self, operation: u8, requests: &[Vec<u8>]) -> Vec<Reply> {
        let mut batch = Vec::new();
        for request in requests {
            batch.push(operation);
            batch.extend((request.len() as u16).to_be_bytes());
            batch.extend(request);
        }
        let stdin = self.stdin.as_mut().expect("open until the end");
        stdin.write_all(&(batch.len() as u32).to_be_bytes()).unwrap();
        stdin.write_all(&batch).unwrap();

        let mut len = [0; 4];
        self.stdout.read_exact(&mut len).expect("the peer answers");
        let mut answer = vec![0; u32::from_be_bytes(len) as usize];
        self.stdout.read_exact(&mut answer).expect("the peer answers in full");
        let mut replies = Vec::new();
        let mut rest = &answer[..];
        while let [status, high, low, after @ ..] = rest {
            let (body, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            replies.push(match status {
                0 => Ok(body.to_vec()),
                _ => Err(String::from_utf8_lossy(body).into_owned()),
            });
            rest = after;
        }
        assert_eq!(replies.len(), requests.len());
        replies
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

fn packets_per_run() -> usize {
    let wanted = env::var("ROOMLANE_LIBSRTP_PACKETS").ok();
    wanted.map_or(20_000, |number| number.parse().expect("a number of packets"))
}

fn leg<P: Provider + Default>(profile: Profile, master: &[u8]) -> Leg<P> {
    let master = MasterKey::new(profile, master).unwrap();
    let provider = P::default();
    let outbound = Outbound::new(&provider, &master);
    let inbound = Inbound::new(&provider, &master);
    Leg { provider, outbound, inbound }
}

fn master(profile: Profile, random: &mut Random) -> Vec<u8> {
    (0..profile.master_len()).map(|_| random.next() as u8).collect()
}

/// Random CSRCs, header extension and payload.
fn rtp(random: &mut Random, seq: u16) -> (Vec<u8>, usize) {
    let (csrcs, extension) = (random.below(4) as usize, random.below(3) as usize * 4);
    let (mut packet, _) = suite::rtp(SSRC, seq, csrcs, 0);
    if extension > 0 {
        packet[0] |= 0x10;
        packet.extend([0xBE, 0xDE, 0, extension as u8 / 4]);
        packet.extend((0..extension).map(|_| random.next() as u8));
    }
    let header_len = packet.len();
    let len = if random.below(4) == 0 { random.below(1201) } else { random.below(201) };
    packet.extend((0..len).map(|_| random.next() as u8));
    (packet, header_len)
}

/// What a bad network makes of a batch: some lost, some twice, some late, some damaged.
/// Returns places in the batch, and whether the copy is damaged.
fn network(random: &mut Random, sent: usize) -> Vec<(usize, bool)> {
    let mut arriving: Vec<(u64, usize, bool)> = Vec::new();
    for at in 0..sent {
        let now = at as u64 * 10;
        if random.below(10) != 0 {
            arriving.push((now + random.below(100), at, false));
        }
        if random.below(20) == 0 {
            arriving.push((now + random.below(4000), at, false));
        }
        if random.below(20) == 0 {
            arriving.push((now + random.below(100), at, true));
        }
    }
    arriving.sort();
    arriving.into_iter().map(|(_, at, damaged)| (at, damaged)).collect()
}

fn damage(random: &mut Random, packet: &mut [u8]) {
    // Not version, extension or CSRC count: those are for parsers to refuse.
    let at = 1 + random.below(packet.len() as u64 - 1) as usize;
    packet[at] ^= 1 << random.below(8);
}

struct Sent {
    plain: Vec<u8>,
    header_len: usize,
    sealed: Vec<u8>,
}

/// Lets libsrtp and us receive the same packets and compares every verdict. Returns accepted ones.
fn receive_both<P: Provider + Default>(
    leg: &Leg<P>,
    peer: &mut Peer,
    receiver: &mut Receiver,
    random: &mut Random,
    sent: &[Sent],
) -> usize {
    let arriving = network(random, sent.len());
    let copies: Vec<Vec<u8>> = arriving
        .iter()
        .map(|(at, damaged)| {
            let mut copy = sent[*at].sealed.clone();
            if *damaged {
                damage(random, &mut copy);
            }
            copy
        })
        .collect();
    let theirs = peer.ask(b'O', &copies);
    let mut accepted = 0;
    for (((at, damaged), copy), theirs) in arriving.into_iter().zip(&copies).zip(theirs) {
        let Sent { plain, header_len, .. } = &sent[at];
        // A damaged SSRC is another stream for libsrtp; only the refusal is compared.
        let ours = receiver.receive(leg, copy, *header_len);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "we: {ours:?}, libsrtp: {theirs:?}");
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            assert!(!damaged, "a damaged packet opened");
            assert!(ours == *plain && theirs == *plain, "opened to other bytes");
            accepted += 1;
        }
    }
    accepted
}

/// RTP with sequence wraps; `ours` says who seals.
fn rtp_run<P: Provider + Default>(profile: Profile, ours: bool) {
    let mut random = Random(profile.master_len() as u64 * 2 + u64::from(ours));
    let master = master(profile, &mut random);
    let Some(mut peer) = Peer::start(profile, &master) else { return };
    let leg = leg::<P>(profile, &master);
    let mut receiver = Receiver::default();
    let (mut index, mut accepted) = (random.below(0x8000) + 0x4000, 0);
    let packets = packets_per_run();
    for _ in 0..packets.div_ceil(500) {
        let mut sent: Vec<Sent> = (0..500)
            .map(|_| {
                index += 1 + random.below(2) * random.below(60);
                let (plain, header_len) = rtp(&mut random, index as u16);
                let sealed = leg.seal(&plain, header_len, PacketIndex::new(index).unwrap());
                Sent { plain, header_len, sealed }
            })
            .collect();
        // libsrtp follows the same wraps by itself: the same packets must come out.
        let plain: Vec<Vec<u8>> = sent.iter().map(|sent| sent.plain.clone()).collect();
        let theirs: Result<Vec<_>, _> = peer.ask(b'S', &plain).into_iter().collect();
        for (sent, theirs) in sent.iter_mut().zip(theirs.expect("libsrtp seals what we seal")) {
            assert!(sent.sealed == theirs, "sealed to other bytes at index {index}");
            if !ours {
                sent.sealed = theirs;
            }
        }
        accepted += receive_both(&leg, &mut peer, &mut receiver, &mut random, &sent);
    }
    assert!(accepted > packets / 2, "{accepted} of {packets} arrived");
    assert!(index > 4 * 65_536 || packets < 20_000, "the run must have wrapped: {index}");
}

fn rtcp_run<P: Provider + Default>(profile: Profile) {
    let mut random = Random(profile.master_len() as u64 * 3);
    let master = master(profile, &mut random);
    let Some(mut peer) = Peer::start(profile, &master) else { return };
    let leg = leg::<P>(profile, &master);

    // What libsrtp seals, we open, in its order of indices.
    let plain: Vec<Vec<u8>> = (0..2_000).map(|_| rtcp(SSRC, random.below(60) as usize)).collect();
    let mut first = None;
    for (at, (sealed, plain)) in peer.ask(b's', &plain).into_iter().zip(&plain).enumerate() {
        let sealed = sealed.unwrap();
        let (opened, index) = leg.open_rtcp(&sealed).unwrap();
        assert_eq!(&opened, plain);
        assert_eq!(index.value(), *first.get_or_insert(index.value()) + at as u32);
        assert_eq!(leg.seal_rtcp(plain, index.value()), sealed, "sealed to other bytes");
    }

    // What we seal, both receive over the same bad network, replay windows included.
    let (mut window, mut index, mut accepted) = (RtcpReplayWindow::new(), 0, 0);
    for _ in 0..8 {
        let sent: Vec<(Vec<u8>, Vec<u8>)> = (0..500)
            .map(|_| {
                index += 1 + random.below(2) as u32 * random.below(6) as u32;
                let plain = rtcp(SSRC, random.below(60) as usize);
                let sealed = leg.seal_rtcp(&plain, index);
                (plain, sealed)
            })
            .collect();
        let arriving: Vec<usize> =
            network(&mut random, 500).into_iter().map(|(at, _)| at).collect();
        let mut copies: Vec<Vec<u8>> = arriving.iter().map(|at| sent[*at].1.clone()).collect();
        for copy in copies.iter_mut().step_by(17) {
            // Behind the SSRC: a compound of another sender is no business of this window.
            let at = 8 + random.below(copy.len() as u64 - 8) as usize;
            copy[at] ^= 1 << random.below(8);
        }
        for ((at, copy), theirs) in arriving.iter().zip(&copies).zip(peer.ask(b'o', &copies)) {
            let ours = receive_rtcp(&leg, &mut window, copy);
            assert_eq!(ours.is_some(), theirs.is_ok(), "libsrtp: {theirs:?}");
            if let (Some(ours), Ok(theirs)) = (ours, theirs) {
                assert!(ours == sent[*at].0 && theirs == ours, "opened to other bytes");
                accepted += 1;
            }
        }
    }
    assert!(accepted > 2_000, "{accepted} of 4000 arrived");
}

fn receive_rtcp<P: Provider + Default>(
    leg: &Leg<P>,
    window: &mut RtcpReplayWindow,
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let index: RtcpIndex = peek_rtcp(leg.inbound.profile(), sealed).ok()?.index;
    window.check(index).ok()?;
    let (opened, index) = leg.open_rtcp(sealed).ok()?;
    window.commit(index).ok()?;
    Some(opened)
}

macro_rules! against_libsrtp {
    ($($name:ident: $profile:ident),+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn both_open_what_we_seal_and_refuse_the_same() {
                rtp_run::<RingProvider>(Profile::$profile, true);
            }

            #[test]
            fn both_open_what_libsrtp_seals_and_refuse_the_same() {
                rtp_run::<AesGcmProvider>(Profile::$profile, false);
            }

            #[test]
            fn rtcp_crosses_both_ways() {
                rtcp_run::<RingProvider>(Profile::$profile);
                rtcp_run::<AesGcmProvider>(Profile::$profile);
            }
        }
    )+};
}

against_libsrtp!(
    aead_aes_128_gcm: AeadAes128Gcm,
    aead_aes_256_gcm: AeadAes256Gcm,
    aes_cm_128_hmac_sha1_80: AesCm128HmacSha1_80
);
