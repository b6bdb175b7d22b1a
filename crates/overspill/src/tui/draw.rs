//! Puts the model on a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, Wrap};

use super::data::{Endpoint, Model, Pane, Workers};
use crate::cli::output::{human_ms, inert};
use overspill_core::money::NanoUsd;

/// Draws everything; without colours where none are wanted.
pub fn draw(frame: &mut Frame<'_>, model: &Model, has_color: bool) {
    let endpoints = model.overview.as_ref().map_or(1, |all| all.endpoints.len());
    let most = frame.area().height.saturating_sub(10).max(3);
    let table = u16::try_from(endpoints + 1).unwrap_or(u16::MAX).min(most);
    let [head, list, pane, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(table),
        Constraint::Min(4),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    head_lines(frame, model, head, has_color);
    endpoint_table(frame, model, list, has_color);
    lower_half(frame, model, pane);
    let text = "↑↓ endpoint  e decisions  w why  d doctor  c cards  ? keys  q quit";
    frame.render_widget(Paragraph::new(text), keys);
}

fn tone(color: Color, has_color: bool) -> Style {
    let style = Style::new().add_modifier(Modifier::BOLD);
    if has_color { style.fg(color) } else { style }
}

fn head_lines(frame: &mut Frame<'_>, model: &Model, area: Rect, has_color: bool) {
    let first = match (&model.trouble, &model.overview) {
        (Some(trouble), _) => Line::styled(inert(trouble), tone(Color::Red, has_color)),
        (None, None) => Line::raw("asking the server…"),
        (None, Some(all)) => Line::styled(
            format!(
                "overspill top  {} waiting  {} running  {} an hour  today {}  saved {}",
                all.queued,
                all.running,
                dollars(all.money.nano_usd_per_hour),
                dollars(all.money.today_nano_usd),
                dollars(all.money.saved_today_nano_usd),
            ),
            Style::new().add_modifier(Modifier::BOLD),
        ),
    };
    let findings = match model.findings.len() {
        0 => String::new(),
        1 => "  1 finding of the doctor: d".to_owned(),
        more => format!("  {more} findings of the doctor: d"),
    };
    let second = Line::raw(format!("{}{findings}", inert(&model.server)));
    frame.render_widget(Paragraph::new(vec![first, second]), area);
}

fn endpoint_table(frame: &mut Frame<'_>, model: &Model, area: Rect, has_color: bool) {
    let headings = [
        "ENDPOINT", "WAIT", "RUN", "OLDEST", "PROMISE", "P95", "LOCAL", "CLOUD", "MIN/MAX", "FAIL",
    ];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(5),
    ];
    let lines = model
        .overview
        .as_ref()
        .map_or(&[][..], |all| &all.endpoints);
    // The chosen one stays in sight.
    let shown = usize::from(area.height.saturating_sub(1)).max(1);
    let skipped = (model.selected + 1).saturating_sub(shown);
    let rows = lines.iter().enumerate().skip(skipped).map(|(n, line)| {
        let is_late = line
            .oldest_wait_ms
            .is_some_and(|wait| wait > line.max_wait_ms);
        let style = if n == model.selected {
            Style::new().add_modifier(Modifier::REVERSED)
        } else if is_late && has_color {
            Style::new().fg(Color::Yellow)
        } else {
            Style::new()
        };
        Row::new(cells(line)).style(style)
    });
    let header = Row::new(headings).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths).header(header).column_spacing(1);
    frame.render_widget(table, area);
}

