//! `ablate diff`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use ablate_stage::cache::{ActionDigest, Store};
use clap::Args;

use super::project::store_here;
use super::{Context, Failure, exit, select};
use crate::diagnostic::escape_lines;
use crate::manifest::{Change, Manifest, Part};
use crate::progress::counted;
use crate::runs::{self, End, Member, Members};

/// So many lines of a list are shown unless all are asked for.
const LISTED: usize = 40;

/// Compare two runs: instances only one has, fields that moved, metrics that differ
#[derive(Args)]
pub struct Diff {
    /// A run: its name, the beginning of it, or `@1` for the last, `@2` for the one before
    earlier: String,
    /// Another
    later: String,
    /// All of each list, not only the first 40
    #[arg(long)]
    all: bool,
}

/// Compares two runs by their journals and what the store has of their actions.
pub fn diff(args: &Diff, context: &mut Context<'_>) -> Result<u8, Failure> {
    let store = store_here(context)?;
    let (earlier, later) = (select::run(&store, &args.earlier)?, select::run(&store, &args.later)?);
    let read = |run: &str| {
        members(&store, run).map_err(|error| {
            let folder = store.runs();
            Failure::new(exit::STORE, format!("cannot read {}: {error}", folder.display()))
        })
    };
    let (earlier, later) = (earlier.run.as_str(), later.run.as_str());
    let text = compare(&store, (earlier, &read(earlier)?), (later, &read(later)?), args.all);
    context.out.write_all(escape_lines(&text).as_bytes())?;
    Ok(exit::DONE)
}

/// A run's instances with what they report.
fn members(store: &Store, run: &str) -> io::Result<Members> {
    let mut members = runs::members(store, run)?;
    for member in members.values_mut().filter(|member| member.end == End::Done) {
        if let Some(result) = member.action.and_then(|action| store.recorded_result(&action)) {
            member.metrics = result.metrics.into_iter().collect();
        }
    }
    Ok(members)
}

/// Everything that differs, in lines.
fn compare(store: &Store, a: (&str, &Members), b: (&str, &Members), all: bool) -> String {
    let mut text = format!("A  {}, {}\n", a.0, counted(a.1.len(), "instance"));
    writeln!(text, "B  {}, {}", b.0, counted(b.1.len(), "instance")).expect("a string");
    let limit = if all { usize::MAX } else { LISTED };
    for (side, these, others) in [("A", a.1, b.1), ("B", b.1, a.1)] {
        let only = these.keys().filter(|name| !others.contains_key(*name)).cloned();
        list(&mut text, &format!("only in {side}"), only.collect(), limit);
    }
    let both: Vec<(&String, &Member, &Member)> =
        a.1.iter().filter_map(|(name, a)| Some((name, a, b.1.get(name)?))).collect();

    let mut groups: Vec<(Vec<String>, Vec<&String>)> = Vec::new();
    let mut by_inputs: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut same, mut unknown) = (0, 0);
    for (name, a, b) in &both {
        let (old, new) = match (a.action, b.action) {
            (Some(old), Some(new)) if old != new => (old, new),
            (Some(_), Some(_)) => {
                same += 1;
                continue;
            }
            (None, _) | (_, None) => {
                unknown += 1;
                continue;
            }
        };
        let changes = changes(store, &old, &new);
        let is_input = |change: &Change| matches!(change.part, Part::Input(_));
        if changes.as_ref().is_some_and(|changes| changes.iter().all(is_input)) {
            *by_inputs.entry(stage(name)).or_default() += 1;
            continue;
        }
        let told = match &changes {
            Some(changes) => {
                changes.iter().filter(|change| !is_input(change)).map(Change::to_string).collect()
            }
            None => vec![format!("key {} → {}; its text is not in the store", old.short(), new.short())],
        };
        match groups.iter_mut().find(|(known, names)| *known == told && stage(names[0]) == stage(name)) {
            Some((_, names)) => names.push(name),
            None => groups.push((told, vec![name])),
        }
    }
    let changed: usize = groups.iter().map(|(_, names)| names.len()).sum();
    if changed > 0 {
        writeln!(text, "\nchanged: {}", counted(changed, "instance")).expect("a string");
    }
    for (changes, names) in groups.iter().take(limit) {
        let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
        writeln!(text, "  {}{more}", names[0]).expect("a string");
        for change in changes {
            writeln!(text, "    {change}").expect("a string");
        }
    }
    more(&mut text, groups.len(), limit);
    if !by_inputs.is_empty() {
        let stages: Vec<String> =
            by_inputs.iter().map(|(stage, count)| format!("{stage} ×{count}")).collect();
        writeln!(text, "\nchanged by their inputs alone: {}", stages.join(", ")).expect("a string");
    }
    let ends = both.iter().filter(|(_, a, b)| a.end != b.end);
    let ends = ends.map(|(name, a, b)| format!("{name}: {} → {}", word(a.end), word(b.end)));
    list(&mut text, "ended differently", ends.collect(), limit);
    list(&mut text, "metrics that differ", metrics(&both), limit);
    writeln!(text, "\nthe same: {}", counted(same, "instance")).expect("a string");
    if unknown > 0 {
        let instances = counted(unknown, "instance");
        writeln!(text, "not comparable: {instances}, whose inputs were not made in one of the runs")
            .expect("a string");
    }
    text
}

