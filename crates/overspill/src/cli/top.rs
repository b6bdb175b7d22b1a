//! `overspill top`: the live view, in a terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::Context;
use super::client::{ServerClient, segment};
use super::error::{CommandError, ErrorKind};
use super::jobs::field;
use crate::config::env::NO_COLOR;
use crate::tui::data::{Key, Model, Pane};
use crate::tui::draw::draw;

/// Watch queues, workers, money and decisions live
///
/// Moves by keys: arrows choose an endpoint, `w` says why it has its cloud workers, `d` what is
/// wrong, `c` shows the cards, `q` quits. With --json, one overview is printed.
#[derive(Debug, Args)]
pub struct TopArgs {}

/// How often the server is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a look for a key may take, so that the end is never waited for.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Runs the command.
///
/// # Errors
/// When the server is out of reach or refuses at the start, or there is no terminal.
pub async fn run(_args: &TopArgs, context: &Context) -> Result<(), CommandError> {
    let client = context.client()?;
    let first = client.get("/api/v1/overview").await?;
    if context.output.is_json() {
        return context.output.json(&first);
    }
    if !std::io::stdout().is_terminal() {
        let error = CommandError::new(ErrorKind::Usage, "standard output is not a terminal");
        return Err(error.hint("overspill status, or overspill top --json for one look"));
    }
    let has_color = context.environment.text(NO_COLOR).is_none();
    let mut model = Model {
        server: client.address(),
        ..Model::default()
    };
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&client, &mut model, &mut terminal, has_color).await;
    ratatui::restore();
    ended
}

async fn watch(
    client: &ServerClient,
    model: &mut Model,
    terminal: &mut ratatui::DefaultTerminal,
    has_color: bool,
) -> Result<(), CommandError> {
    let mut keys = keys()?;
    let mut clock = tokio::time::interval(PERIOD);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            key = keys.recv() => match key {
                Some(Some(key)) => if !model.press(key) { return Ok(()) },
                // The size changed: it is drawn anew.
                Some(None) => {}
                None => return Ok(()),
            }
        }
        // What is known is shown at once; an answer may take its time.
        terminal.draw(|frame| draw(frame, model, has_color))?;
        match look(client, model).await {
            Ok(()) => model.trouble = None,
            Err(error) => model.trouble = Some(error.to_string()),
        }
        terminal.draw(|frame| draw(frame, model, has_color))?;
    }
}

/// Asks the server for what is shown.
async fn look(client: &ServerClient, model: &mut Model) -> Result<(), CommandError> {
    let overview = client.get("/api/v1/overview").await?;
    model.overview = serde_json::from_value(overview).ok();
    let endpoints = model.overview.as_ref().map_or(0, |all| all.endpoints.len());
    model.selected = model.selected.min(endpoints.saturating_sub(1));
    let answer = client.get("/api/v1/doctor").await?;
    model.findings = field(&answer, "findings")?;
    match model.pane {
        Pane::Decisions => {
            let answer = client.get("/api/v1/decisions?limit=50").await?;
            model.decisions = field(&answer, "decisions")?;
        }
        Pane::Why => {
            if let Some(name) = model.chosen().map(|line| segment(&line.name)) {
                let answer = client.get(&format!("/api/v1/why/scale/{name}")).await?;
                model.why = why_lines(&answer);
            }
        }
        Pane::Doctor | Pane::Cards | Pane::Help => {}
    }
    Ok(())
}

fn why_lines(answer: &Json) -> Vec<String> {
    let texts = |list: &str, first: &str, second: &str| -> Vec<String> {
        let lines = answer[list].as_array().into_iter().flatten();
        let text = |line: &Json, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        lines
            .map(|line| format!("{:<18} {}", text(line, first), text(line, second)))
            .collect()
    };
    let mut lines = texts("causes", "code", "text");
    for what_if in answer["what_if"].as_array().into_iter().flatten() {
        let text = |key: &str| what_if[key].as_str().unwrap_or_default();
        lines.push(format!("{}: {}", text("text"), text("how")));
    }
    lines
}

/// Keys as they come, from a thread that ends with the receiver; `None` for another size.
fn keys() -> Result<mpsc::UnboundedReceiver<Option<Key>>, CommandError> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let thread = std::thread::Builder::new().name("keys".into());
    thread.spawn(move || {
        while !sender.is_closed() {
            let came = match event::poll(KEY_WAIT) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let Ok(came) = came else { return };
            let told = match came {
                Event::Resize(..) => None,
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
                    let Some(key) = meaning(key.code, is_control) else {
                        continue;
                    };
                    Some(key)
                }
                _ => continue,
            };
            if sender.send(told).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

const fn meaning(code: KeyCode, is_control: bool) -> Option<Key> {
    match code {
        KeyCode::Char('c') if is_control => Some(Key::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Down),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Up),
        KeyCode::Char('e') => Some(Key::Show(Pane::Decisions)),
        KeyCode::Char('w') => Some(Key::Show(Pane::Why)),
        KeyCode::Char('d') => Some(Key::Show(Pane::Doctor)),
        KeyCode::Char('c') => Some(Key::Show(Pane::Cards)),
        KeyCode::Char('?' | 'h') => Some(Key::Show(Pane::Help)),
        _ => None,
    }
}
