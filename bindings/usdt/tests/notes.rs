//! Probes as tracers find them: what the notes of this very program say, and a real breakpoint of the kernel on
//! one of them, with its hits counted and its arguments read.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

use object::{Object, ObjectSection, ObjectSegment};

/// One note.
#[derive(Debug)]
struct Probe {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

/// All notes of a program, and where the base section is.
fn probes(program: &[u8]) -> (Vec<Probe>, u64) {
    let file = object::File::parse(program).expect("an ELF file");
    let notes = file.section_by_name(".note.stapsdt").expect("a section of notes");
    let base = file.section_by_name(".stapsdt.base").expect("a base").address();
    let mut bytes = notes.data().expect("its bytes");
    let mut found = vec![];
    while bytes.len() >= 12 {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (name_len, len, version) = (word(0) as usize, word(4) as usize, word(8));
        assert_eq!(version, 3);
        assert_eq!(&bytes[12..12 + name_len], b"stapsdt\0");
        let at = 12 + name_len.next_multiple_of(4);
        let descriptor = &bytes[at..at + len];
        let long = |at: usize| u64::from_le_bytes(descriptor[at..at + 8].try_into().unwrap());
        let mut texts = descriptor[24..].split(|byte| *byte == 0);
        let mut text = || String::from_utf8(texts.next().unwrap().to_vec()).unwrap();
        found.push(Probe {
            address: long(0),
            base: long(8),
            semaphore: long(16),
            provider: text(),
            name: text(),
            arguments: text(),
        });
        bytes = &bytes[at + len.next_multiple_of(4)..];
    }
    (found, base)
}

/// Every probe of the crate, at one place at least.
#[inline(never)]
fn pass_by(count: u64) {
    usdt::rx_burst(count);
    usdt::open(count);
    usdt::opened(count);
    usdt::seal(count, count + 100);
    usdt::sealed(count, count + 100);
    usdt::tx_burst(count);
    usdt::dropped(count, 7);
    usdt::session(count, 1, 1);
    usdt::room(count, 1);
}

fn own_program() -> (PathBuf, Vec<u8>) {
    let path = env::current_exe().expect("this program");
    let program = fs::read(&path).expect("its bytes");
    (path, program)
}

#[test]
fn every_probe_has_a_note_with_its_name_its_place_and_where_its_arguments_are() {
    pass_by(1);
    let (_, program) = own_program();
    let (found, base) = probes(&program);
    for name in usdt::NAMES {
        let probe = found.iter().find(|probe| probe.name == *name);
        let probe = probe.unwrap_or_else(|| panic!("no note for {name}: {found:?}"));
        assert_eq!((probe.provider.as_str(), probe.semaphore), ("roomlane", 0));
        assert_eq!(probe.base, base, "{probe:?}");
        for argument in probe.arguments.split(' ') {
            let register = argument.strip_prefix("8@%").expect("eight bytes in a register");
            assert!(register.starts_with('r'), "{argument}");
        }
        let arguments = probe.arguments.split(' ').count();
        let expected = match *name {
            "seal" | "sealed" | "drop" | "room" => 2,
            "session" => 3,
            _ => 1,
        };
        assert_eq!(arguments, expected, "{probe:?}");
        assert_eq!(byte_at(&program, probe.address), 0x90, "{name} is at a nop");
    }
}

/// Where an address of the loaded program is in its file.
fn offset_of(program: &[u8], address: u64) -> u64 {
    let file = object::File::parse(program).expect("an ELF file");
    let holds = |(start, len): (u64, u64)| (start..start + len).contains(&address);
    let segment = file.segments().find(|segment| holds((segment.address(), segment.size())));
    let segment = segment.expect("a segment has it");
    segment.file_range().0 + (address - segment.address())
}

fn byte_at(program: &[u8], address: u64) -> u8 {
    program[offset_of(program, address) as usize]
}

/// The tracing file system of the kernel, mounted for this test alone; what the test set up in it goes with it.
struct Tracing {
    at: PathBuf,
    group: String,
}

impl Tracing {
    /// `None`, with the reason said, where it is not to be had.
    fn mount() -> Option<Tracing> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, to set a breakpoint in the kernel");
            return None;
        }
        let group = format!("roomlane_{}", process::id());
        let at = env::temp_dir().join(&group);
        fs::create_dir_all(&at).expect("a folder to mount at");
        let mount = Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(&at).output();
        let tracing = Tracing { at, group };
        if !mount.is_ok_and(|mount| mount.status.success()) {
            println!("skipped: this kernel has no tracefs, or keeps it from this container");
            return None;
        }
        if !tracing.at.join("uprobe_events").exists() {
            println!("skipped: this kernel has no uprobes (CONFIG_UPROBE_EVENTS)");
            return None;
        }
        Some(tracing)
    }

    fn write(&self, to: &str, text: &str) {
        // Tracing files take one write each and append to nothing but themselves.
        let file = fs::OpenOptions::new().append(true).open(self.at.join(to));
        let written =
            file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.unwrap_or_else(|error| panic!("{to} takes {text:?}: {error}"));
    }

    fn instance(&self) -> String {
        format!("instances/{}", self.group)
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let instance = self.at.join(self.instance());
        if instance.exists() {
            let events = instance.join(format!("events/{}/enable", self.group));
            let _ = fs::write(events, "0");
            let _ = fs::remove_dir(instance);
            let events = fs::OpenOptions::new().append(true).open(self.at.join("uprobe_events"));
            let _ = events.and_then(|mut events| {
                let line = format!("-:{}/seal\n", self.group);
                std::io::Write::write_all(&mut events, line.as_bytes())
            });
        }
        let _ = Command::new("umount").arg(&self.at).output();
        let _ = fs::remove_dir(&self.at);
    }
}

