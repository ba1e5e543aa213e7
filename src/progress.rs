//! Progress on a terminal and in a pipe: a reader of the [journal](crate::journal)'s entries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::diagnostic::escape_lines;
use crate::journal::{Counts, Entry, Event, Outcome};

/// How a run is shown.
pub enum Progress<'a> {
    /// Bars: one a running action, and one for all.
    Bars(Bars),
    /// A line for each thing that matters.
    Lines(Lines<'a>),
    /// Every entry as a line of JSON.
    Json(&'a mut dyn Write),
}

impl Progress<'_> {
    /// Shows an entry.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn show(&mut self, entry: &Entry) -> io::Result<()> {
        match self {
            Self::Bars(bars) => bars.show(entry),
            Self::Lines(lines) => lines.show(entry),
            Self::Json(out) => writeln!(out, "{}", serde_json::to_string(entry)?),
        }
    }
}

/// Lines, the verb in front, as cargo writes them.
pub struct Lines<'a> {
    out: &'a mut dyn Write,
    /// That a run began, until there is something to run.
    began: Option<String>,
    progressed: BTreeMap<String, u64>,
}

/// Without bars, progress is told this often.
const PROGRESS_EVERY_MS: u64 = 10_000;

impl<'a> Lines<'a> {
    /// To a writer.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, began: None, progressed: BTreeMap::new() }
    }

    fn show(&mut self, entry: &Entry) -> io::Result<()> {
        if let Event::Progress { instance, .. } = &entry.event {
            let last = self.progressed.entry(instance.clone()).or_insert(entry.unix_ms);
            if entry.unix_ms < *last + PROGRESS_EVERY_MS {
                return Ok(());
            }
            *last = entry.unix_ms;
        }
        let line = describe(&entry.event).map(|(verb, text)| format!("{verb:>12} {text}"));
        match &entry.event {
            Event::RunStarted { .. } => self.began = line,
            Event::Output { .. } | Event::Hits { .. } | Event::Ordered { .. } => {}
            Event::Planned { .. } => {
                if let Some(began) = self.began.take() {
                    writeln!(self.out, "{began}")?;
                }
            }
            Event::Added { .. }
            | Event::Waiting { .. }
            | Event::Started { .. }
            | Event::Resumed { .. }
            | Event::Progress { .. }
            | Event::Retried { .. }
            | Event::Finished { .. }
            | Event::Cached { .. }
            | Event::Failed { .. }
            | Event::Skipped { .. }
            | Event::Advice { .. }
            | Event::Stopped { .. }
            | Event::RunFinished { .. } => {
                if let Some(line) = line {
                    writeln!(self.out, "{line}")?;
                }
            }
        }
        Ok(())
    }
}

/// Bars on a terminal.
pub struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    running: BTreeMap<String, ProgressBar>,
}

impl Bars {
    /// On standard error, where `done` instances need nothing; others are counted as they are planned.
    pub fn new(done: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let style =
            style("{prefix:>12.cyan.bold} [{bar:24}] {pos}/{len} {msg} {elapsed}").progress_chars("=> ");
        let total = all.add(ProgressBar::new(done as u64).with_style(style).with_prefix("Running"));
        total.set_position(done as u64);
        total.enable_steady_tick(Duration::from_millis(250));
        Self { all, total, running: BTreeMap::new() }
    }

    fn show(&mut self, entry: &Entry) -> io::Result<()> {
        match &entry.event {
            Event::Added { cached, .. } => {
                self.total.inc_length(*cached as u64);
                self.total.inc(*cached as u64);
            }
            Event::Planned { .. } => self.total.inc_length(1),
            Event::Waiting { instance } => self.bar(instance).set_message("another run is doing it"),
            Event::Started { instance, .. } => self.bar(instance).set_message(""),
            Event::Progress { instance, done, total, unit, note } => {
                let bar = self.bar(instance);
                bar.set_style(with_bar());
                bar.set_length(*total);
                bar.set_position(*done);
                bar.set_message(escape_lines(&format!("{unit}  {note}")));
            }
            Event::Finished { instance, .. } | Event::Cached { instance, .. } => self.end(instance),
            Event::Failed { instance, .. } | Event::Skipped { instance, .. } => self.end(instance),
            Event::Stopped { instance } | Event::Retried { instance, .. } => {
                if let Some(bar) = self.running.remove(instance) {
                    bar.finish_and_clear();
                }
            }
            Event::RunFinished { .. } => {
                self.running.values().for_each(ProgressBar::finish_and_clear);
                self.total.finish_and_clear();
            }
            Event::RunStarted { .. }
            | Event::Hits { .. }
            | Event::Ordered { .. }
            | Event::Resumed { .. }
            | Event::Advice { .. }
            | Event::Output { .. } => {}
        }
        self.total.set_message(format!("stages, {} running", self.running.len()));
        let worth_a_line = match &entry.event {
            Event::Added { .. }
            | Event::Finished { .. }
            | Event::Failed { .. }
            | Event::Skipped { .. }
            | Event::Resumed { .. }
            | Event::Retried { .. }
            | Event::Advice { .. }
            | Event::Stopped { .. }
            | Event::RunFinished { .. } => true,
            Event::RunStarted { .. }
            | Event::Hits { .. }
            | Event::Planned { .. }
            | Event::Ordered { .. }
            | Event::Waiting { .. }
            | Event::Started { .. }
            | Event::Progress { .. }
            | Event::Output { .. }
            | Event::Cached { .. } => false,
        };
        match describe(&entry.event).filter(|_| worth_a_line) {
            Some((verb, text)) => self.all.println(format!("{verb:>12} {text}")),
            None => Ok(()),
        }
    }

