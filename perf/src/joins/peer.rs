//! One peer of the crowd: its request, its ICE and DTLS, and its end of the media.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dtls::Identity;
use proto::{MediaKind, MemberNo, PublicationNo, PublicationSpec, RoomNo};
use roomlane_peers::netns::PEER_IP;
use roomlane_peers::peer::{Publisher, Subscriber};
use roomlane_peers::sdes::{Answer, Api, Tokens, Wire, request, sends};
use roomlane_peers::webrtc::{Browser, SOME_SESSION};

/// Time between two packets of a publisher: 50 a second, as Opus has them.
pub const PACKET_TIME: Duration = Duration::from_millis(20);
/// Bytes of a payload.
const PAYLOAD: usize = 160;
/// First index of a stream.
const FIRST: u64 = 1000;
/// SSRC of the publisher with number 0.
const SSRC: u32 = 0x1000;

/// What a peer will be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the crowd, and in the payloads of a publisher.
    pub number: u32,
    /// Room number.
    pub room: u32,
    /// It publishes; else it views.
    pub publishes: bool,
    /// The request, ready to be sent: tokens take time to make.
    request: String,
}

impl Plan {
    /// Makes its tokens and its offer.
    pub fn new(api: &Api, own: &Identity, (number, room): (u32, u32), publishes: bool) -> Plan {
        let tokens = Tokens::new(&format!("room{room}"), &format!("user{number}"));
        let (verb, lines) = match publishes {
            true => ("whip", sends(SSRC + number)),
            false => ("whep", "a=recvonly\r\n".to_owned()),
        };
        let path = api.path(verb, &tokens.room);
        let offer = Browser::offer(own, &lines);
        let request = request("POST", &path, &api.bearer(&tokens), &offer);
        Plan { number, room, publishes, request }
    }
}

/// How long its steps took, each from its POST on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// The answer was there.
    pub answered: Option<Duration>,
    /// A connectivity check was answered.
    pub checked: Option<Duration>,
    /// Keys were there.
    pub keyed: Option<Duration>,
    /// A viewer's first packet, or that a viewer got of a publisher.
    pub media: Option<Duration>,
}

impl Times {
    /// All of them by their names, in their order.
    pub fn steps(&self) -> [(&'static str, Option<Duration>); 4] {
        [
            ("answer", self.answered),
            ("check", self.checked),
            ("keys", self.keyed),
            ("media", self.media),
        ]
    }
}

/// What a viewer got.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Packets.
    pub got: u64,
    /// Packets that were sent before the last one it got, and did not come, by their indices.
    pub lost: u64,
    /// Packets that came twice, late, from another room or could not be opened.
    pub wrong: u64,
    last: Option<(u64, u64)>,
}

impl Tally {
    /// A packet with the publisher's index and the one that the node gave it.
    fn take(&mut self, index: u64, egress: u64) {
        self.got += 1;
        match self.last.replace((index, egress)) {
            None => {}
            Some((before, _)) if index <= before => self.wrong += 1,
            Some((before, out)) => {
                self.lost += index - before - 1;
                self.wrong += u64::from(egress != out + (index - before));
            }
        }
    }

    /// Takes note that the publisher's last packet had `index`.
    pub fn end(&mut self, index: u64) {
        let (last, _) = self.last.unwrap_or((FIRST - 1, 0));
        self.lost += index.saturating_sub(last);
    }
}

/// A UDP socket as the peer's only address.
pub struct Line<'a>(pub &'a UdpSocket);

impl Wire for Line<'_> {
    fn open(&mut self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    fn send(&mut self, _: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        // What is lost so is sent again: checks and handshakes go this way, media does not.
        let _ = self.0.send_to(bytes, to);
    }

    fn receive(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        None
    }
}

/// A peer that has posted its offer at least.
pub struct Peer {
    /// What it is.
    pub plan: Plan,
    /// Where its media comes and goes.
    pub socket: UdpSocket,
    /// Its request, until it is answered.
    pub stream: Option<UnixStream>,
    /// How long it took.
    pub times: Times,
    /// What it got.
    pub tally: Tally,
    /// Packets are sent.
    pub is_on: bool,
    /// When the next is due.
    pub due: Instant,
    posted: Instant,
    text: Vec<u8>,
    browser: Option<Browser>,
    publisher: Option<Publisher>,
    subscriber: Option<Subscriber>,
}

impl Peer {
    /// Sends the request.
    ///
    /// # Errors
    /// Signalling does not listen, or this process has no sockets left.
    pub fn post(api: &Api, plan: Plan) -> Result<Peer> {
        let ip: Ipv4Addr = PEER_IP.parse().context("the peers' address")?;
        let socket = UdpSocket::bind((ip, 0)).context("a peer's socket")?;
        socket.set_nonblocking(true).context("a peer's socket")?;
        let posted = Instant::now();
        let mut stream = UnixStream::connect(api.socket()).context("signalling")?;
        stream.write_all(plan.request.as_bytes()).context("signalling")?;
        stream.set_nonblocking(true).context("signalling")?;
        Ok(Peer {
            plan,
            socket,
            stream: Some(stream),
            times: Times::default(),
            tally: Tally::default(),
            is_on: false,
            due: posted,
            posted,
            text: vec![],
            browser: None,
            publisher: None,
            subscriber: None,
        })
    }

