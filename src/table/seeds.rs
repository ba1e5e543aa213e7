//! What a budget of seeds has come to, said below a table.

use super::sample::{number, signed};
use super::{NOTHING, Table};
use crate::budget::{Budget, Tie, Verdict, verdict};
use crate::diagnostic::escape;
use crate::graph::{Graph, InstanceId};
use crate::pipeline::{Show, TableSpec};
use crate::progress::counted;
use crate::rows::Outcome;

/// The most pairs of cells that are told of one by one.
const MOST_TIES: usize = 12;

impl Table {
    /// Says below how many seeds there are, and which cells that are compared can't be told apart. Says nothing where the
    /// seeds of the graph are no budget. `pipeline` is named where the table is of several.
    pub fn tell_seeds<'a>(
        &mut self,
        graph: &Graph,
        spec: &TableSpec,
        pipeline: Option<&str>,
        outcome: impl Fn(InstanceId) -> Outcome<'a>,
    ) {
        let (Some(budget), Some(verdict)) = (&graph.budget, verdict(graph, spec, outcome)) else { return };
        let of = pipeline.map(|name| format!("{}: ", escape(name))).unwrap_or_default();
        self.remarks.push(format!("{of}{}", how_many(budget, &verdict, spec)));
        for tie in verdict.ties.iter().take(MOST_TIES) {
            self.remarks.push(format!("{of}{}", told(tie, graph, spec)));
        }
        if verdict.ties.len() > MOST_TIES {
            let more = counted(verdict.ties.len() - MOST_TIES, "pair");
            self.remarks.push(format!("{of}nor can {more} more be told apart"));
        }
    }
}

fn how_many(budget: &Budget, verdict: &Verdict, spec: &TableSpec) -> String {
    let Budget { ci95, max, .. } = budget;
    let Verdict { seeds, complete, wide, lacking, .. } = verdict;
    let seeds = match seeds {
        (0, _) => String::new(),
        (least, most) if least == most => format!("{} a cell; ", counted(*least, "seed")),
        (least, most) => format!("{least} to {most} seeds a cell; "),
    };
    // In the unit of the cells, where they have one.
    let mut shown = spec.cells.iter().filter(|(_, cell)| cell.show != Show::Count);
    let bound = match shown.all(|(_, cell)| cell.percent) {
        true => format!("{} %", (ci95 * 1e11).round() / 1e9),
        false => ci95.to_string(),
    };
    let enough = format!("for a 95 % interval of the mean within ± {bound}");
    match (complete, wide) {
        (false, _) => {
            format!("{seeds}`ablate run` adds more, {max} at most, until there are enough {enough}")
        }
        (true, 0) if *lacking > 0 => {
            format!(
                "{seeds}enough {enough}, but for {} with fewer than two values",
                counted(*lacking, "cell")
            )
        }
        (true, 0) => format!("{seeds}enough {enough}"),
        (true, wide) => {
            format!(
                "{seeds}not enough {enough} in {}, and no more than {max} are wanted",
                counted(*wide, "cell")
            )
        }
    }
}

/// `accuracy, features=raw: NNCLR and SimCLR can't be told apart by 20 seeds (difference +0.1 ± 0.4)`.
fn told(tie: &Tie, graph: &Graph, spec: &TableSpec) -> String {
    let label = |label: &Option<String>| label.as_deref().map_or_else(|| NOTHING.to_owned(), escape);
    let (title, cell) = &spec.cells[tie.cell];
    let mut context: Vec<String> = if spec.cells.len() > 1 { vec![escape(title)] } else { Vec::new() };
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for (axis, (mine, theirs)) in graph.axes.iter().zip(tie.one.iter().zip(&tie.other)) {
        match (mine, theirs) {
            (None, None) => {}
            (mine, theirs) if mine == theirs => {
                context.push(format!("{}={}", escape(&axis.short), label(mine)));
            }
            (mine, theirs) => {
                one.push(label(mine));
                other.push(label(theirs));
            }
        }
    }
    let context = if context.is_empty() { String::new() } else { format!("{}: ", context.join(", ")) };
    format!(
        "{context}{} and {} can't be told apart by {} (difference {} ± {})",
        one.join(", "),
        other.join(", "),
        counted(tie.seeds, "seed"),
        signed(cell, tie.difference, Some(tie.difference)),
        number(cell, tie.half, Some(tie.difference))
    )
}
