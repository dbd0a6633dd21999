//! What a user may choose: keys, colours, columns, how often is looked. `tui.toml` is found at
//! `--tui-config`, in the user's folder, or in `/etc/roomlane`; the first counts. Masking is the exception:
//! when any of them is strict it is, since it can be made stricter only.

mod print;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{ConfigError, ConfigErrors};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keymap::{KEYS, Key, Keymap};
use crate::panes::{self, Table};
use crate::theme::{COLOURS, Colours, SCHEMES, Scheme};

pub use print::text;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// How often may be looked.
pub const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// The choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time between two looks.
    pub interval: Duration,
    /// Labels are not shown at all.
    pub strict: bool,
    /// Acts by keys.
    pub keys: Keymap,
    /// Which colours; `None` as the terminal has.
    pub scheme: Option<Scheme>,
    /// Other colours than the scheme's.
    pub colours: Colours,
    /// Columns that nobody wants: a bit for each.
    pub hidden: HashMap<Table, u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            interval: Duration::from_secs(1),
            strict: false,
            keys: Keymap::default(),
            scheme: None,
            colours: Colours::default(),
            hidden: HashMap::new(),
        }
    }
}

impl Settings {
    /// Those of `named`, or of the user, or of the host, or the default.
    ///
    /// # Errors
    /// All that is wrong with what was found, each with its place.
    pub fn load(named: Option<&Path>) -> Result<Settings, ConfigErrors> {
        let found = places().into_iter().filter(|place| place.exists());
        Self::first(named.map(Path::to_owned).into_iter().chain(found))
    }

    fn first(files: impl Iterator<Item = PathBuf>) -> Result<Settings, ConfigErrors> {
        let mut chosen: Option<Settings> = None;
        for file in files {
            let read = Self::read(&file)?;
            match &mut chosen {
                None => chosen = Some(read),
                Some(chosen) => chosen.strict |= read.strict,
            }
        }
        Ok(chosen.unwrap_or_default())
    }

    fn read(file: &Path) -> Result<Settings, ConfigErrors> {
        let name = file.display().to_string();
        let unreadable = |what: String| {
            let allowed = "a text of at most 64 KiB; print one with: roomlane top --print-config";
            ConfigErrors(vec![wrong(&name, (0, 0), "file", what, allowed)])
        };
        let failed = |error: std::io::Error| unreadable(format!("cannot be read: {error}"));
        if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(unreadable("is too long".to_owned()));
        }
        Self::parse(&std::fs::read_to_string(file).map_err(failed)?, &name)
    }

    /// Reads a text; `name` is what its errors call it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(text: &str, name: &str) -> Result<Settings, ConfigErrors> {
        let mut reader =
            Reader { text, name, errors: vec![], settings: Settings::default(), bound: vec![] };
        match DeTable::parse(text) {
            Ok(table) => reader.all(table.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reader.wrong(at, "syntax", error.message().to_owned(), "TOML 1.0");
            }
        }
        match reader.errors.is_empty() {
            true => Ok(reader.settings),
            false => Err(ConfigErrors(reader.errors)),
        }
    }
}

/// Where files are looked for when none is named.
fn places() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let of_user = variable("XDG_CONFIG_HOME").filter(|dir| dir.is_absolute());
    let of_user = of_user.or_else(|| Some(variable("HOME")?.join(".config")));
    let of_user = of_user.map(|dir| dir.join("roomlane/tui.toml"));
    of_user.into_iter().chain([PathBuf::from("/etc/roomlane/tui.toml")]).collect()
}

fn wrong(
    file: &str,
    (line, column): (usize, usize),
    key: &str,
    what: String,
    allowed: impl Into<String>,
) -> ConfigError {
    let (file, key, allowed) = (file.to_owned(), key.to_owned(), allowed.into());
    ConfigError { file, line, column, key, what, allowed }
}

/// A value and where it stands.
type Value<'a> = Spanned<DeValue<'a>>;

/// Goes through a file and finds all that is wrong.
struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    errors: Vec<ConfigError>,
    settings: Settings,
    /// Keys that the file names, with their places.
    bound: Vec<(Key, &'static str, usize)>,
}