    /// Reads of the answer what is there.
    ///
    /// # Errors
    /// The join was refused.
    pub fn read(&mut self, own: &Identity) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        match stream.read_to_end(&mut self.text) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            read => read.context("the answer")?,
        };
        self.stream = None;
        let text = std::str::from_utf8(&self.text).context("the answer")?;
        ensure!(text.starts_with("HTTP/1.1 201 "), "a join was refused: {text}");
        let answer = Answer::read(text);
        self.text = vec![];
        self.times.answered = Some(self.posted.elapsed());
        let local = self.socket.local_addr().context("a peer's socket")?;
        self.browser = Some(Browser::of(&answer, local, own));
        self.turn();
        Ok(())
    }

    /// Sends the checks and handshakes that are due.
    pub fn turn(&mut self) {
        let Some(browser) = &mut self.browser else { return };
        browser.turn(&mut Line(&self.socket), false);
    }

    /// Takes all datagrams that are there; the number of each publisher whose media came is given to
    /// `heard`.
    pub fn receive(&mut self, mut heard: impl FnMut(u32)) {
        let mut bytes = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut bytes) {
            let Some(browser) = &mut self.browser else { return };
            let media = browser.take(&bytes[..len]);
            if browser.is_checked && self.times.checked.is_none() {
                self.times.checked = Some(self.posted.elapsed());
            }
            if let (Some(media), Some(subscriber)) = (media, &mut self.subscriber) {
                subscriber.receive(media);
                for got in subscriber.got.drain(..) {
                    self.tally.take(got.mark.index, got.egress);
                    self.tally.wrong += u64::from(got.mark.room != u64::from(self.plan.room));
                    self.times.media.get_or_insert_with(|| self.posted.elapsed());
                    heard(got.mark.publication);
                }
                self.tally.wrong += u64::from(std::mem::take(&mut subscriber.refused));
                subscriber.reports.clear();
            }
            if self.times.keyed.is_none() {
                self.finish();
            }
        }
        // A flight of the handshake may have come of it.
        if self.times.keyed.is_none() {
            self.turn();
        }
    }

    /// Makes its end of the media once there are keys.
    fn finish(&mut self) {
        let Some(browser) = &mut self.browser else { return };
        let Some((profile, ours, theirs)) = browser.srtp() else { return };
        self.times.keyed = Some(self.posted.elapsed());
        // The client's last flight, where it has one.
        browser.turn(&mut Line(&self.socket), false);
        let ids = (SOME_SESSION, RoomNo(self.plan.room.into()), MemberNo(self.plan.number.into()));
        let (keys, local) = ((&ours, &theirs), browser.local.into());
        if self.plan.publishes {
            let spec = PublicationSpec {
                publication: PublicationNo(self.plan.number),
                ssrc: SSRC + self.plan.number,
                kind: MediaKind::Audio,
                payload_type: 111,
                clock_rate: 48_000,
                ..PublicationSpec::default()
            };
            self.publisher = Some(Publisher::new(ids, spec, local, profile, keys, FIRST));
            (self.is_on, self.due) = (true, Instant::now());
        } else {
            self.subscriber = Some(Subscriber::new(ids, vec![], local, profile, keys));
        }
    }

    /// Sends the packets that are due.
    ///
    /// # Errors
    /// The host does not take one: the figures would blame the node.
    pub fn send(&mut self, now: Instant) -> Result<()> {
        let (Some(publisher), Some(browser)) = (&mut self.publisher, &self.browser) else {
            return Ok(());
        };
        while self.is_on && now >= self.due {
            self.due += PACKET_TIME;
            let packet = publisher.packet(PAYLOAD);
            self.socket.send_to(&packet, browser.remote).context("a packet of a publisher")?;
        }
        Ok(())
    }

    /// The index of the last packet it sent.
    pub fn last_index(&self) -> Option<u64> {
        self.publisher.as_ref().map(|publisher| publisher.next - 1)
    }

    /// A viewer of it got a packet.
    pub fn was_heard(&mut self) {
        self.times.media.get_or_insert_with(|| self.posted.elapsed());
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// It has never joined.
    pub fn close(&mut self) -> Result<()> {
        let Some(browser) = &mut self.browser else { bail!("a peer did not join") };
        browser.close();
        browser.turn(&mut Line(&self.socket), false);
        self.is_on = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_repeats_and_a_missing_end_are_counted() {
        let mut tally = Tally::default();
        for (index, egress) in [(1000, 70), (1001, 71), (1004, 74), (1005, 75)] {
            tally.take(index, egress);
        }
        assert_eq!((tally.got, tally.lost, tally.wrong), (4, 2, 0));
        tally.take(1005, 76);
        assert_eq!((tally.lost, tally.wrong), (2, 1), "twice");
        // The node left out a number of its own: the viewer would think that it lost one.
        tally.take(1006, 79);
        assert_eq!((tally.lost, tally.wrong), (2, 2));
        tally.end(1006);
        assert_eq!(tally.lost, 2);
        tally.end(1009);
        assert_eq!(tally.lost, 5);
        let mut silent = Tally::default();
        silent.end(FIRST + 9);
        assert_eq!(silent.lost, 10);
    }
}
