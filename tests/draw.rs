//! Drawings of pipelines, in every format.

mod common;
mod fakes;

use ablate::draw::Drawing;
use ablate::expand::expand;
use ablate::graph::Graph;
use ablate::pipeline::{self, Pipeline};
use ablate::source::SourceMap;
use common::Project;

/// Shaped like the quickstart.
const QUICKSTART: &str = r#"Pipeline(
    name: "quickstart",
    stages: {
        "images": (stage: Images(source: FashionMnistMini)),
        "encoder": (stage: Pretrain(epochs: 3), from: {"images": "images"}),
        "random": (stage: Pretrain(epochs: 0), from: {"images": "images"}),
        "raw": (stage: Embed(), from: {"images": "images", "encoder": "encoder"}),
        "pixels": (stage: Embed(), from: {"images": "images", "encoder": "random"}),
        "graph": (stage: KnnGraph(k: 10), from: {"embeddings": "raw"}),
        "refined": (stage: GnnRefine(layers: 2), from: {"embeddings": "raw", "graph": "graph"}),
        "probe": (stage: LinearEval(), from: {"embeddings": "refined", "images": "images"}),
        "neighbours": (stage: LinearEval(), from: {"embeddings": "refined", "images": "images"}),
    },
    axes: {
        "method": (
            paths: ["encoder.method"],
            values: {"SimCLR": SimClr(temperature: 0.2), "NNCLR": NnClr(queue: 4096)},
        ),
        "features": (
            paths: ["probe.from.embeddings", "neighbours.from.embeddings"],
            values: {"pixels": "pixels", "raw": "raw", "GNN-refined": "refined"},
        ),
    },
    seeds: [0, 1],
)"#;

/// Labels, ports and seeds that mean something to each of the formats.
const AWKWARD: &str = r##"Pipeline(
    name: "a \"b\" <c> & \\ \u{1b}[31m \u{202e}",
    stages: {
        "images": (stage: Images(source: FashionMnistMini)),
        "a": (stage: Pretrain(), from: {"images": "images"}),
        "halves": (stage: Embed(), from: {"images": "images", "encoder": "a"}),
        "split": (stage: Split(), from: {"embeddings": "halves"}),
        "refined": (stage: GnnRefine(), from: {"embeddings": "split.first"}),
    },
    axes: {
        "refined.from.embeddings": {
            "]\"); \n<script>|`%%{": "split.first",
            "#quot; --> x": "split.second",
            "none": "halves",
        },
    },
)"##;

fn expanded(text: &str) -> (Pipeline, Graph) {
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text);
    let read = pipeline::parse(source, text)
        .and_then(|pipeline| Ok((expand(&pipeline, &fakes::registry())?, pipeline)));
    match read {
        Ok((graph, pipeline)) => (pipeline, graph),
        Err(errors) => panic!("{}", errors.render(&sources)),
    }
}

fn stages(text: &str) -> Drawing {
    let (pipeline, graph) = expanded(text);
    Drawing::of_stages(&pipeline, &graph)
}

