//! Rows of numbers: tables `[N, D]`, row-major, on the host.

use burn::prelude::*;
use burn::tensor::Device as BurnDevice;
use rayon::prelude::*;

/// Divides rows by their Euclidean norms, `[N, D]`; a row of zeros stays (PyTorch's `normalize`, ε = 1e-12).
pub fn normalise(values: &mut [f32], dim: usize) {
    values.par_chunks_mut(dim.max(1)).for_each(|row| {
        let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        let scale = (1.0 / norm.max(1e-12)) as f32;
        row.iter_mut().for_each(|value| *value *= scale);
    });
}

/// The place of the largest number of a row; of equals, the lowest.
///
/// # Panics
/// When the row is empty.
pub fn largest<T: PartialOrd>(row: &[T]) -> usize {
    assert!(!row.is_empty(), "a row without numbers has no largest");
    (1..row.len()).fold(0, |best, next| if row[next] > row[best] { next } else { best })
}

/// Numbers as a tensor on a device.
///
/// # Panics
/// When they do not fill `shape`.
pub(crate) fn upload<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &BurnDevice) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_length_one_and_zeros_stay() {
        let mut values = [3.0, 4.0, 0.0, 0.0];
        normalise(&mut values, 2);
        assert_eq!(values, [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn of_equal_numbers_the_lowest_place_counts() {
        assert_eq!([[1.0, 2.0, 2.0], [2.0, 2.0, 1.0], [0.0, 1.0, 2.0]].map(|row| largest(&row)), [1, 0, 2]);
    }
}
