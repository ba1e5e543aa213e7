//! The stage that shows what a clustering found.

mod page;

use std::path::Path;

use ablate_stage::{ArtifactKind, FieldError, Job, Port, Progress, Request, Split, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Column, Columns, ContactSheet, Image, ImageSet};
use page::Page;

/// Shows the clusters of images: a table with the cluster of each, and contact sheets to look at.
///
/// Reads `images` and their `assignment`, and, where they are wired, the `embeddings` that were clustered. Writes the
/// `table`, a row an image with its name, split, label and cluster, and again as `csv`; a `sheet` with a row a cluster; and a
/// `page` with a sheet of its own for each cluster, which opens in any browser. A cluster's most typical images come first: those
/// of the highest probability where the assignment has them, otherwise those nearest to the mean of the cluster's
/// normalised embeddings, otherwise the first ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gallery {
    /// Images of each cluster on its sheet, at most.
    pub samples: usize,
    /// Images in a row of a sheet.
    pub columns: usize,
    /// Side of an image on a sheet, in pixels.
    pub side: usize,
}

impl Default for Gallery {
    fn default() -> Self {
        Self { samples: 48, columns: 12, side: 64 }
    }
}

const DESCRIPTION: &str = "A row is a cluster, cluster 0 at the top, and its most typical images come first.";

/// The clusters of a data set of `N` images, for showing.
struct Clusters {
    /// `[N]`.
    of: Vec<usize>,
    /// How typical of its cluster each image is, more is more, `[N]`.
    typical: Vec<f32>,
    /// What `typical` is called in the table; it is left out where there is nothing to call it.
    measure: Option<&'static str>,
    /// Rows of each cluster, the most typical first.
    rows: Vec<Vec<usize>>,
}

impl Stage for Gallery {
    const KIND: &'static str = "Gallery";
    const REVISION: u32 = 2;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![
            Port::required("images", ArtifactKind::Images),
            Port::required("assignment", ArtifactKind::Assignment),
            Port::optional("embeddings", ArtifactKind::Embeddings),
        ]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![
            Port::required("table", ArtifactKind::Predictions),
            Port::required("csv", ArtifactKind::Csv),
            Port::required("sheet", ArtifactKind::Png),
            Port::required("page", ArtifactKind::Html),
        ]
    }

    fn validate(&self) -> Vec<FieldError> {
        let fields =
            [("samples", self.samples, 10_000), ("columns", self.columns, 100), ("side", self.side, 1024)];
        let outside = fields.into_iter().filter(|&(_, value, most)| !(1..=most).contains(&value));
        outside
            .map(|(field, value, most)| FieldError::new(field, format!("must be 1 to {most}, is {value}")))
            .collect()
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let images = ImageSet::from_job(job, "images")?;
        let clusters = Clusters::from_job(job, images.len())?;
        let table = table(&images, &clusters);
        table.write(job.output("table"))?;
        write(job.output("csv"), table.csv().as_bytes())?;

        let mut overview = ContactSheet::new(self.side).described(DESCRIPTION);
        let mut page = Page::new(&images.name, images.len());
        for (cluster, rows) in clusters.rows.iter().enumerate() {
            let small = |&row: &usize| images.image(row).map(|image| overview.fit(image));
            let shown = rows.iter().take(self.samples).map(small);
            let shown = shown.collect::<Result<Vec<Image>, _>>();
            let shown = shown.map_err(|error| StageError::input("images", error))?;
            overview.push(shown.iter().take(self.columns).cloned());
            let mut sheet = ContactSheet::new(self.side);
            shown.chunks(self.columns).for_each(|row| sheet.push(row.iter().cloned()));
            let png = if shown.is_empty() { None } else { Some(sheet.png()?) };
            page.cluster(cluster, rows.len(), majority(&images, rows), shown.len(), png.as_deref());
            job.progress(Progress::of(cluster as u64 + 1, clusters.rows.len() as u64, "cluster"));
        }
        write(job.output("sheet"), &overview.png()?)?;
        write(job.output("page"), page.finish().as_bytes())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StageError> {
    std::fs::write(path, bytes).map_err(StageError::io(path))
}

impl Clusters {
    fn from_job(job: &Job<'_>, images: usize) -> Result<Self, StageError> {
        let wrong = |port: &'static str| move |error| StageError::input(port, error);
        let fits = |port: &'static str, rows: usize| match rows == images {
            true => Ok(()),
            false => Err(StageError::input(port, format!("it has {rows} rows for {images} images"))),
        };
        let assignment = ArtifactKind::Assignment.read_tensors(job.input("assignment")?);
        let assignment = assignment.map_err(wrong("assignment"))?;
        let ids = assignment.i64("cluster").map_err(wrong("assignment"))?;
        fits("assignment", ids.len())?;
        let count = assignment.metadata("num_clusters").and_then(|count| count.parse().ok());
        let count: usize = count.expect("an assignment is checked to have the number of clusters");
        let of: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
        let (typical, measure) = if assignment.contains("probabilities") {
            let probabilities = assignment.f32("probabilities").map_err(wrong("assignment"))?;
            let own = of.iter().zip(probabilities.chunks_exact(count)).map(|(&cluster, row)| row[cluster]);
            (own.collect(), Some("probability"))
        } else if let Some(path) = job.optional_input("embeddings") {
            let embeddings = ArtifactKind::Embeddings.read_tensors(path).map_err(wrong("embeddings"))?;
            let dim = embeddings.get("embeddings").map_err(wrong("embeddings"))?.shape()[1];
            let values = embeddings.f32("embeddings").map_err(wrong("embeddings"))?;
            fits("embeddings", values.len() / dim)?;
            (similarities(values, dim, &of, count), Some("similarity"))
        } else {
            (vec![0.0; images], None)
        };
        let mut rows = vec![Vec::new(); count];
        of.iter().enumerate().for_each(|(row, &cluster)| rows[cluster].push(row));
        for rows in &mut rows {
            rows.sort_by(|&a, &b| typical[b].total_cmp(&typical[a]));
        }
        Ok(Self { of, typical, measure, rows })
    }
}

