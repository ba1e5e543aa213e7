//! Encoded images, kept in memory or read from their files: the same images either way, and never others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ablate_data::{
    Extent, Gallery, ImageSet, Images, Loader, Loading, Position, Resizing, Source, Storage, Stored, Views,
};
use ablate_stage::{
    ArtifactKind, Device, Job, JobFiles, Report, Split, Stage, StageError, StopFlag, TensorData, Tensors,
};
use image::RgbImage;

/// A picture of one colour with a gradient.
fn picture(height: u32, width: u32, shade: u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([shade, (x * 7) as u8, (y * 5) as u8]))
}

/// A folder of three classes of four images of one size, and one broken file.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (class, shade) in [("ant", 10), ("bee", 90), ("cat", 200)] {
        let folder = dir.path().join("set").join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..4 {
            picture(12, 10, shade + number).save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
    dir
}

fn images(text: &str) -> Images {
    ron::from_str(text).unwrap()
}

/// The set the stage makes, and what it logged; through its artifact.
fn made(project: &Path, images: &Images) -> Result<(ImageSet, Vec<String>), StageError> {
    assert_eq!(images.validate(), []);
    let output = project.join("images.safetensors");
    let outputs = BTreeMap::from([("images".to_owned(), output.clone())]);
    let files = JobFiles { outputs, project: project.to_owned(), ..JobFiles::default() };
    let mut lines = Vec::new();
    let mut report = |report| {
        if let Report::Line(line) = report {
            lines.push(line);
        }
    };
    images.run(&mut Job::new(files, 0, Device::Cpu, 2, StopFlag::default(), &mut report))?;
    ArtifactKind::Images.check(&output).unwrap();
    Ok((ImageSet::read(&output, project).unwrap(), lines))
}

fn error(project: &Path, text: &str) -> String {
    let error = made(project, &images(text)).unwrap_err().to_string();
    error.replace(&project.display().to_string(), "DIR")
}

/// Two views of every image.
fn views(set: ImageSet, views: Views) -> Result<Vec<f32>, String> {
    let loading = Loading {
        rows: (0..set.len() as u32).collect(),
        batch: 5,
        drop_last: false,
        shuffle: true,
        views: views.augmentations(2),
        stats: set.channel_stats(),
        seed: 3,
        set: Arc::new(set),
    };
    let loader = Loader::new(loading).map_err(|error| error.to_string())?;
    let mut numbers = Vec::new();
    for batch in loader.batches(Position::default(), 1, 2) {
        let batch = batch.map_err(|error| error.to_string())?;
        numbers.extend(batch.views.into_iter().flat_map(|view| view.data));
    }
    Ok(numbers)
}

#[test]
fn images_in_files_are_those_in_memory() {
    let dir = folder();
    for resize in ["None", "Some(Square(8))", "Some(Stretch(6, 7))"] {
        let of = |storage: &str| {
            let text = format!("(source: Folder(folder: \"set\"), resize: {resize}, storage: {storage})");
            made(dir.path(), &images(&text)).unwrap().0
        };
        let (memory, files) = (of("Memory"), of("Files"));
        assert!(matches!((&memory.images, &files.images), (Stored::Pixels(_), Stored::Files(_))));
        assert_eq!((memory.extent(), &memory.names), (files.extent(), &files.names));
        assert_eq!(memory.channel_stats(), files.channel_stats());
        assert_eq!((&memory.labels, &memory.split), (&files.labels, &files.split));
        for row in 0..memory.len() {
            assert_eq!(memory.image(row).unwrap(), files.image(row).unwrap());
        }
        assert_eq!(views(memory, Views::default()).unwrap(), views(files, Views::default()).unwrap());
    }
}

#[test]
fn a_file_that_changed_is_never_taken_for_what_it_was() {
    let dir = folder();
    let text = "(source: Folder(folder: \"set\"), storage: Files)";
    let (set, _) = made(dir.path(), &images(text)).unwrap();
    picture(12, 10, 255).save(dir.path().join("set/bee/2.png")).unwrap();
    let error = views(set.clone(), Views::PLAIN).unwrap_err();
    assert!(error.contains("set/bee/2.png: it is not what it was when the data set was read"), "{error}");
    fs::remove_file(dir.path().join("set/bee/2.png")).unwrap();
    let error = views(set, Views::PLAIN).unwrap_err();
    assert!(error.contains("set/bee/2.png: No such file"), "{error}");
}

#[test]
fn images_that_differ_in_size_stay_in_their_files_and_need_views_of_one_size() {
    let dir = folder();
    picture(20, 9, 1).save(dir.path().join("set/ant/wide.png")).unwrap();
    let folder = "source: Folder(folder: \"set\")";
    let (set, _) = made(dir.path(), &images(&format!("({folder})"))).unwrap();
    assert!(matches!(set.images, Stored::Files(_)));
    assert_eq!(set.extent(), Extent::at_least(12, 9));
    let refused = views(set.clone(), Views::PLAIN).unwrap_err();
    assert!(refused.starts_with("the images differ in size, and so would their views"), "{refused}");
    let sized: Views = ron::from_str("SimClr(size: Some(8))").unwrap();
    assert_eq!(views(set, sized).unwrap().len(), 13 * 2 * 3 * 8 * 8);
    assert_eq!(
        error(dir.path(), &format!("({folder}, storage: Memory)")),
        "the images differ in size: DIR/set/ant/0.png has 12×10 pixels, DIR/set/ant/wide.png 20×9; give them one size \
         with `resize`, or keep them in their files with `storage: Files`"
    );
}

