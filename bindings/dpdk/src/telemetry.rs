//! Own commands on DPDK's telemetry socket, such as `/roomlane/shards`, answered by Rust closures.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys::{self as sys, RteTelData};

use crate::error::reason;
use crate::{Eal, Error};

/// Every command begins so.
pub const PREFIX: &str = "/roomlane/";
/// Bytes of a command, DPDK's limit without the NUL.
const COMMAND_BYTES_MAX: usize = 55;

/// An answer; what is over DPDK's limits is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One string of at most 8,191 bytes; JSON in it arrives escaped.
    Text(String),
    /// At most 256 names with values. Names keep letters, digits, `_` and `/`; others become `_`.
    Dict(Vec<(String, Value)>),
}

/// A value in a dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A string of at most 127 bytes.
    Text(String),
}

type Callback = Arc<dyn Fn(Option<&str>) -> Answer + Send + Sync>;

static COMMANDS: Mutex<BTreeMap<String, Callback>> = Mutex::new(BTreeMap::new());

/// Registers `command` for the rest of the process. `answer` gets what follows the comma, runs on
/// DPDK's telemetry thread and must not call back into this module.
///
/// # Errors
/// [`Error::Telemetry`] for a name without [`PREFIX`], too long, or taken.
pub fn register(
    eal: &Eal,
    command: &str,
    help: &str,
    answer: impl Fn(Option<&str>) -> Answer + Send + Sync + 'static,
) -> Result<(), Error> {
    let refuse = |reason: &str| Error::Telemetry { command: command.into(), reason: reason.into() };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_/".contains(&byte);
    if !command.starts_with(PREFIX) || !command.bytes().all(allowed) {
        return Err(refuse("it must be /roomlane/ and letters, digits, _ or /"));
    }
    if command.len() > COMMAND_BYTES_MAX {
        return Err(refuse("it is longer than 55 bytes"));
    }
    let c_command = c_string(command, COMMAND_BYTES_MAX);
    let c_help = c_string(help, sys::RTE_TEL_MAX_STRING_LEN - 1);
    let _control = eal.inner.control();
    let mut commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
    if commands.contains_key(command) {
        return Err(refuse("it is taken"));
    }
    // SAFETY: both strings are NUL-terminated and copied; `dispatch` lives as long as the process.
    let rc = unsafe { sys::rl_telemetry_register(c_command.as_ptr(), c_help.as_ptr(), dispatch) };
    if rc < 0 {
        return Err(refuse(&reason(rc)));
    }
    commands.insert(command.to_owned(), Arc::new(answer));
    Ok(())
}

extern "C" fn dispatch(
    command: *const c_char,
    params: *const c_char,
    out: *mut RteTelData,
) -> c_int {
    const FAILED: c_int = -1;
    // SAFETY: telemetry passes a NUL-terminated command that lives during this call.
    let command = unsafe { CStr::from_ptr(command) };
    let params = if params.is_null() {
        None
    } else {
        // SAFETY: as for the command.
        Some(unsafe { CStr::from_ptr(params) })
    };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let commands = COMMANDS.lock().unwrap_or_else(PoisonError::into_inner);
        let callback = commands.get(command.to_str().ok()?).cloned()?;
        drop(commands);
        Some(callback(params.and_then(|params| params.to_str().ok())))
    }));
    match answer {
        Ok(Some(Answer::Text(text))) => {
            let text = c_string(&text, sys::RTE_TEL_MAX_SINGLE_STRING_LEN - 1);
            // SAFETY: `out` is this call's answer; the text is copied.
            unsafe { sys::rl_tel_string(out, text.as_ptr()) }
        }
        Ok(Some(Answer::Dict(entries))) => fill(out, &entries),
        // A panic in a callback ends its answer, not the process.
        Ok(None) | Err(_) => FAILED,
    }
}

fn fill(out: *mut RteTelData, entries: &[(String, Value)]) -> c_int {
    const TEXT_MAX: usize = sys::RTE_TEL_MAX_STRING_LEN - 1;
    /// DPDK's names in a dictionary are shorter than its values.
    const NAME_MAX: usize = 63;
    // SAFETY: `out` is the answer of the call that called us.
    let mut rc = unsafe { sys::rl_tel_dict(out) };
    for (name, value) in entries.iter().take(sys::RTE_TEL_MAX_DICT_ENTRIES) {
        if rc < 0 {
            break;
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/';
        let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let name = c_string(&name, NAME_MAX);
        rc = match value {
            // SAFETY: `out` is a dictionary now; the name is copied.
            Value::Number(value) => unsafe { sys::rl_tel_dict_u64(out, name.as_ptr(), *value) },
            Value::Text(text) => {
                let text = c_string(text, TEXT_MAX);
                // SAFETY: as above; the text is copied, too.
                unsafe { sys::rl_tel_dict_string(out, name.as_ptr(), text.as_ptr()) }
            }
        };
    }
    rc
}

/// At most `bytes_max` bytes of `text`, up to its first NUL.
fn c_string(text: &str, bytes_max: usize) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    let text = &text[..text.floor_char_boundary(bytes_max)];
    CString::new(text).unwrap_or_default()
}
