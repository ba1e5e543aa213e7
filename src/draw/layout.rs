//! Where nodes and edges go: layers from top to bottom, after Sugiyama, Tagawa and Toda (1981).
//!
//! Cycles are broken, nodes put into layers and edges cut at each layer they cross, so that every piece of an edge is
//! an item of a layer like a node. Items are ordered by the barycentre of their neighbours, layer by layer, and the
//! order with the fewest crossings is kept. Places within a layer are then a least-squares problem with minimal
//! distances, solved exactly for one layer at a time (isotonic regression). Nothing overlaps by construction: items
//! keep their distance within a layer, and edges bend only between layers.

use petgraph::algo::{greedy_feedback_arc_set, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

/// Between neighbours in a layer.
const GAP: f64 = 28.0;
/// Between neighbours of which one is a piece of an edge.
const EDGE_GAP: f64 = 16.0;
/// Between layers.
const LAYER_GAP: f64 = 34.0;
/// Between the ends of edges at a node.
const END_GAP: f64 = 14.0;
const ORDERING_SWEEPS: usize = 24;
const PLACING_SWEEPS: usize = 80;
const STRAIGHTENING_SWEEPS: usize = 3;

/// Where everything is; the top left corner is (0, 0).
pub(super) struct Layout {
    /// The middle of each node.
    pub places: Vec<(f64, f64)>,
    /// The points of each edge, from its source's border to its target's: where they pass a layer two of them, one
    /// above the other.
    pub ways: Vec<Vec<(f64, f64)>>,
    pub width: f64,
    pub height: f64,
}

/// Lays out nodes of these widths and heights.
pub(super) fn lay_out(sizes: &[(f64, f64)], edges: &[(usize, usize)]) -> Layout {
    let downward = break_cycles(sizes.len(), edges);
    let ranks = rank(sizes.len(), &downward);
    let mut layers = Layers::new(sizes, &downward, &ranks);
    layers.order();
    layers.place();
    layers.draw(edges, &downward)
}

/// The edges, those turned round that would close a cycle.
fn break_cycles(nodes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut graph = DiGraph::<(), usize>::new();
    for _ in 0..nodes {
        graph.add_node(());
    }
    for (index, &(from, to)) in edges.iter().enumerate() {
        graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), index);
    }
    let mut downward = edges.to_vec();
    for edge in greedy_feedback_arc_set(&graph) {
        let (from, to) = edges[*edge.weight()];
        downward[*edge.weight()] = (to, from);
    }
    downward
}

/// The layer of each node: below all that leads to it, and no further up or down than shortens its edges.
fn rank(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut graph = DiGraph::<(), ()>::new();
    for _ in 0..nodes {
        graph.add_node(());
    }
    for &(from, to) in edges {
        graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
    }
    let order = toposort(&graph, None).expect("the cycles are broken");
    let mut ranks = vec![0; nodes];
    for node in &order {
        let above = graph.edges_directed(*node, petgraph::Direction::Incoming).map(|edge| edge.source());
        ranks[node.index()] = above.map(|from| ranks[from.index()] + 1).max().unwrap_or(0);
    }
    for node in order.iter().rev() {
        let ins = graph.edges_directed(*node, petgraph::Direction::Incoming).count();
        let below: Vec<usize> = graph.neighbors(*node).map(|to| ranks[to.index()]).collect();
        if let Some(lowest) = below.iter().min()
            && below.len() > ins
        {
            ranks[node.index()] = lowest - 1;
        }
    }
    ranks
}

/// A node, or the piece of an edge in a layer it crosses.
struct Item {
    width: f64,
    height: f64,
    is_node: bool,
    /// The middle.
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

struct Layers {
    /// The nodes, then the pieces of edges.
    items: Vec<Item>,
    /// From left to right.
    layers: Vec<Vec<usize>>,
    /// The items of each edge, downwards.
    chains: Vec<Vec<usize>>,
}

impl Layers {
    fn new(sizes: &[(f64, f64)], edges: &[(usize, usize)], ranks: &[usize]) -> Self {
        let item = |width, height, is_node| Item {
            width,
            height,
            is_node,
            x: 0.0,
            above: Vec::new(),
            below: Vec::new(),
        };
        let mut items: Vec<Item> = sizes.iter().map(|&(width, height)| item(width, height, true)).collect();
        let mut layers = vec![Vec::new(); ranks.iter().max().map_or(0, |last| last + 1)];
        for (node, &rank) in ranks.iter().enumerate() {
            layers[rank].push(node);
        }
        let mut chains = Vec::with_capacity(edges.len());
        for &(from, to) in edges {
            let mut chain = vec![from];
            for layer in &mut layers[ranks[from] + 1..ranks[to]] {
                layer.push(items.len());
                chain.push(items.len());
                items.push(item(0.0, 0.0, false));
            }
            chain.push(to);
            for pair in chain.windows(2) {
                items[pair[0]].below.push(pair[1]);
                items[pair[1]].above.push(pair[0]);
            }
            chains.push(chain);
        }
        Self { items, layers, chains }
    }