impl Reader<'_> {
    fn wrong(&mut self, at: usize, key: &str, what: String, allowed: impl Into<String>) {
        let place = config::line_column(self.text, at);
        // What stands in a file may be anything.
        let (key, what) = (crate::grid::plain(key), crate::grid::plain(&what));
        self.errors.push(wrong(self.name, place, &key, what, allowed));
    }

    fn all(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match &**key.get_ref() {
                "interval" => self.interval(value),
                "mask" => self.mask(value),
                "keys" => self.table("keys", value, Self::bind),
                "theme" => self.table("theme", value, Self::colour),
                "columns" => self.table("columns", value, Self::columns),
                other => {
                    let allowed = "interval, mask, keys, theme, columns";
                    self.wrong(key.span().start, other, "unknown key".to_owned(), allowed);
                }
            }
        }
        self.clashes();
    }

    fn table(
        &mut self,
        name: &str,
        value: &Value<'_>,
        each: fn(&mut Self, (&str, usize), &Value<'_>),
    ) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong(
                value.span().start,
                name,
                "no table".to_owned(),
                format!("[{name}]"),
            );
        };
        for (key, value) in table {
            each(self, (key.get_ref(), key.span().start), value);
        }
    }

    fn interval(&mut self, value: &Value<'_>) {
        let time = value.get_ref().as_str().and_then(interval);
        match time.filter(|time| (INTERVAL.0..=INTERVAL.1).contains(time)) {
            Some(time) => self.settings.interval = time,
            None => {
                let what = "no such time".to_owned();
                self.wrong(value.span().start, "interval", what, "\"100ms\" to \"60s\"");
            }
        }
    }

    fn mask(&mut self, value: &Value<'_>) {
        match value.get_ref().as_str() {
            Some("labels") => {}
            Some("strict") => self.settings.strict = true,
            _ => {
                let what = "no such mask; nothing shows names".to_owned();
                self.wrong(value.span().start, "mask", what, "\"labels\", \"strict\"");
            }
        }
    }

    fn bind(&mut self, (act, at): (&str, usize), value: &Value<'_>) {
        let path = format!("keys.{act}");
        let acts = self.settings.keys.bindings();
        let Some(name) = acts.iter().map(|binding| binding.name).find(|name| *name == act) else {
            let known: Vec<&str> = acts.iter().map(|binding| binding.name).collect();
            let known = known.join(", ");
            return self.wrong(at, &path, "unknown act".to_owned(), known);
        };
        let texts: Vec<(Option<&str>, usize)> = match value.get_ref() {
            DeValue::Array(items) => {
                items.iter().map(|item| (item.get_ref().as_str(), item.span().start)).collect()
            }
            one => vec![(one.as_str(), value.span().start)],
        };
        let mut keys = vec![];
        for (text, at) in texts {
            match text.and_then(|text| text.parse::<Key>().ok()) {
                Some(Key::INTERRUPT) if name != "quit" => {
                    let what = "ctrl-c always ends the program".to_owned();
                    self.wrong(at, &path, what, "another key");
                }
                Some(key) => {
                    keys.push(key);
                    self.bound.push((key, name, at));
                }
                None => self.wrong(at, &path, "unknown key of the keyboard".to_owned(), KEYS),
            }
        }
        self.settings.keys.bind(name, keys);
    }

    /// A key that stands for two acts, of which the file names one at least.
    fn clashes(&mut self) {
        for (key, name, at) in std::mem::take(&mut self.bound) {
            let other = self.settings.keys.acts(key).find(|other| *other != name);
            if let Some(other) = other {
                let what = format!("{key} is a key of {other}, too");
                let allowed = format!("another key, or other keys for {other}");
                self.wrong(at, &format!("keys.{name}"), what, allowed);
            }
        }
    }

    fn colour(&mut self, (key, at): (&str, usize), value: &Value<'_>) {
        let (path, place) = (format!("theme.{key}"), value.span().start);
        let text = value.get_ref().as_str();
        if key == "scheme" {
            match text.and_then(|text| SCHEMES.iter().find(|(name, _)| *name == text)) {
                Some((_, scheme)) => self.settings.scheme = *scheme,
                None => {
                    let known = SCHEMES.map(|(name, _)| name).join(", ");
                    self.wrong(place, &path, "no such scheme".to_owned(), known);
                }
            }
            return;
        }
        let Some(index) = COLOURS.iter().position(|(name, _)| *name == key) else {
            let known = COLOURS.map(|(name, _)| name).join(", ");
            return self.wrong(at, &path, "unknown key".to_owned(), format!("scheme, {known}"));
        };
        match text.map(|text| (text, text.parse())) {
            Some(("scheme", _)) => {}
            Some((_, Ok(colour))) => self.settings.colours.0[index] = Some(colour),
            _ => {
                let allowed = "\"scheme\", a name such as lightblue, 0 to 255, #rrggbb";
                self.wrong(place, &path, "no such colour".to_owned(), allowed);
            }
        }
    }

    fn columns(&mut self, (key, at): (&str, usize), value: &Value<'_>) {
        let path = format!("columns.{key}");
        let Some(table) = Table::ALL.into_iter().find(|table| table.name() == key) else {
            let known = Table::ALL.map(Table::name).join(", ");
            return self.wrong(at, &path, "unknown table".to_owned(), known);
        };
        let names: Vec<&str> =
            panes::columns(table).iter().map(|column| print::column_name(column)).collect();
        let DeValue::Array(items) = value.get_ref() else {
            let what = "no list of columns".to_owned();
            return self.wrong(value.span().start, &path, what, names.join(", "));
        };
        let mut shown = 0u32;
        for item in items {
            match item.get_ref().as_str().and_then(|n| names.iter().position(|name| *name == n)) {
                Some(index) => shown |= 1 << index,
                None => {
                    let what = "no such column".to_owned();
                    self.wrong(item.span().start, &path, what, names.join(", "));
                }
            }
        }
        if shown == 0 && !self.errors.iter().any(|error| error.key == path) {
            let what = "no column is left".to_owned();
            self.wrong(value.span().start, &path, what, names.join(", "));
        }
        let all = (1u32 << names.len()) - 1;
        if all & !shown != 0 {
            self.settings.hidden.insert(table, all & !shown);
        }
    }
}

