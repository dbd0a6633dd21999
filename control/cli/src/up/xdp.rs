//! XDP programs that a data plane leaves on its interface when it does not end in order.

use std::process::{Command, Stdio};

use config::{Config, Device, PortType};

/// Detaches what is left on the interfaces of AF_XDP devices; what was done is told. Call it only while
/// no data plane runs.
pub fn detach(config: &Config) -> Vec<String> {
    interfaces(config).iter().filter_map(|interface| detach_one(interface)).collect()
}

fn detach_one(interface: &str) -> Option<String> {
    let mut show = Command::new("ip");
    show.args(["link", "show", "dev", interface]).stdin(Stdio::null());
    let text = match show_output(&mut show) {
        Ok(text) => text,
        // Without the program there is no way to look; without the interface nothing is left.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some(format!(
                "cannot look for a left-over XDP program on {interface}: no program \"ip\"; \
                 install iproute2"
            ));
        }
        Err(_) => return None,
    };
    if !has_program(&text) {
        return None;
    }
    let mut off = Command::new("ip");
    off.args(["link", "set", "dev", interface, "xdp", "off"]).stdin(Stdio::null());
    match off.output() {
        Ok(output) if output.status.success() => {
            Some(format!("detached a left-over XDP program from {interface}"))
        }
        Ok(output) => Some(format!(
            "a left-over XDP program stays on {interface}: {}; run: ip link set dev {interface} xdp off",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("a left-over XDP program stays on {interface}: {error}")),
    }
}

fn show_output(command: &mut Command) -> std::io::Result<String> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(std::io::Error::other("no such interface")),
    }
}

/// `ip link show` names the mode in the first line and the program in one of its own.
fn has_program(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().starts_with("prog/xdp"))
        || text.split_whitespace().any(|word| matches!(word, "xdp" | "xdpgeneric" | "xdpoffload"))
}

/// The interfaces of AF_XDP devices in a configuration.
fn interfaces(config: &Config) -> Vec<String> {
    let PortType::Dpdk { device, eal_args } = &config.port.kind else { return vec![] };
    let by_args = eal_args.iter().map(|arg| {
        let args = arg.strip_prefix("--vdev=").unwrap_or(arg);
        Device::Vdev(args.to_owned())
    });
    let devices = device.iter().cloned().chain(by_args);
    devices
        .filter(|device| device.driver() == "net_af_xdp")
        .filter_map(|device| device.argument("iface").map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_come_from_the_device_and_from_eal_arguments() {
        let text = "[port]\ntype = \"dpdk\"\naddresses = [\"198.18.1.2/24\"]\n";
        let device = format!("{text}device = \"net_af_xdp0,iface=media0,start_queue=0\"\n");
        assert_eq!(interfaces(&Config::parse(&device, "t").unwrap()), ["media0"]);
        let args = format!("{text}eal_args = [\"--no-huge\", \"--vdev=net_af_xdp1,iface=m1\"]\n");
        assert_eq!(interfaces(&Config::parse(&args, "t").unwrap()), ["m1"]);
        let other = format!("{text}device = \"net_af_packet0,iface=media0\"\n");
        assert!(interfaces(&Config::parse(&other, "t").unwrap()).is_empty());
        assert!(interfaces(&Config::default()).is_empty());
    }

    #[test]
    fn a_program_is_seen_in_the_words_of_ip() {
        let with = "7: m0: <UP> mtu 1500 xdp qdisc noqueue\n    link/ether 02:00 brd ff\n    prog/xdp id 41\n";
        assert!(has_program(with));
        assert!(!has_program(
            "7: xdp0: <UP> mtu 1500 qdisc noqueue\n    link/ether 02:00 brd ff\n"
        ));
    }
}
