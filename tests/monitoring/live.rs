//! Every name of the table at a real node, and every expression of the dashboard at a Prometheus that
//! scrapes it.

use std::time::Duration;

use proto::metric::{self, Kind};
use roomlane_tests::netns::{Lab, PEER_IP};
use roomlane_tests::node::{Node, NodeConfig};
use roomlane_tests::sdes::{Options, Scene, Sockets, Tokens};
use serde_json::Value;

use crate::tools::{self, MONITORING, SOON, check, is_here, until};

/// Metrics that this node cannot have, with why; an entry that it has is a complaint.
const ABSENT: &[(&str, &str)] = &[
    ("roomlane_dtls_handshakes_total", "its peers bring their keys in the offer"),
    ("roomlane_dtls_handshake_seconds", "its peers bring their keys in the offer"),
    ("roomlane_dtls_half_open", "its peers bring their keys in the offer"),
    ("roomlane_port_lost_packets_total", "sockets of the kernel's are no DPDK device"),
    ("roomlane_dtls_queue_drops_total", "nobody sends that many handshakes"),
];

/// A lab, a node on kernel sockets, and two members with media between them.
fn scene(lab: &Lab) -> Option<(Node, Scene<Sockets<'_>>)> {
    lab.kernel_owns_the_nodes_end();
    let config =
        NodeConfig { more: "[limits]\nsource_joins_per_s = 5\n".into(), ..NodeConfig::port("udp") };
    let node = Node::start(&lab.node, &config)?.unwrap_or_else(|why| panic!("{why}"));
    let mut scene = Scene::new(Sockets::new(&lab.peers, PEER_IP), node.api(), Options::default());
    scene.publish(&Tokens::new("demo", "camera"));
    scene.view(&Tokens::new("demo", "viewer"));
    assert!(scene.flow(SOON, |scene| scene.got(0) > 100), "{}", node.log());
    Some((node, scene))
}

fn metrics(lab: &Lab) -> String {
    let words = ["curl", "-sS", "--fail", "-m", "5", "http://127.0.0.1:8081/metrics"];
    // The format wants an end of the last line, which was trimmed.
    lab.node.exec(&words).unwrap_or_else(|why| panic!("{why}")) + "\n"
}

#[test]
fn a_real_node_exports_every_metric_of_the_table_and_promtool_has_no_complaint() {
    if !is_here("promtool") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let Some((node, _scene)) = scene(&lab) else { return };
    // Refused for its token, then for its rate: both have metrics of their own.
    let statuses: Vec<u16> = (0..20)
        .map(|_| node.api().request("POST", "/whip/1400000001/demo", "Bearer forged", "v=0").status)
        .collect();
    assert!(statuses.contains(&401) && statuses.contains(&429), "{statuses:?}");
    until("rates are known", || metrics(&lab).contains("roomlane_worker_busy_ratio{"));
    let text = metrics(&lab);
    for metric in metric::ALL {
        let (name, kind) = (metric.name, metric.kind.name());
        let is_there = text.contains(&format!("# TYPE {name} {kind}\n"));
        match ABSENT.iter().find(|(absent, _)| *absent == name) {
            None => assert!(is_there, "{name} is not exported as {kind}\n{text}"),
            Some((_, why)) => assert!(!is_there, "{name} is there, although {why}"),
        }
        let part = if metric.kind == Kind::Histogram { "_count" } else { "" };
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(part));
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        for sample in samples {
            let labels = sample.matches("=\"").count();
            assert_eq!(labels, metric.labels.len(), "{sample}");
        }
    }
    let known = |line: &&str| line.starts_with("# TYPE ");
    for line in text.lines().filter(known) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(metric::find(name).is_some(), "{name} is not in the table");
    }
    let checked = check(&["promtool", "check", "metrics"], Some(&text));
    let words = checked.unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(words.trim(), "", "promtool complains");
    let bad = text.replace("roomlane_uptime_seconds", "roomlane_uptime_ms");
    assert!(check(&["promtool", "check", "metrics"], Some(&bad)).is_err(), "it can complain");
}

#[test]
fn every_expression_of_the_dashboard_is_answered_by_a_live_prometheus() {
    if !is_here("prometheus") {
        return;
    }
    let Some(lab) = Lab::new() else { return };
    let Some((node, mut scene)) = scene(&lab) else { return };
    let rules = std::fs::read_to_string(format!("{MONITORING}/roomlane.rules.yml")).expect("kept");
    let prometheus = tools::prometheus(&lab.node, &node.dir, &rules);
    // Joins, drops and refusals while it scrapes: counters of theirs move.
    for round in 0..10 {
        let user = format!("viewer{round}");
        scene.view(&Tokens::new("demo", &user));
        node.api().request("POST", "/whip/1400000001/demo", "Bearer forged", "v=0");
        scene.flow(Duration::from_millis(1000), |_| false);
    }
    let groups = prometheus.ask("/api/v1/rules", &[]);
    let found = groups["data"]["groups"][0]["rules"].as_array().expect("a list");
    assert_eq!(found.len(), 15);
    assert!(found.iter().all(|rule| rule["health"] == "ok"), "{found:?}");
    let text = std::fs::read_to_string(format!("{MONITORING}/dashboard.json")).expect("kept");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut empty = vec![];
    let mut asked = 0;
    for target in targets {
        let expr = target["expr"].as_str().expect("text");
        let expr = expr.replace("$node", ".*").replace("$__rate_interval", "10s");
        if prometheus.query(&expr).is_empty() {
            empty.push(expr);
        }
        asked += 1;
    }
    assert!(asked > 40, "{asked}");
    // Nothing of these has happened here, or their counters have not been there for long.
    let may_be_empty = ["ALERTS", "egress_drops", "dtls", "> 0"];
    empty.retain(|expr| !may_be_empty.iter().any(|part| expr.contains(part)));
    assert_eq!(empty, [""; 0], "no data");
}
