//! A cable that loses datagrams both ways: what is lost is asked for and sent again.

use std::time::Duration;

use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{SOON, stage};

const PERCENT: u32 = 5;
const LOSSY: Duration = Duration::from_secs(30);

#[test]
fn with_five_percent_loss_each_way_nearly_every_picture_is_decoded() {
    let Some(stage) = stage() else { return };
    let alice = stage.publisher(&Tokens::new("demo", "alice"), 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    bob.sees(1, SOON);
    let (sent_before, seen_before) = (alice.figures("publish"), bob.figures("watch"));
    let loss = stage.lab.lose(PERCENT);
    stage.during(LOSSY, || {});
    let (sent, seen) = (alice.figures("publish"), bob.figures("watch"));
    let (lost_in, lost_out) = loss.lost();
    drop(loss);
    bob.screenshot("loss-bob");

    let sent_more = |key: &str| sent.sum("video", key) - sent_before.sum("video", key);
    let seen_more = |key: &str| seen.sum("video", key) - seen_before.sum("video", key);
    let (made, decoded) = (sent_more("framesSent"), seen_more("framesDecoded"));
    let freezes = seen_more("freezeCount");
    let again_up = sent_more("retransmittedPacketsSent");
    let again_down = seen_more("retransmittedPacketsReceived");
    println!(
        "{decoded} of {made} pictures decoded ({:.1} %), {freezes} freezes of {:.2} s; sent again: {again_up} up, {again_down} down; \
         NACKs {} up, {} down; PLIs {}; the cable lost {lost_out} up, {lost_in} down",
        100.0 * decoded / made,
        seen_more("totalFreezesDuration"),
        sent_more("nackCount"),
        seen_more("nackCount"),
        sent_more("pliCount"),
    );
    assert!(lost_in > 50 && lost_out > 50, "nothing was lost: {lost_in}, {lost_out}");
    assert!(made > LOSSY.as_secs_f64() * 15.0, "the sender hardly sent: {}", sent.0);
    assert!(decoded >= 0.95 * made, "{}\n{}", seen.0, stage.node.all_drops());
    assert!(freezes <= 1.0, "{}", seen.0);
    assert!(again_up > 0.0 && again_down > 0.0, "{}\n{}", sent.0, seen.0);
}
