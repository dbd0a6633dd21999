//! Rights that a token does not give.

use roomlane_tests::sdes::Tokens;
use serde_json::json;
use token::Privileges;

use crate::stage::{SOON, stage};

#[test]
fn without_the_right_to_send_video_sound_passes_and_pictures_are_dropped_and_counted() {
    let Some(stage) = stage() else { return };
    let no_video = Privileges::from_bits(Privileges::ALL.bits() & !Privileges::SEND_VIDEO.bits());
    let tokens = Tokens { privileges: no_video, ..Tokens::new("demo", "alice") };
    let alice = stage.publisher(&tokens, 1, &json!({}));
    let bob = stage.viewer(&Tokens::new("demo", "bob"), &json!({ "slots": 1 }));
    let energy = || bob.figures("watch").sum("audio", "totalAudioEnergy");
    stage.until("the viewer hears", SOON, || (energy() > 0.05).then_some(()));
    let sent = || alice.figures("publish").sum("video", "packetsSent");
    stage.until("pictures were sent", SOON, || (sent() > 100.0).then_some(()));
    let dropped = || stage.node.drops("no_right");
    let (dropped, _) =
        stage.until("they were counted", SOON, || Some(dropped()).filter(|&n| n >= 100));
    let seen = bob.figures("watch");
    println!("{} video packets sent, {dropped} dropped as no_right", sent());
    assert_eq!(seen.sum("video", "packetsReceived"), 0.0, "{}", seen.0);
    assert_eq!(seen.sum("video", "framesDecoded"), 0.0, "{}", seen.0);
    assert_eq!(seen.sum("audio", "packetsLost"), 0.0, "{}", seen.0);
}
