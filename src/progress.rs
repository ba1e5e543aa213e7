//! Progress on a terminal and in a pipe: a reader of the [journal](crate::journal)'s entries.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;

use crate::diagnostic::escape_lines;
use crate::estimate::Outlook;
use crate::journal::{Counts, Entry, Event, Outcome};

/// How a run is shown.
pub enum View<'a> {
    /// Bars: one a running action, and one for all.
    Bars(Bars),
    /// A line for each thing that matters.
    Lines(Lines<'a>),
    /// Every entry as a line of JSON.
    Json(&'a mut dyn Write),
}

impl View<'_> {
    /// Shows an entry, with how long it all goes on.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn show(&mut self, entry: &Entry, outlook: &Outlook) -> io::Result<()> {
        match self {
            Self::Bars(bars) => bars.show(entry, outlook),
            Self::Lines(lines) => lines.show(entry, outlook),
            Self::Json(out) => writeln!(out, "{}", serde_json::to_string(&Line::of(entry, outlook))?),
        }
    }
}

/// An entry for programs.
#[derive(Serialize)]
struct Line<'e> {
    unix_ms: u64,
    event: &'e Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<Left>,
}

/// How long it goes on.
#[derive(Serialize)]
struct Left {
    /// The action, where that is known, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    action_ms: Option<u64>,
    /// The run, milliseconds.
    run_ms: u64,
    /// Actions nothing is known of: the run goes on that much longer.
    unknown: usize,
}

impl<'e> Line<'e> {
    fn of(entry: &'e Entry, outlook: &Outlook) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let moves = matches!(
            entry.event,
            Event::Started { .. } | Event::Progress { .. } | Event::Finished { .. } | Event::Added { .. }
        );
        let left = || Left {
            action_ms: outlook.action.map(ms),
            run_ms: ms(outlook.run.time),
            unknown: outlook.run.unknown,
        };
        Self { unix_ms: entry.unix_ms, event: &entry.event, remaining: moves.then(left) }
    }
}

/// Lines, the verb in front, as cargo writes them.
pub struct Lines<'a> {
    out: &'a mut dyn Write,
    /// That a run began, until there is something to run.
    began: Option<String>,
    progressed: BTreeMap<String, u64>,
    /// When the total was last told, or the run began.
    totalled: Option<u64>,
}

/// Without bars, progress is told this often, and so is the total.
const PROGRESS_EVERY_MS: u64 = 10_000;

impl<'a> Lines<'a> {
    /// To a writer.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, began: None, progressed: BTreeMap::new(), totalled: None }
    }

    fn show(&mut self, entry: &Entry, outlook: &Outlook) -> io::Result<()> {
        self.show_event(entry, outlook)?;
        let last = *self.totalled.get_or_insert(entry.unix_ms);
        let is_over = matches!(entry.event, Event::RunFinished { .. });
        if !is_over && outlook.running > 0 && entry.unix_ms >= last + PROGRESS_EVERY_MS {
            self.totalled = Some(entry.unix_ms);
            writeln!(self.out, "{:>12} {}", "Total", total(outlook))?;
        }
        Ok(())
    }

    fn show_event(&mut self, entry: &Entry, outlook: &Outlook) -> io::Result<()> {
        if let Event::Progress { instance, .. } = &entry.event {
            let last = self.progressed.entry(instance.clone()).or_insert(entry.unix_ms);
            if entry.unix_ms < *last + PROGRESS_EVERY_MS {
                return Ok(());
            }
            *last = entry.unix_ms;
        }
        let left = match &entry.event {
            Event::Progress { progress, .. } => pace_and_left(&progress.unit, outlook),
            _ => String::new(),
        };
        let line = describe(&entry.event).map(|(verb, text)| format!("{verb:>12} {text}{left}"));
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
    left: Countdown,
    running: BTreeMap<String, Running>,
}

/// The bar of a running action.
struct Running {
    bar: ProgressBar,
    left: Countdown,
    /// Whether it tells how far it is.
    tells: bool,
}

/// Names of actions are longer than this in lines, but not in bars.
const MAX_NAME: usize = 32;

/// Less than this is not told to be left.
const LEAST_TOLD: Duration = Duration::from_millis(100);

/// A time that is left, and passes while nothing happens.
#[derive(Clone, Default)]
struct Countdown(Arc<Mutex<Option<Span>>>);

/// What was left at a moment, and what stands in front of it.
#[derive(Clone, Copy)]
struct Span {
    left: Duration,
    since: Instant,
    words: &'static str,
}

