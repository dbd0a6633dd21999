//! The command `openssl s_client` as the peer, over a UDP socket on the loopback.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Credentials, MTU, PATIENCE, identity, joined};
use dtls::{Fingerprint, Handshake, Keys, Profile, Progress, Refusal};

/// A running command and the lines it prints.
struct Peer {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn spawn(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is a package the tests need");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The rest of the first line that begins so; an empty text if there is none to the end.
    fn line(&self, begin: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) =
            self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(rest) = line.trim().strip_prefix(begin) {
                return rest.trim().to_owned();
            }
        }
        String::new()
    }
}

/// Files of a peer's credentials, removed at the end.
struct Files {
    key: PathBuf,
    certificate: PathBuf,
}

impl Files {
    fn write(name: &str, credentials: &Credentials) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let file = |what: &str| folder.join(format!("{name}-{}.{what}", std::process::id()));
        let this = Self { key: file("key"), certificate: file("crt") };
        fs::write(&this.key, credentials.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::write(&this.certificate, credentials.certificate.to_pem().unwrap()).unwrap();
        this
    }

    fn arguments(&self) -> [&str; 4] {
        ["-key", self.key.to_str().unwrap(), "-cert", self.certificate.to_str().unwrap()]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.key);
        let _ = fs::remove_file(&self.certificate);
    }
}

/// Our side of a socket.
struct Server {
    socket: UdpSocket,
    handshake: Handshake,
}

impl Server {
    fn new(expected: Fingerprint) -> (Self, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let handshake = Handshake::server(&identity(), &[expected], MTU).unwrap();
        (Self { socket, handshake }, port)
    }

    /// Serves until something is known.
    fn serve(&mut self) -> Result<Progress, Refusal> {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            assert!(Instant::now() < deadline, "nothing came of it");
            let progress = match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    self.socket.connect(from).unwrap();
                    self.handshake.receive(&buffer[..length])
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    self.handshake.on_timeout()
                }
                Err(error) => panic!("{error}"),
            };
            while let Some(datagram) = self.handshake.poll_transmit() {
                self.socket.send(&datagram).unwrap();
            }
            if !matches!(progress, Ok(Progress::InProgress)) {
                return progress;
            }
        }
    }

    fn keys(&mut self) -> Keys {
        match self.serve() {
            Ok(Progress::Done(keys)) => keys,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn s_client_prints_the_same_keys_for_every_profile_and_certificate() {
    let table = [
        ("SRTP_AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
        ("SRTP_AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
        ("SRTP_AES128_CM_SHA1_80", Profile::AesCm128HmacSha1_80),
        ("SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
    ];
    for (kind, credentials) in [("ecdsa", Credentials::ecdsa()), ("rsa", Credentials::rsa(2048))] {
        let files = Files::write(kind, &credentials);
        for (offered, profile) in table {
            let (mut server, port) = Server::new(credentials.sha256());
            let bytes = 2 * (profile.key_bytes() + profile.salt_bytes());
            let bytes = bytes.to_string();
            let mut arguments = vec!["-dtls1_2", "-use_srtp", offered];
            arguments.extend(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", &bytes]);
            arguments.extend(files.arguments());
            let mut peer = Peer::spawn(port, &arguments);
            let keys = server.keys();
            assert_eq!(keys.profile, profile);
            let hex: String = joined(&keys).iter().map(|byte| format!("{byte:02X}")).collect();
            assert_eq!(peer.line("Keying material:"), hex, "{kind} {offered}");
            // It says goodbye when its input ends.
            drop(peer.child.stdin.take());
            assert!(matches!(server.serve(), Ok(Progress::Closed)));
        }
    }
}

#[test]
fn s_client_is_refused_for_each_reason() {
    const GCM: &[&str] = &["-use_srtp", "SRTP_AEAD_AES_128_GCM"];
    let (credentials, stranger) = (Credentials::ecdsa(), Credentials::ecdsa());
    let files = Files::write("known", &credentials);
    let strangers = Files::write("stranger", &stranger);
    let (known, unknown) = (files.arguments(), strangers.arguments());
    let old: &[&str] = &["-dtls1", "-cipher", "ALL:@SECLEVEL=0"];
    let cases: [(&[&[&str]], Refusal); 6] = [
        (&[&["-dtls1_2"], GCM, &unknown], Refusal::Certificate),
        (&[&["-dtls1_2"], GCM], Refusal::NoCertificate),
        (&[&["-dtls1_2"], &known], Refusal::NoProfile),
        (&[&["-dtls1_2", "-use_srtp", "SRTP_AES128_CM_SHA1_32"], &known], Refusal::NoProfile),
        (&[old, GCM, &known], Refusal::Version),
        (
            &[&["-dtls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"], GCM, &known],
            Refusal::NoCommonAlgorithm,
        ),
    ];
    for (arguments, refusal) in cases {
        let (mut server, port) = Server::new(credentials.sha256());
        let _peer = Peer::spawn(port, &arguments.concat());
        assert_eq!(server.serve().unwrap_err(), refusal, "{arguments:?}");
    }
}
