//! The control process: directory, signalling, admin socket.
//!
//! Whoever parses what strangers send (HTTP, TLS, SDP, JSON, tokens) is here, unprivileged and without
//! a network card; the data plane gets finished commands over a ring in shared memory. With this
//! process dead, media goes on.
//!
//! | module | what |
//! |---|---|
//! | [`signalling`] | session descriptions: what a peer offers, what we answer; pure |
//! | [`directory`] | apps, rooms, members, sessions and all numbers; pure, no I/O |
//! | [`link`] | the rings to the data plane, its restarts and ours |
//! | [`api`] | WHIP and WHEP over HTTP, health and metrics |
//! | [`demo`] | a page to try it out with a browser |
//! | [`trail`] | what happened lately to whom, masked, in memory |
//! | [`why`] | where media between two members stops |
//! | [`running`] | the configuration that runs, reload, acts on apps, draining |
//! | [`export`] | metrics, and a look at the counters each second |
//! | [`security`] | events that guards of a node are told |
//! | [`incidents`] | what of them somebody has to look after |
//! | [`notify`] | the webhook that they are posted to |
//! | [`chain`] | files whose lines are chained by hashes |
//! | [`admin`] | the admin socket: JSON lines, peer credentials, audit |
//!
//! Start reading at [`daemon::Daemon::start`].
#![forbid(unsafe_code)]

pub mod admin;
pub mod api;
pub mod chain;
pub mod daemon;
pub mod demo;
pub mod directory;
pub mod export;
pub mod handshakes;
pub mod incidents;
pub mod limits;
pub mod link;
pub mod logs;
pub mod mask;
pub mod notify;
pub mod problem;
pub mod running;
pub mod security;
pub mod signalling;
pub mod trail;
pub mod why;
