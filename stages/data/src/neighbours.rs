//! The stage that shows which images are neighbours.

use ablate_stage::{ArtifactKind, FieldError, Job, Port, Request, Stage, StageError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contact_sheet::{GAP, MAX_PIXELS};
use crate::{ContactSheet, Image, ImageSet};

/// Shows images beside their neighbours in a graph.
///
/// Reads `images` and a `graph` over them, whose edges point `FromNeighbours` and come nearest first. Writes a `sheet`: a row for
/// each of some images, the image itself and then its nearest others, framed in blue where they share its class and in orange
/// where they do not; where either has no label there is no frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Neighbours {
    /// Neighbours of an image, at most.
    pub k: usize,
    /// Images whose neighbours are shown, at equal distances in the data set's order.
    pub samples: usize,
    /// Side of an image on the sheet, in pixels.
    pub side: usize,
}

impl Default for Neighbours {
    fn default() -> Self {
        Self { k: 8, samples: 20, side: 64 }
    }
}

const DESCRIPTION: &str = "A row is an image and then its nearest others, in a blue frame where they share its class and in an \
                           orange one where they do not.";

/// Two colours that also the colour-blind tell apart (Okabe and Ito 2008), red, green and blue.
const SAME: [u8; 3] = [0, 114, 178];
const OTHER: [u8; 3] = [230, 159, 0];

impl Stage for Neighbours {
    const KIND: &'static str = "Neighbours";
    const REVISION: u32 = 2;
    const SEEDED: bool = false;

    fn inputs(&self) -> Vec<Port> {
        vec![Port::required("images", ArtifactKind::Images), Port::required("graph", ArtifactKind::Graph)]
    }

    fn outputs(&self) -> Vec<Port> {
        vec![Port::required("sheet", ArtifactKind::Png)]
    }

    fn validate(&self) -> Vec<FieldError> {
        let fields =
            [("k", self.k, 1, 100), ("samples", self.samples, 1, 1000), ("side", self.side, 8, 1024)];
        let outside = fields.into_iter().filter(|&(_, value, least, most)| !(least..=most).contains(&value));
        let wrong = |(field, value, least, most)| {
            FieldError::new(field, format!("must be {least} to {most}, is {value}"))
        };
        let mut errors: Vec<FieldError> = outside.map(wrong).collect();
        let pixels = self.samples * (self.k + 1) * (self.side + GAP).pow(2);
        if errors.is_empty() && pixels > MAX_PIXELS {
            let message =
                format!("with these `k` and `side` makes a sheet of {pixels} pixels, more than {MAX_PIXELS}");
            errors.push(FieldError::new("samples", message));
        }
        errors
    }

    fn request(&self) -> Request {
        Request::ONE_CPU
    }

    fn run(&self, job: &mut Job<'_>) -> Result<(), StageError> {
        let images = ImageSet::from_job(job, "images")?;
        let wrong = |error| StageError::input("graph", error);
        let graph = ArtifactKind::Graph.read_tensors(job.input("graph")?).map_err(wrong)?;
        let nodes = graph.u8("split").map_err(wrong)?.len();
        if nodes != images.len() {
            let reason = format!("it has {nodes} nodes for {} images", images.len());
            return Err(StageError::input("graph", reason));
        }
        let shown = self.samples.min(images.len());
        let rows: Vec<usize> = (0..shown).map(|at| at * images.len() / shown).collect();
        let neighbours = self.neighbours(graph.i64("edge_index").map_err(wrong)?, &rows);
        let image = |row: usize| images.image(row).map_err(|error| StageError::input("images", error));
        let mut sheet = ContactSheet::new(self.side).described(DESCRIPTION);
        for (&row, neighbours) in rows.iter().zip(&neighbours) {
            let mut line = vec![image(row)?];
            for &other in neighbours {
                let shown = sheet.fit(image(other)?);
                line.push(match (images.labels[row], images.labels[other]) {
                    (-1, _) | (_, -1) => shown,
                    (own, its) => framed(&shown, if own == its { SAME } else { OTHER }),
                });
            }
            sheet.push(line);
        }
        let path = job.output("sheet");
        std::fs::write(path, sheet.png()?).map_err(StageError::io(path))
    }
}

impl Neighbours {
    /// The first neighbours of each of some rows, by the sources of the edges to it, itself left out; `edges` are `[2, E]`.
    fn neighbours(&self, edges: &[i64], rows: &[usize]) -> Vec<Vec<usize>> {
        let (sources, targets) = edges.split_at(edges.len() / 2);
        let mut found = vec![Vec::new(); rows.len()];
        for (&source, &target) in sources.iter().zip(targets).filter(|(source, target)| source != target) {
            if let Ok(at) = rows.binary_search(&(target as usize))
                && found[at].len() < self.k
            {
                found[at].push(source as usize);
            }
        }
        found
    }
}

/// An image with a frame over its edge, a sixteenth of its shorter side wide.
fn framed(image: &Image, colour: [u8; 3]) -> Image {
    let (height, width) = (image.height(), image.width());
    let thick = (height.min(width) / 16).max(1);
    let within = |at: usize, length: usize| at >= thick && at + thick < length;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
    let pixel = |(y, x)| match within(y, height) && within(x, width) {
        true => {
            let mut values = image.pixel(y, x).iter().copied().cycle();
            [0; 3].map(|_: u8| values.next().expect("a pixel has channels"))
        }
        false => colour,
    };
    Image::new(height, width, 3, places.flat_map(pixel).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_others_of_each_row_are_shown() {
        let sheet = Neighbours { k: 2, ..Neighbours::default() };
        // 0 hears itself, 3, 1, 2; 2 hears 1; 1, not asked for, hears 0.
        let edges = [[0, 3, 1, 2, 1, 0], [0, 0, 0, 0, 2, 1]].concat();
        assert_eq!(sheet.neighbours(&edges, &[0, 2]), [vec![3, 1], vec![1]]);
    }

    #[test]
    fn a_frame_lies_over_the_edge_of_an_image() {
        let framed = framed(&Image::new(3, 4, 1, (0..12).collect()), SAME);
        assert_eq!((framed.height(), framed.width(), framed.channels()), (3, 4, 3));
        assert_eq!([framed.pixel(1, 1), framed.pixel(1, 2)], [[5; 3], [6; 3]]);
        assert_eq!([framed.pixel(0, 1), framed.pixel(1, 0), framed.pixel(2, 3)], [SAME; 3]);
    }
}
