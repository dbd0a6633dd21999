//! Browsers as peers: Debian's Chromium, headless, with made-up media, in a namespace; the real node on
//! a DPDK port in another. The node's own demo page does all that is tested.
//!
//! A test reads what a person would see: a time that the sender draws into its picture is read from the
//! viewer's. What the host does not have is skipped loudly, with its own words.
#![forbid(unsafe_code)]

mod chromium;
mod disturbed;
mod four;
mod loss;
mod mute;
mod one;
mod page;
mod paths;
mod renewal;
mod rights;
mod sealed;
mod stage;
mod tokens;
