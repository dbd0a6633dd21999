//! Exit codes, and failures that carry one.

use std::process::ExitCode;

use stats::StatsError;

/// What the exit code says; documented in `roomlane --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did not work.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is invalid.
    Config = 3,
    /// No node, or it cannot be reached.
    NoNode = 4,
    /// Not permitted.
    NotPermitted = 5,
    /// No such room, session or worker.
    NotFound = 6,
    /// Refused by state: draining, limit, taken, another instance.
    Refused = 7,
    /// Took too long.
    TimedOut = 124,
    /// Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended without doing what it should: what happened, why, the next command.
#[derive(Debug)]
pub struct Failure {
    /// For the shell.
    pub code: Exit,
    /// For people; empty when everything was said before.
    pub message: String,
}

/// What every command says when nobody listens.
pub const NO_NODE: &str = "no node running; start one with roomlane up";

impl Failure {
    /// A failure with its code.
    pub fn new(code: Exit, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }

    /// It did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The configuration is invalid.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Config, message)
    }

    /// Nobody listens.
    pub fn no_node() -> Self {
        Self::new(Exit::NoNode, NO_NODE)
    }
}

impl From<StatsError> for Failure {
    fn from(error: StatsError) -> Self {
        match error {
            StatsError::NoNode { .. } => Failure::no_node(),
            StatsError::Denied { .. } => Failure::new(Exit::NotPermitted, error.to_string()),
            other => Failure::new(Exit::NoNode, other.to_string()),
        }
    }
}

/// A failed write to stdout: a closed pipe ends a command quietly.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::failed(""),
            _ => Failure::failed(error.to_string()),
        }
    }
}
