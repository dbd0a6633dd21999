//! Security events: one table of what is told, how grave it is, what the node does by itself and where
//! the runbook goes on. Logs, metrics, the webhook and the handbook are made from it.

/// What kind of trouble an event is a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// Somebody is not who they should be.
    Authentication,
    /// Somebody takes more than their share.
    Abuse,
    /// Somebody changes or repeats what is not theirs.
    Tampering,
    /// An operator acts, or tries to.
    Access,
    /// The service suffers.
    Availability,
    /// Records or clocks cannot be trusted.
    Integrity,
}

impl Category {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Category::Authentication => "authentication",
            Category::Abuse => "abuse",
            Category::Tampering => "tampering",
            Category::Access => "access",
            Category::Availability => "availability",
            Category::Integrity => "integrity",
        }
    }
}

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Notice,
    /// Within the day.
    Warning,
    /// At once.
    Critical,
}

impl Severity {
    /// The name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

macro_rules! security_events {
    ($($variant:ident $name:literal $category:ident $severity:ident $runbook:literal
        $sentence:literal
        $action:literal;)*) => {
        /// Something that people who guard a node want to know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum SecurityEvent { $(#[doc = $sentence] $variant,)* }

        impl SecurityEvent {
            /// Every event.
            pub const ALL: &'static [SecurityEvent] = &[$(SecurityEvent::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(SecurityEvent::$variant => $name,)* }
            }

            /// What kind of trouble it is a sign of.
            pub const fn category(self) -> Category {
                match self { $(SecurityEvent::$variant => Category::$category,)* }
            }

            /// How grave it is.
            pub const fn severity(self) -> Severity {
                match self { $(SecurityEvent::$variant => Severity::$severity,)* }
            }

            /// What happened.
            pub const fn sentence(self) -> &'static str {
                match self { $(SecurityEvent::$variant => $sentence,)* }
            }

            /// What the node does about it by itself.
            pub const fn action(self) -> &'static str {
                match self { $(SecurityEvent::$variant => $action,)* }
            }

            /// The section of docs/runbooks.md.
            pub const fn runbook(self) -> &'static str {
                match self { $(SecurityEvent::$variant => $runbook,)* }
            }
        }
    };
}

security_events! {
    TokensRefused "tokens_refused" Authentication Notice "peers-cannot-join"
        "Tokens were refused."
        "The request gets a problem; its source pays for it.";
    JoinRateExceeded "join_rate_exceeded" Abuse Warning "floodactive"
        "A source or an app is over its rate of joins."
        "Its requests get 429 before anything is verified.";
    DtlsPeerMismatch "dtls_peer_mismatch" Tampering Critical "authfailureburst"
        "A DTLS peer is not the one that its session description announced."
        "The handshake ends; the session gets no keys.";
    MediaForged "media_forged" Tampering Warning "authfailureburst"
        "Many media packets have a wrong authentication tag."
        "They are dropped; sessions and sources have budgets of failures.";
    MediaReplayed "media_replayed" Tampering Warning "replayburst"
        "Many media packets were accepted before."
        "They are dropped.";
    IsolationRefused "isolation_refused" Tampering Critical "a-drop-reason-rises"
        "Packets would have crossed rooms or apps."
        "They are dropped; nothing crosses.";
    FloodBegan "flood_began" Availability Critical "floodactive"
        "A class of unwanted traffic is above its threshold."
        "It is dropped before anything costly.";
    FloodEnded "flood_ended" Availability Notice "floodactive"
        "A flood has ended."
        "None.";
    ActDone "act_done" Access Notice "somebody-must-go"
        "An operator has acted."
        "It is in the audit file.";
    ActRefused "act_refused" Access Warning "somebody-must-go"
        "Somebody without the right tried to act."
        "The act is refused, and in the audit file.";
    AuditFailed "audit_failed" Integrity Critical "the-audit-file"
        "An act could not be written to the audit file."
        "Acts are refused; media goes on.";
    AuditCut "audit_cut" Integrity Warning "the-audit-file"
        "The audit file ended in the middle of a line."
        "The line stays; the chain goes on from the last whole one.";
    WorkerReplaced "worker_replaced" Availability Critical "a-shard-was-replaced"
        "A shard panicked."
        "A new shard takes over, and control opens its sessions again.";
    DataPlaneLost "data_plane_lost" Availability Critical "dataplanedown"
        "The data plane is gone."
        "Joins are refused; the supervisor starts it again, and sessions resume.";
    DataPlaneBack "data_plane_back" Availability Notice "dataplanedown"
        "A data plane is here."
        "Sessions are opened there again.";
    WorkerStalled "worker_stalled" Availability Critical "workerstalled"
        "A worker's heart has stopped."
        "None: its rooms wait; the supervisor's watchdog, where there is one, starts the data plane again.";
    BuffersLow "buffers_low" Availability Warning "mbuflow"
        "A worker has few packet buffers left."
        "None; without any, packets are dropped as no_mbuf.";
    DropsHigh "drops_high" Availability Warning "dropratiohigh"
        "More than one of a thousand packets is dropped."
        "None.";
    StressHigh "stress_high" Availability Warning "stresshigh"
        "The node is near what it can carry."
        "None; joins go where least is.";
    ReloadFailed "reload_failed" Integrity Warning "configreloadfailed"
        "A new configuration was refused."
        "The old one stays in force.";
    CertificateExpires "certificate_expires" Availability Warning "certexpiressoon"
        "A certificate ends within fourteen days."
        "None.";
    ClockStepped "clock_stepped" Integrity Warning "clockskew"
        "The wall clock was set."
        "Deadlines of open sessions do not move; new tokens are checked against the new time.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sentences_end() {
        for (index, event) in SecurityEvent::ALL.iter().enumerate() {
            assert_eq!(*event as usize, index);
            let twins = SecurityEvent::ALL.iter().filter(|other| other.name() == event.name());
            assert_eq!(twins.count(), 1, "{}", event.name());
            assert!(event.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert!(event.sentence().ends_with('.') && event.action().ends_with('.'));
        }
    }

    #[test]
    fn severities_have_an_order() {
        assert!(Severity::Notice < Severity::Warning && Severity::Warning < Severity::Critical);
    }
}
