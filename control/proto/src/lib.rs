//! The vocabulary shared by data plane, control plane and consoles: plain data, and the one
//! pure computation that two planes must agree on ([`ufrag`]).
#![forbid(unsafe_code)]

mod addr;
pub mod capture;
pub mod codec;
pub mod command;
pub mod counters;
mod drop_reason;
mod grant;
mod id;
pub mod link;
mod list;
mod look;
pub mod metric;
pub mod port;
pub mod punt;
pub mod region;
pub mod security;
pub mod snapshot;
pub mod trace;
pub mod ufrag;

pub use addr::{Endpoint, Path};
pub use capture::{CaptureOrder, Captured};
pub use command::{
    CloseReason, Command, Event, Extension, ExtensionId, Feedback, IceCredentials, KeyMaterial,
    Label, OpenSession, PublicationSpec, Quota, Refusal, RtxSpec, SlotCodec, SlotSpec, SlotState,
    SrtpProfile, Token,
};
pub use drop_reason::DropReason;
pub use grant::{GrantRefusal, GrantWord, MediaKind, Privileges};
pub use id::{CodecId, MemberNo, PublicationNo, RoomNo, SdkAppId, SessionId, ShardId};
pub use list::List;
pub use look::{Look, SlotOut, StreamIn, Transport};
pub use security::SecurityEvent;
pub use trace::{Ended, TraceOrder, Traced};
