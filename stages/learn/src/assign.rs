//! The clusters of images by an encoder's cluster head.

use ablate_data::ImageSet;
use ablate_stage::{Job, StageError};
use burn::tensor::activation::softmax;

use crate::artifacts::Assignment;
use crate::encoder::{Encoder, Showing};
use crate::rows::largest;
use crate::weights::{Mode, host};

/// The probabilities `[n, K]` of the clusters of the images shown, row-major, and K.
///
/// # Errors
/// About input `encoder`, where it has no cluster head; as [`Encoder::show`].
pub fn probabilities(
    encoder: &mut Encoder,
    showing: &Showing<'_>,
    job: &mut Job<'_>,
) -> Result<(Vec<f32>, usize), StageError> {
    let Some(clusters) = encoder.architecture().clusters else {
        return Err(StageError::input("encoder", "it has no cluster head"));
    };
    let mut probabilities = Vec::with_capacity(showing.rows.len() * clusters);
    encoder.show(showing, job, |encoder, _, features| {
        probabilities.extend(host(softmax(encoder.cluster(features, Mode::Evaluate), 1)));
        Ok(())
    })?;
    Ok((probabilities, clusters))
}

/// Every image of a data set in its most probable cluster; `showing` is of all of them.
///
/// # Errors
/// As [`probabilities`].
pub fn by_head(
    encoder: &mut Encoder,
    showing: &Showing<'_>,
    job: &mut Job<'_>,
) -> Result<Assignment, StageError> {
    let images: &ImageSet = showing.images;
    let (probabilities, num_clusters) = probabilities(encoder, showing, job)?;
    Ok(Assignment {
        cluster: probabilities.chunks_exact(num_clusters).map(|row| largest(row) as i64).collect(),
        num_clusters,
        probabilities: Some(probabilities),
        labels: Some(images.labels.clone()),
        split: images.split.iter().map(|&split| split as u8).collect(),
    })
}