impl Countdown {
    /// Sets what is left, and what stands in front of it.
    fn set(&self, left: Option<Duration>, words: &'static str) {
        *self.0.lock().expect("nothing panics while it holds this") =
            left.map(|left| Span { left, since: Instant::now(), words });
    }

    /// As text for the end of a bar; nothing where the time is over, or there is none.
    fn write(&self, out: &mut dyn std::fmt::Write) {
        let left = *self.0.lock().expect("nothing panics while it holds this");
        let Some(Span { left, since, words }) = left else { return };
        if let Some(left) = left.checked_sub(since.elapsed()).filter(|left| *left >= LEAST_TOLD) {
            // A terminal that cannot be written to says so when the bar is drawn.
            write!(out, "{words}{} left", about(left)).unwrap_or(());
        }
    }
}

impl Bars {
    /// On standard error, where `done` instances need nothing; others are counted as they are planned.
    pub fn new(done: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let left = Countdown::default();
        let style = style("{prefix:>12.cyan.bold} [{bar:24}] {pos}/{len} {msg}{left} {elapsed}", &left);
        let style = style.progress_chars("=> ");
        let total = all.add(ProgressBar::new(done as u64).with_style(style).with_prefix("Running"));
        total.set_position(done as u64);
        total.enable_steady_tick(Duration::from_millis(250));
        Self { all, total, left, running: BTreeMap::new() }
    }

