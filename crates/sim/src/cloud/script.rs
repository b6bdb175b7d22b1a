//! What a modelled worker does with an input: how long it runs, what it says meanwhile, how it ends.
//!
//! It reads `seconds` (run time, default 1), `error` (text: the job fails with it), `progress` (how many
//! updates), `stream` (how many chunks), `output_bytes` (size of a padded result) and `output` (the result
//! itself). An input with `openai_route` is answered as a vLLM worker answers it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::job::Payload;

/// A step of a modelled run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Progress(u32),
    Chunk(u32),
    Finish,
}

/// How a modelled run ends.
#[derive(Debug, Clone)]
pub(crate) enum Ending {
    Output(Payload),
    Error(Payload),
}

/// A modelled run, made from a job's input.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    run_ms: u64,
    progress: u32,
    chunks: Chunks,
    error: Option<String>,
    output: Option<Payload>,
    output_bytes: usize,
}

#[derive(Debug, Clone)]
enum Chunks {
    Count(u32),
    Ready(Vec<Payload>),
}

#[derive(Deserialize)]
struct Fields {
    seconds: Option<f64>,
    error: Option<String>,
    progress: Option<u32>,
    stream: Option<u32>,
    output_bytes: Option<usize>,
    output: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct OpenAiFields {
    openai_route: String,
    openai_input: Option<serde_json::Value>,
    seconds: Option<f64>,
}

/// The most updates or chunks of one run.
const STEPS_MAX: u32 = 10_000;

impl Script {
    pub(crate) fn read(input: &RawValue) -> Self {
        if input.get().contains("\"openai_route\"")
            && let Ok(fields) = serde_json::from_str::<OpenAiFields>(input.get())
        {
            return Self::openai(&fields);
        }
        // Anything else is an input too: it runs for a second and is echoed.
        let fields = serde_json::from_str::<Fields>(input.get()).unwrap_or(Fields {
            seconds: None,
            error: None,
            progress: None,
            stream: None,
            output_bytes: None,
            output: None,
        });
        Self {
            run_ms: run_ms(fields.seconds),
            progress: fields.progress.unwrap_or(0).min(STEPS_MAX),
            chunks: Chunks::Count(fields.stream.unwrap_or(0).min(STEPS_MAX)),
            error: fields.error,
            output: fields.output.map(Arc::from),
            output_bytes: fields.output_bytes.unwrap_or(0),
        }
    }

    fn openai(fields: &OpenAiFields) -> Self {
        let null = serde_json::Value::Null;
        let body = fields.openai_input.as_ref().unwrap_or(&null);
        let chunks = super::openai::chunks(&fields.openai_route, body);
        Self {
            run_ms: run_ms(fields.seconds),
            progress: 0,
            chunks: Chunks::Ready(chunks),
            error: None,
            output: Some(raw("[]")),
            output_bytes: 0,
        }
    }

    pub(crate) fn run_ms(&self) -> u64 {
        self.run_ms
    }

    fn chunk_count(&self) -> u32 {
        match &self.chunks {
            Chunks::Count(count) => *count,
            Chunks::Ready(chunks) => u32::try_from(chunks.len()).unwrap_or(STEPS_MAX),
        }
    }

    /// The `index`-th step and when it comes, in milliseconds after the start. Progress comes first, then the
    /// chunks, evenly over the run; the last step is the end.
    pub(crate) fn step(&self, index: usize) -> Option<(u64, Step)> {
        let chunks = self.chunk_count();
        let all = self.progress + chunks;
        let index = u32::try_from(index).ok()?;
        let at_ms = self.run_ms * u64::from(index + 1) / u64::from(all + 1);
        match index {
            i if i < self.progress => Some((at_ms, Step::Progress(i))),
            i if i < all => Some((at_ms, Step::Chunk(i - self.progress))),
            i if i == all => Some((self.run_ms, Step::Finish)),
            _ => None,
        }
    }

    pub(crate) fn progress_body(&self, index: u32) -> Payload {
        payload(&json!({"step": index + 1, "of": self.progress}))
    }

    pub(crate) fn chunk_body(&self, index: u32) -> Payload {
        match &self.chunks {
            Chunks::Count(count) => payload(&json!(format!("chunk {} of {count}", index + 1))),
            Chunks::Ready(chunks) => chunks[index as usize].clone(),
        }
    }

    pub(crate) fn ending(&self, input: &Payload, worker: &str) -> Ending {
        if let Some(error) = &self.error {
            return Ending::Error(payload(&json!(error)));
        }
        if let Some(output) = &self.output {
            return Ending::Output(output.clone());
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a run time in milliseconds is far below 2^52"
        )]
        let seconds = self.run_ms as f64 / 1_000.0;
        if self.output_bytes > 0 {
            let padding = "x".repeat(self.output_bytes);
            return Ending::Output(payload(&json!({"padding": padding, "seconds": seconds})));
        }
        Ending::Output(payload(
            &json!({"echo": &**input, "seconds": seconds, "worker": worker}),
        ))
    }
}

fn run_ms(seconds: Option<f64>) -> u64 {
    let seconds = seconds
        .filter(|s| s.is_finite() && *s >= 0.0)
        .unwrap_or(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a year of milliseconds above, and not negative"
    )]
    let run_ms = (seconds.min(31_536_000.0) * 1_000.0).round() as u64;
    run_ms
}

/// A value as a payload.
pub(crate) fn payload(value: &serde_json::Value) -> Payload {
    raw(&value.to_string())
}

/// JSON text as a payload.
pub(crate) fn raw(text: &str) -> Payload {
    Arc::from(
        RawValue::from_string(text.to_owned()).expect("the text was written as JSON by this crate"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_spread_over_the_run_and_end_it() {
        let script = Script::read(&raw(r#"{"seconds":4,"progress":1,"stream":2}"#));
        let steps: Vec<_> = (0..).map_while(|i| script.step(i)).collect();
        assert_eq!(
            steps,
            vec![
                (1_000, Step::Progress(0)),
                (2_000, Step::Chunk(0)),
                (3_000, Step::Chunk(1)),
                (4_000, Step::Finish)
            ]
        );
    }

    #[test]
    fn any_input_runs_for_a_second_by_default() {
        for input in [
            "null",
            "[1]",
            r#""text""#,
            r#"{"seconds":-3}"#,
            r#"{"seconds":"x"}"#,
        ] {
            assert_eq!(Script::read(&raw(input)).run_ms(), 1_000, "{input}");
        }
    }

    #[test]
    fn the_result_echoes_the_input() {
        let input = raw(r#"{"seconds":0.5}"#);
        let Ending::Output(output) = Script::read(&input).ending(&input, "w1") else {
            panic!("no error was asked for");
        };
        assert_eq!(
            output.get(),
            r#"{"echo":{"seconds":0.5},"seconds":0.5,"worker":"w1"}"#
        );
    }
}
