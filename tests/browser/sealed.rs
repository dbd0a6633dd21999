//! End-to-end encryption: who has the passphrase sees, who has not does not, and the node never gets it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use roomlane_tests::sdes::Tokens;
use serde_json::{Value, json};

use crate::stage::{Figures, SOON, Tile, stage};

const PASSPHRASE: &str = "seven grey herons";

#[test]
fn only_the_passphrase_opens_a_sealed_room_and_it_never_reaches_the_node() {
    let Some(stage) = stage() else { return };
    let sealed = json!({ "passphrase": PASSPHRASE });
    let alice = stage.publisher(&Tokens::new("sealed", "alice"), 1, &sealed);
    let viewer = |user: &str, more: Value| {
        let mut options = json!({ "slots": 1 });
        more.as_object()
            .into_iter()
            .flatten()
            .for_each(|(key, value)| options[key] = value.clone());
        stage.viewer(&Tokens::new("sealed", user), &options)
    };
    let bob = viewer("bob", sealed.clone());
    let without = viewer("carol", json!({}));
    let other = viewer("dave", json!({ "passphrase": "seven grey gerons" }));
    // Shows whatever arrives to its decoders, as a page without our script would.
    let raw = viewer("eve", json!({ "transform": false }));
    bob.sees(1, SOON);
    let before = bob.figures("watch");
    let blind = [&without, &other, &raw];
    let tiles = || blind.iter().flat_map(|page| page.tiles());
    // A decoder's garbage passes the checksum of eight bits now and then, but not with her number and a
    // time of this minute.
    let shows_alice = |tile: &Tile| tile.id == Some(1) && matches!(tile.latency, Some(0..60_000));
    let mut read = 0;
    stage.during(Duration::from_secs(5), || read += tiles().filter(shows_alice).count());
    // Three browsers share this machine's cores, so that frames come when they come.
    let ((seen, frames, energy), _) = stage.until("pictures and sound opened", SOON, || {
        read += tiles().filter(shows_alice).count();
        let seen = bob.figures("watch");
        let more = |kind: &str, key: &str| seen.sum(kind, key) - before.sum(kind, key);
        let (frames, energy) = (more("video", "framesDecoded"), more("audio", "totalAudioEnergy"));
        (frames > 75.0 && energy > 0.0).then_some((seen, frames, energy))
    });
    println!("with the passphrase {frames} frames and energy {energy:.3}");
    assert_eq!(seen.frames("video", "refused") + seen.frames("audio", "refused"), 0, "{}", seen.0);
    assert_eq!(seen.frames("video", "plain") + seen.frames("audio", "plain"), 0, "{}", seen.0);
    assert_eq!(read, 0, "a picture was read without the passphrase");
    let locked = without.figures("watch");
    let refused = other.figures("watch");
    for kind in ["audio", "video"] {
        assert!(locked.frames(kind, "locked") > 30, "{}", locked.0);
        assert!(refused.frames(kind, "refused") > 30, "{}", refused.0);
    }
    for blind in [&locked, &refused] {
        assert_eq!(blind.sum("video", "framesDecoded"), 0.0, "{}", blind.0);
        assert_eq!(blind.sum("audio", "totalAudioEnergy"), 0.0, "{}", blind.0);
    }
    let got = raw.figures("watch").sum("video", "packetsReceived");
    assert!(got > 100.0, "the raw viewer got {got} packets: it had nothing to fail at");
    let notes: Vec<_> = [&without, &other].iter().flat_map(|page| page.tiles()).collect();
    assert!(notes.iter().all(|tile| tile.note.contains("passphrase")), "{notes:?}");
    without.screenshot("sealed-without");
    bob.screenshot("sealed-bob");
    for page in [&alice, &bob] {
        never_told(&page.drive("requests", &json!({})).to_string());
    }
    never_told(&stage.node.log());
}

/// The passphrase stands nowhere in `text`, in no usual spelling.
fn never_told(text: &str) {
    assert!(!text.is_empty());
    let hex: String = PASSPHRASE.bytes().map(|byte| format!("{byte:02x}")).collect();
    let spellings = [
        PASSPHRASE.to_owned(),
        PASSPHRASE.replace(' ', "+"),
        PASSPHRASE.replace(' ', "%20"),
        STANDARD.encode(PASSPHRASE),
        hex,
    ];
    for spelling in spellings {
        assert!(!text.contains(&spelling), "{spelling} was told");
    }
}

#[test]
fn the_harness_reads_a_time_through_a_sealed_call_inside_one_page_and_not_with_another_passphrase()
{
    let Some(stage) = stage() else { return };
    let page = stage.page(&Tokens::new("loop", "alice"));
    let look = || Figures(page.act("figures", &json!({ "name": "loopback" })));
    page.act("loopback", &json!({ "passphrase": PASSPHRASE }));
    let (latency, _) = stage.until("the time is read", SOON, || {
        let figures = look();
        let heard = figures.sum("audio", "totalAudioEnergy") > 0.0;
        assert_eq!(figures.frames("audio", "plain") + figures.frames("video", "plain"), 0);
        (figures.0["id"] == 9 && heard).then(|| figures.0["latency"].as_i64()).flatten()
    });
    println!("latency inside one page: {latency} ms");
    assert!((0..500).contains(&latency));

    let page = stage.page(&Tokens::new("loop", "bob"));
    page.act("loopback", &json!({ "passphrase": PASSPHRASE, "other": "another" }));
    let look = || Figures(page.act("figures", &json!({ "name": "loopback" })));
    stage.until("frames are refused", SOON, || {
        let figures = look();
        assert!(figures.0["id"].is_null() && figures.sum("video", "framesDecoded") == 0.0);
        (figures.frames("video", "refused") > 60).then_some(())
    });
}
