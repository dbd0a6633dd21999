//! Two people: one publishes, one watches.

use std::time::Duration;

use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{Figures, SOON, stage};

/// Nineteen of twenty pictures may be so old when they are seen: one machine draws, encodes, forwards and
/// decodes here, and a pause of any of them is no promise of the node.
const LATENCY_MS_MAX: i32 = 500;
/// How long both are watched.
const WATCHED: Duration = Duration::from_secs(10);
/// What a sender must reach, and how soon.
const SEND_BITS_PER_S: f64 = 1e6;
const RAMP: Duration = Duration::from_secs(10);

#[test]
fn a_browser_sees_and_hears_another_through_the_node() {
    let Some(stage) = stage() else { return };
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    let first = bob.sees(1, SOON);
    let before = bob.figures("watch");
    let (mut latencies, mut unread) = (vec![], 0);
    stage.during(WATCHED, || match bob.tiles().first().and_then(|tile| tile.latency) {
        Some(latency) => latencies.push(latency),
        None => unread += 1,
    });
    let (sent, seen) = (alice.figures("publish"), bob.figures("watch"));
    alice.screenshot("one-alice");
    bob.screenshot("one-bob");

    latencies.sort_unstable();
    let (median, worst) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
    let frames = seen.sum("video", "framesDecoded") - before.sum("video", "framesDecoded");
    let energy = seen.sum("audio", "totalAudioEnergy") - before.sum("audio", "totalAudioEnergy");
    println!(
        "first picture after {first:?}; latency median {median} ms, worst {worst} ms of {} ({unread} unread); \
         {frames} frames in {WATCHED:?}; audio energy {energy:.3}",
        latencies.len()
    );
    for figures in [&sent, &seen] {
        assert_eq!(figures.transport("srtpCipher"), "SRTP_AEAD_AES_128_GCM");
        assert_eq!(figures.transport("dtlsState"), "connected");
    }
    assert!(frames >= WATCHED.as_secs_f64() * 20.0, "{frames} frames");
    assert!(energy > 0.0, "silence");
    for kind in ["audio", "video"] {
        assert!(seen.sum(kind, "packetsReceived") > 100.0, "{}", seen.0);
        assert_eq!(seen.sum(kind, "packetsLost"), 0.0, "{}\n{}", seen.0, stage.node.all_drops());
        assert_eq!(sent.sum(kind, "lostThere"), 0.0, "{}", sent.0);
    }
    assert!(latencies[latencies.len() * 19 / 20] <= LATENCY_MS_MAX, "{latencies:?}");
    assert!(unread * 10 <= latencies.len(), "{unread} pictures could not be read");
    assert_eq!(bob.tiles()[0].user, "alice");
}

#[test]
fn a_sender_ramps_up_to_a_megabit_per_second_within_ten_seconds() {
    let Some(stage) = stage() else { return };
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let _bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    let mut last = alice.figures("publish");
    let mut rates = vec![];
    let (rate, took) = stage.until("the sender sends 1 Mbit/s", RAMP, || {
        let now = alice.figures("publish");
        // Over half a second at least, so that a single large picture does not count.
        if now.at_ms() - last.at_ms() < 500.0 {
            return None;
        }
        let rate = rate(&last, &now);
        rates.push((rate / 1e3).round());
        last = now;
        (rate >= SEND_BITS_PER_S).then_some(rate)
    });
    let estimate = &last.transport("availableOutgoingBitrate");
    println!(
        "{:.2} Mbit/s after {took:?}; on the way {rates:?} kbit/s; estimate {estimate}",
        rate / 1e6
    );
}

fn rate(old: &Figures, new: &Figures) -> f64 {
    let bytes = |figures: &Figures| figures.sum("video", "bytesSent");
    (bytes(new) - bytes(old)) * 8000.0 / (new.at_ms() - old.at_ms())
}

#[test]
fn a_publisher_who_leaves_and_returns_is_seen_again_within_two_seconds() {
    let Some(stage) = stage() else { return };
    let tokens = Tokens::new("demo", "alice");
    let alice = stage.publisher(&tokens, 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    alice.act("leave", &json!({ "name": "publish" }));
    let gone = || bob.tiles().is_empty().then_some(());
    let ((), left) = stage.until("the picture is taken away", SOON, gone);
    let decoded = bob.figures("watch").sum("video", "framesDecoded");
    alice.publish(&tokens, 2, &json!({}));
    let back = bob.sees(2, Duration::from_secs(2));
    println!("taken away after {left:?}; seen again after {back:?}");
    stage.until("pictures go on", SOON, || {
        (bob.figures("watch").sum("video", "framesDecoded") > decoded + 30.0).then_some(())
    });
    assert_eq!(bob.tiles()[0].user, "alice");
}

#[test]
fn a_viewer_may_come_before_its_publisher() {
    let Some(stage) = stage() else { return };
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    let joined = || (bob.figures("watch").transport("dtlsState") == "connected").then_some(());
    stage.until("the viewer is connected", SOON, joined);
    let _alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    println!("seen {:?} after the publisher had joined", bob.sees(1, SOON));
}

#[test]
fn three_sizes_are_accepted_and_the_highest_is_forwarded() {
    let Some(stage) = stage() else { return };
    let source = json!({ "source": { "width": 960 }, "simulcast": true });
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &source);
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    let width = || {
        let sent = alice.figures("publish").0;
        let streams = sent["streams"].as_array().expect("a list");
        let widths = streams.iter().filter_map(|stream| stream["frameWidth"].as_u64());
        let highest = widths.max()?;
        let seen = bob.figures("watch").sum("video", "frameWidth");
        let sizes = streams.iter().filter(|stream| stream["framesSent"].as_u64() > Some(0)).count();
        (sizes >= 2 && seen == highest as f64).then_some((sizes, highest))
    };
    let (found, _) = stage.until("the viewer sees the highest size", SOON, width);
    println!("{} sizes are sent, the viewer sees the one {} wide", found.0, found.1);
}
