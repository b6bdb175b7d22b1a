//! Colours of what people read: they only repeat what the words say, and are left out where nobody sees them.
//!
//! Whether there are any is decided once, in [`Output`](super::output::Output): not in a file or a pipe, not
//! under `NO_COLOR`, and not on a terminal that calls itself dumb.

use comfy_table::Color;

/// What a word says of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Held up, or ended by somebody.
    Waits,
    /// Wrong.
    Bad,
}

impl Tone {
    /// The tone of a state, in the server's words or RunPod's; `None` for a word that is no state.
    #[must_use]
    pub fn of(state: &str) -> Option<Self> {
        Some(match state.to_ascii_lowercase().as_str() {
            "completed" | "delivered" | "idle" => Self::Good,
            "running" | "in_progress" | "initializing" => Self::Busy,
            "queued" | "in_queue" | "due" | "cancelled" | "throttled" => Self::Waits,
            "failed" | "timed_out" | "dead" | "unhealthy" => Self::Bad,
            _ => return None,
        })
    }

    /// The terminal's colour.
    #[must_use]
    pub const fn color(self) -> Color {
        match self {
            Self::Good => Color::Green,
            Self::Busy => Color::Cyan,
            Self::Waits => Color::Yellow,
            Self::Bad => Color::Red,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Busy => "36",
            Self::Waits => "33",
            Self::Bad => "31",
        }
    }
}

/// Puts colours on words, or leaves them as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    is_on: bool,
}

impl Paint {
    /// With colours, or without any.
    #[must_use]
    pub const fn new(is_on: bool) -> Self {
        Self { is_on }
    }

    /// Whether there are colours.
    #[must_use]
    pub const fn is_on(self) -> bool {
        self.is_on
    }

    /// The text in a tone.
    #[must_use]
    pub fn tone(self, tone: Tone, text: &str) -> String {
        self.wrap(tone.code(), text)
    }

    /// A state in its own tone.
    #[must_use]
    pub fn state(self, state: &str) -> String {
        Tone::of(state).map_or_else(|| state.to_owned(), |tone| self.tone(tone, state))
    }

    /// What somebody may type or look for.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.is_on && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_a_tone_in_both_spellings_and_other_words_none() {
        assert_eq!(Tone::of("completed"), Some(Tone::Good));
        assert_eq!(Tone::of("COMPLETED"), Some(Tone::Good));
        assert_eq!(Tone::of("TIMED_OUT"), Some(Tone::Bad));
        assert_eq!(Tone::of("tts"), None);
    }

    #[test]
    fn without_colours_the_text_is_as_it_was() {
        let (with, without) = (Paint::new(true), Paint::new(false));
        assert_eq!(without.state("failed"), "failed");
        assert_eq!(without.strong("overspill top"), "overspill top");
        assert_eq!(with.state("failed"), "\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(with.state("elsewhere"), "elsewhere");
        assert_eq!(with.strong(""), "");
    }
}
