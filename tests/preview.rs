//! Drawing what a stage sees, and writing out its presets.
#![cfg(feature = "learn")]

mod common;

use ablate_data::{Column, Columns};
use common::Project;

const PIPELINE: &str = r#"Pipeline(
    name: "views",
    stages: {
        "images": (stage: Images(source: FashionMnistMini, train: Some(40), test: Some(20))),
        "encoder": (
            stage: Pretrain(method: SimClr(temperature: 0.2), backbone: SmallCnn(width: 4), epochs: 1, batch: 16),
            from: {"images": "images"},
        ),
        "labelled": (
            stage: SelfLabel(epochs: 1),
            from: {"images": "images", "encoder": "encoder"},
        ),
        "features": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),
    },
)"#;

#[test]
fn views_are_drawn_once_the_images_are_there() {
    let project = Project::new();
    project.write("p.ron", PIPELINE).write("Cargo.toml", "");
    let early = project.expect(1, &["preview", "p.ron", "encoder"]);
    let expected = "error: encoder[seed=0]: input `images`: it is not wired; not in the store yet, `ablate run --only` makes \
                    it: images\n";
    assert_eq!(early.stderr, expected);

    project.expect(0, &["run", "p.ron", "--only", "images"]);
    let drawn = project.expect(0, &["preview", "p.ron", "encoder", "--to", "views.png"]);
    assert_eq!(drawn.stdout, "views.png: encoder[seed=0]\n");
    let png = std::fs::read(project.path().join("views.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"), "{} bytes", png.len());
    // The views of self-labelling are of images alone: its encoder need not be trained.
    project.expect(0, &["preview", "p.ron", "labelled", "--to", "strong.png"]);
    assert_ne!(std::fs::read(project.path().join("strong.png")).unwrap(), png);
    // The same seed draws the same views.
    project.expect(0, &["preview", "p.ron", "encoder", "--to", "again.png"]);
    assert_eq!(std::fs::read(project.path().join("again.png")).unwrap(), png);

    let nothing = project.expect(1, &["preview", "p.ron", "features"]);
    assert_eq!(
        nothing.stderr,
        "error: features[seed=0]: there is nothing to look at in a stage of kind Embed\n"
    );
}

#[test]
fn presets_are_written_out() {
    let project = Project::new();
    let output = project.expect(0, &["stages", "Pretrain", "--expand"]);
    assert!(
        output
            .stdout
            .starts_with("// GCC, and SimCLR on small images\n// views: SimClr()\nviews: Custom([\n")
    );
    assert!(output.stdout.contains("// SSL-GraphNNCLR\n// views: GraphNnClr()\nviews: Each([\n"));
    let none = project.expect(1, &["stages", "Gallery", "--expand"]);
    assert_eq!(none.stderr, "error: the fields of `Gallery` have no presets\n");
}

/// What a report draws of images of two classes, on pixels.
#[test]
#[cfg(feature = "tables")]
fn a_report_calls_classes_what_their_data_set_calls_them() {
    const PIPELINE: &str = r#"Pipeline(
        name: "pixels",
        stages: {
            "images": (stage: Images(source: FashionMnistMini, classes: Some(["Trouser", "Bag"]), train: 60, test: 20)),
            "pixels": (stage: Embed(layer: Pixels), from: {"images": "images"}),
            "map": (stage: Projection(layout: Pca), from: {"embeddings": "pixels"}),
            "graph": (stage: KnnGraph(k: 5), from: {"embeddings": "pixels"}),
            "purity": (stage: GraphEval(k: [5]), from: {"graph": "graph", "images": "images"}),
            "clusters": (stage: Cluster(clusters: Some(3)), from: {"embeddings": "pixels"}),
            "clustering": (stage: ClusterEval(), from: {"assignment": "clusters"}),
            "attention": (
                stage: Command(argv: ["cp", "-", "m"], outputs: {"attention": (kind: Matrix, path: "m")}),
            ),
        },
        axes: {"matrix": (paths: ["attention.argv"], values: {
            "whole": ["cp", "FOLDER/whole", "m"],
            "endless": ["cp", "FOLDER/endless", "m"],
            "no matrix": ["cp", "FOLDER/other", "m"],
        })},
    )"#;
    let project = Project::new();
    let write = |name: &str, of: &str, value: f64| {
        // Rows are numbered, as a table of numbers has them.
        let table = Columns::new()
            .with(of, Column::I64(vec![7, 8]))
            .with("column", Column::Text(vec!["a".to_owned(), "b".to_owned()]))
            .with("value", Column::F64(vec![0.81, value]));
        table.write(&project.path().join(name)).unwrap();
    };
    write("whole", "row", 0.25);
    write("endless", "row", f64::INFINITY);
    write("other", "line", 0.25);
    let folder = project.path().display().to_string();
    project.write("p.ron", PIPELINE.replace("FOLDER", &folder)).expect(0, &["run", "p.ron"]);
    project.expect(0, &["report", "p.ron"]);
    let page = project.read("p.html");
    let section = |id: &str| {
        let (_, rest) = page.split_once(&format!("<section id=\"{id}\">")).expect(id);
        rest.split_once("</section>").unwrap().0.to_owned()
    };
    let confusion = section("confusion");
    assert!(confusion.contains("<th scope=\"row\">0 Trouser</th>"), "{confusion}");
    assert!(
        confusion.contains("<th scope=\"col\">none</th>"),
        "one of three clusters has no class: {confusion}"
    );
    let mixing = section("matrices");
    assert!(mixing.contains("purity, mixing") && mixing.contains("<th scope=\"row\">1 Bag</th>"), "{mixing}");
    let attention = "attention: matrix=whole, attention</figcaption>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\"></th>\
                     <th scope=\"col\">a</th><th scope=\"col\">b</th></tr></thead>\n<tbody>\n\
                     <tr><th scope=\"row\">7</th><td class=\"c10\">0.81</td><td class=\"c0\">0.00</td></tr>\n\
                     <tr><th scope=\"row\">8</th><td class=\"c0\">0.00</td><td class=\"c4\">0.25</td></tr>";
    assert!(mixing.contains(attention), "{mixing}");
    let omissions = section("omissions");
    for reason in [
        "attention: matrix=endless, attention: it has inf at 8, b",
        "attention: matrix=no matrix, attention: ",
    ] {
        assert!(omissions.contains(reason), "{omissions}");
    }
    assert!(section("embeddings").contains(">Trouser</text>"));
}