    /// Orders the layers for few crossings.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for sweep in 0..ORDERING_SWEEPS {
            let downwards = sweep % 2 == 0;
            let count = self.layers.len();
            for step in 1..count {
                let at = if downwards { step } else { count - 1 - step };
                self.order_layer(at, downwards);
            }
            self.swap_neighbours();
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    /// The place of every item in its layer.
    fn positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.items.len()];
        for layer in &self.layers {
            for (position, &item) in layer.iter().enumerate() {
                positions[item] = position;
            }
        }
        positions
    }

    /// Sorts a layer by the mean place of each item's neighbours above or below; an item without any stays in place.
    fn order_layer(&mut self, at: usize, downwards: bool) {
        let positions = self.positions();
        let key = |&item: &usize| {
            let neighbours = if downwards { &self.items[item].above } else { &self.items[item].below };
            match neighbours.len() {
                0 => positions[item] as f64,
                count => neighbours.iter().map(|&other| positions[other] as f64).sum::<f64>() / count as f64,
            }
        };
        let mut layer = self.layers[at].clone();
        layer.sort_by(|a, b| key(a).total_cmp(&key(b)));
        self.layers[at] = layer;
    }

    /// Swaps neighbours in a layer wherever that takes crossings away.
    fn swap_neighbours(&mut self) {
        let mut positions = self.positions();
        for layer in &mut self.layers {
            for left in 1..layer.len() {
                let (a, b) = (layer[left - 1], layer[left]);
                let crossed = |a: usize, b: usize| -> usize {
                    [
                        (&self.items[a].above, &self.items[b].above),
                        (&self.items[a].below, &self.items[b].below),
                    ]
                    .into_iter()
                    .map(|(a, b)| {
                        let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
                        pairs.filter(|(a, b)| positions[**a] > positions[**b]).count()
                    })
                    .sum()
                };
                if crossed(b, a) < crossed(a, b) {
                    layer.swap(left - 1, left);
                    positions.swap(a, b);
                }
            }
        }
    }

    fn crossings(&self) -> usize {
        let positions = self.positions();
        let mut crossings = 0;
        for layer in &self.layers {
            let mut ends: Vec<usize> = Vec::new();
            for &item in layer {
                let mut below: Vec<usize> =
                    self.items[item].below.iter().map(|&other| positions[other]).collect();
                below.sort_unstable();
                crossings += below
                    .iter()
                    .map(|end| ends.len() - ends.partition_point(|other| other <= end))
                    .sum::<usize>();
                ends.extend(below);
                ends.sort_unstable();
            }
        }
        crossings
    }

    /// Places the items of each layer near their neighbours, long edges straightest.
    fn place(&mut self) {
        for layer in &self.layers {
            let mut x = 0.0;
            for (index, &item) in layer.iter().enumerate() {
                if index > 0 {
                    x += self.distance(layer[index - 1], item);
                }
                self.items[item].x = x;
            }
        }
        for sweep in 0..PLACING_SWEEPS {
            for step in 0..self.layers.len() {
                let at = if sweep % 2 == 0 { step } else { self.layers.len() - 1 - step };
                let layer = &self.layers[at];
                let wanted: Vec<(f64, f64)> = layer.iter().map(|&item| self.wanted(item)).collect();
                let distances: Vec<f64> =
                    layer.windows(2).map(|pair| self.distance(pair[0], pair[1])).collect();
                for (&item, x) in layer.iter().zip(nearest_apart(&wanted, &distances)) {
                    self.items[item].x = x;
                }
            }
        }
        self.straighten();
    }

    /// Makes the long edges upright where there is room for it.
    fn straighten(&mut self) {
        let positions = self.positions();
        let mut layer_of = vec![0; self.items.len()];
        for (at, layer) in self.layers.iter().enumerate() {
            layer.iter().for_each(|&item| layer_of[item] = at);
        }
        for _ in 0..STRAIGHTENING_SWEEPS {
            for chain in &self.chains {
                let pieces = &chain[1..chain.len() - 1];
                let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
                for &item in pieces {
                    let (layer, at) = (&self.layers[layer_of[item]], positions[item]);
                    if let Some(&left) = at.checked_sub(1).map(|at| &layer[at]) {
                        least = least.max(self.items[left].x + self.distance(left, item));
                    }
                    if let Some(&right) = layer.get(at + 1) {
                        most = most.min(self.items[right].x - self.distance(item, right));
                    }
                }
                if !pieces.is_empty() && least <= most {
                    let mean =
                        pieces.iter().map(|&item| self.items[item].x).sum::<f64>() / pieces.len() as f64;
                    pieces.iter().for_each(|&item| self.items[item].x = mean.clamp(least, most));
                }
            }
        }
    }

    /// The least distance between the middles of neighbours in a layer.
    fn distance(&self, left: usize, right: usize) -> f64 {
        let (left, right) = (&self.items[left], &self.items[right]);
        let gap = if left.is_node && right.is_node { GAP } else { EDGE_GAP };
        (left.width + right.width) / 2.0 + gap
    }

    /// Where an item would be if it were alone, and how much that matters.
    fn wanted(&self, item: usize) -> (f64, f64) {
        let this = &self.items[item];
        let pulls = this.above.iter().chain(&this.below).map(|&other| {
            let weight = match (this.is_node, self.items[other].is_node) {
                (true, true) => 1.0,
                (true, false) | (false, true) => 2.0,
                (false, false) => 8.0,
            };
            (self.items[other].x, weight)
        });
        let (sum, weight) =
            pulls.fold((0.0, 0.0), |(sum, all), (x, weight)| (sum + x * weight, all + weight));
        if weight > 0.0 { (sum / weight, weight) } else { (this.x, 0.01) }
    }

    fn draw(self, edges: &[(usize, usize)], downward: &[(usize, usize)]) -> Layout {
        let left = self.items.iter().map(|item| item.x - item.width / 2.0).fold(f64::INFINITY, f64::min);
        let right = self.items.iter().map(|item| item.x + item.width / 2.0).fold(0.0, f64::max);
        let mut spans = vec![(0.0, 0.0); self.items.len()];
        let mut top = 0.0;
        for layer in &self.layers {
            let height = layer.iter().map(|&item| self.items[item].height).fold(0.0, f64::max);
            for &item in layer {
                // A piece of an edge passes its whole layer.
                let own = if self.items[item].is_node { self.items[item].height } else { height };
                spans[item] = (top + (height - own) / 2.0, top + f64::midpoint(height, own));
            }
            top += height + LAYER_GAP;
        }
        let ends = self.ends();
        let way = |(edge, chain): (usize, &Vec<usize>)| {
            let mut points = Vec::new();
            for (step, &item) in chain.iter().enumerate() {
                let x = self.items[item].x - left;
                let (above, below) = spans[item];
                if step > 0 {
                    points.push((x + if self.items[item].is_node { ends[edge].1 } else { 0.0 }, above));
                }
                if step + 1 < chain.len() {
                    points.push((x + if self.items[item].is_node { ends[edge].0 } else { 0.0 }, below));
                }
            }
            if edges[edge] != downward[edge] {
                points.reverse();
            }
            points
        };
        let nodes = self.items.iter().take_while(|item| item.is_node).enumerate();
        Layout {
            places: nodes
                .map(|(index, item)| (item.x - left, f64::midpoint(spans[index].0, spans[index].1)))
                .collect(),
            ways: self.chains.iter().enumerate().map(way).collect(),
            width: if self.items.is_empty() { 0.0 } else { right - left },
            height: (top - LAYER_GAP).max(0.0),
        }
    }

    /// How far from the middle of its nodes each edge begins and ends, so that edges do not share a point.
    fn ends(&self) -> Vec<(f64, f64)> {
        let mut ends = vec![(0.0, 0.0); self.chains.len()];
        let mut leaving: Vec<Vec<(f64, usize)>> = vec![Vec::new(); self.items.len()];
        let mut arriving = leaving.clone();
        for (edge, chain) in self.chains.iter().enumerate() {
            let last = chain.len() - 1;
            leaving[chain[0]].push((self.items[chain[1]].x, edge));
            arriving[chain[last]].push((self.items[chain[last - 1]].x, edge));
        }
        let offsets = |item: &Item, mut edges: Vec<(f64, usize)>| -> Vec<(usize, f64)> {
            edges.sort_by(|a, b| a.0.total_cmp(&b.0));
            let room = (item.width - 2.0 * END_GAP).max(0.0);
            let gap = END_GAP.min(room / (edges.len().max(2) - 1) as f64);
            let middle = (edges.len() as f64 - 1.0) / 2.0;
            edges.into_iter().enumerate().map(|(at, (_, edge))| (edge, (at as f64 - middle) * gap)).collect()
        };
        for ((item, leaving), arriving) in self.items.iter().zip(leaving).zip(arriving) {
            for (edge, offset) in offsets(item, leaving) {
                ends[edge].0 = offset;
            }
            for (edge, offset) in offsets(item, arriving) {
                ends[edge].1 = offset;
            }
        }
        ends
    }
}

