//! Cuts a graph into parts of equal size that keep neighbours together.

use crate::propagate::Edge;

/// The part of each node, `[N]` in `0..parts`: sizes differ by at most one, and part p is grown breadth first, against
/// and along the edges, from the lowest node that is still free whenever it runs dry.
///
/// SSL-GraphNNCLR has METIS, which cuts fewer edges; there is none in Rust, and its result is tied to a version of a C
/// library. Growing is deterministic and takes linear time.
///
/// # Panics
/// When there are no parts.
pub fn grow(edges: &[Edge], nodes: usize, parts: usize) -> Vec<u32> {
    assert!(parts > 0, "at least one part");
    const FREE: u32 = u32::MAX;
    let joined = neighbours(edges, nodes);
    let mut part = vec![FREE; nodes];
    let mut lowest = 0;
    let mut order = Vec::with_capacity(nodes);
    for current in 0..parts {
        let size = (current + 1) * nodes / parts - current * nodes / parts;
        let first = order.len();
        let mut next = first;
        while order.len() < first + size {
            if next == order.len() {
                while part[lowest] != FREE {
                    lowest += 1;
                }
                part[lowest] = current as u32;
                order.push(lowest);
                continue;
            }
            for &node in &joined[order[next]] {
                if part[node as usize] == FREE && order.len() < first + size {
                    part[node as usize] = current as u32;
                    order.push(node as usize);
                }
            }
            next += 1;
        }
    }
    part
}

fn neighbours(edges: &[Edge], nodes: usize) -> Vec<Vec<u32>> {
    let mut joined = vec![Vec::new(); nodes];
    for edge in edges.iter().filter(|edge| edge.source != edge.target) {
        joined[edge.target as usize].push(edge.source);
        joined[edge.source as usize].push(edge.target);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(nodes: u32) -> Vec<Edge> {
        (0..nodes).map(|node| Edge { source: node, target: (node + 1) % nodes, weight: 1.0 }).collect()
    }

    #[test]
    fn parts_are_balanced_and_keep_neighbours_together() {
        let part = grow(&ring(100), 100, 7);
        let sizes: Vec<usize> = (0..7).map(|p| part.iter().filter(|&&of| of == p).count()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 100);
        assert!(sizes.iter().all(|size| (14..=15).contains(size)), "{sizes:?}");
        let cut = ring(100).iter().filter(|e| part[e.source as usize] != part[e.target as usize]).count();
        assert!(cut <= 14, "{cut} of 100 edges are cut");
    }

    #[test]
    fn isolated_nodes_and_single_parts_are_placed() {
        assert_eq!(grow(&[], 5, 2), [0, 0, 1, 1, 1]);
        assert_eq!(grow(&ring(4), 4, 1), [0; 4]);
    }
}
