//! Monitoring: the handbook's pages of metrics and of security events are the tables, the dashboard is
//! made from its source, and alarms and panels ask only for what a node exports.

use proto::SecurityEvent;
use proto::metric::{self, Metric};
use serde_json::{Value, json};

use crate::tree::Tree;

const METRICS: &str = "docs/metrics.md";
const EVENTS: &str = "docs/security-events.md";
const RUNBOOKS: &str = "docs/runbooks.md";
const RULES: &str = "docs/monitoring/roomlane.rules.yml";
const RULE_TESTS: &str = "docs/monitoring/roomlane.rules.test.yml";
const SOURCE: &str = "docs/monitoring/dashboard.toml";
const DASHBOARD: &str = "docs/monitoring/dashboard.json";

/// Where runbooks are once the package is installed.
const RUNBOOK_URL: &str = "file:///usr/share/doc/roomlane/runbooks.md#";

/// Metrics that Prometheus makes by itself.
const ITS_OWN: &[&str] = &["up", "ALERTS"];

/// Complaints when a page differs from its table; written anew with `ROOMLANE_BLESS=1`.
pub fn pages(tree: &Tree) -> Vec<String> {
    let pages = [(METRICS, metrics_page()), (EVENTS, events_page())];
    pages.iter().flat_map(|(path, expected)| same(tree, path, expected)).collect()
}

/// Complaints when the dashboard differs from what its source makes.
pub fn dashboard(tree: &Tree) -> Vec<String> {
    let source = tree.find(SOURCE).map_or("", |file| file.text.as_str());
    match rendered(source) {
        Ok(expected) => same(tree, DASHBOARD, &expected),
        Err(why) => vec![format!("{SOURCE}: {why}")],
    }
}

fn same(tree: &Tree, path: &str, expected: &str) -> Vec<String> {
    if std::env::var_os("ROOMLANE_BLESS").is_some() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        std::fs::write(format!("{root}{path}"), expected).expect("the page is writable");
        return vec![];
    }
    let found = tree.find(path).map_or("", |file| file.text.as_str());
    let differs = found != expected;
    differs
        .then(|| format!("{path}: differs from its source; run with ROOMLANE_BLESS=1"))
        .into_iter()
        .collect()
}

/// Where the groups of the table begin.
const GROUPS: &[(&Metric, &str)] = &[
    (&metric::BUILD_INFO, "The node"),
    (&metric::API_REQUESTS, "Signalling"),
    (&metric::SECURITY_EVENTS, "Security"),
    (&metric::RX_PACKETS, "Packets, by worker"),
    (&metric::SESSIONS, "Workers"),
];

fn metrics_page() -> String {
    let mut out = String::from(concat!(
        "# Metrics\n\n",
        "<!-- Made from control/proto/src/metric.rs by tests/tidy; do not edit. -->\n\n",
        "`GET /metrics` on `control.admin_listen` is Prometheus text. No label holds an app, a room, a user or an\n",
        "address. Counters of workers are those of the data plane and begin anew with it; all others are those of\n",
        "the control process. Samples of [Prometheus' configuration](monitoring/prometheus.yml), the\n",
        "[alarms](monitoring/roomlane.rules.yml), [Alertmanager's routes](monitoring/alertmanager.yml) and a\n",
        "[dashboard for Grafana](monitoring/dashboard.json) lie in `docs/monitoring`.\n",
    ));
    for metric in metric::ALL {
        if let Some((_, group)) = GROUPS.iter().find(|(first, _)| *first == metric) {
            out.push_str(&format!(
                "\n## {group}\n\n| name | kind | labels | meaning |\n|---|---|---|---|\n"
            ));
        }
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
        out.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
    out
}

fn events_page() -> String {
    let mut out = String::from(concat!(
        "# Security events\n\n",
        "<!-- Made from control/proto/src/security.rs by tests/tidy; do not edit. -->\n\n",
        "Each is a line of the log with `target` `security` and the fields `event`, `category`, `severity`, `action`,\n",
        "`about` (masked), `count` and `suppressed`; a number in `roomlane_security_events_total`; and, where\n",
        "[`notify.url`](configuration.md) is set, a signed request to it. Of each event five lines a second are\n",
        "written, `suppressed` says how many were not. `critical`: look at once; `warning`: within the day;\n",
        "`notice`: for the record.\n\n",
        "| event | category | severity | what happened | what the node does | go on with |\n|---|---|---|---|---|---|\n",
    ));
    for event in SecurityEvent::ALL {
        out.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | [runbook](runbooks.md#{}) |\n",
            event.name(),
            event.category().name(),
            event.severity().name(),
            event.sentence(),
            event.action(),
            event.runbook()
        ));
    }
    out.push_str(concat!(
        "\n## Webhook\n\n",
        "Each event of severity `warning` and above that is written to the log is posted to `notify.url` as JSON: `schema`\n",
        "(`roomlane.event.v1`), `node`, `id`, `unix_ms`, `event`, `category`, `severity`, `sentence`, `action`, `about`, `count`,\n",
        "`runbook`. The header `Roomlane-Signature: t=SECONDS,v1=HEX` has the time of the attempt and an HMAC-SHA256, under the\n",
        "secret of `notify.secret_file`, over `SECONDS`, a dot and the body. A receiver computes it over the bytes it got, compares in\n",
        "constant time, refuses a time more than five minutes from its own, and drops an `id` that it knows: an attempt whose answer was\n",
        "lost is made again. Any status of 200 to 299 means taken; otherwise four more attempts follow, 1, 2, 4 and 8 seconds apart.\n",
        "Redirects are not followed. While that goes on, 256 events wait; more are dropped and counted in\n",
        "`roomlane_notifications_total`. Alarms of Prometheus take their own way, by [Alertmanager](monitoring/alertmanager.yml).\n",
    ));
    out
}