/// A time with its unit.
pub fn interval(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(ms) => ms.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Settings::parse(text, "tui.toml").unwrap_err().to_string()
    }

    #[test]
    fn what_is_printed_is_the_default() {
        let printed = text();
        assert_eq!(Settings::parse(&printed, "printed").unwrap(), Settings::default());
        for section in ["[keys]", "[theme]", "[columns]"] {
            assert!(printed.lines().any(|line| line == section), "{section}");
        }
        assert!(printed.lines().all(|line| line.chars().count() <= 120));
    }

    #[test]
    fn choices_are_taken() {
        let text = "interval = \"500ms\"\nmask = \"strict\"\n[keys]\nquit = \"Q\"\ndown = [\"n\", \"down\"]\n\
                    [theme]\nscheme = \"sixteen\"\nbad = \"#ff0000\"\n[columns]\nrooms = [\"label\", \"age\"]\n";
        let settings = Settings::parse(text, "tui.toml").unwrap();
        assert_eq!((settings.interval, settings.strict), (Duration::from_millis(500), true));
        let acts = |key: &str| settings.keys.acts(key.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(
            [acts("Q"), acts("q"), acts("n"), acts("j")],
            [vec!["quit"], vec![], vec!["down"], vec![]]
        );
        assert_eq!(settings.scheme, Some(Scheme::Sixteen));
        assert_eq!(settings.hidden[&Table::Rooms], 0b01_1111_1110, "the first and the last of ten");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_is_allowed() {
        let cases = [
            ("nonsense", "tui.toml:1:9: syntax: "),
            ("intervall = 1", "tui.toml:1:1: intervall: unknown key; allowed: interval, mask"),
            ("interval = \"1h\"", "tui.toml:1:12: interval: no such time; allowed: \"100ms\""),
            ("interval = 1", "tui.toml:1:12: interval: no such time"),
            (
                "mask = \"none\"",
                "tui.toml:1:8: mask: no such mask; nothing shows names; allowed: \"labels\", \"strict\"",
            ),
            ("[keys]\nquite = \"q\"", "tui.toml:2:1: keys.quite: unknown act; allowed: quit, help"),
            (
                "[keys]\nquit = [\"Q\", \"qq\"]",
                "tui.toml:2:14: keys.quit: unknown key of the keyboard; allowed: one character",
            ),
            (
                "[keys]\nsort = \"r\"",
                "tui.toml:2:8: keys.sort: r is a key of reverse, too; allowed: another key, or other keys for reverse",
            ),
            (
                "[keys]\nsort = \"ctrl-c\"",
                "tui.toml:2:8: keys.sort: ctrl-c always ends the program",
            ),
            (
                "[theme]\nbad = \"reddish\"",
                "tui.toml:2:7: theme.bad: no such colour; allowed: \"scheme\", a name",
            ),
            (
                "[theme]\nworse = \"red\"",
                "tui.toml:2:1: theme.worse: unknown key; allowed: scheme, title, good, bad, dim",
            ),
            (
                "[theme]\nscheme = \"pink\"",
                "tui.toml:2:10: theme.scheme: no such scheme; allowed: auto, ",
            ),
            (
                "[columns]\nroom = []",
                "tui.toml:2:1: columns.room: unknown table; allowed: workers, rooms",
            ),
            (
                "[columns]\nrooms = [\"lable\"]",
                "tui.toml:2:10: columns.rooms: no such column; allowed: label, room",
            ),
            (
                "[columns]\nrooms = []",
                "tui.toml:2:9: columns.rooms: no column is left; allowed: label",
            ),
            ("keys = 3", "tui.toml:1:8: keys: no table; allowed: [keys]"),
        ];
        for (text, words) in cases {
            let said = refused(text);
            assert!(said.starts_with(words), "{text}: {said}");
        }
        assert_eq!(
            refused("[keys]\nsort = \"xx\"\nhelp = \"yy\"").lines().count(),
            2,
            "all at once"
        );
        assert!(!refused("\"\u{1b}[2J\" = 1").contains('\u{1b}'));
    }

    #[test]
    fn masking_is_only_made_stricter_and_a_file_that_is_named_must_be_there() {
        let dir = std::env::temp_dir().join(format!("rl-tui-settings-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("tui.toml");
        assert!(Settings::load(Some(&file)).unwrap_err().to_string().contains("cannot be read"));
        std::fs::write(&file, "x".repeat(65 << 10)).unwrap();
        assert!(Settings::load(Some(&file)).unwrap_err().to_string().contains("is too long"));
        let host = dir.join("host.toml");
        std::fs::write(&file, "interval = \"2s\"\nmask = \"labels\"").unwrap();
        std::fs::write(&host, "interval = \"9s\"\nmask = \"strict\"").unwrap();
        let both = Settings::first([file, host].into_iter()).unwrap();
        assert_eq!((both.interval.as_secs(), both.strict), (2, true));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
