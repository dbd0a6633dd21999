//! A device as the configuration names it: a PCI address or a virtual device's argument.

use crate::Error;

/// Bytes of a device string.
const BYTES_MAX: usize = 512;
/// Bytes of a virtual device's name, DPDK's limit without the NUL.
const NAME_BYTES_MAX: usize = 63;

/// A checked device string, such as `0000:03:00.0` or `net_af_xdp0,iface=media0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devargs {
    text: String,
    name_len: usize,
    pci: bool,
}

impl Devargs {
    /// Checks `text`: a PCI address (`dddd:bb:dd.f`) or `net_<driver><suffix>`, each with
    /// `,key=value` parts.
    ///
    /// # Errors
    /// [`Error::Devargs`] says what is allowed.
    pub fn parse(text: &str) -> Result<Devargs, Error> {
        let refuse = |reason| Error::Devargs { devargs: text.to_owned(), reason };
        if text.len() > BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("at most 512 printable ASCII characters without spaces"));
        }
        let name = text.split(',').next().unwrap_or_default();
        let pci = is_pci_address(name);
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let vdev = name.starts_with("net_") && name.bytes().all(word);
        if !(pci || vdev) {
            return Err(refuse("a PCI address like 0000:03:00.0, or net_<driver>0,key=value"));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(refuse("its name is longer than 63 characters"));
        }
        Ok(Devargs { text: text.to_owned(), name_len: name.len(), pci })
    }

    /// The whole string.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The device's name, without its arguments.
    pub fn name(&self) -> &str {
        &self.text[..self.name_len]
    }

    /// Whether it is a PCI address.
    pub fn is_pci(&self) -> bool {
        self.pci
    }

    /// Whether a peer maps our memory by file descriptor, which needs one file per segment list.
    pub(crate) fn shares_memory(&self) -> bool {
        self.name().starts_with("net_virtio_user") || self.text.contains("zero-copy=yes")
    }
}

/// `dddd:bb:dd.f`, all hexadecimal, the function 0 to 7.
fn is_pci_address(name: &str) -> bool {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut parts = name.split([':', '.']);
    let (Some(domain), Some(bus), Some(device), Some(function), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let shape = name.as_bytes().get(4) == Some(&b':') && name.as_bytes().get(10) == Some(&b'.');
    let function = matches!(function.as_bytes(), [b'0'..=b'7']);
    shape && hex(domain, 4) && hex(bus, 2) && hex(device, 2) && function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_and_virtual_devices_are_told_apart() {
        for text in ["0000:03:00.0", "0000:af:1f.7,representor=0"] {
            let devargs = Devargs::parse(text).unwrap();
            assert!(devargs.is_pci(), "{text}");
        }
        let devargs = Devargs::parse("net_af_xdp0,iface=media0").unwrap();
        assert_eq!((devargs.name(), devargs.is_pci()), ("net_af_xdp0", false));
        assert_eq!(devargs.as_str(), "net_af_xdp0,iface=media0");
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        let long = format!("net_{}", "x".repeat(64));
        for text in [
            "",
            "eth0",
            "net_tap0 ,x",
            "net_tap0\0",
            "0000:03:00.8",
            "03:00.0",
            "0000.03:00:0",
            "net_ü",
            "0000:03:00.00",
            &long,
            "--no-huge",
        ] {
            let error = Devargs::parse(text).unwrap_err();
            assert_eq!(error.fault(), crate::Fault::Operator, "{text}");
        }
    }
}
