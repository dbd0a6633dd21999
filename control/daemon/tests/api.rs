//! The API over the real router, directory and link, with a stand-in at the other end of the rings.

mod support;

use proto::{CloseReason, Refusal};
use support::*;
use token::RoomId;

fn room() -> RoomId {
    RoomId::text("demo").unwrap()
}

fn whip(app: u32) -> Ask {
    ask("POST", &format!("/whip/{app}/demo"))
}

#[tokio::test]
async fn a_publisher_and_a_viewer_join_renew_and_leave() {
    let dir = folder("flow");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let alice = user_sig(APP, "alice");
    let uri = format!("/whip/{APP}/my%20room%2B?stream=main");
    let reply = control.send(ask("POST", &uri).bearer(&alice).sdp(&publisher(7))).await;
    assert_eq!((reply.status, reply.header("content-type")), (201, "application/sdp"));
    let location = reply.header("location").to_owned();
    assert!(location.starts_with(&format!("/whip/{APP}/my%20room%2B/")), "{location}");
    assert_eq!(location.rsplit('/').next().unwrap().len(), 32);
    assert!(reply.text.contains("m=audio 8000 RTP/SAVP 111\r\nc=IN IP4 198.18.1.2\r\n"));
    let open = peer.with(|seen| *seen.sessions.values().next().unwrap());
    assert_eq!((open.app.0, open.publications[0].ssrc, &open.label[..]), (APP, 7, &b"al***e"[..]));
    assert!(open.remote.is_unset());
    let uri = uri.replace("whip", "whep");
    let bob = user_sig(APP, "bob");
    let reply = control.send(ask("POST", &uri).bearer(&bob).sdp(&viewer(6000))).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    assert!(reply.text.contains("a=sendonly\r\n") && reply.text.contains("a=ssrc:"));

    let etag = control.send(ask("PATCH", &location).bearer(&alice).empty()).await;
    assert_eq!((etag.status, etag.header("etag")), (204, "\"1\""));
    let other = control.send(ask("PATCH", &location).bearer(&bob).empty()).await;
    assert_eq!(other.problem(), (403, "other_user".into()));
    let stale = ask("PATCH", &location).bearer(&alice).header("if-match", "\"9\"").empty();
    assert_eq!(control.send(stale).await.problem().0, 412);

    let elsewhere = location.replace("my%20room%2B", "other");
    assert_eq!(control.send(ask("DELETE", &elsewhere).empty()).await.problem().0, 404);
    assert_eq!(control.send(ask("DELETE", &location).empty()).await.status, 200);
    assert_eq!(control.send(ask("DELETE", &location).empty()).await.problem().0, 404);
    assert_eq!(peer.with(|seen| seen.sessions.len()), 1);
    assert_eq!(close_reasons(&peer), [CloseReason::Left]);
}

#[tokio::test]
async fn renewing_with_a_ticket_changes_rights_and_deadline_on_the_shard() {
    let dir = folder("renew");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let alice = user_sig(APP, "alice");
    let reply = control.send(whip(APP).bearer(&alice).sdp(&publisher(7))).await;
    let location = reply.header("location").to_owned();
    let grant = |peer: &RingPeer| peer.with(|seen| seen.sessions.values().next().unwrap().grant);
    let before = grant(&peer);
    assert_eq!(before.privileges().0, 255);
    let ticket = map_key(APP, "alice", &room(), 2 | 4);
    let both = format!("{alice}.{ticket}");
    // Many clients name a type even where they send nothing.
    let typed = ask("PATCH", &location).bearer(&both).header("content-type", "application/sdp");
    assert_eq!(control.send(typed.empty()).await.status, 204);
    control.wait_for(|_| grant(&peer) != before).await;
    let after = grant(&peer);
    assert_eq!(after.privileges().0, 6);
    // The ticket lives 300 s, the UserSig 600 s: the earlier end counts.
    assert!((298..=302).contains(&(before.deadline_s() - after.deadline_s())));
    let monotonic_s = (shm::clock::monotonic_ns() / 1_000_000_000) as u32;
    // With the skew of 5 s; one more second because the last valid one passes.
    assert!((304..=306).contains(&(after.deadline_s() - monotonic_s)));
}