fn cells(line: &Endpoint) -> Vec<String> {
    let of = |kind: &str| {
        let pools = line.pools.iter().filter(|pool| pool.kind == kind);
        pools.fold(Workers::default(), |sum, pool| Workers {
            initializing: sum.initializing + pool.workers.initializing,
            idle: sum.idle + pool.workers.idle,
            running: sum.running + pool.workers.running,
            ..sum
        })
    };
    let (local, cloud) = (of("local"), of("cloud"));
    vec![
        inert(&line.name),
        line.queued.to_string(),
        line.running.to_string(),
        line.oldest_wait_ms.map_or_else(|| "-".to_owned(), human_ms),
        human_ms(line.max_wait_ms),
        line.recent
            .wait
            .map_or_else(|| "-".to_owned(), |wait| human_ms(wait.p95_ms)),
        format!("{}/{}", local.running, local.running + local.idle),
        match cloud.initializing {
            0 => format!("{}/{}", cloud.running, cloud.running + cloud.idle),
            starting => format!("{}+{starting}", cloud.running + cloud.idle),
        },
        format!("{}/{}", line.min, line.max),
        line.recent.failed.to_string(),
    ]
}

fn lower_half(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let chosen = model.chosen().map_or("", |line| line.name.as_str());
    let (title, lines) = match model.pane {
        Pane::Decisions => ("decisions".to_owned(), decisions(model)),
        Pane::Why => (format!("why {}", inert(chosen)), texts(&model.why)),
        Pane::Doctor => ("doctor".to_owned(), findings(model)),
        Pane::Cards => ("cards".to_owned(), cards(model)),
        Pane::Help => ("keys".to_owned(), help()),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let text = Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(block);
    frame.render_widget(text, area);
}

fn decisions(model: &Model) -> Vec<Line<'static>> {
    if model.decisions.is_empty() {
        return vec![Line::raw("nothing had to be decided yet")];
    }
    let lines = model.decisions.iter().map(|line| {
        let at = jiff::Timestamp::from_millisecond(line.at_ms);
        let at = at.map_or_else(
            |_| "-".to_owned(),
            |at| at.strftime("%H:%M:%SZ").to_string(),
        );
        Line::raw(inert(&format!("{at}  {}  {}", line.endpoint, line.text)))
    });
    lines.collect()
}

fn findings(model: &Model) -> Vec<Line<'static>> {
    if model.findings.is_empty() {
        return vec![Line::raw("nothing is wrong")];
    }
    let lines = model.findings.iter().flat_map(|finding| {
        let fix = finding.command.as_ref().unwrap_or(&finding.fix);
        [
            Line::raw(inert(&format!(
                "{} [{}] {}",
                finding.endpoint, finding.code, finding.evidence
            ))),
            Line::raw(inert(&format!("    {fix}"))),
        ]
    });
    lines.collect()
}

fn cards(model: &Model) -> Vec<Line<'static>> {
    let devices = model.overview.as_ref().map_or(&[][..], |all| &all.devices);
    if devices.is_empty() {
        return vec![Line::raw("no local pool uses a card of this host")];
    }
    let percent = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |v| format!("{v} %"));
    let gigabytes = |value: Option<u64>| {
        value.map_or_else(|| "-".to_owned(), |v| format!("{} GB", v / 1_000_000_000))
    };
    let lines = devices.iter().map(|card| {
        let heat = card
            .temperature_c
            .map_or_else(|| "-".to_owned(), |c| format!("{c} °C"));
        Line::raw(inert(&format!(
            "{}  {}  jobs {}  workers {}  busy {}  memory {} of {}  {heat}",
            card.id,
            card.name,
            card.jobs,
            card.workers,
            percent(card.busy_percent),
            gigabytes(card.memory_used_bytes),
            gigabytes(card.memory_bytes),
        )))
    });
    lines.collect()
}

fn help() -> Vec<Line<'static>> {
    [
        "↑ ↓, k j   choose an endpoint",
        "e          the last decisions",
        "w          why the chosen endpoint has its cloud workers",
        "d          what is wrong, and the fix",
        "c          cards of the server's host",
        "q, Esc     quit",
        "LOCAL and CLOUD are workers at work / ready; 2+1 means one more starts",
    ]
    .map(Line::raw)
    .to_vec()
}

