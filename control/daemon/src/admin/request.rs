//! One request line: which act it is, what it needs, whom it is about, whether it is written down.

use std::borrow::Cow;

use serde::Deserialize;

use super::Act;
use super::capture::CaptureAct;
use super::incident::IncidentAct;
use super::node::NodeAct;
use super::peer::Right;
use super::reveal::RevealAct;
use crate::trail::About;

/// An act, by what carries it out.
pub enum Request {
    /// On what is in the node.
    Inside(Act),
    /// On the node as a whole.
    Node(NodeAct),
    /// On captures.
    Capture(CaptureAct),
    /// On incidents.
    Incident(IncidentAct),
    /// On nothing: it shows names.
    Reveal(RevealAct),
}

/// What is known of a request before it is carried out.
pub struct Facts {
    /// The word of `act`.
    pub name: &'static str,
    /// What it is about, masked, for the audit.
    pub target: String,
    /// What it needs.
    pub right: Right,
    /// The same for trails.
    pub about: About,
    /// It is written down, and not done when it cannot be.
    pub is_audited: bool,
    /// Its answer has names in the clear.
    pub reveals: bool,
}

/// Which act a line is about.
#[derive(Deserialize)]
struct Head<'a> {
    act: Cow<'a, str>,
}

impl Request {
    /// Reads a line. Acts on the node as a whole are none where there is no `node` to act on.
    pub fn parse(line: &[u8], has_node: bool) -> serde_json::Result<Request> {
        let head: Head<'_> = serde_json::from_slice(line)?;
        let name = head.act.as_ref();
        if has_node && NodeAct::NAMES.contains(&name) {
            serde_json::from_slice(line).map(Request::Node)
        } else if has_node && IncidentAct::NAMES.contains(&name) {
            serde_json::from_slice(line).map(Request::Incident)
        } else if CaptureAct::NAMES.contains(&name) {
            serde_json::from_slice(line).map(Request::Capture)
        } else if RevealAct::NAMES.contains(&name) {
            serde_json::from_slice(line).map(Request::Reveal)
        } else {
            serde_json::from_slice(line).map(Request::Inside)
        }
    }

    /// What is known of it.
    pub fn facts(&self) -> Facts {
        let (name, target, right) = match self {
            Request::Inside(act) => (act.name(), act.target(), act.right()),
            Request::Node(act) => (act.name(), act.target(), act.right()),
            Request::Capture(act) => (act.name(), act.target(), act.right()),
            Request::Incident(act) => (act.name(), act.target(), act.right()),
            Request::Reveal(act) => (act.name(), act.target(), Right::Act),
        };
        let about = match self {
            Request::Inside(act) => act.about(),
            // Acts on an app have its id as their target.
            Request::Node(_) => About { app: target.parse().ok(), ..About::default() },
            Request::Capture(_) | Request::Reveal(_) => {
                About { session: target.parse().ok(), ..About::default() }
            }
            Request::Incident(_) => About::default(),
        };
        let is_audited = match self {
            Request::Capture(act) => act.is_audited(),
            _ => right == Right::Act,
        };
        let reveals = match self {
            Request::Inside(act) => act.reveals(),
            Request::Reveal(_) => true,
            _ => false,
        };
        Facts { name, target, right, about, is_audited, reveals }
    }
}
