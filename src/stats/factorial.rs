//! Main effects and interactions in a balanced factorial design.

use super::{grain, mean, spread};

/// A metric at every combination of the values of some axes, equally often at each, for some seeds.
///
/// With m the mean of all values, mₐ of those at a value a of one axis, and mₐᵦ of those at a and at a value b of another, the
/// main effect of a is `mₐ − m`, and the interaction of a and b is `mₐᵦ − mₐ − mᵦ + m`. Of the sum of squares of all N values
/// about m, an axis with A values accounts for `N / A · Σₐ (mₐ − m)²`, and it together with one of B values for
/// `N / AB · Σₐᵦ (mₐᵦ − mₐ − mᵦ + m)²` more (Montgomery, "Design and Analysis of Experiments", chapter 5).
#[derive(Clone, Debug, PartialEq)]
pub struct Factorial {
    /// How many values each axis has.
    sizes: Vec<usize>,
    /// By seed and combination, the last axis fastest: the mean of the values there.
    means: Vec<Vec<f64>>,
    /// How many values there are in all.
    count: usize,
    /// Their sum of squares about their mean; `None` where they do not differ.
    squares: Option<f64>,
}

impl Factorial {
    /// The design of axes with so many values each. For each seed, `values` are those at the first combination, then those at
    /// the next, the last axis fastest.
    ///
    /// # Panics
    /// Where a seed does not have equally many values, and at least one, at each combination.
    pub fn new(sizes: Vec<usize>, values: &[Vec<f64>]) -> Self {
        let combinations: usize = sizes.iter().product();
        let means = values.iter().map(|values| {
            let each = values.len() / combinations;
            assert!(each > 0 && values.len() == each * combinations, "the design is balanced");
            values.chunks(each).map(|values| values.iter().sum::<f64>() / each as f64).collect()
        });
        let all = values.concat();
        let differ = spread(&all) > grain(all.iter().copied());
        let squares = mean(&all).filter(|_| differ);
        let squares = squares.map(|mean| all.iter().map(|value| (value - mean).powi(2)).sum());
        Self { means: means.collect(), sizes, count: all.len(), squares }
    }

    /// How many seeds there are.
    pub fn seeds(&self) -> usize {
        self.means.len()
    }

    /// Every combination of the values of the axes `term`, the last fastest; one of none for no axis.
    pub fn combinations(&self, term: &[usize]) -> Vec<Vec<usize>> {
        term.iter().fold(vec![Vec::new()], |all, &axis| {
            let longer = |before: &Vec<usize>| {
                let before = before.clone();
                (0..self.sizes[axis]).map(move |value| [before.as_slice(), &[value]].concat())
            };
            all.iter().flat_map(longer).collect()
        })
    }

    /// By combination of the axes `term` and by seed: the mean over all other axes.
    pub fn means(&self, term: &[usize]) -> Vec<Vec<f64>> {
        let combinations: usize = self.sizes.iter().product();
        let count: usize = term.iter().map(|&axis| self.sizes[axis]).product();
        let each = (combinations / count) as f64;
        let mut means = vec![vec![0.0; self.means.len()]; count];
        for (seed, of_seed) in self.means.iter().enumerate() {
            for (combination, mean) in of_seed.iter().enumerate() {
                let at = term.iter().fold(0, |at, &axis| {
                    let below: usize = self.sizes[axis + 1..].iter().product();
                    at * self.sizes[axis] + combination / below % self.sizes[axis]
                });
                means[at][seed] += mean / each;
            }
        }
        means
    }

    /// By combination of the axes `term` and by seed: how far its mean is from what fewer of these axes explain, that is the
    /// mean of all for no axis, a main effect for one, an interaction for two.
    pub fn effects(&self, term: &[usize]) -> Vec<Vec<f64>> {
        let mut effects = self.means(term);
        let combinations = self.combinations(term);
        for chosen in 0..(1_usize << term.len()) - 1 {
            let part = |of: &[usize]| -> Vec<usize> {
                of.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, &it)| it).collect()
            };
            let axes = part(term);
            let explained = self.effects(&axes);
            for (effect, combination) in effects.iter_mut().zip(&combinations) {
                let at = axes
                    .iter()
                    .zip(part(combination))
                    .fold(0, |at, (&axis, value)| at * self.sizes[axis] + value);
                effect.iter_mut().zip(&explained[at]).for_each(|(effect, explained)| *effect -= explained);
            }
        }
        effects
    }

    /// The share of the sum of squares that the effects of the axes `term` account for (η²: Cohen, "Eta-squared and partial
    /// eta-squared in fixed factor ANOVA designs", 1973); `None` where the values do not differ.
    pub fn share(&self, term: &[usize]) -> Option<f64> {
        let effects = self.effects(term);
        let each = self.count as f64 / effects.len() as f64;
        let sum: f64 = effects.iter().filter_map(|effect| mean(effect)).map(|effect| effect * effect).sum();
        self.squares.map(|squares| each * sum / squares)
    }
}