/// The cosine of each embedding `[N, dim]` and the mean of its cluster's normalised embeddings, `[N]`.
fn similarities(values: &[f32], dim: usize, of: &[usize], clusters: usize) -> Vec<f32> {
    let norm = |row: &[f32]| row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(1e-12);
    let mut means = vec![0.0_f64; clusters * dim];
    for (row, &cluster) in values.chunks_exact(dim).zip(of) {
        let norm = norm(row);
        let mean = &mut means[cluster * dim..][..dim];
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / norm);
    }
    let cosine = |(row, &cluster): (&[f32], &usize)| {
        let mean = &means[cluster * dim..][..dim];
        let length = mean.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        let product: f64 = row.iter().zip(mean).map(|(&value, mean)| f64::from(value) * mean).sum();
        (product / (norm(row) * length)) as f32
    };
    values.chunks_exact(dim).zip(of).map(cosine).collect()
}

/// A row an image: `row`, `name` where images have names, `split`, `label` where there are classes, `cluster`, and how typical
/// it is.
fn table(images: &ImageSet, clusters: &Clusters) -> Columns {
    let split = |split: &Split| match split {
        Split::Train => "train",
        Split::Test => "test",
        Split::Unlabelled => "unlabelled",
    };
    let label =
        |&label: &i64| usize::try_from(label).map_or(String::new(), |label| images.classes[label].clone());
    let mut table = Columns::new().with("row", Column::I64((0..images.len() as i64).collect()));
    if let Some(names) = &images.names {
        let names = (0..names.len()).map(|row| names.get(row).to_string_lossy().into_owned());
        table = table.with("name", Column::Text(names.collect()));
    }
    table = table.with("split", Column::Text(images.split.iter().map(|of| split(of).to_owned()).collect()));
    if !images.classes.is_empty() {
        table = table.with("label", Column::Text(images.labels.iter().map(label).collect()));
    }
    table = table.with("cluster", Column::I64(clusters.of.iter().map(|&cluster| cluster as i64).collect()));
    match clusters.measure {
        Some(measure) => {
            table.with(measure, Column::F64(clusters.typical.iter().map(|&value| f64::from(value)).collect()))
        }
        None => table,
    }
}

/// The class most images of a cluster have, and its share among those that have one.
fn majority<'a>(images: &'a ImageSet, rows: &[usize]) -> Option<(&'a str, f64)> {
    let mut counts = vec![0_usize; images.classes.len()];
    let labels = rows.iter().filter_map(|&row| usize::try_from(images.labels[row]).ok());
    labels.for_each(|label| counts[label] += 1);
    let labelled: usize = counts.iter().sum();
    let (class, &most) = counts.iter().enumerate().rev().max_by_key(|&(_, count)| count)?;
    (labelled > 0).then(|| (images.classes[class].as_str(), most as f64 / labelled as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Paths, Pixels, Stored};

    fn images() -> ImageSet {
        ImageSet {
            name: "letters".into(),
            classes: vec!["a".into(), "b".into()],
            labels: vec![0, 1, 1, -1],
            split: vec![Split::Train, Split::Train, Split::Test, Split::Unlabelled],
            names: Some(["x/1.png", "x/2.png", "=3.png", "4.png"].into_iter().collect::<Paths>()),
            images: Stored::Pixels(Pixels { height: 1, width: 1, channels: 1, bytes: vec![0, 50, 100, 150] }),
        }
    }

    #[test]
    fn the_most_typical_image_is_the_one_nearest_to_the_mean_direction() {
        let values = [1.0, 0.0, 0.0, 5.0, 2.0, 2.0, 0.0, -1.0];
        let found = similarities(&values, 2, &[0, 0, 0, 1], 2);
        let expected = [0.5_f32.sqrt(), 0.5_f32.sqrt(), 1.0, 1.0];
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6),
            "{found:?}"
        );
    }

    #[test]
    fn a_row_of_the_table_says_which_file_is_in_which_cluster() {
        let clusters = Clusters {
            of: vec![1, 0, 0, 1],
            typical: vec![0.5, 0.25, 1.0, 0.75],
            measure: Some("similarity"),
            rows: vec![vec![2, 1], vec![3, 0]],
        };
        let expected = "row,name,split,label,cluster,similarity\n0,x/1.png,train,a,1,0.5\n1,x/2.png,train,b,0,0.25\n\
                        2,'=3.png,test,b,0,1\n3,4.png,unlabelled,,1,0.75\n";
        assert_eq!(table(&images(), &clusters).csv(), expected);
        assert_eq!(majority(&images(), &[0, 3]), Some(("a", 1.0)));
        assert_eq!(majority(&images(), &[3]), None);
        let nameless = ImageSet { names: None, classes: Vec::new(), labels: vec![-1; 4], ..images() };
        let plain = Clusters { measure: None, ..clusters };
        assert!(table(&nameless, &plain).csv().starts_with("row,split,cluster\n0,train,1\n"));
    }
}
