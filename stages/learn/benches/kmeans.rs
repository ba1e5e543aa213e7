//! Seconds that k-means on the pixels of real images takes: `kmeans.py` runs this beside scikit-learn on the same rows.
//!
//!     cargo bench --profile dev --workspace --bench kmeans -- IMAGES CLUSTERS STARTS FOLDER
//!
//! `IMAGES` is an `Images` stage in RON, whose folders are absolute. Writes `FOLDER/rows.f32`, `[N, D]` of length
//! one, and `FOLDER/cluster.u32`, `[N]`. Prints N, D, the seconds and the inertia.

use std::path::Path;
use std::time::Instant;

use ablate_data::Images;
use ablate_data::random::Draws;
use ablate_learn::kmeans::KMeans;
use ablate_learn::rows::normalise;
use ndarray::Array2;
use ron::extensions::Extensions;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [images, clusters, starts, folder] = arguments.as_slice() else {
        // Without arguments there is nothing to measure: all targets are run by some tools.
        return;
    };
    let [clusters, n_init] = [clusters, starts].map(|text| text.parse::<usize>().expect("a number"));
    let ron = ron::Options::default().with_default_extension(Extensions::IMPLICIT_SOME);
    let images: Images = ron.from_str(images).expect("an Images stage");
    let images = images.read(Path::new(".")).expect("the images can be read");
    let pixels = |row| images.image(row).expect("the images can be decoded").pixels().to_vec();
    let mut values: Vec<f32> =
        (0..images.len()).flat_map(pixels).map(|value| f32::from(value) / 255.0).collect();
    let dim = values.len() / images.len();
    normalise(&mut values, dim);
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(Path::new(folder).join(name), bytes).expect("the folder can be written to");
    };
    write("rows.f32", values.iter().flat_map(|value| value.to_le_bytes()).collect());
    let points = Array2::from_shape_vec((images.len(), dim), values).expect("images of one size");
    let mut draws = Draws::named(0, "k-means bench");
    let clock = Instant::now();
    let found = KMeans { clusters, n_init, max_iter: 300, tolerance: 1e-4 }
        .fit(points.view(), &mut || draws.uniform());
    let seconds = clock.elapsed().as_secs_f64();
    write("cluster.u32", found.cluster.iter().flat_map(|cluster| cluster.to_le_bytes()).collect());
    println!("[{}, {dim}, {seconds}, {}]", images.len(), found.inertia);
}
