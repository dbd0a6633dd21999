//! The vocabulary shared by data plane, control plane and consoles: plain data, no behaviour.
#![forbid(unsafe_code)]

mod addr;
mod drop_reason;
mod id;

pub use addr::{Endpoint, Path};
pub use drop_reason::DropReason;
pub use id::{CodecId, MemberNo, PublicationNo, RoomNo, SdkAppId, SessionId, ShardId};
