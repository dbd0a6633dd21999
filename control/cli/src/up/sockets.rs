//! Whether the ports that a node needs are free; if not, who has them.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use config::{Config, Listen, PortType};

use crate::exit::{Exit, Failure};

/// Tries every port and lets it go again.
///
/// # Errors
/// The first that is taken, with the process that has it, or whose address is not this host's.
pub fn check(config: &Config) -> Result<(), Failure> {
    if matches!(config.port.kind, PortType::Udp | PortType::Uring) {
        for cidr in &config.port.addresses {
            for shard in 0..config.workers.shards() as u16 {
                let addr = SocketAddr::new(cidr.addr, config.port.udp_base + shard);
                UdpSocket::bind(addr).map_err(|error| taken("UDP", addr, &error))?;
            }
        }
    }
    for listen in [&config.control.listen, &config.control.admin_listen] {
        if let Listen::Tcp(addr) = listen {
            TcpListener::bind(addr).map_err(|error| taken("TCP", *addr, &error))?;
        }
    }
    Ok(())
}

fn taken(protocol: &str, addr: SocketAddr, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let owner = owner(&protocol.to_lowercase(), addr.port());
            let owner = owner.unwrap_or_else(|| "a process that this user cannot see".to_owned());
            let text = format!("{protocol} port {addr} is taken by {owner}");
            Failure::new(Exit::Refused, text)
        }
        ErrorKind::AddrNotAvailable => {
            Failure::config(format!("{} is no address of this host", addr.ip()))
        }
        _ => Failure::failed(format!("{protocol} port {addr}: {error}")),
    }
}

/// `pid 12 (name)` of a process that has a socket on `port`.
fn owner(protocol: &str, port: u16) -> Option<String> {
    let inodes: Vec<String> = [protocol.to_owned(), format!("{protocol}6")]
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| inodes(&table, port))
        .collect();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has_it =
            files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
                let target = target.to_string_lossy();
                inodes.iter().any(|inode| target == format!("socket:[{inode}]"))
            });
        if has_it {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("pid {pid} ({})", name.trim()));
        }
    }
    None
}

/// Inodes of sockets bound to `port`, from a table of `/proc/net`.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let suffix = format!(":{port:04X}");
    let mut inodes = vec![];
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let (Some(local), Some(inode)) = (fields.get(1), fields.get(9))
            && local.ends_with(&suffix)
            && *inode != "0"
        {
            inodes.push((*inode).to_owned());
        }
    }
    inodes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: SocketAddr, udp: u16) -> Config {
        let text = format!(
            "[port]\nudp_base = {udp}\n[control]\nlisten = \"{listen}\"\nadmin_listen = \"127.0.0.1:0\"\n"
        );
        Config::parse(&text, "test").unwrap()
    }

    #[test]
    fn a_taken_port_is_named_with_the_process_that_has_it() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp_addr, udp_port) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap().port());
        let me = format!("taken by pid {} (", std::process::id());
        let failure = check(&config(tcp_addr, udp_port)).unwrap_err();
        assert!(
            failure.message.contains("UDP") && failure.message.contains(&me),
            "{}",
            failure.message
        );
        drop(udp);
        let failure = check(&config(tcp_addr, udp_port)).unwrap_err();
        assert_eq!(failure.code, Exit::Refused);
        assert!(
            failure.message.contains("TCP") && failure.message.contains(&me),
            "{}",
            failure.message
        );
        drop(tcp);
        check(&config(tcp_addr, udp_port)).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_a_mistake_in_the_configuration() {
        let config = Config::parse("[port]\naddresses = [\"192.0.2.77/32\"]\n", "test").unwrap();
        assert_eq!(check(&config).unwrap_err().code, Exit::Config);
    }
}