fn texts(lines: &[String]) -> Vec<Line<'static>> {
    lines.iter().map(|line| Line::raw(inert(line))).collect()
}

fn dollars(nanos: i64) -> String {
    format!("${}", NanoUsd::from_nanos(nanos).to_usd(2))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::data::Key;
    use super::*;

    fn model() -> Model {
        let overview = serde_json::json!({
            "queued": 7, "running": 3,
            "money": { "nano_usd_per_hour": 880_000_000_i64, "today_nano_usd": 1_234_000_000_i64 },
            "endpoints": [
                { "name": "sdxl", "max": 2, "max_wait_ms": 90_000 },
                { "name": "tts", "max": 3, "max_wait_ms": 20_000, "queued": 7, "running": 3,
                  "oldest_wait_ms": 31_000, "recent": { "failed": 1, "wait": { "p95_ms": 18_200 } },
                  "pools": [
                    { "kind": "local", "workers": { "running": 1, "idle": 1 } },
                    { "kind": "cloud", "workers": { "running": 2, "initializing": 1 } } ] },
            ],
            "devices": [{ "id": 0, "name": "RTX \u{1b}3090", "jobs": 1, "temperature_c": 61 }],
        });
        Model {
            server: "http://127.0.0.1:8080".to_owned(),
            overview: Some(serde_json::from_value(overview).unwrap()),
            why: vec!["max_reached  max is 3, 5 cloud workers would help".to_owned()],
            ..Model::default()
        }
    }

    fn shown(model: &Model, width: u16, height: u16, has_color: bool) -> (String, Vec<Color>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal
            .draw(|frame| draw(frame, model, has_color))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let colors = buffer.content().iter().map(|cell| cell.fg).collect();
        let rows = buffer.content().chunks(usize::from(width)).map(|row| {
            let text: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            text.trim_end().to_owned()
        });
        (rows.collect::<Vec<_>>().join("\n"), colors)
    }

    #[test]
    fn everything_fits_on_80_by_24() {
        let (text, _) = shown(&model(), 80, 24, true);
        for part in [
            "7 waiting  3 running  $0.88 an hour  today $1.23",
            "tts",
            "31.0 s",
            "20.0 s",
            "18.2 s",
            "1/2",
            "2+1",
            "0/3",
            "nothing had to be decided yet",
            "q quit",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn keys_choose_and_show() {
        let mut model = model();
        assert!(model.press(Key::Show(Pane::Why)));
        assert!(shown(&model, 80, 24, true).0.contains("why sdxl"));
        assert!(model.press(Key::Down) && model.press(Key::Down));
        assert_eq!(model.selected, 1);
        assert!(model.why.is_empty(), "the causes are the other one's");
        assert!(shown(&model, 80, 24, true).0.contains("why tts"));
        model.press(Key::Show(Pane::Doctor));
        assert!(shown(&model, 80, 24, true).0.contains("nothing is wrong"));
        model.press(Key::Show(Pane::Cards));
        let (text, _) = shown(&model, 80, 24, true);
        assert!(text.contains("61 °C") && text.contains("\\u{1b}"), "{text}");
        assert!(!model.press(Key::Quit));
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut model = model();
        model.trouble = Some("the server cannot be reached".to_owned());
        assert!(shown(&model, 80, 24, true).1.contains(&Color::Red));
        assert!(
            shown(&model, 80, 24, false)
                .1
                .iter()
                .all(|c| *c == Color::Reset)
        );
    }

    #[test]
    fn a_tiny_screen_and_many_endpoints_do_no_harm() {
        let mut model = model();
        let one = model.overview.as_ref().unwrap().endpoints[1].clone();
        model.overview.as_mut().unwrap().endpoints = vec![one; 60];
        model.selected = 59;
        for (width, height) in [(1, 1), (20, 4), (80, 24), (200, 60)] {
            shown(&model, width, height, true);
        }
    }
}