#[tokio::test]
async fn tokens_are_held_to_app_room_user_and_time() {
    let dir = folder("auth");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let alice = user_sig(APP, "alice");
    let other_app = user_sig(STRICT_APP, "alice");
    let strict = user_sig(STRICT_APP, "alice");
    let user = token::UserId::new("alice").unwrap();
    let expired = token::make_user_sig(APP, &secret(APP), &user, now() - 700, 600).unwrap();
    let future = token::make_user_sig(APP, &secret(APP), &user, now() + 60, 600).unwrap();
    let stolen = token::make_user_sig(APP, &secret(STRICT_APP), &user, now(), 600).unwrap();
    let elsewhere = RoomId::text("elsewhere").unwrap();
    let key = |room: &RoomId, bits| map_key(STRICT_APP, "alice", room, bits);
    let number = RoomId::number(5).unwrap();
    let truncated = &alice[..alice.len() - 8];
    let foreign_key = map_key(STRICT_APP, "bob", &room(), 255);
    let dotted = |sig: &str, key: &str| format!("{sig}.{key}");
    let cases: Vec<(u32, String, u16, &str)> = vec![
        (APP, other_app, 401, "bad_signature"),
        (APP, expired, 401, "expired"),
        (APP, future, 401, "not_yet_valid"),
        (APP, stolen, 401, "bad_signature"),
        (APP, truncated.to_owned(), 401, "not_zlib"),
        (APP, "x".repeat(2000), 401, "too_long"),
        (APP, map_key(APP, "alice", &room(), 255), 401, "not_a_user_sig"),
        (APP, dotted(&alice, &alice), 401, "not_a_private_map_key"),
        (STRICT_APP, strict.clone(), 403, "private_map_key_required"),
        (STRICT_APP, dotted(&strict, &key(&elsewhere, 255)), 403, "ticket_wrong_room"),
        (STRICT_APP, dotted(&strict, &key(&number, 255)), 403, "ticket_wrong_room_kind"),
        (STRICT_APP, dotted(&strict, &key(&room(), 1)), 403, "enter_not_allowed"),
        (STRICT_APP, dotted(&strict, &key(&room(), 2 | 4)), 403, "room_does_not_exist"),
        (STRICT_APP, dotted(&strict, &foreign_key), 401, "wrong_user"),
        (1, alice.clone(), 404, "app_unknown"),
    ];
    for (app, credential, status, code) in cases {
        let reply = control.send(whip(app).bearer(&credential).sdp(&publisher(7))).await;
        assert_eq!(reply.problem(), (status, code.to_owned()));
        let demands = reply.header("www-authenticate").starts_with("Bearer");
        assert_eq!(demands, status == 401, "{code}");
        assert!(!reply.text.contains("alice") && !reply.text.contains(&credential));
    }
    // The three legal forms.
    let ticket = key(&room(), 255);
    let forms = [
        whip(APP).bearer(&alice),
        whip(STRICT_APP).bearer(&dotted(&strict, &ticket)),
        whip(STRICT_APP).bearer(&strict).header("x-private-map-key", &ticket),
    ];
    for form in forms {
        assert_eq!(control.send(form.sdp(&publisher(7))).await.status, 201);
    }
    let twice = whip(STRICT_APP)
        .bearer(&dotted(&strict, &ticket))
        .header("x-private-map-key", &ticket)
        .sdp(&publisher(7));
    assert_eq!(control.send(twice).await.problem(), (400, "authorization_invalid".into()));
    let basic = whip(APP).header("authorization", "Basic YTpi").sdp(&publisher(7));
    assert_eq!(control.send(basic).await.problem(), (400, "authorization_invalid".into()));
    let none = whip(APP).sdp(&publisher(7));
    assert_eq!(control.send(none).await.problem(), (401, "authorization_missing".into()));
}

