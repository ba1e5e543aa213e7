//! Tables for a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{Rank, Table, label, mark};
use crate::diagnostic::escape;

/// Between columns.
const GAP: &str = "   ";
/// Labels are broken where they are wider than this, and there is a width to keep to.
const MAX_LABEL: usize = 28;
/// Nothing is broken into lines shorter than this.
const MIN_COLUMN: usize = 8;

/// How a table is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The columns of the terminal; `None` for as many as it takes.
    pub width: Option<usize>,
    /// Whether the best is shown in bold and the second best underlined.
    pub styled: bool,
}

/// A column of text, broken into lines.
struct Drawn {
    heading: Vec<String>,
    cells: Vec<Vec<String>>,
    ranks: Vec<Rank>,
    width: usize,
    is_label: bool,
}

impl Table {
    /// Drawn with lines. Where it is wider than the terminal, columns go on below, each part with the rows' labels. Control
    /// characters in labels are shown as escapes.
    pub fn to_terminal(&self, look: Look) -> String {
        let room = look.width.unwrap_or(usize::MAX);
        let labels: Vec<Drawn> = (0..self.axes.len()).map(|at| self.draw_labels(at, look.width)).collect();
        let stub: usize = labels.iter().map(|drawn| drawn.width + GAP.len()).sum();
        let beside = look.width.map(|width| width.saturating_sub(stub).max(MIN_COLUMN));
        let columns: Vec<Drawn> = (0..self.columns.len()).map(|at| self.draw_column(at, beside)).collect();
        let mut text = format!("{}\n", escape(&self.name));
        let mut left = columns.as_slice();
        loop {
            let mut taken = 0;
            let mut width = stub;
            while let Some(next) = left.get(taken) {
                width += next.width + GAP.len();
                if taken > 0 && width > room.saturating_add(GAP.len()) {
                    break;
                }
                taken += 1;
            }
            let (now, later) = left.split_at(taken);
            self.part(&labels.iter().chain(now).collect::<Vec<_>>(), look, &mut text);
            left = later;
            if left.is_empty() {
                break;
            }
            text.push('\n');
        }
        for (index, note) in self.notes.iter().enumerate() {
            text.push_str(&format!("[{}] {}\n", mark(index), escape(note)));
        }
        for remark in &self.remarks {
            text.push_str(&format!("{}\n", escape(remark)));
        }
        text
    }

    fn draw_labels(&self, at: usize, room: Option<usize>) -> Drawn {
        // Two thirds for all labels, but no less than can be read.
        let share = |room: usize| (2 * room / 3 / self.axes.len()).saturating_sub(GAP.len());
        let limit = room.map_or(usize::MAX, |room| share(room).clamp(MIN_COLUMN, MAX_LABEL));
        let cells: Vec<Vec<String>> =
            self.rows.iter().map(|row| broken(&label(row.labels[at].as_ref()), limit)).collect();
        let heading = broken(&escape(&self.axes[at]), limit.max(widest(&cells)));
        let ranks = vec![Rank::Other; cells.len()];
        let width = widest(&cells).max(heading.iter().map(|line| line.width()).max().unwrap_or(0));
        Drawn { heading, cells, ranks, width, is_label: true }
    }

    /// `room` is what labels leave of the width.
    fn draw_column(&self, at: usize, room: Option<usize>) -> Drawn {
        let cells = self.rows.iter().map(|row| {
            let text = escape(&row.cells[at].marked_text());
            room.map_or_else(|| vec![text.clone()], |room| broken(&text, room))
        });
        let cells: Vec<Vec<String>> = cells.collect();
        let heading = escape(&self.columns[at].heading.join(" "));
        let longest = heading.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0).min(MAX_LABEL);
        let limit = room.map_or(usize::MAX, |_| widest(&cells).max(longest));
        let heading = broken(&heading, limit);
        let width = widest(&cells).max(heading.iter().map(|line| line.width()).max().unwrap_or(0));
        let ranks = self.rows.iter().map(|row| row.cells[at].rank).collect();
        Drawn { heading, cells, ranks, width, is_label: false }
    }

    fn part(&self, columns: &[&Drawn], look: Look, text: &mut String) {
        let width = columns.iter().map(|drawn| drawn.width).sum::<usize>()
            + GAP.len() * columns.len().saturating_sub(1);
        let rule = |text: &mut String, c: &str| text.push_str(&format!("{}\n", c.repeat(width)));
        rule(text, "━");
        let tall = columns.iter().map(|drawn| drawn.heading.len()).max().unwrap_or(0);
        for line in 0..tall {
            // Headings stand on the line below them.
            let pieces = columns.iter().map(|drawn| {
                let piece =
                    (line + drawn.heading.len()).checked_sub(tall).map(|at| drawn.heading[at].as_str());
                drawn.aligned(piece.unwrap_or(""), None)
            });
            push_line(text, pieces);
        }
        rule(text, "─");
        for row in 0..self.rows.len() {
            if self.has_line_above(row) {
                rule(text, "─");
            }
            let tall = columns.iter().map(|drawn| drawn.cells[row].len()).max().unwrap_or(0);
            for line in 0..tall {
                let pieces = columns.iter().map(|drawn| {
                    let piece = drawn.cells[row].get(line).map_or("", String::as_str);
                    drawn.aligned(piece, look.styled.then_some(drawn.ranks[row]))
                });
                push_line(text, pieces);
            }
        }
        rule(text, "━");
    }
}

impl Drawn {
    /// A piece as wide as the column, labels to the left and values to the right.
    fn aligned(&self, piece: &str, rank: Option<Rank>) -> String {
        let pad = " ".repeat(self.width.saturating_sub(piece.width()));
        let piece = match rank.filter(|_| !piece.is_empty()) {
            Some(Rank::Best) => format!("\u{1b}[1m{piece}\u{1b}[0m"),
            Some(Rank::Second) => format!("\u{1b}[4m{piece}\u{1b}[0m"),
            Some(Rank::Other) | None => piece.to_owned(),
        };
        if self.is_label { piece + &pad } else { pad + &piece }
    }
}

fn push_line(text: &mut String, pieces: impl Iterator<Item = String>) {
    let line = pieces.collect::<Vec<_>>().join(GAP);
    text.push_str(line.trim_end());
    text.push('\n');
}

fn widest(cells: &[Vec<String>]) -> usize {
    cells.iter().flatten().map(|line| line.width()).max().unwrap_or(0)
}

/// A text in lines of at most `limit` columns, broken at blanks where there are any.
fn broken(text: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a line");
        if !last.is_empty() && last.width() + 1 + word.width() > limit {
            lines.push(String::new());
        } else if !last.is_empty() {
            last.push(' ');
        }
        for c in word.chars() {
            let last = lines.last_mut().expect("there is a line");
            if last.width() + c.width().unwrap_or(0) > limit && !last.is_empty() {
                lines.push(String::new());
            }
            lines.last_mut().expect("there is a line").push(c);
        }
    }
    lines
}
