//! Scatter plots: samples at their places in the plane, in the colours of the groups they belong to.
//!
//! Groups carry their names in their midst as well as in colours, so that neither is needed to tell them apart.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::shown;

/// Colours of the page; further groups begin anew.
const COLOURS: u64 = 10;

const SIDE: f64 = 480.0;
const MARGIN: f64 = 14.0;

/// Samples in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// Whose samples, and what they are grouped by.
    pub title: String,
    /// The places of each group's samples, by what the group is called.
    pub groups: BTreeMap<Group, Vec<(f64, f64)>>,
    /// What the groups are called, by number, as far as they have names.
    pub names: Vec<String>,
}

/// What a sample belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Nothing that is known; drawn below all others.
    None,
    /// A class or cluster.
    Number(u64),
}

impl Scatter {
    /// As a `figure` element; nothing where there is no sample.
    pub fn to_html(&self) -> String {
        let is_finite = |at: &&(f64, f64)| at.0.is_finite() && at.1.is_finite();
        let all = || self.groups.values().flatten().filter(is_finite);
        if all().next().is_none() {
            return String::new();
        }
        let extremes = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (x, y) = (extremes(&mut all().map(|at| at.0)), extremes(&mut all().map(|at| at.1)));
        // Both axes have one scale: distances mean the same in every direction.
        let span = Some((x.1 - x.0).max(y.1 - y.0)).filter(|span| *span > 0.0).unwrap_or(1.0);
        let middle = (f64::midpoint(x.0, x.1), f64::midpoint(y.0, y.1));
        let place = |&(x, y): &(f64, f64)| {
            let scale = (SIDE - 2.0 * MARGIN) / span;
            (SIDE / 2.0 + (x - middle.0) * scale, SIDE / 2.0 - (y - middle.1) * scale)
        };
        let title = shown(&self.title);
        let mut html = format!(
            "<figure class=\"scatter\"><figcaption>{title}</figcaption>\n\
             <svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        let mut names = String::new();
        for (group, samples) in &self.groups {
            let samples: Vec<(f64, f64)> = samples.iter().filter(is_finite).copied().collect();
            if samples.is_empty() {
                continue;
            }
            let class = match group {
                Group::None => "dots".to_owned(),
                Group::Number(number) => format!("dots s{}", number % COLOURS),
            };
            let dots: String = samples.iter().map(place).map(|(x, y)| format!("M{x:.1} {y:.1}h0")).collect();
            writeln!(html, "<path class=\"{class}\" d=\"{dots}\"/>").expect("a string");
            if let Group::Number(number) = group {
                let (x, y) = place(&midst(&samples));
                let name = usize::try_from(*number).ok().and_then(|number| self.names.get(number));
                let name = name.map_or_else(|| number.to_string(), |name| shown(name));
                writeln!(names, "<text x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>").expect("a string");
            }
        }
        writeln!(html, "{names}</svg></figure>").expect("a string");
        html
    }
}

/// The median along each axis, which stays where most samples are.
fn midst(samples: &[(f64, f64)]) -> (f64, f64) {
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (median(|at| at.0), median(|at| at.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_placed_to_one_scale_with_the_names_of_their_groups() {
        let groups = BTreeMap::from([
            (Group::None, vec![(0.0, 0.0)]),
            (Group::Number(9), vec![(10.0, 5.0), (10.0, 0.0), (10.0, -5.0)]),
        ]);
        let html = Scatter { title: "a & b".to_owned(), groups, names: Vec::new() }.to_html();
        let expected = "<figure class=\"scatter\"><figcaption>a &amp; b</figcaption>\n\
                        <svg viewBox=\"0 0 480 480\" role=\"img\" aria-label=\"a &amp; b\">\n\
                        <path class=\"dots\" d=\"M14.0 240.0h0\"/>\n\
                        <path class=\"dots s9\" d=\"M466.0 14.0h0M466.0 240.0h0M466.0 466.0h0\"/>\n\
                        <text x=\"466.0\" y=\"240.0\">9</text>\n</svg></figure>\n";
        assert_eq!(html, expected);
        assert_eq!(
            Scatter { title: String::new(), groups: BTreeMap::new(), names: Vec::new() }.to_html(),
            ""
        );
        let alone = BTreeMap::from([
            (Group::None, vec![(3.0, 4.0), (f64::NAN, 1.0)]),
            (Group::Number(1), Vec::new()),
        ]);
        let names = ["ant", "<bee>"].map(str::to_owned).to_vec();
        let alone = Scatter { title: String::new(), groups: alone, names }.to_html();
        assert!(alone.contains("d=\"M240.0 240.0h0\"") && !alone.contains("NaN"), "{alone}");
        assert!(!alone.contains("bee"), "no sample of it is shown: {alone}");
        let named =
            BTreeMap::from([(Group::Number(1), vec![(3.0, 4.0)]), (Group::Number(2), vec![(5.0, 4.0)])]);
        let names = ["ant", "<bee>"].map(str::to_owned).to_vec();
        let named = Scatter { title: String::new(), groups: named, names }.to_html();
        assert!(named.contains(">&lt;bee&gt;</text>") && named.contains(">2</text>"), "{named}");
    }
}
