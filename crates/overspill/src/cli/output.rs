//! Where results go: tables for people, one JSON object for scripts, notes on stderr.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde_json::Value as Json;

use crate::config::Environment;
use crate::config::env::NO_COLOR;

use super::error::CommandError;
use super::paint::{Paint, Tone};

/// The two streams and how they are used.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    is_json: bool,
    /// Whether a person watches stderr, so that a line may be redrawn.
    is_live: bool,
    has_color: bool,
    /// Of what goes to stdout.
    paint: Paint,
}

impl Output {
    /// As the arguments, the environment and the terminals say.
    #[must_use]
    pub fn new(is_json: bool, environment: &Environment) -> Self {
        let is_dumb = environment.text("TERM").is_some_and(|term| term == "dumb");
        let is_live = io::stderr().is_terminal() && !is_dumb;
        let is_wanted = !is_dumb && environment.text(NO_COLOR).is_none();
        Self {
            is_json,
            is_live,
            has_color: is_live && is_wanted,
            paint: Paint::new(is_wanted && io::stdout().is_terminal()),
        }
    }

    /// Whether one JSON object is wanted.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether a person watches stderr, so that a line may be redrawn.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Whether stderr may have colours.
    #[must_use]
    pub const fn has_color(&self) -> bool {
        self.has_color
    }

    /// The colours of what goes to stdout.
    #[must_use]
    pub const fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints one JSON object.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn json(&self, value: &Json) -> Result<(), CommandError> {
        self.text(&format!("{value:#}"))
    }

    /// Prints text and a line end.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn text(&self, text: &str) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        Ok(())
    }

    /// Prints a table with a heading row; columns whose heading begins with `>` are numbers and
    /// stand to the right, those with `~` are states and have their colour.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn table(&self, headings: &[&str], rows: Vec<Vec<String>>) -> Result<(), CommandError> {
        let text = tabulated(headings, rows, self.paint);
        self.text(&text)
    }
}

/// A table as text, its lines without what they need not have at both ends.
fn tabulated(headings: &[&str], rows: Vec<Vec<String>>, paint: Paint) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if paint.is_on() {
        table.enforce_styling().style_text_only();
    } else {
        table.force_no_tty();
    }
    let right = |text: &str| Cell::new(text).set_alignment(CellAlignment::Right);
    table.set_header(
        headings
            .iter()
            .map(|heading| match heading.strip_prefix('>') {
                Some(heading) => right(heading),
                None => Cell::new(heading.strip_prefix('~').unwrap_or(heading)),
            }),
    );
    for row in rows {
        table.add_row(row.into_iter().zip(headings).map(|(text, heading)| {
            let text = inert(&text);
            if heading.starts_with('>') {
                right(&text)
            } else if heading.starts_with('~')
                && let Some(tone) = Tone::of(&text)
            {
                Cell::new(text).fg(tone.color())
            } else {
                Cell::new(text)
            }
        }));
    }
    // Cells are padded by one space on both sides; the outer ones are of no use.
    let text: Vec<String> = table
        .to_string()
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned())
        .collect();
    text.join("\n")
}

/// Prints a line on stderr; nothing is done where that is closed.
pub fn note(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.write_all(b"\n"));
}

/// Text from a job or a server with its control characters made visible, so that it cannot move
/// the cursor or disguise itself.
#[must_use]
pub fn inert(text: &str) -> String {
    text.chars()
        .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
            let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if (c.is_control() && c != '\n' && c != '\t') || hidden {
                Box::new(c.escape_default())
            } else {
                Box::new(std::iter::once(c))
            }
        })
        .collect()
}

/// Milliseconds as people read them: `850 ms`, `12.3 s`, `4 m 05 s`, `2 h 10 m`.
#[must_use]
pub fn human_ms(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        _ if millis < 1_000 => format!("{millis} ms"),
        0..60 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A moment in UTC to the second, as `2026-11-23 21:15:01Z`; `-` when there is none.
#[must_use]
pub fn human_time(millis: Option<i64>) -> String {
    millis
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map_or_else(
            || "-".to_owned(),
            |moment| moment.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (millis, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (12_340, "12.3 s"),
            (245_000, "4 m 05 s"),
            (7_800_000, "2 h 10 m"),
        ] {
            assert_eq!(human_ms(millis), text);
        }
    }

    #[test]
    fn states_of_a_table_have_colours_where_they_are_wanted_and_keep_their_columns() {
        let rows = || {
            vec![
                vec!["completed".to_owned(), "7".to_owned()],
                vec!["x".to_owned(), "12".to_owned()],
            ]
        };
        let plain = tabulated(&["~STATUS", ">N"], rows(), Paint::new(false));
        assert_eq!(plain, "STATUS      N\ncompleted   7\nx          12");
        let painted = tabulated(&["~STATUS", ">N"], rows(), Paint::new(true));
        assert!(painted.contains("\u{1b}["), "{painted}");
        let mut bare = String::new();
        for (at, piece) in painted.split('\u{1b}').enumerate() {
            bare.push_str(if at == 0 {
                piece
            } else {
                piece.split_once('m').unwrap().1
            });
        }
        assert_eq!(bare, plain);
    }

    #[test]
    fn escapes_are_made_visible() {
        assert_eq!(inert("a\u{1b}[31mb\u{202e}"), "a\\u{1b}[31mb\\u{202e}");
        assert_eq!(inert("zwei\nZeilen ü"), "zwei\nZeilen ü");
    }
}
