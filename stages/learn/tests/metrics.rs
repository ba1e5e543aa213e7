//! The clustering metrics against scikit-learn's values and slow loops.

use ablate_learn::metrics::Contingency;

const TRUE: [i64; 12] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 1];
const PREDICTED: [i64; 12] = [2, 2, 1, 0, 0, 0, 1, 1, 1, 1, 2, 0];

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn metrics_equal_scikit_learn() {
    let table = Contingency::new(&PREDICTED, &TRUE);
    assert_close(table.accuracy(), 0.916_666_666_7);
    assert_close(table.nmi(), 0.818_053_594_2);
    assert_close(table.ari(), 0.737_201_365_2);
    assert_close(table.fmi(), 0.811_107_105_7);
    // Classes 0, 1, 2 keep 3 of 4 + 3, 4 of 4 + 4, 4 of 4 + 5 samples in their matched clusters.
    assert_close(table.macro_f1(), (6.0 / 7.0 + 1.0 + 8.0 / 9.0) / 3.0);
}

#[test]
fn names_of_clusters_do_not_matter() {
    let renamed: Vec<i64> = PREDICTED.iter().map(|id| [70, -3, 12][*id as usize]).collect();
    let (table, plain) = (Contingency::new(&renamed, &TRUE), Contingency::new(&PREDICTED, &TRUE));
    assert_eq!(table.accuracy(), plain.accuracy());
    assert_close(table.nmi(), plain.nmi());
    assert_close(table.ari(), plain.ari());
    assert_close(table.macro_f1(), plain.macro_f1());
    assert_eq!(*table.matching(), [(70, 1), (-3, 2), (12, 0)].into_iter().collect());
}

#[test]
fn degenerate_partitions_have_their_closed_forms() {
    let one_part = Contingency::new(&[5; 4], &[9; 4]);
    assert_eq!((one_part.accuracy(), one_part.nmi(), one_part.ari(), one_part.fmi()), (1.0, 1.0, 1.0, 1.0));
    let single_cluster = Contingency::new(&[0; 4], &[0, 0, 1, 1]);
    assert_eq!((single_cluster.accuracy(), single_cluster.nmi(), single_cluster.ari()), (0.5, 0.0, 0.0));
    let all_apart = Contingency::new(&[0, 1, 2, 3], &[0, 0, 1, 1]);
    assert_eq!((all_apart.accuracy(), all_apart.fmi()), (0.5, 0.0));
    let worse_than_chance = Contingency::new(&[0, 1, 0, 1], &[0, 0, 1, 1]);
    assert_close(worse_than_chance.ari(), -0.5);
}

#[test]
fn pair_indices_equal_a_loop_over_pairs() {
    let clusters: Vec<i64> = (0..40).map(|i| (i * i + 3) % 7).collect();
    let labels: Vec<i64> = (0..40).map(|i| (i * 5 + i / 9) % 4).collect();
    let [mut both, mut cluster, mut class, mut all] = [0.0; 4];
    for i in 0..40 {
        for j in 0..i {
            let (same_cluster, same_class) = (clusters[i] == clusters[j], labels[i] == labels[j]);
            all += 1.0;
            both += f64::from(u8::from(same_cluster && same_class));
            cluster += f64::from(u8::from(same_cluster));
            class += f64::from(u8::from(same_class));
        }
    }
    let table = Contingency::new(&clusters, &labels);
    let expected = cluster * class / all;
    assert_close(table.ari(), (both - expected) / ((cluster + class) / 2.0 - expected));
    assert_close(table.fmi(), both / f64::sqrt(cluster * class));
}

#[test]
fn matching_is_the_best_of_all_permutations() {
    let clusters: Vec<i64> = (0..60).map(|i| (i * 7 + i / 5) % 4).collect();
    let labels: Vec<i64> = (0..60).map(|i| (i + i / 3) % 4).collect();
    let mut best = 0;
    for code in 0..256 {
        let map: Vec<i64> = (0..4).map(|digit| (code >> (2 * digit)) & 3).collect();
        if (0..4).all(|class| map.contains(&class)) {
            best = best.max(clusters.iter().zip(&labels).filter(|(c, l)| map[**c as usize] == **l).count());
        }
    }
    assert_close(Contingency::new(&clusters, &labels).accuracy(), best as f64 / 60.0);
}