#[test]
fn a_terminal_shows_stages_and_rails() {
    insta::assert_snapshot!(stages(QUICKSTART).to_text(), @r"
    quickstart: 9 stages, 41 instances, 12 trials
      method    SimCLR, NNCLR
      features  pixels, raw, GNN-refined
      seeds     0, 1

    ●         images      ×1  Images
    ├─●       encoder     ×4  Pretrain    by method    ← images
    ├─│─●     random      ×2  Pretrain                 ← images
    ├─● │     raw         ×4  Embed                    ← encoder; images
    ├─│─●     pixels      ×2  Embed                    ← encoder: random; images
    │ ├─│─●   graph       ×4  KnnGraph                 ← embeddings: raw
    │ ├─│─●   refined     ×4  GnnRefine                ← embeddings: raw; graph
    ├─┼─┼─┼─● probe      ×10  LinearEval  by features  ← embeddings by features: raw, pixels, refined (GNN-refined); images
    ●─┴─┴─┘   neighbours ×10  LinearEval  by features  ← embeddings by features: raw, pixels, refined (GNN-refined); images
    ");
}

#[test]
fn instances_are_drawn_one_by_one() {
    let one_seed = QUICKSTART.replace("seeds: [0, 1]", "seeds: [7]").replace(r#""raw": "raw", "#, "");
    insta::assert_snapshot!(Drawing::of_instances(&expanded(&one_seed).1).to_text(), @r"
    quickstart: 9 stages, 17 instances, 4 trials
      method    SimCLR, NNCLR
      features  pixels, GNN-refined
      seeds     7

    ●             images                                                 Images
    ├─●           encoder[method=SimCLR,seed=7]                          Pretrain    ← images
    ├─│─●         encoder[method=NNCLR,seed=7]                           Pretrain    ← images
    ├─│─│─●       random[seed=7]                                         Pretrain    ← images
    ├─● │ │       raw[method=SimCLR,seed=7]                              Embed       ← encoder: encoder[method=SimCLR,seed=7]; images
    ├─│─● │       raw[method=NNCLR,seed=7]                               Embed       ← encoder: encoder[method=NNCLR,seed=7]; images
    ├─│─│─●       pixels[seed=7]                                         Embed       ← encoder: random[seed=7]; images
    │ ├─│─│─●     graph[method=SimCLR,seed=7]                            KnnGraph    ← embeddings: raw[method=SimCLR,seed=7]
    │ │ ├─│─│─●   graph[method=NNCLR,seed=7]                             KnnGraph    ← embeddings: raw[method=NNCLR,seed=7]
    ├─│─│─┼─│─│─● probe[features=pixels,seed=7]                          LinearEval  ← embeddings: pixels[seed=7]; images
    ├─│─│─● │ │   neighbours[features=pixels,seed=7]                     LinearEval  ← embeddings: pixels[seed=7]; images
    │ ●─│───┘ │   refined[method=SimCLR,seed=7]                          GnnRefine   ← embeddings: raw[method=SimCLR,seed=7]; graph: graph[method=SimCLR,seed=7]
    │ │ ●─────┘   refined[method=NNCLR,seed=7]                           GnnRefine   ← embeddings: raw[method=NNCLR,seed=7]; graph: graph[method=NNCLR,seed=7]
    ├─┼─│─●       probe[method=SimCLR,features=GNN-refined,seed=7]       LinearEval  ← embeddings: refined[method=SimCLR,seed=7]; images
    ├─│─┼───●     probe[method=NNCLR,features=GNN-refined,seed=7]        LinearEval  ← embeddings: refined[method=NNCLR,seed=7]; images
    ├─● │         neighbours[method=SimCLR,features=GNN-refined,seed=7]  LinearEval  ← embeddings: refined[method=SimCLR,seed=7]; images
    ●───┘         neighbours[method=NNCLR,features=GNN-refined,seed=7]   LinearEval  ← embeddings: refined[method=NNCLR,seed=7]; images
    ");
}

#[test]
fn graphviz_gets_quoted_names() {
    insta::assert_snapshot!(stages(AWKWARD).to_dot(), @r#"
    digraph "a \"b\" <c> & \\ \\u{1b}[31m \\u{202e}" {
        node [shape=box, style=rounded, fontname="monospace"];
        edge [fontname="monospace", fontsize=11];
        n0 [label="images ×1\nImages"];
        n1 [label="a ×1\nPretrain"];
        n2 [label="halves ×1\nEmbed"];
        n3 [label="split ×1\nSplit"];
        n4 [label="refined ×3\nGnnRefine\nby embeddings"];
        n0 -> n1;
        n0 -> n2;
        n1 -> n2;
        n2 -> n3;
        n2 -> n4 [style=dashed, label="embeddings=none"];
        n3 -> n4 [style=dashed, label="first if embeddings=]\"); \\u{a}<script>|`%%{, second if embeddings=#quot; --> x"];
    }
    "#);
}

#[test]
fn mermaid_gets_numbered_entities() {
    insta::assert_snapshot!(stages(AWKWARD).to_mermaid(), @r#"
    flowchart TD
        n0["images ×1<br>Images"]
        n1["a ×1<br>Pretrain"]
        n2["halves ×1<br>Embed"]
        n3["split ×1<br>Split"]
        n4["refined ×3<br>GnnRefine<br>by embeddings"]
        n0 --> n1
        n0 --> n2
        n1 --> n2
        n2 --> n3
        n2 -.->|"embeddings=none"| n4
        n3 -.->|"first if embeddings=#93;#34;#41;#59; #92;u#123;a#125;#60;script#62;#124;#96;#37;#37;#123;, second if embeddings=#35;quot#59; --#62; x"| n4
    "#);
}

#[test]
fn a_terminal_gets_no_control_characters() {
    insta::assert_snapshot!(stages(AWKWARD).to_text(), @r#"
    a "b" <c> & \ \u{1b}[31m \u{202e}: 5 stages, 7 instances, 3 trials
      embeddings  ]"); \u{a}<script>|`%%{, #quot; --> x, none
      seeds       0

    ●     images  ×1  Images
    ├─●   a       ×1  Pretrain                  ← images
    ●─┘   halves  ×1  Embed                     ← encoder: a; images
    ├───● split   ×1  Split                     ← embeddings: halves
    ●───┘ refined ×3  GnnRefine  by embeddings  ← embeddings by embeddings: halves (none), split.first (]"); \u{a}<script>|`%%{), split.second (#quot; --> x)
    "#);
}

/// Text of an SVG, and whether its elements nest.
fn read_svg(svg: &str) -> String {
    let mut open: Vec<&str> = Vec::new();
    let mut text = String::new();
    for piece in svg.split('<').skip(1) {
        let (tag, rest) = piece.split_once('>').expect("a tag ends");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
        if open.last() == Some(&"text") {
            text.push_str(rest);
            text.push('\n');
        }
    }
    assert_eq!(open, [""; 0]);
    text
}

#[test]
fn a_picture_holds_every_name_escaped() {
    insta::assert_snapshot!(read_svg(&stages(QUICKSTART).to_svg()), @r"
    quickstart
    9 stages, 41 instances, 12 trials
    images ×1
    Images
    encoder ×4
    Pretrain
    by method
    random ×2
    Pretrain
    raw ×4
    Embed
    pixels ×2
    Embed
    graph ×4
    KnnGraph
    refined ×4
    GnnRefine
    probe ×10
    LinearEval
    by features
    neighbours ×10
    LinearEval
    by features
    features=raw
    features=pixels
    features=GNN-refined
    method: SimCLR, NNCLR
    features: pixels, raw, GNN-refined
    seeds: 0, 1
    dashed: only for the axis values named
    ");
    insta::assert_snapshot!(read_svg(&stages(AWKWARD).to_svg()), @r"
    a &quot;b&quot; &lt;c&gt; &amp; \ \u{1b}[31m \u{202e}
    5 stages, 7 instances, 3 trials
    images ×1
    Images
    a ×1
    Pretrain
    halves ×1
    Embed
    split ×1
    Split
    refined ×3
    GnnRefine
    by embeddings
    embeddings=none
    first if embeddings=]&quot;); \u{a}&lt;scri…
    embeddings: ]&quot;); \u{a}&lt;script&gt;|`%%{, #quot; --&gt; x, none
    seeds: 0
    dashed: only for the axis values named
    ");
}

#[test]
fn the_ending_of_the_file_says_the_format() {
    let project = Project::new();
    project.write("p.ron", r#"Pipeline(name: "one", stages: {
        "a": (stage: Command(argv: ["true"], outputs: {"out": (kind: File, path: "out")})),
        "b": (stage: Command(argv: ["true"], inputs: {"x": File}, outputs: {"out": (kind: File, path: "out")}), from: {"x": "a"}),
    }, axes: {"b.env.K": ["1", "2"]}, seeds: [0, 1, 2])"#);
    insta::assert_snapshot!(project.expect(0, &["graph", "p.ron"]).stdout, @r"
    one: 2 stages, 3 instances, 6 trials
      K      1, 2
      seeds  0, 1, 2

    ● a ×1  Command
    ● b ×2  Command  by K  ← x: a
    ");
    insta::assert_snapshot!(project.expect(0, &["graph", "p.ron", "--expanded", "--format", "mermaid"]).stdout, @r#"
    flowchart TD
        n0["a<br>Command"]
        n1["b#91;K=1#93;<br>Command"]
        n2["b#91;K=2#93;<br>Command"]
        n0 --> n1
        n0 --> n2
    "#);
    for (file, start) in
        [("g.svg", "<svg "), ("g.dot", "digraph "), ("g.mmd", "flowchart "), ("g.txt", "one: ")]
    {
        project.expect(0, &["graph", "p.ron", "--to", file]);
        assert!(project.read(file).starts_with(start), "{}", project.read(file));
    }
    assert!(!project.store().exists(), "a drawing needs no store");
    project.expect(3, &["graph", "none.ron"]);
    project.expect(1, &["graph", "p.ron", "--to", "no/such/folder"]);
    // A value with a comma is one value.
    project.write("p.ron", project.read("p.ron").replace(r#""2"]"#, r#""2, 3"]"#));
    let shown = project.expect(0, &["graph", "p.ron"]).stdout;
    assert!(shown.contains("K      1, \"2, 3\"\n"), "{shown}");
}
