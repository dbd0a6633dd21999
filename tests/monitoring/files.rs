//! Rules and samples, by the words of the tools that read them.

use crate::tools::{MONITORING, check, is_here};

#[test]
fn promtool_takes_the_rules_and_every_case_of_them_passes() {
    if !is_here("promtool") {
        return;
    }
    let rules = format!("{MONITORING}/roomlane.rules.yml");
    let checked = check(&["promtool", "check", "rules", "--lint=all", &rules], None);
    let checked = checked.unwrap_or_else(|why| panic!("{why}"));
    assert!(checked.contains("SUCCESS: 15 rules found"), "{checked}");
    let cases = format!("{MONITORING}/roomlane.rules.test.yml");
    check(&["promtool", "test", "rules", &cases], None).unwrap_or_else(|why| panic!("{why}"));
    let sample = format!("{MONITORING}/prometheus.yml");
    let checked = check(&["promtool", "check", "config", &sample], None);
    checked.unwrap_or_else(|why| panic!("{why}"));
}

#[test]
fn a_case_that_expects_the_wrong_alarm_fails() {
    if !is_here("promtool") {
        return;
    }
    let dir = std::env::temp_dir().join(format!("rl-rules-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let read = |name: &str| std::fs::read_to_string(format!("{MONITORING}/{name}")).unwrap();
    std::fs::write(dir.join("roomlane.rules.yml"), read("roomlane.rules.yml")).unwrap();
    let wrong = read("roomlane.rules.test.yml").replace("'5x90'", "'0.9x90'");
    let cases = dir.join("cases.yml");
    std::fs::write(&cases, wrong).unwrap();
    let checked = check(&["promtool", "test", "rules", cases.to_str().unwrap()], None);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(checked.unwrap_err().contains("WorkerStalled"));
}

#[test]
fn amtool_takes_the_sample_of_routes() {
    if !is_here("amtool") {
        return;
    }
    let sample = format!("{MONITORING}/alertmanager.yml");
    check(&["amtool", "check-config", &sample], None).unwrap_or_else(|why| panic!("{why}"));
    let route = |severity: &str| {
        let label = format!("severity={severity}");
        let file = format!("--config.file={sample}");
        let said = check(&["amtool", "config", "routes", "test", &file, &label], None).unwrap();
        said.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!((route("page").as_str(), route("ticket").as_str()), ("pages", "tickets"));
}
