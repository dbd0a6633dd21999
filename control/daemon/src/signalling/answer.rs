//! Writes answers: one m-section per offered one, in order, with our address, codec and key.

use std::fmt::Write;
use std::net::SocketAddr;

use proto::KeyMaterial;
use zeroize::Zeroizing;

use crate::signalling::codec::Media;
use crate::signalling::offer::{Declined, Role, Section, SectionOffer};
use crate::signalling::{extension, sdes};

/// What we add to a served section.
#[derive(Debug, Clone)]
pub struct Granted {
    /// Where the peer sends to, and hears from.
    pub local: SocketAddr,
    /// We protect with it.
    pub key: KeyMaterial,
    /// Our SSRC: a subscriber's slot, or for a publisher that of our RTCP.
    pub ssrc: u32,
}

/// The answer to an offer. `granted` has one item per served section, in order.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The role that the offer was read in.
    pub role: Role,
    /// Its sections.
    pub sections: &'a [Section],
    /// What we add.
    pub granted: &'a [Granted],
    /// Number of the description (o=).
    pub origin: u64,
    /// Canonical name of our sources (RFC 3550 6.5.1); random, says nothing.
    pub cname: &'a str,
}

impl Answer<'_> {
    /// The description, wiped when it goes: it holds our keys.
    pub fn write(&self) -> Zeroizing<String> {
        // Grown once: a string that moves while it grows leaves keys behind.
        let mut text = Zeroizing::new(String::with_capacity(1024 + 2048 * self.sections.len()));
        self.write_to(&mut text).expect("a string takes whatever is written");
        text
    }

    fn write_to(&self, out: &mut String) -> std::fmt::Result {
        let local = self.granted.first().map(|granted| granted.local);
        let (family, ip) = local.map_or(("IP4", "0.0.0.0".to_owned()), address);
        write!(out, "v=0\r\no=- {} 1 IN {family} {ip}\r\ns=-\r\nt=0 0\r\n", self.origin)?;
        let mut granted = self.granted.iter();
        for section in self.sections {
            match section {
                Section::Declined(declined) => write_declined(out, declined)?,
                Section::Served(served) => match granted.next() {
                    Some(granted) => self.write_served(out, served, granted)?,
                    None => return Err(std::fmt::Error),
                },
            }
        }
        Ok(())
    }

    fn write_served(
        &self,
        out: &mut String,
        offered: &SectionOffer,
        granted: &Granted,
    ) -> std::fmt::Result {
        // A publisher keeps one codec: what it sends is what subscribers were told.
        let codecs = match self.role {
            Role::Publish => &offered.codecs[..1],
            Role::Subscribe => &offered.codecs[..],
        };
        let media = match offered.media {
            Media::Audio => "audio",
            Media::Video => "video",
        };
        let (family, ip) = address(granted.local);
        write!(out, "m={media} {} {}", granted.local.port(), offered.proto)?;
        for codec in codecs {
            write!(out, " {}", codec.payload_type)?;
        }
        write!(out, "\r\nc=IN {family} {ip}\r\n")?;
        if let Some(mid) = &offered.mid {
            write!(out, "a=mid:{mid}\r\n")?;
        }
        let direction = match self.role {
            Role::Publish => "recvonly",
            Role::Subscribe => "sendonly",
        };
        write!(out, "a={direction}\r\na=rtcp-mux\r\n")?;
        for codec in codecs {
            let (payload_type, map) = (codec.payload_type, &codec.map);
            write!(out, "a=rtpmap:{payload_type} {}/{}", map.name, map.clock_rate)?;
            match map.channels {
                1 => write!(out, "\r\n")?,
                channels => write!(out, "/{channels}\r\n")?,
            }
            if !codec.fmtp.is_empty() {
                write!(out, "a=fmtp:{payload_type} {}\r\n", codec.fmtp)?;
            }
            if offered.pli && offered.proto.ends_with('F') {
                write!(out, "a=rtcp-fb:{payload_type} nack pli\r\n")?;
            }
        }
        for taken in &offered.extensions {
            if let Some(uri) = extension::uri(taken.extension) {
                write!(out, "a=extmap:{} {uri}\r\n", taken.id)?;
            }
        }
        let crypto = sdes::answer(offered.crypto.tag, offered.crypto.profile, &granted.key);
        write!(out, "a=crypto:{}\r\n", *crypto)?;
        write!(out, "a=ssrc:{} cname:{}\r\n", granted.ssrc, self.cname)
    }
}

fn write_declined(out: &mut String, declined: &Declined) -> std::fmt::Result {
    write!(
        out,
        "m={} 0 {} {}\r\nc=IN IP4 0.0.0.0\r\n",
        declined.media, declined.proto, declined.fmt
    )?;
    if let Some(mid) = &declined.mid {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    write!(out, "a=inactive\r\n")
}

fn address(local: SocketAddr) -> (&'static str, String) {
    (if local.is_ipv4() { "IP4" } else { "IP6" }, local.ip().to_string())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
