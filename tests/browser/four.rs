//! Four people, each of whom publishes and watches the others.

use roomlane_tests::sdes::Tokens;
use serde_json::json;

use crate::stage::{SOON, Stage, stage};

const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "dave"];

#[test]
fn four_people_see_and_hear_each_other_and_names_fit_pictures() {
    let Some(stage) = stage() else { return };
    meet(&stage);
}

fn meet(stage: &Stage) {
    // Few cores decode twelve pictures here.
    let source = json!({ "source": { "width": 320, "fps": 15 }, "maxBitrate": 250_000 });
    let people: Vec<_> =
        (1..).zip(PEOPLE).map(|(id, name)| (id, Tokens::new("four", name))).collect();
    let pages: Vec<_> =
        people.iter().map(|(id, tokens)| stage.publisher(tokens, *id, &source)).collect();
    for (page, (_, tokens)) in pages.iter().zip(&people) {
        page.watch(tokens, &json!({ "slots": 3 }));
    }
    for (page, (own, _)) in pages.iter().zip(&people) {
        for (id, _) in people.iter().filter(|(id, _)| id != own) {
            page.sees(*id, SOON * 2);
        }
    }
    let before: Vec<_> = pages.iter().map(|page| page.figures("watch")).collect();
    stage.until("everybody hears and sees for a while", SOON * 2, || {
        let mut others = pages.iter().zip(&before);
        let enough = others.all(|(page, before)| {
            let now = page.figures("watch");
            let more = |kind: &str, key: &str| now.sum(kind, key) - before.sum(kind, key);
            more("video", "framesDecoded") >= 3.0 * 45.0 && more("audio", "totalAudioEnergy") > 0.0
        });
        enough.then_some(())
    });
    for (page, (own, tokens)) in pages.iter().zip(&people) {
        let figures = page.figures("watch");
        assert_eq!(figures.transport("srtpCipher"), "SRTP_AEAD_AES_128_GCM");
        // The own picture is on the page too, as it was drawn; what is told about slots is of others.
        let mut tiles = page.tiles();
        tiles.retain(|tile| tile.id != Some(*own));
        tiles.sort_by_key(|tile| tile.id);
        let seen: Vec<_> =
            tiles.iter().map(|tile| (tile.id.unwrap_or(0), tile.user.as_str())).collect();
        let wanted = people.iter().filter(|(id, _)| id != own);
        let wanted: Vec<_> = wanted.map(|(id, tokens)| (*id, tokens.user.as_str())).collect();
        assert_eq!(seen, wanted, "{}", page.name);
        let lost = figures.sum("video", "packetsLost") + figures.sum("audio", "packetsLost");
        let packets =
            figures.sum("video", "packetsReceived") + figures.sum("audio", "packetsReceived");
        println!(
            "{}: {packets} packets, {lost} lost, latencies {:?} ms",
            tokens.user,
            tiles.iter().filter_map(|tile| tile.latency).collect::<Vec<_>>()
        );
        assert_eq!(lost, 0.0, "{}\n{}", figures.0, stage.node.all_drops());
    }
    pages[0].screenshot("four-alice");
}