/// An alarm of the rules file: name, expression, runbook.
struct Alarm<'a> {
    name: &'a str,
    expr: &'a str,
    runbook: &'a str,
}

fn alarms(rules: &str) -> Vec<Alarm<'_>> {
    let mut found: Vec<Alarm<'_>> = vec![];
    for line in rules.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("- alert: ") {
            found.push(Alarm { name, expr: "", runbook: "" });
        }
        let Some(alarm) = found.last_mut() else { continue };
        if let Some(expr) = line.strip_prefix("expr: ") {
            alarm.expr = expr;
        }
        if let Some(url) = line.strip_prefix("runbook_url: ") {
            alarm.runbook = url;
        }
    }
    found
}

/// Names of metrics in an expression: words before a selector or range, or with our prefix.
fn metrics_in(expr: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = expr.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("roomlane_") || ITS_OWN.contains(word)).collect()
}

/// Complaints about alarms: of metrics that nobody exports, without a runbook, or without cases.
pub fn rules(tree: &Tree) -> Vec<String> {
    let text = |path: &str| tree.find(path).map_or("", |file| file.text.as_str());
    let (cases, runbooks) = (text(RULE_TESTS), text(RUNBOOKS));
    let mut complaints = vec![];
    let alarms = alarms(text(RULES));
    if alarms.len() < 13 {
        complaints.push(format!("{RULES}: has {} alarms", alarms.len()));
    }
    for alarm in alarms {
        let name = alarm.name;
        complaints.extend(unknown(alarm.expr).map(|what| format!("{name}: {what}")));
        if alarm.runbook != format!("{RUNBOOK_URL}{}", name.to_lowercase()) {
            complaints.push(format!("{name}: its runbook_url is {:?}", alarm.runbook));
        }
        if !runbooks.lines().any(|line| line == format!("### {name}")) {
            complaints.push(format!("{name}: {RUNBOOKS} has no section of it"));
        }
        for case in ["fires", "keeps still"] {
            if !cases.contains(&format!("- name: {name} {case}\n")) {
                complaints.push(format!("{name}: no case where it {case}"));
            }
        }
    }
    for event in SecurityEvent::ALL {
        let anchor = event.runbook();
        let heading = |line: &str| {
            line.starts_with('#') && crate::docs::slug(line.trim_start_matches('#')) == anchor
        };
        if !runbooks.lines().any(heading) {
            complaints.push(format!("{}: {RUNBOOKS} has no section {anchor}", event.name()));
        }
    }
    complaints
}

/// What an expression asks for and nobody exports.
fn unknown(expr: &str) -> impl Iterator<Item = String> + '_ {
    let names = metrics_in(expr);
    let none = names.is_empty().then(|| format!("asks for no metric: {expr:?}"));
    let missing =
        names.into_iter().filter(|name| !ITS_OWN.contains(name) && metric::find(name).is_none());
    missing.map(|name| format!("nobody exports {name}")).chain(none)
}

/// A table's text; empty when it has none.
fn text(table: &toml::Table, key: &str) -> String {
    table.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}

/// A table's list of tables.
fn list(table: &toml::Table, key: &str) -> Vec<toml::Table> {
    let values = table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    values.into_iter().filter_map(|value| value.as_table().cloned()).collect()
}

