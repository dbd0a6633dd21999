//! Colours and signs. State is never told by colour alone: a sign and a word go with it.

use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::border;

/// Which colours there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Blue and orange of 256, told apart by everybody.
    Okabe,
    /// The terminal's own sixteen.
    Sixteen,
    /// None.
    Mono,
}

/// The schemes by their words; the first is whatever the terminal has.
pub const SCHEMES: [(&str, Option<Scheme>); 4] = [
    ("auto", None),
    ("blue-orange", Some(Scheme::Okabe)),
    ("sixteen", Some(Scheme::Sixteen)),
    ("mono", Some(Scheme::Mono)),
];

/// What colours are for, by their words.
pub const COLOURS: [(&str, &str); 4] = [
    ("title", "names of columns and boxes"),
    ("good", "all is well"),
    ("bad", "look here"),
    ("dim", "old or unimportant"),
];

/// Other colours than a scheme's, in the order of [`COLOURS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Colours(pub [Option<Color>; COLOURS.len()]);

/// Whether a terminal of sixteen colours has it.
fn is_of_sixteen(colour: Color) -> bool {
    match colour {
        Color::Rgb(..) => false,
        Color::Indexed(index) => index < 16,
        _ => true,
    }
}

/// How things look on this terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    scheme: Scheme,
    /// Nobody may turn colours on.
    is_mono: bool,
    ascii: bool,
    colours: Colours,
}

impl Theme {
    /// By `NO_COLOR`, `TERM` and `ROOMLANE_ASCII`.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
        let is_mono = set("NO_COLOR") || term == "dumb";
        let scheme = match (is_mono, term.contains("256") || set("COLORTERM")) {
            (true, _) => Scheme::Mono,
            (false, true) => Scheme::Okabe,
            (false, false) => Scheme::Sixteen,
        };
        Theme { scheme, is_mono, ascii: set("ROOMLANE_ASCII"), colours: Colours::default() }
    }

    /// With what the user chose. Where colours are unwanted there are none.
    pub fn chosen(self, scheme: Option<Scheme>, colours: Colours) -> Self {
        match self.is_mono {
            true => self,
            false => Theme { scheme: scheme.unwrap_or(self.scheme), colours, ..self },
        }
    }

    /// For text: no colours, and no signs beyond ASCII where asked.
    pub fn plain(ascii: bool) -> Self {
        Theme { scheme: Scheme::Mono, is_mono: true, ascii, colours: Colours::default() }
    }

    /// After so many changes of colours. Where colours are unwanted there are none to change.
    pub fn turned(self, turns: usize) -> Self {
        const ALL: [Scheme; 3] = [Scheme::Okabe, Scheme::Sixteen, Scheme::Mono];
        let at = ALL.iter().position(|scheme| *scheme == self.scheme).unwrap_or(0);
        match self.is_mono {
            true => self,
            false => Theme { scheme: ALL[(at + turns) % ALL.len()], ..self },
        }
    }

    /// `own` is an index of [`COLOURS`].
    fn style(self, own: usize, okabe: Color, sixteen: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        let chosen = self.colours.0[own];
        match self.scheme {
            Scheme::Okabe => style.fg(chosen.unwrap_or(okabe)),
            Scheme::Sixteen => {
                style.fg(chosen.filter(|colour| is_of_sixteen(*colour)).unwrap_or(sixteen))
            }
            Scheme::Mono => style,
        }
    }

    /// Names of columns and boxes.
    pub fn title(self) -> Style {
        self.style(0, Color::Indexed(74), Color::LightBlue, Modifier::BOLD)
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.style(1, Color::Indexed(74), Color::LightBlue, Modifier::empty())
    }

    /// Look here.
    pub fn bad(self) -> Style {
        self.style(2, Color::Indexed(208), Color::LightYellow, Modifier::BOLD)
    }

    /// Old or unimportant.
    pub fn dim(self) -> Style {
        self.style(3, Color::Indexed(245), Color::DarkGray, Modifier::DIM)
    }

    /// In front of a state that is well.
    pub fn good_sign(self) -> &'static str {
        if self.ascii { "*" } else { "●" }
    }

    /// In front of a state that is not.
    pub fn bad_sign(self) -> &'static str {
        if self.ascii { "!" } else { "▲" }
    }

    /// In front of the row that keys are about.
    pub fn cursor_sign(self) -> &'static str {
        if self.ascii { ">" } else { "▸" }
    }

    /// Ordinary text.
    pub fn plain_text(self) -> Style {
        Style::new()
    }

    /// A part of one as a bar of at most `width` characters; what is there at all shows.
    pub fn bar(self, part: f64, width: usize) -> String {
        let full = if self.ascii { "#" } else { "█" };
        let length = (part.clamp(0.0, 1.0) * width as f64).ceil() as usize;
        full.repeat(length)
    }

    /// Lines around boxes.
    pub fn border(self) -> border::Set<'static> {
        match self.ascii {
            false => border::PLAIN,
            true => border::Set {
                top_left: "+",
                top_right: "+",
                bottom_left: "+",
                bottom_right: "+",
                vertical_left: "|",
                vertical_right: "|",
                horizontal_top: "-",
                horizontal_bottom: "-",
            },
        }
    }

    /// Shades of a strip, palest first.
    pub fn shades(self) -> &'static [char; 4] {
        match self.ascii {
            false => &['░', '▒', '▓', '█'],
            true => &['.', ':', '+', '#'],
        }
    }

    /// Heights of a curve, lowest first.
    pub fn levels(self) -> &'static [char] {
        match self.ascii {
            false => &['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            true => &['_', '.', ':', '-', '=', '+', '*', '#'],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_round_and_where_they_are_unwanted_there_are_none() {
        let colours = Colours([Some(Color::Rgb(9, 9, 9)), None, Some(Color::Red), None]);
        let theme = Theme { scheme: Scheme::Sixteen, is_mono: false, ascii: false, colours };
        assert_eq!(theme.bad().fg, Some(Color::Red), "chosen");
        assert_eq!(theme.title().fg, Some(Color::LightBlue), "the terminal has no such colour");
        let wide = theme.chosen(Some(Scheme::Okabe), colours);
        assert_eq!(wide.title().fg, Some(Color::Rgb(9, 9, 9)));
        assert_eq!(Theme::plain(false).chosen(Some(Scheme::Okabe), colours).bad().fg, None);
        let turned = [1, 2, 3].map(|turns| theme.turned(turns).scheme);
        assert_eq!(turned, [Scheme::Mono, Scheme::Okabe, Scheme::Sixteen]);
        for turns in 0..4 {
            assert_eq!(Theme::plain(false).turned(turns).bad().fg, None);
        }
    }
}
