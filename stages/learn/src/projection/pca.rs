//! Principal components.

use ablate_data::random::Draws;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};

/// Directions beside those asked for, which make the iteration converge by the gap to the next after them.
const MORE: usize = 8;
/// Most iterations, for spectra without a gap.
const MAX_ITERATIONS: usize = 200;
/// A component is found when its variance moves by less than this part of itself.
const TOLERANCE: f64 = 1e-10;

/// The places of points `[N, D]` along their `k` directions of most variance, `[N, k]`, about their mean. The largest entry of a
/// direction, in absolute value, is positive, as in scikit-learn. Directions without variance are zero.
///
/// Subspace iteration with Rayleigh and Ritz's step (Golub and Van Loan, Matrix Computations, 8.2.4), in double precision.
///
/// # Panics
/// When there is no point, or `k` is above D.
pub fn principal_components(points: ArrayView2<'_, f32>, k: usize) -> Array2<f32> {
    let (_, dim) = points.dim();
    assert!(k <= dim, "as many components as dimensions at most");
    let points = points.mapv(f64::from);
    let points = &points - &points.mean_axis(Axis(0)).expect("at least one point");
    let wide = (k + MORE).min(dim);
    let mut draws = Draws::named(0, "principal components");
    let mut basis = Array2::from_shape_simple_fn((dim, wide), || draws.normal());
    let mut before = Array1::<f64>::zeros(k);
    for _ in 0..MAX_ITERATIONS {
        orthonormalise(&mut basis);
        let image = points.dot(&basis);
        let (variance, turn) = eigen(image.t().dot(&image));
        let found = variance.slice_axis(Axis(0), Slice::from(..k)).to_owned();
        let still = found.iter().zip(&before).all(|(now, then)| (now - then).abs() <= TOLERANCE * now.abs());
        basis = if still { basis.dot(&turn) } else { points.t().dot(&image.dot(&turn)) };
        if still {
            break;
        }
        before = found;
    }
    orthonormalise(&mut basis);
    for mut direction in basis.axis_iter_mut(Axis(1)) {
        let largest = direction.iter().fold(0.0_f64, |most, &v| if v.abs() > most.abs() { v } else { most });
        direction *= if largest < 0.0 { -1.0 } else { 1.0 };
    }
    points.dot(&basis.slice_axis(Axis(1), Slice::from(..k))).mapv(|value| value as f32)
}

/// Gram and Schmidt's process on the columns of `[D, k]`, twice, which is enough (Giraud and others 2005). A column that depends on
/// those before it becomes zero.
fn orthonormalise(basis: &mut Array2<f64>) {
    let norm = |column: &Array1<f64>| column.dot(column).sqrt();
    for at in 0..basis.ncols() {
        let mut column = basis.column(at).to_owned();
        let length = norm(&column);
        for _ in 0..2 {
            for before in 0..at {
                let other = basis.column(before);
                let along = other.dot(&column);
                column.scaled_add(-along, &other);
            }
        }
        let left = norm(&column);
        column *= if left > 1e-12 * length { 1.0 / left } else { 0.0 };
        basis.column_mut(at).assign(&column);
    }
}

/// Eigenvalues of a symmetric matrix `[n, n]`, largest first, and its eigenvectors as columns in that order, by Jacobi's cyclic
/// rotations (Golub and Van Loan, 8.5).
fn eigen(mut matrix: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let n = matrix.nrows();
    let mut vectors = Array2::eye(n);
    let rotate = |(x, y): (f64, f64), (cos, sin): (f64, f64)| (cos * x - sin * y, sin * x + cos * y);
    for _ in 0..64 {
        let scale = matrix.diag().iter().map(|value| value * value).sum::<f64>();
        let off: f64 = (0..n).flat_map(|p| (0..p).map(move |q| (p, q))).map(|at| matrix[at].powi(2)).sum();
        if off <= 1e-28 * scale {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if matrix[(p, q)] == 0.0 {
                    continue;
                }
                let theta = (matrix[(q, q)] - matrix[(p, p)]) / (2.0 * matrix[(p, q)]);
                let tan = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cos = 1.0 / tan.hypot(1.0);
                let by = (cos, tan * cos);
                for i in 0..n {
                    let turned = rotate((matrix[(i, p)], matrix[(i, q)]), by);
                    (matrix[(i, p)], matrix[(i, q)]) = turned;
                }
                for i in 0..n {
                    let turned = rotate((matrix[(p, i)], matrix[(q, i)]), by);
                    (matrix[(p, i)], matrix[(q, i)]) = turned;
                    let turned = rotate((vectors[(i, p)], vectors[(i, q)]), by);
                    (vectors[(i, p)], vectors[(i, q)]) = turned;
                }
            }
        }
    }
    let values = matrix.diag().to_owned();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    (values.select(Axis(0), &order), vectors.select(Axis(1), &order))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_symmetric_matrix_is_put_together_again() {
        let matrix = array![[4.0, 1.0, -2.0], [1.0, 2.0, 0.0], [-2.0, 0.0, 3.0]];
        let (values, vectors) = eigen(matrix.clone());
        assert!(values[0] >= values[1] && values[1] >= values[2]);
        let again = vectors.dot(&Array2::from_diag(&values)).dot(&vectors.t());
        assert!((again - matrix).iter().all(|error| error.abs() < 1e-12));
    }

    #[test]
    fn components_are_along_the_axes_of_a_box() {
        // Corners of a box with sides 2, 12 and 6, turned in no way, off the origin.
        let corner = |at: usize, axis: usize, side: f32| if at >> axis & 1 == 1 { side } else { 0.0 };
        let points =
            Array2::from_shape_fn((8, 3), |(at, axis)| 5.0 + corner(at, axis, [2.0, 12.0, 6.0][axis]));
        let found = principal_components(points.view(), 2);
        for (place, point) in found.rows().into_iter().zip(points.rows()) {
            assert!((place[0] - (point[1] - 11.0)).abs() < 1e-5, "{place} of {point}");
            assert!((place[1] - (point[2] - 8.0)).abs() < 1e-5, "{place} of {point}");
        }
        // Equal points have no direction.
        assert_eq!(principal_components(Array2::ones((4, 2)).view(), 2), Array2::<f32>::zeros((4, 2)));
    }
}
