//! Drawings for a terminal: a node a line, and a rail from each to those below that it feeds.

use std::collections::BTreeMap;
use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{Drawing, Edge, Node, Wire, clip};

/// With more rails than this side by side, names say it better.
const MAX_RAILS: usize = 16;
/// The longest list of values that is shown.
const MAX_LIST_WIDTH: usize = 90;

impl Drawing {
    /// As lines for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.title, self.summary);
        let width = self.axes.iter().map(|(axis, _)| axis.width()).max().unwrap_or(0);
        for (axis, values) in &self.axes {
            let values = clip(&values.join(", "), MAX_LIST_WIDTH);
            writeln!(text, "  {axis}{}  {values}", pad(axis, width)).expect("a string");
        }
        text.push('\n');
        let rails = self.rails().unwrap_or_else(|| vec![String::new(); self.nodes.len()]);
        let names: Vec<String> = self.nodes.iter().map(|node| clip(&node.name, 60)).collect();
        let counts: Vec<String> = self.nodes.iter().map(|node| count(node.count)).collect();
        let set_by: Vec<String> = self.nodes.iter().map(set_by).collect();
        let widest =
            |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.width()).max().unwrap_or(0);
        let (rail, name) = (widest(&mut rails.iter()), widest(&mut names.iter()));
        let set = widest(&mut set_by.iter());
        let (number, kind) =
            (widest(&mut counts.iter()), widest(&mut self.nodes.iter().map(|node| &node.kind)));
        for (index, node) in self.nodes.iter().enumerate() {
            let (row, label, count) = (&rails[index], &names[index], &counts[index]);
            let gap = if rail > 0 { " " } else { "" };
            let number = if number > 0 { format!(" {}{count}", pad(count, number)) } else { String::new() };
            let line = format!(
                "{row}{}{gap}{label}{}{number}  {}{}{}{}{}",
                pad(row, rail),
                pad(label, name),
                node.kind,
                pad(&node.kind, kind),
                set_by[index],
                pad(&set_by[index], set),
                self.inputs(index),
            );
            writeln!(text, "{}", line.trim_end()).expect("a string");
        }
        text
    }

    /// What feeds a node, by port; a port is named where its source's name does not say it.
    fn inputs(&self, node: usize) -> String {
        let mut ports: BTreeMap<&str, Vec<(&Edge, &Wire)>> = BTreeMap::new();
        for edge in self.edges_to(node) {
            for wire in &edge.wires {
                ports.entry(&wire.port).or_default().push((edge, wire));
            }
        }
        let port = |(port, sources): (&&str, &Vec<(&Edge, &Wire)>)| {
            let axes: Vec<Option<&String>> = sources
                .iter()
                .map(|(_, wire)| wire.when.as_ref().and_then(|when| when.axis.as_ref()))
                .collect();
            let axis = axes[0].filter(|axis| axes.iter().all(|other| *other == Some(*axis)));
            let names = sources.iter().map(|(edge, wire)| self.source(edge, wire, axis.is_some()));
            let names = names.collect::<Vec<_>>().join(", ");
            match axis {
                Some(axis) => format!("{port} by {axis}: {names}"),
                None if *port == names => names,
                None => format!("{port}: {names}"),
            }
        };
        let ports: Vec<String> = ports.iter().map(port).collect();
        if ports.is_empty() { String::new() } else { format!("  ← {}", ports.join("; ")) }
    }

    /// What a wire comes from, and for which axis values where the name does not say it.
    fn source(&self, edge: &Edge, wire: &Wire, is_axis_told: bool) -> String {
        let name = &self.nodes[edge.from].name;
        let is_output_told = wire.label.as_ref().is_none_or(|label| !label.starts_with(&wire.output));
        let name = if is_output_told { name.clone() } else { format!("{name}.{}", wire.output) };
        match &wire.when {
            None => name,
            Some(when) if is_axis_told && when.values == [name.as_str()] => name,
            Some(when) if is_axis_told => format!("{name} ({})", when.values.join("|")),
            Some(when) => format!("{name} (if {})", when.text()),
        }
    }

    /// The rails at each node's line, unless there are too many. A wire that leads upwards has none.
    fn rails(&self) -> Option<Vec<String>> {
        let mut last_uses = vec![None; self.nodes.len()];
        for edge in &self.edges {
            last_uses[edge.from] = last_uses[edge.from].max(Some(edge.to));
        }
        let last_use = |node: usize| last_uses[node];
        let mut rails: Vec<Option<usize>> = Vec::new();
        // Where a node right below would look as if what ended there fed it.
        let mut just_ended: Vec<usize> = Vec::new();
        let mut rows = Vec::new();
        for node in 0..self.nodes.len() {
            let feeds = |from: usize| self.edges_to(node).iter().any(|edge| edge.from == from);
            let taps: Vec<usize> = (0..rails.len()).filter(|&at| rails[at].is_some_and(feeds)).collect();
            let ends = |at: usize| rails[at].is_some_and(|from| last_use(from) <= Some(node));
            let place = taps.iter().copied().find(|&at| ends(at)).or_else(|| {
                let after = taps.last().map_or(0, |last| last + 1);
                (after..).find(|at| rails.get(*at).is_none_or(Option::is_none) && !just_ended.contains(at))
            });
            let place = place.expect("there is always room on the right");
            rows.push(row(&rails, &taps, place, &ends));
            let ended: Vec<usize> = taps.iter().copied().filter(|&at| ends(at)).collect();
            ended.iter().for_each(|&at| rails[at] = None);
            rails.resize(rails.len().max(place + 1), None);
            rails[place] = last_use(node).filter(|&last| last > node).map(|_| node);
            just_ended = ended.into_iter().chain([place]).filter(|&at| rails[at].is_none()).collect();
            while rails.last() == Some(&None) {
                rails.pop();
            }
            if rails.len() > MAX_RAILS {
                return None;
            }
        }
        Some(rows)
    }
}

/// A line of rails: `taps` are led to the node at `place`, the others pass.
fn row(rails: &[Option<usize>], taps: &[usize], place: usize, ends: &dyn Fn(usize) -> bool) -> String {
    let first = taps.first().map_or(place, |&at| at.min(place));
    let last = taps.last().map_or(place, |&at| at.max(place));
    let mut text = String::new();
    for at in 0..rails.len().max(place + 1) {
        let is_inside = first <= at && at <= last;
        let is_outermost = at == first || at == last;
        text.push(match (at == place, taps.contains(&at)) {
            (true, _) => '●',
            (false, true) => match (is_outermost, at < place, ends(at)) {
                (true, true, false) => '├',
                (true, true, true) => '└',
                (true, false, false) => '┤',
                (true, false, true) => '┘',
                (false, _, false) => '┼',
                (false, _, true) => '┴',
            },
            (false, false) if rails.get(at).is_some_and(Option::is_some) => '│',
            (false, false) if is_inside => '─',
            (false, false) => ' ',
        });
        text.push(if is_inside && at < last { '─' } else { ' ' });
    }
    text.trim_end().to_owned()
}

fn set_by(node: &Node) -> String {
    match (node.count, node.axes.as_slice()) {
        (None, _) | (_, []) => String::new(),
        (Some(_), axes) => format!("  by {}", axes.join(", ")),
    }
}

fn count(count: Option<usize>) -> String {
    count.map(|count| format!("×{count}")).unwrap_or_default()
}

fn pad(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.width()))
}