/// A register as the kernel's events name it.
fn in_events(argument: &str) -> String {
    let register = argument.strip_prefix("8@%r").expect("a register of eight bytes");
    match register.strip_prefix(|first: char| first.is_ascii_digit()) {
        Some(_) => format!("%r{register}:u64"),
        None => format!("%{register}:u64"),
    }
}

#[test]
fn a_breakpoint_of_the_kernel_is_hit_as_often_as_code_passes_by_and_reads_the_arguments() {
    let Some(tracing) = Tracing::mount() else { return };
    let (path, program) = own_program();
    let (found, _) = probes(&program);
    let places: Vec<&Probe> = found.iter().filter(|probe| probe.name == "seal").collect();
    assert_eq!(places.len(), 1, "one place in this program: {places:?}");
    let mut arguments = places[0].arguments.split(' ').map(in_events);
    let (copies, bytes) = (arguments.next().unwrap(), arguments.next().unwrap());
    let offset = offset_of(&program, places[0].address);
    let group = &tracing.group;
    let event =
        format!("p:{group}/seal {}:{offset:#x} copies={copies} bytes={bytes}\n", path.display());
    let instance = tracing.instance();
    fs::create_dir(tracing.at.join(&instance)).expect("a trace buffer of our own");
    tracing.write("uprobe_events", &event);
    tracing.write(&format!("{instance}/events/{group}/seal/enable"), "1");
    for count in 1000..1100 {
        pass_by(count);
    }
    tracing.write(&format!("{instance}/events/{group}/seal/enable"), "0");
    let trace = fs::read_to_string(tracing.at.join(format!("{instance}/trace"))).expect("a trace");
    let seen: Vec<&str> =
        trace.lines().filter_map(|line| Some(&line[line.find("copies=1")?..])).collect();
    let expected: Vec<String> =
        (1000..1100).map(|count| format!("copies={count} bytes={}", count + 100)).collect();
    assert_eq!(seen, expected);
    let profile = fs::read_to_string(tracing.at.join("uprobe_profile")).expect("hits");
    let ours = profile.lines().find(|line| line.contains(path.to_str().unwrap()));
    let hits = ours.and_then(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    assert_eq!(hits, Some(100), "{profile}");
}
