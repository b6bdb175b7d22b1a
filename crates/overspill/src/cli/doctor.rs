//! `overspill doctor`: every known fault that is there now, each with evidence and fix.

use clap::Args;
use serde::Deserialize;

use super::Context;
use super::error::{CommandError, ErrorKind};
use super::jobs::field;
use super::output::inert;
use super::paint::{Paint, Tone};

/// Check for every known fault, with evidence and the fix
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Only faults of this endpoint
    endpoint: Option<String>,
    /// Exit with 1 when a fault is found
    #[arg(long)]
    check: bool,
}

/// One fault as the management API gives it; unknown fields are passed over.
#[derive(Debug, Deserialize)]
pub(crate) struct FindingView {
    code: String,
    endpoint: String,
    evidence: String,
    fix: String,
    #[serde(default)]
    command: Option<String>,
    page: String,
}

impl FindingView {
    /// As lines: the code, what was seen, what to do.
    pub(crate) fn described(&self, paint: Paint) -> String {
        let code = paint.tone(Tone::Bad, &inert(&self.code));
        let mut lines = vec![
            format!(
                "{} [{code}]: {}",
                inert(&self.endpoint),
                inert(&self.evidence)
            ),
            format!("    fix: {}", inert(&self.fix)),
        ];
        if let Some(command) = &self.command {
            lines.push(format!("    {}", paint.strong(&inert(command))));
        }
        lines.push(format!("    see {}", inert(&self.page)));
        lines.join("\n")
    }
}

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses, there is no such endpoint, or with `--check` a fault
/// was found.
pub async fn run(args: &DoctorArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    let mut answer = client.get("/api/v1/doctor").await?;
    if let Some(name) = &args.endpoint {
        let path = format!("/api/v1/endpoints/{}", super::client::segment(name));
        client.get(&path).await?;
        let findings = answer
            .get_mut("findings")
            .and_then(|all| all.as_array_mut());
        if let Some(findings) = findings {
            findings.retain(|finding| finding["endpoint"] == name.as_str());
        }
    }
    let findings: Vec<FindingView> = field(&answer, "findings")?;
    if context.output.is_json() {
        context.output.json(&answer)?;
    } else if findings.is_empty() {
        let checked = answer.get("checked").and_then(serde_json::Value::as_u64);
        let checked = checked.unwrap_or(0);
        let text = format!("nothing is wrong: none of {checked} known faults is there");
        context.output.text(&text)?;
    } else {
        let paint = context.output.paint();
        let texts = findings.iter().map(|finding| finding.described(paint));
        let texts: Vec<String> = texts.collect();
        context.output.text(&texts.join("\n\n"))?;
    }
    if args.check && !findings.is_empty() {
        let message = format!("{} faults were found", findings.len());
        return Err(CommandError::new(ErrorKind::Failed, message));
    }
    Ok(())
}
