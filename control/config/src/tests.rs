//! What operators may write, what they may not, and how they are told.

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text, "/etc/roomlane/node.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

/// All errors of `text`, as printed.
fn errors(text: &str) -> Vec<String> {
    match Config::parse(text, "n.toml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

/// The only error of `text`.
fn error(text: &str) -> String {
    let mut all = errors(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

const DPDK: &str = r#"[port]
type = "dpdk"
device = "net_af_xdp0,iface=media0"
addresses = ["198.18.1.2/24", "2001:db8::2/64"]
gateway = ["198.18.1.1"]
"#;

#[test]
fn the_sample_is_the_default() {
    assert_eq!(Config::parse(sample(), "default").unwrap(), Config::default());
}

#[test]
fn the_sample_shows_every_key_and_its_commented_keys_are_valid() {
    let mut text = String::new();
    for line in sample().lines() {
        // Without the mark, only lines that are keys or headers.
        let key = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        text += key.unwrap_or(line);
        text.push('\n');
    }
    let text = text.replace(r#"type = "udp""#, r#"type = "dpdk""#);
    let config = parse(&text.replace("127.0.0.1/8", "198.18.1.2/24"));
    assert_eq!(config.app(1_400_000_001).map(|app| app.secret_files.len()), Some(1));
    assert_eq!(config.control.user.as_deref(), Some("roomlane"));
    assert!(config.control.tls.is_some() && config.node.run_dir.is_some());
}

#[test]
fn a_dpdk_port_keeps_what_was_written() {
    let config = parse(DPDK);
    let PortType::Dpdk { device: Some(device), eal_args } = &config.port.kind else {
        panic!("{:?}", config.port.kind)
    };
    assert_eq!((device.driver(), device.argument("iface")), ("net_af_xdp", Some("media0")));
    assert!(eal_args.is_empty());
    assert_eq!(config.port.addresses[1].to_string(), "2001:db8::2/64");
    assert_eq!(config.port.gateways, ["198.18.1.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.port.vlan, None);
    assert_eq!(config.workers.shards(), 1);
}

#[test]
fn pci_addresses_are_completed_and_lowered() {
    for text in ["0000:3B:00.0", "3b:00.0"] {
        let config = parse(&DPDK.replace("net_af_xdp0,iface=media0", text));
        let PortType::Dpdk { device, .. } = config.port.kind else { panic!() };
        assert_eq!(device, Some(Device::Pci("0000:3b:00.0".to_owned())));
    }
}

#[test]
fn unknown_keys_name_line_column_key_and_the_allowed_ones() {
    assert_eq!(
        error("[tokens]\n  skew = 3\n"),
        "n.toml:2:3: tokens.skew: unknown key skew; allowed: skew_s"
    );
    let text = error("[[app]]\nsdkappid = 1\nsecret_files = [\"a\"]\nsecret = \"x\"\n");
    assert!(text.starts_with("n.toml:4:1: app[0].secret: unknown key secret; allowed: "), "{text}");
    let text = error("[ports]\n");
    assert!(text.contains("ports: unknown key ports; allowed: node, port, workers"), "{text}");
}

#[test]
fn wrong_types_name_line_column_and_key() {
    assert_eq!(
        error("[port]\nudp_base = \"8000\"\n"),
        "n.toml:2:12: port.udp_base: wrong type: string \"8000\"; allowed: a whole number, 0 or larger"
    );
    assert_eq!(
        error("[limits]\nrooms_max = -1\n"),
        "n.toml:2:13: limits.rooms_max: wrong value: integer -1; allowed: a whole number, 0 or larger"
    );
    let text = error("[workers]\ncores = [1, true]\n");
    assert!(text.starts_with("n.toml:2:13: workers.cores[1]: wrong type: boolean"), "{text}");
    let text = error("port = 5\n");
    assert!(text.starts_with("n.toml:1:8: port: wrong type: integer"), "{text}");
}

#[test]
fn broken_syntax_names_line_and_column() {
    let text = error("[node]\nname = \"x\n");
    assert!(text.starts_with("n.toml:2:") && text.contains(": syntax: "), "{text}");
    let text = error("[node]\nname = \"x\"\nname = \"y\"\n");
    assert!(text.starts_with("n.toml:3:1: ") && text.contains("duplicate key"), "{text}");
}

#[test]
fn columns_count_characters() {
    let text = error("[node]\nrun_dir = [\"\u{e9}\u{e9}\"]\n");
    assert!(text.starts_with("n.toml:2:11: node.run_dir: "), "{text}");
}

#[test]
fn every_problem_is_told_at_once() {
    let all =
        errors("[port]\ntype = \"tcp\"\nmtu = 9\n[workers]\ncores = [1, 1]\npoll = \"lazy\"\n");
    let expected = [
        "n.toml:5:13: workers.cores: core 1 has a worker already; two workers on one core; \
         allowed: each core once",
        "n.toml:6:8: workers.poll: unknown value \"lazy\"; allowed: adaptive, busy",
        "n.toml:2:8: port.type: unknown value \"tcp\"; allowed: udp, uring, dpdk, sim",
        "n.toml:3:7: port.mtu: 9 is out of range; allowed: 576 to 2000",
    ];
    assert_eq!(all, expected);
}

#[test]
fn addresses_must_be_addresses_of_a_host() {
    let bad = [
        "198.18.1.2",
        "198.18.1.0/24",
        "198.18.1.255/24",
        "0.0.0.0/0",
        "224.0.0.1/4",
        "::/64",
        "ff02::1/64",
        "::ffff:1.2.3.4/96",
        "198.18.1.2/40",
        "media0",
        "",
    ];
    for addr in bad {
        let text = DPDK.replace("198.18.1.2/24\", \"2001:db8::2/64", addr);
        let all = errors(&text);
        assert!(all[0].contains("port.addresses"), "{addr}: {all:?}");
    }
    assert!(errors(&DPDK.replace("2001:db8::2/64", "198.18.1.2/24"))[0].contains("there already"));
    assert!(error("[port]\naddresses = []\n").contains("0 addresses; allowed: 1 to 8"));
    assert_eq!(parse("[port]\naddresses = [\"192.0.2.1\"]\n").port.addresses[0].prefix, 32);
}

#[test]
fn gateways_must_be_on_the_link() {
    for gateway in ["198.18.2.1", "198.18.1.2", "not", "0.0.0.0", "198.18.1.9\", \"198.18.1.8"] {
        let text = DPDK.replace("[\"198.18.1.1\"]", &format!("[\"{gateway}\"]"));
        assert!(error(&text).contains("port.gateway"), "{gateway}");
    }
    assert_eq!(parse(&DPDK.replace("198.18.1.1\"", "fe80::1\"")).port.gateways.len(), 1);
}

#[test]
fn devices_belong_to_dpdk_and_dpdk_needs_one() {
    assert!(error("[port]\ndevice = \"net_tap0\"\n").contains("port.device"));
    assert!(error("[port]\ntype = \"udp\"\ndevice = \"net_tap0\"\n").contains("has no device"));
    assert!(
        error(&DPDK.replace("device = \"net_af_xdp0,iface=media0\"\n", "")).contains("is missing")
    );
    for device in ["eth0", "net_", "net_tap0,iface", "net_tap0, iface=x", "0000:3b:00.9", "3b:0.0"]
    {
        let text = DPDK.replace("net_af_xdp0,iface=media0", device);
        assert!(error(&text).contains("is no device"), "{device}");
    }
    let by_args =
        DPDK.replace("device = \"net_af_xdp0,iface=media0\"", "eal_args = [\"--vdev=x\"]");
    assert!(matches!(parse(&by_args).port.kind, PortType::Dpdk { device: None, .. }));
}

#[test]
fn memif_is_warned_about() {
    let config = parse(&DPDK.replace("net_af_xdp0,iface=media0", "net_memif0,role=client"));
    let warning = config.warnings[0].to_string();
    assert!(warning.starts_with("/etc/roomlane/node.toml:3:10: port.device: warning: net_memif"));
    assert!(warning.contains("can crash"), "{warning}");
}

#[test]
fn the_last_shard_needs_a_udp_port_too() {
    let text = "[port]\nudp_base = 65534\n[workers]\ncores = [0, 1, 2]\n";
    assert!(error(text).ends_with("65534 is out of range; allowed: 1 to 65533"));
    assert_eq!(parse(&text.replace("65534", "65533")).port.udp_base, 65533);
    let all: Vec<String> = (0..65).map(|core| core.to_string()).collect();
    assert!(error(&format!("[workers]\ncores = [{}]\n", all.join(","))).contains("at most 64"));
}

#[test]
fn plain_http_stays_on_this_host() {
    for key in ["listen", "admin_listen"] {
        let text = format!("[control]\n{key} = \"0.0.0.0:8443\"\n");
        assert!(error(&text).contains("which other hosts can reach"), "{key}");
        parse(&format!("{text}tls_cert = \"c.pem\"\ntls_key = \"k.pem\"\n"));
        parse(&format!("[control]\n{key} = \"unix:/run/x.sock\"\n"));
        parse(&format!("[control]\n{key} = \"[::1]:9000\"\n"));
    }
    assert!(error("[control]\ntls_cert = \"c.pem\"\n").contains("needs control.tls_key"));
    assert!(error("[control]\nlisten = \"127.0.0.1:8081\"\n").contains("the same as"));
    assert!(error("[control]\nlisten = \"unix:x\"\n").contains("is no place to listen"));
}

#[test]
fn http_never_runs_over_the_dpdk_port() {
    let tls = "tls_cert = \"c\"\ntls_key = \"k\"\n";
    let text = format!("{DPDK}[control]\nlisten = \"198.18.1.2:443\"\n{tls}");
    assert!(error(&text).contains("belongs to the DPDK port"));
    parse(&format!("{DPDK}[control]\nlisten = \"192.0.2.9:443\"\n{tls}"));
}

#[test]
fn apps_need_an_id_of_their_own_and_secrets() {
    let app = "[[app]]\nsdkappid = 7\nsecret_files = [\"s7\"]\n";
    let config = parse(app);
    let path = SecretFile::Path("/etc/roomlane/s7".into());
    assert_eq!(config.apps[0].secret_files, [path]);
    assert_eq!(config.apps[0].quota.joins_per_s, 100);
    assert!(config.warnings.is_empty());
    assert!(error(&format!("{app}{app}")).contains("7 is taken by the app of line 2"));
    assert!(error("[[app]]\nsdkappid = 0\nsecret_files = [\"a\"]\n").contains("out of range"));
    assert!(
        error("[[app]]\nsdkappid = 4294967296\nsecret_files = [\"a\"]\n").contains("out of range")
    );
    let all = errors("[[app]]\n");
    assert!(
        all[0].contains("app.sdkappid: is missing") && all[1].contains("secret_files: is missing")
    );
    let five = "[[app]]\nsdkappid = 1\nsecret_files = [\"a\", \"b\", \"c\", \"d\", \"e\"]\n";
    assert!(error(five).contains("5 files"));
    assert!(error(&five.replace(", \"b\", \"c\", \"d\", \"e\"", ", \"a\"")).contains("twice"));
    assert!(
        error("[[app]]\nsdkappid = 1\nsecret_files = [\"credential:../x\"]\n")
            .contains("credential")
    );
}

#[test]
fn a_demo_app_does_not_run_in_production() {
    let app = "[[app]]\nsdkappid = 7\nsecret_files = [\"s\"]\ndemo = true\n";
    parse(app);
    let text = error(&format!("[node]\nenvironment = \"production\"\n{app}"));
    assert!(text.starts_with("n.toml:6:8: app.demo: a demo app in production"), "{text}");
    assert!(
        error("[node]\nenvironment = \"production\"\n[port]\ntype = \"sim\"\n").contains("sim")
    );
}

#[test]
fn a_malformed_network_is_refused() {
    assert!(error("[sdes]\nallow = [\"10.0.0.0/33\"]\n").contains("sdes.allow"));
    assert_eq!(parse("[sdes]\nallow = [\"10.0.0.0/8\"]\n").sdes_allow.len(), 1);
}

#[test]
fn a_missing_file_is_an_error_of_the_same_form() {
    let error = Config::load(Path::new("/nonexistent/node.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/node.toml: file: cannot be read: "), "{error}");
}

#[test]
fn nobody_can_join_without_an_app_and_is_told() {
    let default = Config::default();
    assert_eq!(default.warnings.len(), 1);
    assert_eq!(
        default.warnings[0].to_string(),
        "default: app: warning: no [[app]]: nobody can join"
    );
    assert_eq!(default.control.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(default.run_dir(), default_run_dir());
}

#[test]
fn the_demo_page_is_off_unless_asked_for_and_refused_in_production() {
    let control = "[control]\ndemo = true\n";
    let app = "[[app]]\nsdkappid = 1\nsecret_files = [\"s\"]\n";
    assert!(!parse(app).control.demo);
    let development = parse(&format!("{control}{app}"));
    assert!(development.control.demo && development.warnings.is_empty());
    let text = error(&format!("[node]\nenvironment = \"production\"\n{control}{app}"));
    assert!(text.starts_with("n.toml:4:8: control.demo: the demo page in production"), "{text}");
}

/// A folder of files for one test.
fn files(name: &str, files: &[(&str, &str, u32)]) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let dir = std::env::temp_dir().join(format!("rl-config-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(dir.join("conf.d")).unwrap();
    for (file, text, mode) in files {
        std::fs::write(dir.join(file), text).unwrap();
        let mode = std::fs::Permissions::from_mode(*mode);
        std::fs::set_permissions(dir.join(file), mode).unwrap();
    }
    dir
}

#[test]
fn keys_that_others_can_use_are_refused_in_production_with_their_place() {
    let app = "[[app]]\nsdkappid = 7\nsecret_files = [\"s\"]\n";
    let production = format!("[node]\nenvironment = \"production\"\n{app}");
    for (mode, refused) in [(0o400, false), (0o600, false), (0o640, true), (0o604, true)] {
        let dir = files("modes", &[("n.toml", &production, 0o644), ("s", "x", mode)]);
        let loaded = Config::load(&dir.join("n.toml"));
        assert_eq!(loaded.is_err(), refused, "{mode:o}");
        if let Err(errors) = loaded {
            let text = errors.to_string();
            assert!(text.contains("n.toml:5:17: app.secret_files: "), "{text}");
            assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
            assert!(text.contains("chmod 0400"), "{text}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
    let inline = "[[app]]\nsdkappid = 7\nsecret = \"0123\"\n";
    let text = error(&format!("[node]\nenvironment = \"production\"\n{inline}"));
    assert!(text.starts_with("n.toml:5:1: ") && !text.contains("0123"), "{text}");
}

#[test]
fn a_drop_in_replaces_the_app_of_the_file_and_two_of_one_app_are_refused() {
    let app = |id: u32, rooms: u32| {
        format!("[[app]]\nsdkappid = {id}\nsecret_files = [\"s\"]\nquota = {{ rooms = {rooms} }}\n")
    };
    let (main, seven, eight) = (app(7, 1), app(7, 2), app(8, 3));
    let dir = files(
        "dropin",
        &[
            ("n.toml", &main, 0o644),
            ("conf.d/a.toml", &seven, 0o600),
            ("conf.d/b.toml", &eight, 0o600),
            ("conf.d/c.secret", "no toml", 0o600),
        ],
    );
    let config = Config::load(&dir.join("n.toml")).unwrap();
    let rooms = |id| config.app(id).unwrap().quota.rooms;
    assert_eq!((config.apps.len(), rooms(7), rooms(8)), (2, 2, 3));
    let secret = SecretFile::Path(dir.join("conf.d/s"));
    assert_eq!(
        config.app(7).unwrap().secret_files,
        [secret],
        "paths start at the drop-in's folder"
    );
    std::fs::write(dir.join("conf.d/c.toml"), app(8, 4)).unwrap();
    let text = Config::load(&dir.join("n.toml")).unwrap_err().to_string();
    assert!(text.contains("conf.d/c.toml:1:1: app.sdkappid: 8 is taken by"), "{text}");
    std::fs::write(dir.join("conf.d/c.toml"), "[node]\nname = \"x\"\n").unwrap();
    let text = Config::load(&dir.join("n.toml")).unwrap_err().to_string();
    assert!(text.contains("conf.d/c.toml:1:"), "only apps: {text}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn web_origins_are_exact_and_everybody_stands_alone() {
    let of = |list: &str| format!("[control]\ncors_origins = {list}\n");
    let config = parse(&of(r#"["https://app.example", "http://[::1]:8080"]"#));
    assert_eq!(config.control.cors_origins, ["https://app.example", "http://[::1]:8080"]);
    assert_eq!(parse(&of(r#"["*"]"#)).control.cors_origins, ["*"]);
    for bad in
        ["https://", "https://App.example", "https://a.example/", "app.example", "null", "**"]
    {
        let text = error(&of(&format!("[{bad:?}]")));
        assert!(text.starts_with("n.toml:2:17: control.cors_origins: "), "{text}");
    }
    assert!(error(&of(r#"["*", "https://app.example"]"#)).contains("beside others"));
    let many = vec![r#""https://a.example""#; 65].join(", ");
    assert!(error(&of(&format!("[{many}]"))).contains("at most 64"));
}

#[test]
fn turn_has_credentials_in_a_file_and_stun_has_none() {
    let of = |entry: &str| format!("[control]\nice_servers = [{{ {entry} }}]\n");
    let turn =
        r#"url = "turns:turn.example:443?transport=tcp", username = "u", credential_file = "t""#;
    let servers = parse(&of(turn)).control.ice_servers;
    assert_eq!(servers[0].username.as_deref(), Some("u"));
    let file = SecretFile::Path("/etc/roomlane/t".into());
    assert_eq!(servers[0].credential_file, Some(file));
    assert!(parse(&of(r#"url = "stun:stun.example""#)).control.ice_servers[0].username.is_none());
    for bad in [
        r#"url = "turn:turn.example""#,
        r#"url = "turn:turn.example", username = "u""#,
        r#"url = "stun:stun.example", username = "u", credential_file = "t""#,
        r#"url = "https://turn.example""#,
        r#"url = "stun:""#,
        r#"url = "stun:a>b""#,
        r#"url = "turn:a", username = "u\"x", credential_file = "t""#,
        r#"username = "u", credential_file = "t""#,
    ] {
        assert!(error(&of(bad)).contains("control.ice_servers: "), "{bad}");
    }
}

#[test]
fn the_redirect_hook_is_on_this_host() {
    let of = |url: &str| format!("[control]\nredirect = {url:?}\n");
    let hook = parse(&of("http://127.0.0.1:9090/place?x=1")).control.redirect.unwrap();
    assert_eq!(
        (hook.address.to_string(), hook.path),
        ("127.0.0.1:9090".into(), "/place?x=1".into())
    );
    assert_eq!(parse(&of("http://[::1]:80")).control.redirect.unwrap().path, "/");
    for bad in [
        "https://127.0.0.1:1/",
        "http://192.0.2.1:80/",
        "http://localhost:80/",
        "http://127.0.0.1/",
        "http://127.0.0.1:80/a b",
        "http://127.0.0.1:80@192.0.2.1:80/",
    ] {
        assert!(error(&of(bad)).starts_with("n.toml:2:12: control.redirect: "), "{bad}");
    }
}
