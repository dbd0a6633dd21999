//! `roomlane show events` and `roomlane show token`: what control remembers, as a list, and why it refused
//! tokens, by reason. Names and addresses are masked there already.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};
use token::{Refusal, RefusalClass};

use super::{Shown, members};
use crate::exit::{Exit, Failure};
use crate::table::Table;
use crate::{act, utc};

/// What happened, the newest last, of everybody or of one subject.
pub(super) fn events(dirs: &[PathBuf], subject: Option<&str>) -> Result<Shown, Failure> {
    let request = json!({ "act": "trail", "subject": subject.unwrap_or("*") });
    let answer = act::ask(dirs, &request)?;
    let mut table = Table::new(&[
        "time", ">count", "kind", ">app", "room", "user", "session", "source", "what",
    ]);
    let mut rows = vec![];
    for note in answer["notes"].as_array().into_iter().flatten() {
        let at = utc::rfc3339(note["until_ms"].as_u64().unwrap_or_default());
        let mut row = note.clone();
        row["time"] = at.as_str().into();
        table.row(vec![
            at,
            super::word(&note["count"]),
            super::word(&note["kind"]),
            super::word(&note["app"]),
            super::word(&note["room"]),
            super::word(&note["user"]),
            super::word(&note["session"]),
            super::word(&note["source"]),
            super::word(&note["what"]),
        ]);
        table.about(row.clone());
        rows.push(row);
    }
    let json = json!({ "since_unix_ms": answer["since_unix_ms"], "events": rows });
    Ok(Shown { tables: vec![table], json: members(json) })
}

/// What is known of one reason.
#[derive(Debug, Default)]
struct Refused {
    count: u64,
    first_ms: u64,
    last_ms: u64,
    last_source: String,
    sources: BTreeSet<String>,
    apps: BTreeSet<u64>,
}

/// Why tokens were refused, the most frequent reason first.
pub(super) fn token(dirs: &[PathBuf], reason: Option<&str>) -> Result<Shown, Failure> {
    if let Some(reason) = reason
        && refusal(reason).is_none()
    {
        let known: Vec<&str> = Refusal::ALL.iter().map(|refusal| refusal.code()).collect();
        let known = known.join(", ");
        let text =
            format!("{reason:?} is no reason; to look into one token: roomlane token explain");
        return Err(Failure::new(Exit::NotFound, format!("{text}; reasons: {known}")));
    }
    let answer = act::ask(dirs, &json!({ "act": "trail", "subject": "*" }))?;
    Ok(by_reason(&answer, reason))
}

fn by_reason(answer: &Value, only: Option<&str>) -> Shown {
    let mut reasons: BTreeMap<&'static str, (Refusal, Refused)> = BTreeMap::new();
    for note in answer["notes"].as_array().into_iter().flatten() {
        let code = note["what"].as_str().unwrap_or_default();
        let Some(refusal) = refusal(code).filter(|_| note["kind"] == "refusal") else { continue };
        if only.is_some_and(|only| only != code) {
            continue;
        }
        let (_, refused) = reasons.entry(refusal.code()).or_insert((refusal, Refused::default()));
        let (first_ms, last_ms) = (
            note["unix_ms"].as_u64().unwrap_or_default(),
            note["until_ms"].as_u64().unwrap_or_default(),
        );
        if refused.count == 0 || first_ms < refused.first_ms {
            refused.first_ms = first_ms;
        }
        refused.count += note["count"].as_u64().unwrap_or(1);
        let source = super::word(&note["source"]);
        if last_ms >= refused.last_ms {
            (refused.last_ms, refused.last_source) = (last_ms, source.clone());
        }
        refused.sources.insert(source);
        refused.apps.extend(note["app"].as_u64());
    }
    let mut reasons: Vec<_> = reasons.into_values().collect();
    reasons.sort_by_key(|(_, refused)| std::cmp::Reverse(refused.count));
    let mut table = Table::new(&[
        "reason",
        ">count",
        ">sources",
        "last from",
        "first",
        "last",
        "why",
        "what to do",
    ]);
    let mut rows = vec![];
    for (refusal, refused) in reasons {
        let (first, last) = (utc::rfc3339(refused.first_ms), utc::rfc3339(refused.last_ms));
        table.row(vec![
            refusal.code().to_owned(),
            refused.count.to_string(),
            refused.sources.len().to_string(),
            refused.last_source.clone(),
            first.clone(),
            last.clone(),
            refusal.to_string(),
            next(refusal).to_owned(),
        ]);
        let row = json!({
            "reason": refusal.code(), "count": refused.count, "sources": refused.sources.len(),
            "last_source": refused.last_source, "first": first, "last": last,
            "first_unix_ms": refused.first_ms, "last_unix_ms": refused.last_ms,
            "from": refused.sources, "apps": refused.apps, "why": refusal.to_string(),
            "next": next(refusal),
        });
        table.about(row.clone());
        rows.push(row);
    }
    let json = json!({ "since_unix_ms": answer["since_unix_ms"], "tokens": rows });
    Shown { tables: vec![table], json: members(json) }
}

fn refusal(code: &str) -> Option<Refusal> {
    Refusal::ALL.iter().copied().find(|refusal| refusal.code() == code)
}

/// Where somebody who has to mend it goes on.
fn next(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Expired | Refusal::TicketExpired => {
            "the app hands out tokens that are too old: let clients renew by PATCH"
        }
        Refusal::NotYetValid => "compare the clocks; tokens.skew_s allows a difference",
        Refusal::BadSignature => {
            "compare the app's secret: roomlane token explain --secret-file FILE -- TOKEN"
        }
        Refusal::WrongApp | Refusal::TicketWrongApp => {
            "the path names another SdkAppId than the token: see roomlane app list"
        }
        Refusal::PrivateMapKeyRequired => {
            "send a PrivateMapKey too, or unset require_private_map_key"
        }
        _ => match refusal.class() {
            RefusalClass::Forbidden => "the app gives this user other rights or another room",
            _ => "look into one: roomlane token explain -- TOKEN",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_tokens_are_told_by_reason_and_others_are_not() {
        let note = |what: &str, kind: &str, count: u64, at: u64, source: &str| {
            json!({"what": what, "kind": kind, "count": count, "unix_ms": at, "until_ms": at + 1,
                   "source": source, "app": null})
        };
        let answer = json!({"since_unix_ms": 1, "notes": [
            note("expired", "refusal", 1, 1000, "203.0.113.x"),
            note("bad_signature", "refusal", 4, 2000, "198.51.100.x"),
            note("bad_signature", "refusal", 1, 3000, "203.0.113.\u{1b}[2J"),
            note("app_quota", "refusal", 9, 3000, "203.0.113.x"),
            note("expired", "change", 9, 3000, "203.0.113.x"),
        ]});
        let shown = by_reason(&answer, None);
        let rows = &shown.json["tokens"];
        let of = |at: usize| (rows[at]["reason"].clone(), rows[at]["count"].clone());
        assert_eq!(of(0), ("bad_signature".into(), 5.into()));
        assert_eq!(of(1), ("expired".into(), 1.into()));
        assert_eq!(rows[2], Value::Null);
        assert_eq!(
            (&rows[0]["sources"], &rows[0]["last_source"]),
            (&2.into(), &"203.0.113.[2J".into())
        );
        assert!(rows[0]["next"].as_str().unwrap().contains("roomlane token explain"));
        assert_eq!(by_reason(&answer, Some("expired")).tables[0].len(), 1);
    }
}
