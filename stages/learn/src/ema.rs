//! The exponential moving average that makes a teacher of a student.

use crate::weights::Weights;

/// θ′ ← m θ′ + (1 − m) θ over the parameters (BYOL, Grill et al. 2020, eq. 1). Momentum 1 keeps the teacher, 0 copies the
/// student, both exactly. Running statistics of batch norms are the teacher's own and stay as they are.
///
/// # Panics
/// When the two networks do not have the same parameters.
pub fn update(teacher: &mut Weights, student: &Weights, momentum: f64) {
    let mut students = student.parameters();
    for (name, parameter) in teacher.parameters_mut() {
        let (student_name, student) = students.next().expect("teacher and student are one architecture");
        assert_eq!(name, student_name, "teacher and student are one architecture");
        let kept = parameter.values().mul_scalar(momentum);
        parameter.set(kept + student.values().mul_scalar(1.0 - momentum));
    }
    assert!(students.next().is_none(), "teacher and student are one architecture");
}

#[cfg(test)]
mod tests {
    use ablate_stage::Tensors;
    use burn::tensor::Device as BurnDevice;

    use super::*;

    fn network(values: [f32; 3], batches: i64) -> Weights {
        let mut weights = Weights::new(&BurnDevice::flex());
        weights.insert("w", &[3], values.to_vec());
        weights.insert_running("bn", 1);
        weights.running_mut("bn").batches = batches;
        weights
    }

    fn values(weights: &Weights) -> Vec<f32> {
        weights.store("", Tensors::new()).f32("w").unwrap().to_vec()
    }

    #[test]
    fn momentum_one_keeps_zero_copies_and_between_blends() {
        let student = network([1.0, -2.5, 0.3], 5);
        for (momentum, expected) in
            [(1.0, [0.7, 1e-9, 3.0]), (0.0, [1.0, -2.5, 0.3]), (0.75, [0.775, -0.625, 2.325])]
        {
            let mut teacher = network([0.7, 1e-9, 3.0], 0);
            update(&mut teacher, &student, momentum);
            assert_eq!(values(&teacher), expected, "momentum {momentum}");
            assert_eq!(teacher.running("bn").batches, 0, "statistics are the teacher's own");
        }
        assert_eq!(values(&student), [1.0, -2.5, 0.3]);
    }
}