#[tokio::test]
async fn malformed_requests_get_problem_documents() {
    let dir = folder("malformed");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let sig = user_sig(APP, "alice");
    let post = |uri: &str| ask("POST", uri).bearer(&sig);
    let at = |tail: &str| format!("/whip/{APP}/{tail}");
    for (uri, status, code) in [
        (at("demo?room_type=word"), 400, "query_invalid"),
        (at("demo?roomtype=number"), 400, "query_invalid"),
        (at("demo?stream=both"), 400, "query_invalid"),
        (at("demo?stream=main&stream=substream"), 400, "query_invalid"),
        (at("demo?publisher=a%20b"), 400, "query_invalid"),
        (at("demo?room_type=number"), 400, "room_invalid"),
        (at("0?room_type=number"), 400, "room_invalid"),
        (at("007?room_type=number"), 400, "room_invalid"),
        (at("4294967296?room_type=number"), 400, "room_invalid"),
        (at("a%2Fb"), 400, "room_invalid"),
        (at(&"x".repeat(65)), 400, "room_invalid"),
        (at("%ff"), 400, "path_invalid"),
        ("/whip/one/demo".into(), 400, "path_invalid"),
        ("/whip/+1/demo".into(), 400, "path_invalid"),
        ("/whip".into(), 404, "not_found"),
        ("/".into(), 404, "not_found"),
    ] {
        let reply = control.send(post(&uri).sdp(&publisher(7))).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{uri}");
    }
    let get = control.send(ask("GET", &at("demo")).empty()).await;
    assert_eq!((get.problem().0, get.header("allow")), (405, "POST, OPTIONS"));
    let get = control.send(ask("GET", &at(&format!("demo/{}", "0".repeat(32)))).empty()).await;
    assert_eq!((get.problem().0, get.header("allow")), (405, "DELETE, PATCH, OPTIONS"));
    let json = post(&at("demo")).header("content-type", "application/json").empty();
    let reply = control.send(json).await;
    assert_eq!((reply.problem().0, reply.header("accept-post")), (415, "application/sdp"));
    let long = publisher(7) + &"a=x\r\n".repeat(16 * 1024);
    assert_eq!(control.send(post(&at("demo")).sdp(&long)).await.problem().0, 413);
    let announced = post(&at("demo")).header("content-length", "70000").sdp("v=0\r\n");
    assert_eq!(control.send(announced).await.problem().0, 413);
    let offers = [
        ("v=1\r\n".to_owned(), 400, "sdp_invalid"),
        (publisher(7).replace("a=rtcp-mux\r\n", ""), 406, "rtcp_mux_required"),
        (
            publisher(7).replace("IN IP4 192.0.2.7\r\nt=", "IN IP4 192.0.2.8\r\nt="),
            403,
            "media_address_not_allowed",
        ),
        (
            publisher(7).replace("IN IP4 192.0.2.7\r\nt=", "IN IP6 ::ffff:127.0.0.1\r\nt="),
            403,
            "media_address_not_allowed",
        ),
    ];
    for (offer, status, code) in offers {
        let reply = control.send(post(&at("demo")).sdp(&offer)).await;
        assert_eq!(reply.problem(), (status, code.to_owned()));
    }
    assert!(peer.with(|seen| seen.sessions.is_empty() && seen.rooms.is_empty()));
}

#[tokio::test]
async fn rates_are_kept_and_strangers_cannot_spend_an_apps_share() {
    let dir = folder("rates");
    let _peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 10).await;
    for _ in 0..5 {
        let forged = whip(SLOW_APP).bearer("eJw*").sdp(&publisher(7));
        assert_eq!(control.send(forged).await.problem().0, 401);
    }
    let sig = user_sig(SLOW_APP, "alice");
    let join = || whip(SLOW_APP).bearer(&sig).sdp(&publisher(7));
    assert_eq!(control.send(join()).await.status, 201);
    let refused = control.send(join()).await;
    assert_eq!(refused.problem(), (429, "app_join_rate".into()));
    assert_eq!(refused.header("retry-after"), "1");
    let mut last = String::new();
    for _ in 0..10 {
        let forged = whip(APP).bearer("eJw*").sdp(&publisher(7));
        last = control.send(forged).await.problem().1;
    }
    assert_eq!(last, "join_rate");
}

