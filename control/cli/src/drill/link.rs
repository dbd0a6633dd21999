//! The drill that takes the port's link down and up again, where the kernel has an interface for it.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Instant;

use config::PortType;

use super::process::Target;
use super::{Drill, SETTLE, ms};
use crate::exit::{Exit, Failure};
use crate::programs;

/// The link goes down for a while: it is told, nothing else is lost, and media flows as soon as it is back.
pub fn down(drill: &mut Drill<'_>) -> Result<(), Failure> {
    let before = drill.baseline()?;
    let target = Target::of(programs::DATAPLANE, Some(before.seen.pid))?;
    let interface = Interface::of(drill, &target)?;
    drill.watch.mark();
    let link = interface.down()?;
    let went_down = Instant::now();
    let hold = drill.args.hold;
    drill.did(format!("took {} down for {} s", link.interface.name, hold.as_secs_f64()));
    let told =
        drill.until(went_down, |drill| drill.watch.seen().link.as_deref() == Some("down"))?;
    drill.pass(hold.saturating_sub(went_down.elapsed()))?;
    let silent = drill.watch.seen();
    link.up()?;
    let went_up = Instant::now();
    drill.did("took it up again");
    let flows = match before.has_media() {
        true => Some(drill.until(went_up, |drill| {
            let seen = drill.watch.seen();
            seen.rx > silent.rx && seen.tx > silent.tx
        })?),
        false => None,
    };
    let told_up = drill.until(went_up, |drill| drill.watch.seen().link.as_deref() == Some("up"))?;
    drill.pass(SETTLE)?;
    let (after, gap) = (drill.watch.seen(), drill.watch.gap());
    let sessions = before.seen.sessions.saturating_sub(drill.watch.sessions_least());
    let report = &mut drill.report;
    report.figure("longest time without a packet sent (ms)", ms(Some(gap)).unwrap_or_default());
    let dropped = after.lost.saturating_sub(before.seen.lost);
    report.figure("packets dropped meanwhile", dropped as f64);
    match flows {
        Some(time) => report.promise("packets flow after the link is back", "ms", 1000.0, ms(time)),
        None => report.unmeasured("packets flow after the link is back", "no media flowed"),
    }
    report.promise("the node tells that its link is down", "ms", 1000.0, ms(told));
    report.promise("the node tells that its link is back", "ms", 1000.0, ms(told_up));
    report.promise("sessions stay", "sessions lost", 0.0, Some(sessions as f64));
    let lives = f64::from(u8::from(after.instance != before.seen.instance));
    report.promise("the data plane runs on", "restarts", 0.0, Some(lives));
    Ok(())
}

/// An interface of the kernel's, in the network namespace of the data plane.
#[derive(Debug)]
struct Interface {
    name: String,
    /// What comes before `ip`, where the data plane lives in another namespace.
    enter: Vec<String>,
}

impl Interface {
    fn of(drill: &Drill<'_>, target: &Target) -> Result<Interface, Failure> {
        let there = format!("/proc/{}/ns/net", target.pid());
        let inode = |path: &str| std::fs::metadata(path).map(|file| file.ino()).ok();
        let enter = match inode(&there) == inode("/proc/self/ns/net") {
            true => vec![],
            false => vec!["nsenter".to_owned(), format!("--net={there}")],
        };
        let mut interface = Interface { name: String::new(), enter };
        interface.name = match &drill.args.interface {
            Some(name) => name.clone(),
            None => interface.find(drill)?,
        };
        interface.ip(&["link", "show", "dev", &interface.name])?;
        Ok(interface)
    }

    /// What the configuration's port stands on.
    fn find(&self, drill: &Drill<'_>) -> Result<String, Failure> {
        let unknown = |why: &str| {
            let text = format!("{why}: name the port's interface by --interface");
            Failure::new(Exit::Refused, text)
        };
        let Some(config) = &drill.config else {
            return Err(unknown("no configuration says which interface the port has"));
        };
        match &config.port.kind {
            PortType::Dpdk { device: Some(device), .. } => {
                let name = device.argument("iface").map(str::to_owned);
                name.ok_or_else(|| unknown("the kernel does not see the port's device"))
            }
            PortType::Udp | PortType::Uring => {
                let address = config.port.addresses.first();
                let address = address.ok_or_else(|| unknown("the port has no address"))?;
                let ip = address.addr.to_string();
                let text = self.ip(&["-o", "addr", "show", "to", &ip])?;
                let name = text.split_whitespace().nth(1).map(str::to_owned);
                name.ok_or_else(|| unknown("no interface has the port's address"))
            }
            _ => Err(unknown("this kind of port has no link")),
        }
    }

    fn ip(&self, words: &[&str]) -> Result<String, Failure> {
        let all = self.enter.iter().map(String::as_str).chain(["ip"]).chain(words.iter().copied());
        let all: Vec<&str> = all.collect();
        let output = Command::new(all[0]).args(&all[1..]).output();
        let output = output.map_err(|error| Failure::failed(format!("{}: {error}", all[0])))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Failure::failed(format!("{}: {}", all.join(" "), said.trim())))
            }
        }
    }

    /// Takes it down. It comes up again, with its addresses and routes, when the value goes.
    fn down(self) -> Result<Down, Failure> {
        let name = self.name.as_str();
        // The kernel forgets IPv6 addresses and routes with the link.
        let addresses = self.ip(&["-6", "-o", "addr", "show", "dev", name, "scope", "global"])?;
        let addresses = addresses.lines().filter_map(|line| line.split_whitespace().nth(3));
        let addresses: Vec<String> = addresses.map(str::to_owned).collect();
        let mut routes = vec![];
        for family in ["-4", "-6"] {
            let text = self.ip(&[family, "route", "show", "dev", name])?;
            let own = text.lines().filter(|line| !line.contains("proto kernel"));
            routes.extend(own.map(|line| (family, line.trim().to_owned())));
        }
        if routes.iter().any(|(_, route)| route.starts_with("default")) {
            eprintln!(
                "drill: the default route goes over {name}: what comes over it, this shell perhaps, waits"
            );
        }
        self.ip(&["link", "set", "dev", name, "down"])?;
        Ok(Down { interface: self, addresses, routes, is_down: true })
    }
}

/// A link that is down.
#[derive(Debug)]
struct Down {
    interface: Interface,
    addresses: Vec<String>,
    routes: Vec<(&'static str, String)>,
    is_down: bool,
}

impl Down {
    fn up(mut self) -> Result<(), Failure> {
        self.restore()
    }

    fn restore(&mut self) -> Result<(), Failure> {
        self.is_down = false;
        let (interface, name) = (&self.interface, self.interface.name.as_str());
        interface.ip(&["link", "set", "dev", name, "up"])?;
        for address in &self.addresses {
            interface.ip(&["-6", "addr", "replace", address, "dev", name, "nodad"])?;
        }
        for (family, route) in &self.routes {
            let mut words = vec![*family, "route", "replace"];
            words.extend(route.split_whitespace().filter(|word| *word != "linkdown"));
            words.extend(["dev", name]);
            interface.ip(&words)?;
        }
        Ok(())
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if self.is_down
            && let Err(failure) = self.restore()
        {
            eprintln!("drill: {}", failure.message);
        }
    }
}
