//! Security events posted to a webhook over HTTPS, their signatures checked by OpenSSL.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roomlane_tests::netns::{Lab, run};
use roomlane_tests::node::{Node, NodeConfig};
use serde_json::Value;

use crate::tools::{check, until};

/// Answers 500 to the first request and 200 to the others; writes each as `N.signature` and `N.body`.
const SERVER: &str = r#"
import http.server, ssl, sys
folder, count = sys.argv[1], 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global count
        count += 1
        body = self.rfile.read(int(self.headers["content-length"]))
        open(f"{folder}/{count}.signature", "w").write(self.headers["roomlane-signature"])
        open(f"{folder}/{count}.body.part", "wb").write(body)
        import os
        os.rename(f"{folder}/{count}.body.part", f"{folder}/{count}.body")
        self.send_response(500 if count == 1 else 204)
        self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", 9444), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/server.crt", f"{folder}/server.private")
server.socket = context.wrap_socket(server.socket, server_side=True)
open(f"{folder}/ready", "w").close()
server.serve_forever()
"#;

/// An authority, and a certificate for 127.0.0.1 that it has signed.
fn certificates(dir: &Path) {
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let (ca, ca_key, server, key) =
        (at("ca.crt"), at("ca.private"), at("server.crt"), at("server.private"));
    let common = ["-nodes", "-days", "2", "-subj"];
    let authority = ["/CN=test authority", "-keyout", &ca_key, "-out", &ca];
    run(&[&new[..], &common, &authority].concat()).unwrap_or_else(|why| panic!("{why}"));
    let leaf = ["/CN=webhook", "-CA", &ca, "-CAkey", &ca_key, "-keyout", &key, "-out", &server];
    let about =
        ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(&[&new[..], &common, &leaf, &about].concat()).unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_lost_data_plane_is_posted_signed_and_posted_again_when_nobody_took_it() {
    let Some(lab) = Lab::new() else { return };
    lab.kernel_owns_the_nodes_end();
    let dir = std::env::temp_dir().join(format!("rl-hook-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    certificates(&dir);
    let secret = format!("{:032x}", std::process::id());
    fs::write(dir.join("secret"), &secret).expect("writable");
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o400)).expect("ours");
    let folder = dir.display();
    let more = format!(
        "[notify]\nurl = \"https://127.0.0.1:9444/events?x=1\"\nsecret_file = \"{folder}/secret\"\n\
         ca_file = \"{folder}/ca.crt\"\n"
    );
    let mut server = lab.node.command("python3".as_ref());
    server.args(["-c", SERVER]).arg(&dir).stdin(Stdio::null());
    let mut server = server.spawn().expect("ip is there, or no namespace would be");
    until("the webhook listens", || dir.join("ready").exists());
    let config = NodeConfig { more, ..NodeConfig::port("udp") };
    let node = Node::start(&lab.node, &config);
    let tested = node.map(|node| {
        let node = node.unwrap_or_else(|why| panic!("{why}"));
        until("control has seen its data plane", || node.log().contains("\"data_plane_back\""));
        node.kill("roomlane-dataplane");
        until("a second attempt", || dir.join("2.body").exists());
        node
    });
    // Ends the server before anything is asserted: `ip netns exec` became it.
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).expect("it is ours");
    let _ = server.wait();
    if tested.is_some() {
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect("written");
        let (first, second) = (read("1.body"), read("2.body"));
        assert_eq!(first, second, "the same event again, with its id");
        let event: Value = serde_json::from_str(&first).expect("JSON");
        assert_eq!(event["schema"], "roomlane.event.v1");
        assert_eq!(
            (&event["event"], &event["severity"]),
            (&"data_plane_lost".into(), &"critical".into())
        );
        assert_eq!((&event["node"], &event["runbook"]), (&"test".into(), &"dataplanedown".into()));
        for number in [1, 2] {
            let header = read(&format!("{number}.signature"));
            let (time, mac) = header.split_once(",v1=").expect("both parts");
            let seconds = time.strip_prefix("t=").expect("a time");
            let signed = format!("{seconds}.{first}");
            let words = ["openssl", "dgst", "-sha256", "-hmac", &secret];
            let said = check(&words, Some(&signed)).unwrap_or_else(|why| panic!("{why}"));
            assert!(said.trim().ends_with(mac), "{header}: openssl says {said}");
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
            assert!(now.abs_diff(seconds.parse().expect("seconds")) < 120, "{header}");
        }
    }
    fs::remove_dir_all(&dir).expect("ours");
}