    fn bar(&mut self, instance: &str) -> &ProgressBar {
        self.running.entry(instance.to_owned()).or_insert_with(|| {
            let style = style("{spinner:>12} {prefix} {msg} {elapsed}");
            let bar = ProgressBar::new(0).with_style(style).with_prefix(escape_lines(instance));
            let bar = self.all.insert_before(&self.total, bar);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        })
    }

    fn end(&mut self, instance: &str) {
        if let Some(bar) = self.running.remove(instance) {
            bar.finish_and_clear();
        }
        self.total.inc(1);
    }
}

/// Of an action that tells how far it is.
fn with_bar() -> ProgressStyle {
    style("{spinner:>12} {prefix} {bar:16} {pos}/{len} {msg} {elapsed}").progress_chars("━╸ ")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are well-formed")
}

/// An event as a verb and a text that is safe to show; `None` for what a plan says, which comes in bulk.
pub fn describe(event: &Event) -> Option<(&'static str, String)> {
    let (verb, text) = match event {
        Event::RunStarted { pipeline, device, jobs, .. } => {
            ("Running", format!("{pipeline} on {device}, {}", counted(*jobs, "job")))
        }
        Event::Hits { .. } | Event::Planned { .. } | Event::Ordered { .. } => return None,
        Event::Added { trials, .. } => {
            ("Adding", format!("seeds to cells that need them: {}", counted(*trials, "trial")))
        }
        Event::Waiting { instance } => ("Waiting", format!("for another run to do {instance}")),
        Event::Started { instance, .. } => ("Started", instance.clone()),
        Event::Resumed { instance, from } => ("Resumed", format!("{instance} from {from}")),
        Event::Progress { instance, done, total, unit, note } => {
            ("Progress", format!("{instance} {done}/{total} {unit} {note}").trim_end().to_owned())
        }
        Event::Output { instance, line } => ("Output", format!("{instance}: {line}")),
        Event::Retried { instance, reason } => ("Retrying", format!("{instance}: {reason}")),
        Event::Finished { instance, duration_ms, metrics, .. } => {
            let mut text = format!("{instance} ({})", seconds(*duration_ms));
            for (name, value) in metrics {
                write!(text, "  {name} {value:.4}").expect("a string takes any text");
            }
            ("Finished", text)
        }
        Event::Cached { instance, .. } => ("Cached", instance.clone()),
        Event::Failed { instance, error, .. } => ("Failed", format!("{instance}: {error}")),
        Event::Skipped { instance, because } => ("Skipped", format!("{instance}, because {because} failed")),
        Event::Advice { instance, text } => ("Advice", format!("{instance}: {text}")),
        Event::Stopped { instance } => ("Stopped", instance.clone()),
        Event::RunFinished { outcome, counts, duration_ms } => {
            let verb = match outcome {
                Outcome::Done => "Done",
                Outcome::Failed => "Failed",
                Outcome::Interrupted => "Interrupted",
            };
            (verb, summary(counts, *duration_ms))
        }
    };
    Some((verb, escape_lines(&text)))
}

/// `17 stages, all cached (0.03 s)`, or what became of them.
fn summary(counts: &Counts, duration_ms: u64) -> String {
    let Counts { ran, cached, failed, skipped, unfinished } = *counts;
    let stages = counted(ran + cached + failed + skipped + unfinished, "stage");
    if ran + failed + skipped + unfinished == 0 {
        return format!("{stages}, all cached ({})", seconds(duration_ms));
    }
    let parts = [
        (ran, "ran"),
        (cached, "cached"),
        (failed, "failed"),
        (skipped, "skipped"),
        (unfinished, "unfinished"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    format!("{stages}: {} ({})", parts.join(", "), seconds(duration_ms))
}

/// `1 stage`, `2 stages`.
pub fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A duration as a person says it: `0.3 s`, `45 s`, `12 min`, `3 h 5 min`.
pub fn about(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..9.95 => format!("{seconds:.1} s"),
        ..99.5 => format!("{seconds:.0} s"),
        _ if minutes < 120 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// `1.23 s`, `1 min 15 s`.
pub fn seconds(ms: u64) -> String {
    let seconds = ms as f64 / 1000.0;
    if ms < 60_000 {
        format!("{seconds:.2} s")
    } else {
        format!("{} min {:.0} s", ms / 60_000, seconds % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up_in_a_line() {
        let all = Counts { cached: 17, ..Counts::default() };
        assert_eq!(summary(&all, 30), "17 stages, all cached (0.03 s)");
        let some = Counts { ran: 1, cached: 2, failed: 1, skipped: 3, unfinished: 0 };
        assert_eq!(summary(&some, 75_400), "7 stages: 1 ran, 2 cached, 1 failed, 3 skipped (1 min 15 s)");
    }

    #[test]
    fn lines_tell_what_matters() {
        let mut out = Vec::new();
        let mut lines = Progress::Lines(Lines::new(&mut out));
        let instance = || "a[k=1]".to_owned();
        let progress = |done| Event::Progress {
            instance: instance(),
            done,
            total: 9,
            unit: "step".into(),
            note: String::new(),
        };
        let events = [
            (0, progress(1)),
            (100, progress(2)),
            (10_100, progress(3)),
            (10_200, Event::Output { instance: instance(), line: "noise".to_owned() }),
            (10_300, Event::Failed { instance: instance(), action: None, error: "no".to_owned() }),
            (10_300, Event::Skipped { instance: "b".to_owned(), because: instance() }),
        ];
        for (unix_ms, event) in events {
            lines.show(&Entry { unix_ms, event }).unwrap();
        }
        let expected =
            "    Progress a[k=1] 3/9 step\n      Failed a[k=1]: no\n     Skipped b, because a[k=1] failed\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