/// What moved between two actions, where the store has the texts of both keys.
fn changes(store: &Store, old: &ActionDigest, new: &ActionDigest) -> Option<Vec<Change>> {
    let manifest = |action| Manifest::parse(&store.manifest(action)?).ok();
    Some(manifest(old)?.diff(&manifest(new)?))
}

/// Metrics of both sides that are not the same number.
fn metrics(both: &[(&String, &Member, &Member)]) -> Vec<String> {
    let mut rows: Vec<[String; 2]> = Vec::new();
    for (name, a, b) in both.iter().filter(|(_, a, b)| a.end == End::Done && b.end == End::Done) {
        let only_new = b.metrics.keys().filter(|metric| !a.metrics.contains_key(*metric));
        for metric in a.metrics.keys().chain(only_new) {
            let told = match (a.metrics.get(metric), b.metrics.get(metric)) {
                (Some(old), Some(new)) if old.to_bits() == new.to_bits() => continue,
                (Some(old), Some(new)) => format!("{old:.4} → {new:.4}  Δ {}", difference(new - old)),
                (old, new) => {
                    let side = |value: Option<&f64>| value.map_or("(none)".to_owned(), |v| format!("{v:.4}"));
                    format!("{} → {}", side(old), side(new))
                }
            };
            rows.push([format!("{name}  {metric}"), told]);
        }
    }
    let width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    rows.iter().map(|[what, told]| format!("{what:width$}  {told}")).collect()
}

/// With a sign, and not rounded to nothing.
fn difference(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.000_05 { format!("{value:+.1e}") } else { format!("{value:+.4}") }
}

fn list(text: &mut String, what: &str, lines: Vec<String>, limit: usize) {
    if lines.is_empty() {
        return;
    }
    writeln!(text, "\n{what}: {}", lines.len()).expect("a string");
    for line in lines.iter().take(limit) {
        writeln!(text, "  {line}").expect("a string");
    }
    more(text, lines.len(), limit);
}

fn more(text: &mut String, count: usize, limit: usize) {
    if count > limit {
        writeln!(text, "  … and {} more (--all)", count - limit).expect("a string");
    }
}

/// The stage an instance's name begins with.
fn stage(instance: &str) -> &str {
    instance.split('[').next().unwrap_or(instance)
}

fn word(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::Failed => "failed",
        End::Skipped => "skipped",
        End::Unfinished => "unfinished",
    }
}