/// The places nearest to the wanted ones, each with its weight, that keep these distances: by pooling neighbours that
/// come too near.
fn nearest_apart(wanted: &[(f64, f64)], distances: &[f64]) -> Vec<f64> {
    let mut offsets = vec![0.0; wanted.len()];
    for (index, distance) in distances.iter().enumerate() {
        offsets[index + 1] = offsets[index] + distance;
    }
    // Mean, weight and length of each pool.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&(x, weight), offset) in wanted.iter().zip(&offsets) {
        let mut pool = (x - offset, weight, 1);
        while let Some(&(mean, other, length)) = pools.last().filter(|last| last.0 > pool.0) {
            let sum = mean * other + pool.0 * pool.1;
            pool = (sum / (other + pool.1), other + pool.1, length + pool.2);
            pools.pop();
        }
        pools.push(pool);
    }
    let means = pools.into_iter().flat_map(|(mean, _, length)| std::iter::repeat_n(mean, length));
    means.zip(&offsets).map(|(mean, offset)| mean + offset).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_that_want_one_place_share_it_evenly() {
        assert_eq!(nearest_apart(&[(0.0, 1.0), (0.0, 1.0), (100.0, 1.0)], &[10.0, 10.0]), [-5.0, 5.0, 100.0]);
        assert_eq!(nearest_apart(&[(3.0, 1.0), (0.0, 3.0)], &[4.0]), [-2.25, 1.75]);
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let layout = lay_out(&[(50.0, 10.0), (90.0, 10.0), (20.0, 10.0)], &[(0, 1), (1, 2)]);
        assert!(layout.places.iter().all(|place| (place.0 - 45.0).abs() < 0.1), "{:?}", layout.places);
        assert_eq!((layout.width.round(), layout.height.round()), (90.0, 98.0));
    }

    proptest! {
        #[test]
        fn nodes_never_overlap_and_edges_pass_between_them(
            widths in proptest::collection::vec(20.0..200.0_f64, 1..14),
            pairs in proptest::collection::btree_set((0..14_usize, 0..14_usize), 0..30),
        ) {
            let nodes = widths.len();
            let sizes: Vec<(f64, f64)> = widths.iter().map(|&width| (width, 30.0)).collect();
            let edges: Vec<(usize, usize)> =
                pairs.into_iter().filter(|&(from, to)| from != to && from < nodes && to < nodes).collect();
            let layout = lay_out(&sizes, &edges);
            for a in 0..nodes {
                let (x, y) = layout.places[a];
                prop_assert!(x - widths[a] / 2.0 > -0.01 && x + widths[a] / 2.0 < layout.width + 0.01);
                prop_assert!(y > 14.9 && y < layout.height - 14.9);
                for b in 0..a {
                    let (dx, dy) = ((x - layout.places[b].0).abs(), (y - layout.places[b].1).abs());
                    prop_assert!(dy > 30.0 || dx > (widths[a] + widths[b]) / 2.0, "{} and {}", a, b);
                }
            }
            for (&(from, to), way) in edges.iter().zip(&layout.ways) {
                prop_assert!(way.len() % 2 == 0);
                let touches = |node: usize, (x, y): (f64, f64)| {
                    let place = layout.places[node];
                    (x - place.0).abs() <= widths[node] / 2.0 && ((y - place.1).abs() - 15.0).abs() < 0.01
                };
                prop_assert!(touches(from, way[0]) && touches(to, way[way.len() - 1]));
                for passing in way[1..way.len() - 1].chunks(2) {
                    let is_clear = |node: usize| {
                        let (x, y) = layout.places[node];
                        (passing[0].0 - x).abs() > widths[node] / 2.0
                            || passing.iter().all(|point| (point.1 - y).abs() > 15.1)
                    };
                    prop_assert!((0..nodes).all(is_clear));
                }
            }
        }
    }
}