#[test]
fn broken_images_are_named_or_left_out() {
    let dir = folder();
    fs::write(dir.path().join("set/bee/broken.jpg"), "nothing").unwrap();
    let folder = "source: Folder(folder: \"set\")";
    assert_eq!(
        error(dir.path(), &format!("({folder})")),
        "1 image cannot be read: DIR/set/bee/broken.jpg: it is no image: JPEG, PNG, WebP and BMP are read; mend or \
         remove them, or leave them out with `on_error: Skip`"
    );
    for storage in ["Memory", "Files"] {
        let skipping = images(&format!("({folder}, on_error: Skip, storage: {storage})"));
        let (set, lines) = made(dir.path(), &skipping).unwrap();
        assert!(lines[0].starts_with("left out: 1 image cannot be read: "), "{lines:?}");
        assert_eq!(set.labels, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
        // The first value of a picture is its class's shade and its number.
        let shades: Vec<u8> = (0..12).map(|row| set.image(row).unwrap().pixels()[0]).collect();
        assert_eq!(shades, [10, 11, 12, 13, 90, 91, 92, 93, 200, 201, 202, 203]);
    }
}

#[test]
fn a_size_no_memory_can_hold_is_an_error() {
    let dir = folder();
    let thin = dir.path().join("set/ant/thin.png");
    picture(1, 30_000, 1).save(&thin).unwrap();
    let text = "(source: Folder(folder: \"set\"), resize: Some(Square(256)))";
    let found = error(dir.path(), text);
    assert!(found.contains("thin.png: its 1×30000 pixels would become 1966080000 by `resize`"), "{found}");
    fs::remove_file(thin).unwrap();
    let huge =
        Images { resize: Some(Resizing::Stretch(4096, 4096)), ..Images::new(Source::FashionMnistMini) };
    let all = Images { storage: Storage::Memory, ..huge };
    // 12,000 images of 16 MiB: where the system promises more memory than it has, nothing is written to it here.
    match all.read(dir.path()) {
        Err(error) => assert!(error.to_string().contains("and there is not as much memory"), "{error}"),
        Ok(_) => unreachable!("188 GiB"),
    }
}

#[test]
fn a_gallery_shows_each_cluster_from_its_most_typical_image_on() {
    let dir = folder();
    let (set, _) = made(dir.path(), &images("(source: Folder(folder: \"set\"))")).unwrap();
    let cluster: Vec<i64> = set.labels.iter().map(|label| 2 - label).collect();
    let own = |row: usize| 0.5 + row as f32 / 100.0;
    let probabilities = cluster.iter().enumerate().flat_map(|(row, &cluster)| {
        (0..3).map(move |k| if k == cluster { own(row) } else { (1.0 - own(row)) / 2.0 })
    });
    let assignment = |rows: usize| {
        Tensors::new()
            .with("cluster", &[rows], TensorData::I64(cluster[..rows].to_vec()))
            .with("split", &[rows], TensorData::U8(vec![Split::Train as u8; rows]))
            .with_metadata("num_clusters", "3")
    };
    let path = |name: &str| dir.path().join(name);
    let run = |gallery: Gallery| {
        let inputs = ["images.safetensors", "assignment"];
        let inputs =
            ["images", "assignment"].iter().zip(inputs).map(|(port, file)| (port.to_string(), path(file)));
        let ports = gallery.outputs().into_iter();
        let outputs: BTreeMap<_, _> = ports.map(|port| (port.name.clone(), path(&port.name))).collect();
        let project = dir.path().to_owned();
        let files = JobFiles { inputs: inputs.collect(), outputs, project, ..JobFiles::default() };
        let mut unheard = |_| {};
        gallery.run(&mut Job::new(files, 0, Device::Cpu, 1, StopFlag::default(), &mut unheard))
    };
    let with = TensorData::F32(probabilities.collect());
    assignment(12).with("probabilities", &[12, 3], with).write(&path("assignment")).unwrap();
    run(Gallery { samples: 2, columns: 2, side: 12 }).unwrap();
    for port in Gallery::default().outputs() {
        port.kind.check(&path(&port.name)).unwrap();
    }
    let csv = fs::read_to_string(path("csv")).unwrap();
    assert!(
        csv.starts_with("row,name,split,label,cluster,probability\n0,ant/0.png,train,ant,2,0.5\n"),
        "{csv}"
    );
    // A row a cluster: cats are cluster 0, and the last of them the most probable.
    let sheet = image::open(path("sheet").as_path());
    let sheet =
        sheet.or_else(|_| image::load_from_memory(&fs::read(path("sheet")).unwrap())).unwrap().into_rgb8();
    assert_eq!(sheet.dimensions(), (2 * 14 + 2, 3 * 14 + 2));
    let shade = |row: u32, column: u32| sheet.get_pixel(2 + column * 14 + 6, 2 + row * 14 + 6).0[0];
    assert_eq!([shade(0, 0), shade(0, 1), shade(2, 0)], [203, 202, 13]);
    let page = fs::read_to_string(path("page")).unwrap();
    assert!(page.contains("<p>4 images; most often <em>cat</em> (100 %); the 2 most typical</p>"), "{page}");
    assignment(11).write(&path("assignment")).unwrap();
    let error = run(Gallery::default()).unwrap_err().to_string();
    assert!(error.ends_with("it has 11 rows for 12 images"), "{error}");
}
