//! Incidents: grouping, states, the file over restarts, and its bounds.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rl-incidents-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("incidents.jsonl")
    }

    fn incidents(&self) -> Incidents {
        let incidents = Incidents::default();
        incidents.keep(&self.file()).unwrap();
        incidents
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rows(incidents: &Incidents) -> Vec<(u64, String, String, u64)> {
    let list = incidents.list();
    let row = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let number = |key: &str| row[key].as_u64().unwrap();
        (number("incident"), text("state"), text("about"), number("count"))
    };
    list["incidents"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn repeats_of_one_kind_about_one_subject_count_in_one_incident_until_it_is_closed() {
    let incidents = Incidents::default();
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 60, 1);
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 70, 2);
    incidents.report(SecurityEvent::FloodBegan, "media", 1, 3);
    incidents.report(SecurityEvent::FloodBegan, "stun", 1, 4);
    incidents.report(SecurityEvent::TokensRefused, "203.0.113.x", 1, 5);
    let forged = (1, "open".to_owned(), "auth_failed".to_owned(), 130);
    assert_eq!(rows(&incidents).len(), 3, "a notice opens none");
    assert_eq!(rows(&incidents)[2], forged);
    incidents.ack(1, 7).unwrap();
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 1, 6);
    assert_eq!(rows(&incidents)[2], (1, "acked".to_owned(), "auth_failed".to_owned(), 131));
    incidents.close(1, 7, Some("a test peer")).unwrap();
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 1, 7);
    assert_eq!(rows(&incidents)[0], (4, "open".to_owned(), "auth_failed".to_owned(), 1));
    incidents.report(SecurityEvent::FloodEnded, "media", 1, 9);
    let of = |number| incidents.show(number).unwrap()["incident"].clone();
    assert_eq!((&of(2)["ended_unix_ms"], &of(3)["ended_unix_ms"]), (&json!(9), &Value::Null));
    assert_eq!(of(1)["remarks"][0]["text"], "a test peer");
    assert_eq!(of(2)["action"], SecurityEvent::FloodBegan.action());
    assert_eq!(of(2)["runbook"], "docs/runbooks.md#floodactive");
}

#[test]
fn acts_that_do_not_fit_are_refused_and_notes_cannot_write_to_a_terminal() {
    let incidents = Incidents::default();
    incidents.report(SecurityEvent::AuditCut, "", 1, 1);
    let code = |done: Result<Value, Refused>| done.map_or_else(|why| why.code, |_| "ok");
    assert_eq!(code(incidents.ack(9, 0)), "not_found");
    assert_eq!(code(incidents.show(9)), "not_found");
    assert_eq!(code(incidents.ack(1, 0)), "ok");
    assert_eq!(code(incidents.ack(1, 5)), "conflict");
    assert_eq!(code(incidents.remark(1, 0, " ")), "invalid");
    assert_eq!(code(incidents.remark(1, 0, &"x".repeat(501))), "invalid");
    for _ in 1..INCIDENT_REMARKS_MAX {
        assert_eq!(code(incidents.remark(1, 0, "e\u{1b}[2J\u{202e}\n")), "ok");
    }
    assert_eq!(code(incidents.remark(1, 0, "last")), "ok");
    assert_eq!(code(incidents.remark(1, 0, "one more")), "limit");
    let shown = incidents.show(1).unwrap()["incident"]["remarks"][0]["text"].clone();
    assert_eq!(shown, "e\\u{1b}[2J\\u{202e}");
    assert_eq!(code(incidents.close(1, 0, None)), "ok");
    assert_eq!(code(incidents.close(1, 0, None)), "conflict");
    assert_eq!(code(incidents.ack(1, 0)), "conflict");
}

#[test]
fn the_file_brings_everything_back_and_a_changed_line_is_left_out() {
    let folder = Folder::new("back");
    let incidents = folder.incidents();
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 60, 1);
    incidents.report(SecurityEvent::ActRefused, "room.end by uid 9: not_permitted", 1, 2);
    incidents.flush().unwrap();
    incidents.report(SecurityEvent::MediaForged, "auth_failed", 4, 3);
    incidents.ack(2, 7).unwrap();
    incidents.flush_all().unwrap();
    incidents.remark(2, 7, "was me").unwrap();
    let before = (incidents.list(), incidents.show(2).unwrap());
    drop(incidents);
    assert_eq!(folder.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = folder.incidents();
    assert_eq!((again.list(), again.show(2).unwrap()), before);
    again.report(SecurityEvent::AuditCut, "", 1, 9);
    assert_eq!(rows(&again)[0].0, 3, "numbers go on");
    again.flush().unwrap();
    let text = std::fs::read_to_string(folder.file()).unwrap();
    let mut last = String::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        assert_eq!((&line["prev"], &line["hash"]), (&json!(last), &json!(hash_of(&line))));
        last = line["hash"].as_str().unwrap().to_owned();
    }
    std::fs::write(folder.file(), text.replace("was me", "was you")).unwrap();
    let forged = folder.incidents();
    assert_eq!(forged.show(2).unwrap()["incident"]["remarks"], json!([]), "the line before holds");
}

#[test]
fn many_subjects_and_a_long_file_stay_within_their_bounds() {
    let folder = Folder::new("bounds");
    let incidents = folder.incidents();
    for source in 0..INCIDENT_SUBJECTS_MAX as u64 + 50 {
        let about = format!("203.0.{source}.x");
        incidents.report(SecurityEvent::JoinRateExceeded, &about, 1, source);
    }
    let all = rows(&incidents);
    assert_eq!(all.len(), INCIDENT_SUBJECTS_MAX + 1);
    assert_eq!((all[0].2.as_str(), all[0].3), (OTHERS, 50));
    let kept = all.len();
    for number in 0..INCIDENTS_MAX as u64 {
        incidents.report(SecurityEvent::DtlsPeerMismatch, "app 7", 1, number);
        let newest = rows(&incidents)[0].0;
        incidents.close(newest, 0, Some(&"long ".repeat(90))).unwrap();
    }
    let all = rows(&incidents);
    assert_eq!(all.len(), INCIDENTS_MAX);
    assert_eq!(all.iter().filter(|row| row.1 == "open").count(), kept, "closed ones went first");
    for _ in 0..2000 {
        incidents.report(SecurityEvent::JoinRateExceeded, "203.0.1.x", 1, 5);
        incidents.flush_all().unwrap();
    }
    let len = folder.file().metadata().unwrap().len();
    assert!(len <= INCIDENT_FILE_BYTES_MAX + 4096, "{len}");
    assert!(folder.file().with_extension("jsonl.1").exists());
    assert_eq!(rows(&folder.incidents()), rows(&incidents));
}