/// A panel's queries.
fn targets(panel: &toml::Table) -> Result<Vec<Value>, String> {
    let mut targets = vec![];
    for (letter, query) in ('A'..='Z').zip(list(panel, "queries")) {
        let expr = text(&query, "expr");
        if let Some(what) = unknown(&expr).next() {
            return Err(format!("{}: {what}", text(panel, "title")));
        }
        let format = match (text(&query, "format").as_str(), text(panel, "kind").as_str()) {
            ("", "table") => "table".to_owned(),
            ("", _) => "time_series".to_owned(),
            (format, _) => format.to_owned(),
        };
        targets.push(json!({
            "refId": letter.to_string(),
            "expr": expr,
            "legendFormat": text(&query, "legend"),
            "format": format,
            "instant": format == "table",
        }));
    }
    Ok(targets)
}

/// Grafana's JSON of a source.
fn rendered(source: &str) -> Result<String, String> {
    let source: toml::Table = source.parse().map_err(|error| format!("{error}"))?;
    let (mut panels, mut id, mut y) = (vec![], 0, 0);
    for row in list(&source, "row") {
        id += 1;
        let place = json!({"x": 0, "y": y, "w": 24, "h": 1});
        panels.push(json!({"id": id, "type": "row", "title": text(&row, "title"), "gridPos": place, "collapsed": false, "panels": []}));
        y += 1;
        let found = list(&row, "panel");
        for (at, panel) in found.iter().enumerate() {
            id += 1;
            let targets = targets(panel)?;
            let place = json!({"x": at % 3 * 8, "y": y + at / 3 * 8, "w": 8, "h": 8});
            panels.push(json!({
                "id": id,
                "type": text(panel, "kind"),
                "title": text(panel, "title"),
                "gridPos": place,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "fieldConfig": {"defaults": {"unit": text(panel, "unit"), "min": 0}, "overrides": []},
                "targets": targets,
            }));
        }
        y += found.len().div_ceil(3) * 8;
    }
    let variables = json!([
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {"name": "node", "type": "query", "label": "Node", "datasource": {"type": "prometheus", "uid": "${datasource}"},
         "query": "label_values(roomlane_build_info, instance)", "refresh": 2, "includeAll": true, "multi": true, "allValue": ".*"},
    ]);
    let dashboard: Value = json!({
        "title": text(&source, "title"),
        "uid": text(&source, "uid"),
        "schemaVersion": 38,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    });
    let pretty = serde_json::to_string_pretty(&dashboard).map_err(|error| error.to_string())?;
    Ok(pretty + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_without_metric_runbook_or_case_are_found() {
        let rule = |expr: &str, url: &str| {
            format!("- alert: Late\n  expr: '{expr}'\n  runbook_url: {RUNBOOK_URL}{url}\n")
                .repeat(13)
        };
        let events: String =
            SecurityEvent::ALL.iter().map(|e| format!("## {}\n", e.runbook())).collect();
        let run = |rule: &str, runbooks: &str, cases: &str| {
            let runbooks = format!("{runbooks}{events}");
            let files = [(RULES, rule), (RUNBOOKS, &runbooks), (RULE_TESTS, cases)];
            rules(&Tree::of(&files)).len()
        };
        let cases = "  - name: Late fires\n  - name: Late keeps still\n";
        assert_eq!(run(&rule("roomlane_rooms > 1", "late"), "### Late\n", cases), 0);
        assert_eq!(run(&rule("up == 0", "late"), "### Late\n", cases), 0);
        assert_eq!(run(&rule("roomlane_nothing > 1", "late"), "### Late\n", cases), 13);
        assert_eq!(run(&rule("1 > 0", "late"), "### Late\n", cases), 13);
        assert_eq!(run(&rule("roomlane_rooms > 1", "other"), "### Late\n", cases), 13);
        assert_eq!(run(&rule("roomlane_rooms > 1", "late"), "", cases), 13);
        assert_eq!(run(&rule("roomlane_rooms > 1", "late"), "### Late\n", ""), 26);
        assert_eq!(rules(&Tree::of(&[])).len(), 1 + SecurityEvent::COUNT);
    }

    #[test]
    fn a_panel_that_asks_for_what_nobody_exports_is_refused() {
        let source = |expr: &str| {
            format!("[[row]]\n[[row.panel]]\ntitle = \"x\"\nqueries = [{{ expr = '{expr}' }}]\n")
        };
        assert!(rendered(&source("rate(roomlane_join_seconds_bucket[1m])")).is_ok());
        assert!(
            rendered(&source("rate(roomlane_joins[1m])")).unwrap_err().contains("roomlane_joins")
        );
    }

    #[test]
    fn the_pages_have_every_metric_and_every_event() {
        for metric in metric::ALL {
            assert_eq!(metrics_page().matches(&format!("| `{}` |", metric.name)).count(), 1);
        }
        for event in SecurityEvent::ALL {
            assert_eq!(events_page().matches(&format!("| `{}` |", event.name())).count(), 1);
        }
        assert_eq!(pages(&Tree::of(&[(METRICS, "x"), (EVENTS, "y")])).len(), 2);
    }
}