    fn show(&mut self, entry: &Entry, outlook: &Outlook) -> io::Result<()> {
        match &entry.event {
            Event::Waiting { instance } => self.bar(instance).bar.set_message("another run is doing it"),
            Event::Started { instance, .. } => {
                let running = self.bar(instance);
                running.left.set(outlook.action, "about ");
                running.bar.set_message("");
            }
            Event::Progress { instance, progress } => {
                let Running { bar, left, tells } = self.bar(instance);
                if !*tells {
                    bar.set_style(with_bar(left));
                    *tells = true;
                }
                bar.set_length(progress.total);
                bar.set_position(progress.done);
                let unit = &progress.unit;
                let pace = outlook.pace.map(|pace| format!(", {}", pace_in_words(pace, unit)));
                let text = format!("{unit}  {}{}", progress.remarks(), pace.unwrap_or_default());
                left.set(outlook.action, ", ");
                bar.set_message(escape_lines(&text));
            }
            Event::Finished { instance, .. }
            | Event::Cached { instance, .. }
            | Event::Failed { instance, .. }
            | Event::Skipped { instance, .. }
            | Event::Stopped { instance }
            | Event::Retried { instance, .. } => {
                if let Some(Running { bar, .. }) = self.running.remove(instance) {
                    bar.finish_and_clear();
                }
            }
            Event::RunFinished { .. } => {
                self.running.values().for_each(|running| running.bar.finish_and_clear());
                self.total.finish_and_clear();
            }
            Event::RunStarted { .. }
            | Event::Hits { .. }
            | Event::Added { .. }
            | Event::Planned { .. }
            | Event::Ordered { .. }
            | Event::Resumed { .. }
            | Event::Advice { .. }
            | Event::Output { .. } => {}
        }
        let words = if outlook.run.unknown > 0 { ", at least " } else { ", about " };
        self.left.set(Some(outlook.run.time), words);
        self.total.set_length(outlook.all as u64);
        self.total.set_position(outlook.done as u64);
        self.total.set_message(format!("stages, {} running", outlook.running));
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

    fn bar(&mut self, instance: &str) -> &mut Running {
        self.running.entry(instance.to_owned()).or_insert_with(|| {
            let left = Countdown::default();
            let style = style("{spinner:>12} {prefix} {msg}{left} {elapsed}", &left);
            let bar = ProgressBar::new(0).with_style(style).with_prefix(shortened(&escape_lines(instance)));
            let bar = self.all.insert_before(&self.total, bar);
            bar.enable_steady_tick(Duration::from_millis(250));
            Running { bar, left, tells: false }
        })
    }
}

/// Of an action that tells how far it is.
fn with_bar(left: &Countdown) -> ProgressStyle {
    style("{spinner:>12} {prefix} {bar:12} {pos}/{len} {wide_msg}{left} {elapsed}", left)
        .progress_chars("━╸ ")
}

/// A name that leaves room for the rest of a line: where it is long, without its middle.
fn shortened(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= MAX_NAME {
        return name.to_owned();
    }
    let (first, last) = (&chars[..MAX_NAME / 2], &chars[chars.len() - (MAX_NAME - 1) / 2..]);
    first.iter().chain(['…'].iter()).chain(last).collect()
}

fn style(template: &str, left: &Countdown) -> ProgressStyle {
    let left = left.clone();
    let style = ProgressStyle::with_template(template).expect("the templates are well-formed");
    style.with_key("left", move |_: &ProgressState, out: &mut dyn std::fmt::Write| left.write(out))
}

/// `, 12.5 step/s, 3 min left`, as far as it is known.
fn pace_and_left(unit: &str, outlook: &Outlook) -> String {
    let pace = outlook.pace.map(|pace| format!(", {}", pace_in_words(pace, unit)));
    let left = outlook.action.map(|left| format!(", {} left", about(left)));
    escape_lines(&format!("{}{}", pace.unwrap_or_default(), left.unwrap_or_default()))
}

/// `12.5 step/s`, or `40 s/epoch` where a unit takes longer than a second.
fn pace_in_words(pace: f64, unit: &str) -> String {
    match pace {
        100.0.. => format!("{pace:.0} {unit}/s"),
        1.0.. => format!("{pace:.1} {unit}/s"),
        _ => format!("{}/{unit}", about(Duration::try_from_secs_f64(1.0 / pace).unwrap_or(Duration::MAX))),
    }
}

/// `28 of 40 stages, 2 running, about 3 min left`.
fn total(outlook: &Outlook) -> String {
    let Outlook { done, running, all, run, .. } = outlook;
    let stages = format!("{done} of {}, {running} running", counted(*all, "stage"));
    let how_sure = if run.unknown > 0 { "at least" } else { "about" };
    if run.time < LEAST_TOLD { stages } else { format!("{stages}, {how_sure} {} left", about(run.time)) }
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
        Event::Progress { instance, progress } => ("Progress", format!("{instance} {progress}")),
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
    use ablate_stage::Progress;
    use ablate_stage::cache::ActionDigest;

    use super::*;
    use crate::estimate::{Estimate, Task};

    #[test]
    fn a_run_is_summed_up_in_a_line() {
        let all = Counts { cached: 17, ..Counts::default() };
        assert_eq!(summary(&all, 30), "17 stages, all cached (0.03 s)");
        let some = Counts { ran: 1, cached: 2, failed: 1, skipped: 3, unfinished: 0 };
        assert_eq!(summary(&some, 75_400), "7 stages: 1 ran, 2 cached, 1 failed, 3 skipped (1 min 15 s)");
    }

    #[test]
    fn a_pace_is_told_by_the_second_or_by_the_unit() {
        let words = [1234.5, 12.34, 1.0, 0.4, 0.01].map(|pace| pace_in_words(pace, "step"));
        assert_eq!(words, ["1234 step/s", "12.3 step/s", "1.0 step/s", "2.5 s/step", "2 min/step"]);
    }

    #[test]
    fn lines_tell_what_matters() {
        let mut out = Vec::new();
        let mut lines = View::Lines(Lines::new(&mut out));
        let instance = || "a[k=1]".to_owned();
        let progress = |done| Event::Progress {
            instance: instance(),
            progress: Progress::of(done, 9, "step").with("loss", 0.5),
        };
        let started = Event::Started { instance: instance(), action: ActionDigest::of_manifest("a") };
        let events = [
            (0, started),
            (0, progress(1)),
            (100, progress(2)),
            (10_100, progress(3)),
            (10_200, Event::Output { instance: instance(), line: "noise".to_owned() }),
            (20_300, Event::Failed { instance: instance(), action: None, error: "no".to_owned() }),
            (20_300, Event::Skipped { instance: "b".to_owned(), because: instance() }),
        ];
        let task = |instance: &str| Task {
            instance: instance.to_owned(),
            stage: "s",
            inputs: Vec::new(),
            gpus: 0.0,
            usual: None,
        };
        let mut estimate = Estimate::new(2, 0);
        estimate.add([task("a[k=1]"), task("b")]);
        for (unix_ms, event) in events {
            let entry = Entry { unix_ms, event };
            let outlook = estimate.take(&entry);
            lines.show(&entry, &outlook).unwrap();
        }
        let expected = "     Started a[k=1]\n    Progress a[k=1] 3/9 step loss 0.5000, 5.0 s/step, 30 s left\n       \
                        Total 0 of 2 stages, 1 running, at least 30 s left\n      Failed a[k=1]: no\n     Skipped b, \
                        because a[k=1] failed\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