#[tokio::test]
async fn a_join_is_answered_with_what_the_shard_said() {
    let dir = folder("refusals");
    let peer = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let sig = user_sig(APP, "alice");
    for (why, status, code) in [
        (Refusal::Full, 503, "node_full"),
        (Refusal::Quota, 429, "app_quota"),
        (Refusal::Taken, 409, "address_taken"),
        (Refusal::Draining, 503, "draining"),
        (Refusal::Invalid, 409, "refused_by_shard"),
    ] {
        peer.with(|seen| seen.refuse = Some(why));
        let reply = control.send(whip(APP).bearer(&sig).sdp(&publisher(7))).await;
        assert_eq!(reply.problem(), (status, code.to_owned()));
        assert_eq!(reply.headers.contains_key("retry-after"), status != 409);
    }
    peer.with(|seen| (seen.refuse, seen.silent) = (None, true));
    let reply = control.send(whip(APP).bearer(&sig).sdp(&publisher(7))).await;
    assert_eq!(reply.problem(), (503, "node_busy".into()));
    assert_eq!(control.hub.totals().publishing, 0);
    peer.with(|seen| seen.silent = false);
    let reply = control.send(whip(APP).bearer(&sig).sdp(&publisher(7))).await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn without_a_data_plane_joins_wait_for_nobody() {
    let dir = folder("down");
    let control = Control::start(&dir, 0);
    let sig = user_sig(APP, "alice");
    let reply = control.send(whip(APP).bearer(&sig).sdp(&publisher(7))).await;
    assert_eq!(reply.problem(), (503, "data_plane_down".into()));
}

#[tokio::test]
async fn sessions_outlive_either_process_and_both_meet_again() {
    let dir = folder("restarts");
    let first = RingPeer::start(&dir, 1);
    let control = Control::up(&dir, 0).await;
    let sig = user_sig(APP, "alice");
    let reply = control.send(whip(APP).bearer(&sig).sdp(&publisher(7))).await;
    let location = reply.header("location").to_owned();
    let before = first.with(|seen| seen.sessions.clone());

    // The data plane dies; the next one gets the ledger and the same sessions.
    drop(first);
    control.wait_for(|c| c.hub.status() == daemon::link::hub::Status::Down).await;
    let second = RingPeer::start(&dir, 2);
    control.wait_for(|_| second.with(|seen| seen.sessions.len() == 1)).await;
    assert_eq!(second.with(|seen| seen.sessions.clone()), before);
    assert_eq!(second.with(|seen| seen.hellos.clone()), [true]);

    // The control plane dies; the next one learns who is there.
    drop(control);
    let control = Control::up(&dir, 0).await;
    assert_eq!(second.with(|seen| seen.hellos.clone()), [true, false]);
    assert_eq!(control.hub.totals().publishing, 1);
    let renewed = control.send(ask("PATCH", &location).bearer(&sig).empty()).await;
    assert_eq!(renewed.status, 204);
    let bob = user_sig(APP, "bob");
    let view = ask("POST", &format!("/whep/{APP}/demo")).bearer(&bob).sdp(&viewer(6000));
    assert_eq!(control.send(view).await.status, 201);
    let rooms = second.with(|seen| {
        seen.sessions.values().map(|open| open.room).collect::<std::collections::HashSet<_>>()
    });
    assert_eq!(rooms.len(), 1, "both are in one room");
    assert_eq!(control.send(ask("DELETE", &location).empty()).await.status, 200);
}
