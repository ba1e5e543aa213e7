//! Broken pipelines, and what is said of them.

mod common;
mod fakes;

use std::time::Duration;

use ablate::expand::expand;
use ablate::pipeline;
use ablate::source::SourceMap;
use common::Project;

/// A pipeline without a fault, to be spoiled.
const SOUND: &str = r#"Pipeline(
    name: "sound",
    stages: {
        "images":   (stage: Images(source: FashionMnistMini)),
        "encoder":  (stage: Pretrain(epochs: 20), from: {"images": "images"}),
        "features": (stage: Embed(), from: {"encoder": "encoder", "images": "images"}),
        "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "features"}),
        "refined":  (stage: GnnRefine(), from: {"embeddings": "features", "graph": "graph"}),
        "probe":    (stage: LinearEval(), from: {"embeddings": "refined", "images": "images"}),
    },
    axes: {
        "graph.k": [5, 10],
        "encoder.method": {"SimCLR": SimClr(temperature: 0.2), "NNCLR": NnClr(queue: 4096)},
    },
    tables: {"t": (rows: ["encoder.method"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},
)
"#;

/// What is said of a text.
fn check(text: &str) -> String {
    let mut sources = SourceMap::new();
    let source = sources.add("p.ron", text);
    match pipeline::parse(source, text).and_then(|pipeline| expand(&pipeline, &fakes::registry())) {
        Ok(_) => "ok".to_owned(),
        Err(errors) => errors.render(&sources),
    }
}

/// What is said of the sound pipeline with each of some pieces replaced.
fn spoil(replacements: &[(&str, &str)]) -> String {
    let spoilt = replacements.iter().fold(SOUND.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        text.replace(from, to)
    });
    check(&spoilt)
}

#[test]
fn nothing_is_said_of_a_sound_pipeline() {
    assert_eq!(check(SOUND), "ok");
}

#[test]
fn a_slip_in_a_field() {
    insta::assert_snapshot!(spoil(&[("epochs: 20", "epoch: 20")]), @r#"
    error: `Pretrain` has no field `epoch`
     --> p.ron:5:38
      |
    5 |         "encoder":  (stage: Pretrain(epoch: 20), from: {"images": "images"}),
      |                                      ^^^^^ did you mean `epochs`?
      = help: its fields: `method`, `epochs`, `optimizer`, `decay`
    "#);
}

#[test]
fn a_value_of_the_wrong_type() {
    insta::assert_snapshot!(spoil(&[("k: 10", "k: 4.5")]), @r#"
    error: expected a whole number, found 4.5
     --> p.ron:7:41
      |
    7 |         "graph":    (stage: KnnGraph(k: 4.5), from: {"embeddings": "features"}),
      |                                         ^^^
    "#);
    insta::assert_snapshot!(spoil(&[("k: 10", "k: -1")]), @r#"
    error: expected a whole number of at least 0, found -1
     --> p.ron:7:41
      |
    7 |         "graph":    (stage: KnnGraph(k: -1), from: {"embeddings": "features"}),
      |                                         ^^
    "#);
    insta::assert_snapshot!(spoil(&[("epochs: 20", "method: \"SimClr\"")]), @r#"
    error: expected one of `SimClr`, `NnClr`, found the string "SimClr"
     --> p.ron:5:46
      |
    5 |         "encoder":  (stage: Pretrain(method: "SimClr"), from: {"images": "images"}),
      |                                              ^^^^^^^^
      = help: write `SimClr` without quotes
    "#);
    insta::assert_snapshot!(spoil(&[("epochs: 20", "decay: Some([0.5, '1'])")]), @r#"
    error: expected a number, found '1'
     --> p.ron:5:56
      |
    5 |         "encoder":  (stage: Pretrain(decay: Some([0.5, '1'])), from: {"images": "images"}),
      |                                                        ^^^
    "#);
}

#[test]
fn a_field_that_is_needed_and_not_there() {
    insta::assert_snapshot!(spoil(&[("KnnGraph(k: 10)", "KnnGraph()"), ("\"graph.k\": [5, 10],", ""), ("\"graph.k\"", "")]), @r#"
    error: `KnnGraph` needs the field `k`
     --> p.ron:7:29
      |
    7 |         "graph":    (stage: KnnGraph(), from: {"embeddings": "features"}),
      |                             ^^^^^^^^
      = help: its fields: `k`
    "#);
    insta::assert_snapshot!(spoil(&[("NnClr(queue: 4096)", "NnClr()")]), @r#"
    error: `NnClr` needs the field `queue`
      --> p.ron:13:73
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: 0.2), "NNCLR": NnClr()},
       |                                                                         ^^^^^
       = help: its fields: `queue`
    "#);
}

#[test]
fn a_value_the_stage_cannot_work_with() {
    insta::assert_snapshot!(spoil(&[("temperature: 0.2", "temperature: -1")]), @r#"
    error: `method.temperature` must be above 0, is -1
      --> p.ron:13:58
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: -1), "NNCLR": NnClr(queue: 4096)},
       |                                                          ^^
    "#);
}

#[test]
fn a_missing_wire() {
    insta::assert_snapshot!(spoil(&[(r#""embeddings": "refined", "#, "")]), @r#"
    error: `probe` (LinearEval) needs its input `embeddings`, of Embeddings
     --> p.ron:9:9
      |
    9 |         "probe":    (stage: LinearEval(), from: {"images": "images"}),
      |         ^^^^^^^
      = help: write `from: {"embeddings": ..}` with one of `features`, `refined`
    "#);
    insta::assert_snapshot!(spoil(&[(r#""embeddings": "refined""#, r#""embeddings": "refind""#)]), @r#"
    error: there is no stage `refind`
     --> p.ron:9:64
      |
    9 |         "probe":    (stage: LinearEval(), from: {"embeddings": "refind", "images": "images"}),
      |                                                                ^^^^^^^^ did you mean `refined`?
      = help: the stages: `images`, `encoder`, `features`, `graph`, `refined`, `probe`
    "#);
    insta::assert_snapshot!(spoil(&[(r#""graph": "graph""#, r#""grph": "graph""#)]), @r#"
    error: `GnnRefine` has no input `grph`
     --> p.ron:8:75
      |
    8 |         "refined":  (stage: GnnRefine(), from: {"embeddings": "features", "grph": "graph"}),
      |                                                                           ^^^^^^ did you mean `graph`?
      = help: its inputs: `embeddings`, `graph`
    "#);
}

#[test]
fn a_cycle() {
    let replacement = r#"from: {"embeddings": "refined"}"#;
    insta::assert_snapshot!(spoil(&[(r#"from: {"embeddings": "features"}"#, replacement)]), @r#"
    error: stages wait for each other: graph → refined → graph
     --> p.ron:7:67
      |
    7 |         "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "refined"}),
      |                                                                   ^^^^^^^^^ `graph` waits for this
     ::: p.ron:8:84
      |
    8 |         "refined":  (stage: GnnRefine(), from: {"embeddings": "features", "graph": "graph"}),
      |                                                                                    ------- `refined` waits for this
      = help: take one of these wires out
    "#);
}

#[test]
fn a_cycle_at_one_value_of_an_axis() {
    let axis = r#""graph.from.embeddings": {"outer": "features", "inner": "refined"}, "graph.k": [5, 10]"#;
    insta::assert_snapshot!(spoil(&[(r#""graph.k": [5, 10]"#, axis)]), @r#"
    error: stages wait for each other: graph → refined → graph
      --> p.ron:12:65
       |
    12 |         "graph.from.embeddings": {"outer": "features", "inner": "refined"}, "graph.k": [5, 10],
       |                                                                 ^^^^^^^^^ `graph` waits for this
      ::: p.ron:8:84
       |
     8 |         "refined":  (stage: GnnRefine(), from: {"embeddings": "features", "graph": "graph"}),
       |                                                                                    ------- `refined` waits for this
       = help: take one of these wires out
    "#);
}

#[test]
fn a_key_written_twice() {
    insta::assert_snapshot!(spoil(&[("\"graph\":    (stage", "\"features\": (stage")]), @r#"
    error: key "features" is written twice
     --> p.ron:7:9
      |
    7 |         "features": (stage: KnnGraph(k: 10), from: {"embeddings": "features"}),
      |         ^^^^^^^^^^ again here
     ::: p.ron:6:9
      |
    6 |         "features": (stage: Embed(), from: {"encoder": "encoder", "images": "images"}),
      |         ---------- first here
      = help: keep one of them
    "#);
    insta::assert_snapshot!(spoil(&[("epochs: 20", "epochs: 20, epochs: 30")]), @r#"
    error: field `epochs` is written twice
     --> p.ron:5:50
      |
    5 |         "encoder":  (stage: Pretrain(epochs: 20, epochs: 30), from: {"images": "images"}),
      |                                                  ^^^^^^ again here
     ::: p.ron:5:38
      |
    5 |         "encoder":  (stage: Pretrain(epochs: 20, epochs: 30), from: {"images": "images"}),
      |                                      ------ first here
      = help: keep one of them
    "#);
}

#[test]
fn a_number_that_is_not_finite() {
    insta::assert_snapshot!(spoil(&[("temperature: 0.2", "temperature: NaN")]), @r#"
    error: `NaN` is not a finite number
      --> p.ron:13:58
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: NaN), "NNCLR": NnClr(queue: 4096)},
       |                                                          ^^^
       = help: NaN and infinities have no place in a pipeline: they would enter the keys of its results
    "#);
    insta::assert_snapshot!(spoil(&[("temperature: 0.2", "temperature: -inf")]), @r#"
    error: `-inf` is not a finite number
      --> p.ron:13:58
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: -inf), "NNCLR": NnClr(queue: 4096)},
       |                                                          ^^^^
       = help: NaN and infinities have no place in a pipeline: they would enter the keys of its results
    "#);
    insta::assert_snapshot!(spoil(&[("temperature: 0.2", "temperature: 1e999")]), @r#"
    error: `1e999` is not a finite number
      --> p.ron:13:58
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: 1e999), "NNCLR": NnClr(queue: 4096)},
       |                                                          ^^^^^
       = help: NaN and infinities have no place in a pipeline: they would enter the keys of its results
    "#);
}

#[test]
fn an_unknown_stage_kind() {
    insta::assert_snapshot!(spoil(&[("LinearEval()", "LinerEval()")]), @r#"
    error: there is no stage kind `LinerEval`
     --> p.ron:9:29
      |
    9 |         "probe":    (stage: LinerEval(), from: {"embeddings": "refined", "images": "images"}),
      |                             ^^^^^^^^^ did you mean `LinearEval`?
      = help: the kinds: `Embed`, `GnnRefine`, `Images`, `KnnGraph`, `LinearEval`, `Pretrain`, `Split`, `Zoo`
    "#);
}

#[test]
fn a_path_that_leads_nowhere() {
    insta::assert_snapshot!(spoil(&[("\"graph.k\": [5", "\"graph.kk\": [5"), ("columns: [\"graph.k\"]", "columns: [\"graph.kk\"]")]), @r#"
    error: `KnnGraph` has no field `kk`
      --> p.ron:12:9
       |
    12 |         "graph.kk": [5, 10],
       |         ^^^^^^^^^^ did you mean `k`?
       = help: its fields: `k`
    "#);
    insta::assert_snapshot!(spoil(&[("\"graph.k\": [5", "\"grph.k\": [5")]), @r#"
    error: there is no stage `grph`
      --> p.ron:12:9
       |
    12 |         "grph.k": [5, 10],
       |         ^^^^^^^^ did you mean `graph`?
       = help: the stages: `images`, `encoder`, `features`, `graph`, `refined`, `probe`

    error: there is no axis `graph.k`
      --> p.ron:15:56
       |
    15 |     tables: {"t": (rows: ["encoder.method"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},
       |                                                        ^^^^^^^^^ did you mean `grph.k`?
       = help: the axes: `grph.k`, `encoder.method`
    "#);
    insta::assert_snapshot!(spoil(&[("\"graph.k\": [5", "\"graph.k.low\": [5")]), @r#"
    error: 10 has no field `low`
      --> p.ron:12:9
       |
    12 |         "graph.k.low": [5, 10],
       |         ^^^^^^^^^^^^^
      ::: p.ron:7:41
       |
     7 |         "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "features"}),
       |                                         -- this is what the path leads to

    error: there is no axis `graph.k`
      --> p.ron:15:56
       |
    15 |     tables: {"t": (rows: ["encoder.method"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},
       |                                                        ^^^^^^^^^
       = help: the axes: `graph.k.low`, `encoder.method`
    "#);
    insta::assert_snapshot!(spoil(&[("\"graph.k\": [5", "\"encoder.schedule.warmup\": [5")]), @r#"
    error: `Pretrain` has no field `schedule`
      --> p.ron:12:9
       |
    12 |         "encoder.schedule.warmup": [5, 10],
       |         ^^^^^^^^^^^^^^^^^^^^^^^^^
       = help: its fields: `method`, `epochs`, `optimizer`, `decay`

    error: there is no axis `graph.k`
      --> p.ron:15:56
       |
    15 |     tables: {"t": (rows: ["encoder.method"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))},
       |                                                        ^^^^^^^^^
       = help: the axes: `encoder.schedule.warmup`, `encoder.method`
    "#);
}

#[test]
fn an_artifact_of_the_wrong_kind() {
    insta::assert_snapshot!(spoil(&[(r#"from: {"embeddings": "features"}"#, r#"from: {"embeddings": "images"}"#)]), @r#"
    error: input `embeddings` of `graph` takes Embeddings, but `images` makes Images (`images.images`)
     --> p.ron:7:67
      |
    7 |         "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "images"}),
      |                                                                   ^^^^^^^^
    "#);
    insta::assert_snapshot!(spoil(&[(r#"from: {"embeddings": "features"}"#, r#"from: {"embeddings": "encoder.curve"}"#)]), @r#"
    error: input `embeddings` of `graph` takes Embeddings, but this is Curve
     --> p.ron:7:67
      |
    7 |         "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "encoder.curve"}),
      |                                                                   ^^^^^^^^^^^^^^^
      = help: `encoder` makes Encoder (`encoder.encoder`), Curve (`encoder.curve`)
    "#);
    insta::assert_snapshot!(spoil(&[(r#"from: {"embeddings": "features"}"#, r#"from: {"embeddings": "features.all"}"#)]), @r#"
    error: `features` (Embed) has no output `all`
     --> p.ron:7:67
      |
    7 |         "graph":    (stage: KnnGraph(k: 10), from: {"embeddings": "features.all"}),
      |                                                                   ^^^^^^^^^^^^^^
      = help: its outputs: `embeddings`
    "#);
}

#[test]
fn an_output_that_is_not_the_only_one() {
    let split = r#""halves": (stage: Split(), from: {"embeddings": "features"}),
        "probe":    (stage"#;
    let halves = (r#""embeddings": "refined""#, r#""embeddings": "halves""#);
    insta::assert_snapshot!(spoil(&[(r#""probe":    (stage"#, split), halves]), @r#"
    error: `halves` makes Embeddings more than once
      --> p.ron:10:64
       |
    10 |         "probe":    (stage: LinearEval(), from: {"embeddings": "halves", "images": "images"}),
       |                                                                ^^^^^^^^
       = help: write one of "halves.first", "halves.second"
    "#);
}

#[test]
fn text_that_is_not_ron() {
    insta::assert_snapshot!(spoil(&[("k: 10", "k = 10")]), @r#"
    error: expected `,` or `)`, found `=`
     --> p.ron:7:40
      |
    7 |         "graph":    (stage: KnnGraph(k = 10), from: {"embeddings": "features"}),
      |                                        ^
      = help: a name and its value are separated by `:`
    "#);
    insta::assert_snapshot!(spoil(&[("(k: 10)", "(k: 10")]), @r#"
    error: expected a field, as `name: value`, found `"`
     --> p.ron:8:9
      |
    8 |         "refined":  (stage: GnnRefine(), from: {"embeddings": "features", "graph": "graph"}),
      |         ^
     ::: p.ron:7:21
      |
    7 |         "graph":    (stage: KnnGraph(k: 10, from: {"embeddings": "features"}),
      |                     - this `(` is still open
      = help: either all or none of the values between parentheses have names
    "#);
    insta::assert_snapshot!(spoil(&[(r#"columns: ["graph.k"]"#, r#"columns: ["graph.k""#)]), @r#"
    error: expected `,` or `]`, found `:`
      --> p.ron:15:71
       |
    15 |     tables: {"t": (rows: ["encoder.method"], columns: ["graph.k", cell: MeanStd("probe.accuracy"))},
       |                                                                       ^
      ::: p.ron:15:55
       |
    15 |     tables: {"t": (rows: ["encoder.method"], columns: ["graph.k", cell: MeanStd("probe.accuracy"))},
       |                                                       - this `[` is still open
    "#);
    insta::assert_snapshot!(spoil(&[("    },\n    axes", "    }\n    axes")]), @r"
    error: expected `,` or `)`, found `axes`
      --> p.ron:11:5
       |
    11 |     axes: {
       |     ^^^^
      ::: p.ron:10:6
       |
    10 |     }
       |      - is a comma missing here?
    ");
    insta::assert_snapshot!(spoil(&[("name: \"sound\"", "name: \"sound")]), @r#"
    error: expected `,` or `)`, found `images`
     --> p.ron:4:10
      |
    4 |         "images":   (stage: Images(source: FashionMnistMini)),
      |          ^^^^^^
     ::: p.ron:2:11
      |
    2 |     name: "sound,
      |           - is this string closed where it should be?
    "#);
    insta::assert_snapshot!(check("Pipeline("), @r"
    error: this `(` is never closed
     --> p.ron:1:9
      |
    1 | Pipeline(
      |         ^
      = help: close it with `)`
    ");
    insta::assert_snapshot!(check(""), @r"
    error: expected a value, found the end of the text
     --> p.ron:1:1
      |
    1 | 
      | ^
    ");
}

#[test]
fn a_wrong_value_of_an_axis_is_shown_where_it_is_written() {
    insta::assert_snapshot!(spoil(&[("[5, 10]", "[5, \"ten\"]")]), @r#"
    error: expected a whole number, found the string "ten"
      --> p.ron:12:24
       |
    12 |         "graph.k": [5, "ten"],
       |                        ^^^^^
    "#);
    insta::assert_snapshot!(spoil(&[("queue: 4096", "queue: 4096, size: 3")]), @r#"
    error: `NnClr` has no field `size`
      --> p.ron:13:92
       |
    13 |         "encoder.method": {"SimCLR": SimClr(temperature: 0.2), "NNCLR": NnClr(queue: 4096, size: 3)},
       |                                                                                            ^^^^
       = help: its fields: `queue`
    "#);
}

#[test]
fn all_errors_are_told_at_once() {
    let text = SOUND
        .replace("epochs: 20", "epochs: many, decay: 3, optimizer: (lr: \"fast\", momenum: 0.9)")
        .replace("KnnGraph(k: 10)", "KnnGraph(k: 10, metric: Cosine)")
        .replace("\"probe.accuracy\"", "\"prob.accuracy\"")
        .replace("rows: [\"encoder.method\"]", "rows: [\"encoder.methods\"]");
    insta::assert_snapshot!(check(&text), @r#"
    error: expected a whole number, found `many`
     --> p.ron:5:46
      |
    5 |         "encoder":  (stage: Pretrain(epochs: many, decay: 3, optimizer: (lr: "fast", momenum: 0.9)), from: {"images": "i…
      |                                              ^^^^

    error: expected a list, as `[a, b]`, found 3
     --> p.ron:5:59
      |
    5 |         "encoder":  (stage: Pretrain(epochs: many, decay: 3, optimizer: (lr: "fast", momenum: 0.9)), from: {"images": "i…
      |                                                           ^

    error: expected a number, found the string "fast"
     --> p.ron:5:78
      |
    5 | …encoder":  (stage: Pretrain(epochs: many, decay: 3, optimizer: (lr: "fast", momenum: 0.9)), from: {"images": "images"})…
      |                                                                      ^^^^^^

    error: `Optimizer` has no field `momenum`
     --> p.ron:5:86
      |
    5 | …encoder":  (stage: Pretrain(epochs: many, decay: 3, optimizer: (lr: "fast", momenum: 0.9)), from: {"images": "images"})…
      |                                                                              ^^^^^^^ did you mean `momentum`?
      = help: its fields: `lr`, `momentum`

    error: `KnnGraph` has no field `metric`
     --> p.ron:7:45
      |
    7 |         "graph":    (stage: KnnGraph(k: 10, metric: Cosine), from: {"embeddings": "features"}),
      |                                             ^^^^^^
      = help: its fields: `k`

    error: there is no axis `encoder.methods`
      --> p.ron:15:27
       |
    15 |     tables: {"t": (rows: ["encoder.methods"], columns: ["graph.k"], cell: MeanStd("prob.accuracy"))},
       |                           ^^^^^^^^^^^^^^^^^ did you mean `encoder.method`?
       = help: the axes: `graph.k`, `encoder.method`

    error: there is no stage `prob`
      --> p.ron:15:83
       |
    15 |     tables: {"t": (rows: ["encoder.methods"], columns: ["graph.k"], cell: MeanStd("prob.accuracy"))},
       |                                                                                   ^^^^^^^^^^^^^^^ did you mean `probe`?
       = help: the stages: `images`, `encoder`, `features`, `graph`, `refined`, `probe`
    "#);
}

#[test]
fn the_shape_of_the_file() {
    let text = r#"(
        nam: "x",
        stages: {
            "a.b": (stage: Embed()),
            c: (stage: Embed()),
            "d": Embed(),
            "e": (stage: "Embed"),
        },
        axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
        seeds: [0, -1, 0],
        tables: {"t": (rows: [], cell: Mean("x")), "u": (rows: ["e"]), "v": (rows: [], cells: {"A": Max("a.b")})},
    )"#;
    insta::assert_snapshot!(check(text), @r#"
    error: `Pipeline` needs the field `name`
     --> p.ron:1:1
      |
    1 | (
      | ^

    error: `Pipeline` has no field `nam`
     --> p.ron:2:9
      |
    2 |         nam: "x",
      |         ^^^ did you mean `name`?
      = help: its fields: `name`, `stages`, `axes`, `sweep`, `seeds`, `tables`, `include`, `extends`, `set`

    error: "a.b" cannot be a stage's name
     --> p.ron:4:13
      |
    4 |             "a.b": (stage: Embed()),
      |             ^^^^^
      = help: a stage's name is made of letters, digits, `_` and `-`

    error: expected a string, found `c`
     --> p.ron:5:13
      |
    5 |             c: (stage: Embed()),
      |             ^
      = help: write "c" in double quotes

    error: a stage needs the field `stage`
     --> p.ron:6:18
      |
    6 |             "d": Embed(),
      |                  ^^^^^

    error: expected a stage kind, as `KnnGraph(k: 10)`, found the string "Embed"
     --> p.ron:7:26
      |
    7 |             "e": (stage: "Embed"),
      |                          ^^^^^^^
      = help: `ablate stages` lists the kinds

    error: an axis needs at least one value
     --> p.ron:9:21
      |
    9 |         axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
      |                     ^^

    error: `seed` is the seeds' axis
     --> p.ron:9:25
      |
    9 |         axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
      |                         ^^^^^^
      = help: write `seeds: [0, 1]`

    error: value `1` is written twice
     --> p.ron:9:47
      |
    9 |         axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
      |                                               ^ again here
     ::: p.ron:9:44
      |
    9 |         axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
      |                                            - first here

    error: an axis needs the field `values`
     --> p.ron:9:56
      |
    9 |         axes: {"e": [], "seed": [1], "d": [1, 1], "f": (paths: ["d"])},
      |                                                        ^^^^^^^^^^^^^^

    error: expected seeds, found -1
      --> p.ron:10:20
       |
    10 |         seeds: [0, -1, 0],
       |                    ^^
       = help: write whole numbers of at least 0, as `[0, 1, 2]`, a range without its end, as `"0..3"`, or a budget, as `Until(ci95: 0.01, max: 20)`

    error: seed `0` is written twice
      --> p.ron:10:24
       |
    10 |         seeds: [0, -1, 0],
       |                        ^ again here
      ::: p.ron:10:17
       |
    10 |         seeds: [0, -1, 0],
       |                 - first here

    error: "x" is not a stage's metric
      --> p.ron:11:45
       |
    11 |         tables: {"t": (rows: [], cell: Mean("x")), "u": (rows: ["e"]), "v": (rows: [], cells: {"A": Max("a.b")})},
       |                                             ^^^
       = help: write `"stage.metric"`, as `"probe.accuracy"`

    error: a table needs `cell` or `cells`
      --> p.ron:11:57
       |
    11 |         tables: {"t": (rows: [], cell: Mean("x")), "u": (rows: ["e"]), "v": (rows: [], cells: {"A": Max("a.b")})},
       |                                                         ^^^^^^^^^^^^^
       = help: write `cell: MeanStd("probe.accuracy")`

    error: a cell cannot show `Max`
      --> p.ron:11:101
       |
    11 |         tables: {"t": (rows: [], cell: Mean("x")), "u": (rows: ["e"]), "v": (rows: [], cells: {"A": Max("a.b")})},
       |                                                                                                     ^^^
       = help: one of: `MeanStd`, `MeanCi`, `Mean`, `Median`, `Best`, `Count`
    "#);
}

#[test]
fn the_shape_of_a_table() {
    let text = r#"(
        name: "x",
        stages: {"a": (stage: Embed())},
        axes: {"b": [1, 2]},
        tables: {
            "r": (rows: [], cell: Best("a.b")),
            "s": (rows: [], cell: Mean("a.b", Highest, Digits(99))),
            "t": (rows: [], cell: Mean("a.b"), test: Welch, published: "Beside", baseline: ["b"]),
            "u": (rows: [], cell: "a.b"),
        },
    )"#;
    insta::assert_snapshot!(check(text));
}

#[test]
fn a_baseline_names_axes_and_values_there_are() {
    let baseline = r#"cell: MeanStd("probe.accuracy"), baseline: {"graph.k": 50, "graph": 5}"#;
    insta::assert_snapshot!(spoil(&[(r#"cell: MeanStd("probe.accuracy")"#, baseline)]));
}

#[test]
fn effects_and_ablations_that_make_no_sense() {
    let tables = [
        r#"Effects(axes: ["graph.kk"], cell: Median("probe.accuracy"))"#,
        r#"Effects(axes: ["graph.k"], rows: ["graph.k"], cell: Mean("probe.accuracy"), interactions: true)"#,
        r#"Effects(axes: [], cells: {"a": Mean("probe.accuracy")}, baseline: {})"#,
        r#"Effect(axes: ["graph.k"], cell: Mean("probe.accuracy"))"#,
        r#"(rows: Ladder, cell: Mean("probe.accuracy"))"#,
        r#"(rows: Stairs, cell: Mean("probe.accuracy"))"#,
    ];
    let table = r#"(rows: ["encoder.method"], columns: ["graph.k"], cell: MeanStd("probe.accuracy"))"#;
    let told = tables.map(|written| spoil(&[(table, written)]));
    let ladder = r#"(rows: Ladder, columns: ["graph.k"], cell: Mean("probe.accuracy"), baseline: {"graph.k": 5})},
    sweep: Chain([Ladder(from: {"graph.k": 5}, steps: [{"graph.k": 10}])"#;
    let end = "cell: MeanStd(\"probe.accuracy\"))},";
    let of_sweep = |sweep: &str| {
        let (before, after) =
            (table.replace("cell: MeanStd(\"probe.accuracy\"))", ""), format!("{ladder}{sweep}]),"));
        let text = SOUND.replace(&format!("{before}{end}"), &after);
        assert_ne!(text, SOUND);
        check(&text)
    };
    let several =
        of_sweep(r#", Ladder(from: {"encoder.method": "NNCLR"}, steps: [{"encoder.method": "SimCLR"}])"#);
    insta::assert_snapshot!([told.concat(), of_sweep(""), several].join("\n"));
}

#[test]
fn bombs_are_refused_at_once() {
    let start = cpu_time();
    insta::assert_snapshot!(check(&"[".repeat(1_000_000)), @r"
    error: values are nested more than 128 deep
     --> p.ron:1:129
      |
    1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
      |                                                              ^
    ");
    insta::assert_snapshot!(check(&"/*".repeat(1_000_000)), @r"
    error: this comment is never closed
     --> p.ron:1:1
      |
    1 | /*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*/*…
      | ^^
      = help: close it with `*/`; comments nest
    ");
    insta::assert_snapshot!(check(&"A(".repeat(1_000_000)), @r"
    error: values are nested more than 128 deep
     --> p.ron:1:257
      |
    1 | …A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A(A…
      |                                                              ^
    ");
    let path = format!("\"encoder{}\": [1],", ".optimizer".repeat(100_000));
    let told = spoil(&[("axes: {", &format!("axes: {{ {path}"))]);
    assert!(told.starts_with("error: a path of 100001 names, more than 32"), "{told}");
    let values: Vec<String> = (0..1000).map(|value| format!("{value}.5")).collect();
    let told = spoil(&[("[5, 10]", &format!("[{}]", values.join(",")))]);
    assert_eq!(told.matches("expected a whole number").count(), 50);
    assert!(told.ends_with("and 950 more errors\n"), "{told}");
    let fields: Vec<String> =
        (0..12).map(|axis| format!("\"refined.f{axis}\": [0,1,2,3,4,5,6,7,8,9]")).collect();
    let axes = format!("axes: {{\n        {},", fields.join(", "));
    insta::assert_snapshot!(spoil(&[("axes: {", &axes)]), @r#"
    error: 4000000000000 trials, more than the 1000000 a pipeline may have
      --> p.ron:12:9
       |
    12 |         "refined.f0": [0,1,2,3,4,5,6,7,8,9], "refined.f1": [0,1,2,3,4,5,6,7,8,9], "refined.f2": [0,1,2,3,4,5,6,7,8,9], "…
       |         ^^^^^^^^^^^^ the largest axis
       = help: axes × seeds are 10 × 10 × 10 × 10 × 10 × 10 × 10 × 10 × 10 × 10 × 10 × 10 × 2 × 2 × 1; take values out
    "#);
    insta::assert_snapshot!(spoil(&[("axes: {", "seeds: \"0..18446744073709551615\", axes: {")]), @r#"
    error: more than 1000000 seeds
      --> p.ron:11:12
       |
    11 |     seeds: "0..18446744073709551615", axes: {
       |            ^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    let took = cpu_time() - start;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The processor time of this thread, which other work on the machine does not lengthen.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
fn the_program_checks_and_lists() {
    let project = Project::new();
    let sound = r#"(
        name: "p",
        stages: {
            "a": (stage: Command(argv: ["cp", "x", "y"], outputs: {"y": (kind: File, path: "y")})),
            "b": (stage: Command(
                argv: ["cp", "{input:y}", "z"], inputs: {"y": File}, outputs: {"z": (kind: File, path: "z")},
            ), from: {"y": "a"}),
        },
        axes: {"b.cpus": [1, 2]},
    )"#;
    project
        .write("sound.ron", sound)
        .write("broken.ron", sound.replace("argv: [\"cp\", \"x\"", "arg: [\"cp\", \"x\""));
    project.write("binary.ron", b"(\n\xff)");
    let told = |code, arguments: &[&str]| {
        let output = project.expect(code, arguments);
        output.stdout + &output.stderr
    };
    insta::assert_snapshot!(told(0, &["check", "sound.ron"]), @r"sound.ron is sound: 2 stages, 1 axis, 2 points, 1 seed, 3 instances, 0 tables");
    insta::assert_snapshot!(told(3, &["check", "broken.ron"]), @r#"
    error: `Command` has no field `arg`
     --> broken.ron:4:34
      |
    4 |             "a": (stage: Command(arg: ["cp", "x", "y"], outputs: {"y": (kind: File, path: "y")})),
      |                                  ^^^ did you mean `argv`?
      = help: its fields: `argv`, `inputs`, `outputs`, `files`, `env`, `inherit`, `cpus`, `gpu`
    "#);
    project.write(
        "absent.ron",
        sound.replace(
            "argv: [\"cp\", \"x\"",
            "files: [\"a.py\", \"absent.ron\", \"b.py\"], argv: [\"cp\", \"x\"",
        ),
    );
    let root = project.path().canonicalize().unwrap().display().to_string();
    insta::assert_snapshot!(told(0, &["check", "absent.ron"]).replace(&root, "[root]"), @r"
    absent.ron is sound: 2 stages, 1 axis, 2 points, 1 seed, 3 instances, 0 tables
    warning: a declares the file [root]/a.py: No such file or directory (os error 2); put it there or correct `files`, which are relative to the project's root
    warning: a declares the file [root]/b.py: No such file or directory (os error 2); put it there or correct `files`, which are relative to the project's root
    ");
    let varied = sound
        .replace("argv: [\"cp\", \"x\"", "env: {\"METHOD\": \"\", \"RATE\": \"1\"}, argv: [\"cp\", \"x\"")
        .replace("\"b.cpus\": [1, 2]", "\"a.env.METOD\": [\"SimCLR\", \"NNCLR\"]");
    project.write("varied.ron", &varied);
    insta::assert_snapshot!(told(3, &["check", "varied.ron"]), @r#"
    error: there is no `METOD` to vary; declare it, with any value
     --> varied.ron:9:16
      |
    9 |         axes: {"a.env.METOD": ["SimCLR", "NNCLR"]},
      |                ^^^^^^^^^^^^^ did you mean `METHOD`?
     ::: varied.ron:4:39
      |
    4 |             "a": (stage: Command(env: {"METHOD": "", "RATE": "1"}, argv: ["cp", "x", "y"], outputs: {"y": (kind: File, p…
      |                                       --------------------------- here
      = help: declared are: `METHOD`, `RATE`
    "#);
    project.write("declared.ron", varied.replace("METOD", "METHOD"));
    told(0, &["check", "declared.ron"]);
    // Where a stage writes no map, axes may.
    project.write("free.ron", varied.replace("env: {\"METHOD\": \"\", \"RATE\": \"1\"}, ", ""));
    told(0, &["check", "free.ron"]);
    let tables = r#"tables: {"t": (rows: ["a.env.METHOD"], cell: Mean("m.x"), where: {"a.env.METHOD": "SimCRL"}, baseline: {"a.env.METHOD": "NNCLR"})},"#;
    project.write(
        "where.ron",
        varied.replace("METOD", "METHOD").replace("axes: {", &format!("{tables}\n        axes: {{")).replace(
            "stages: {",
            "stages: {\n            \"m\": (stage: Command(argv: [\"m\"], outputs: {\"o\": (kind: Metrics, path: \"m\")})),",
        ),
    );
    let shown = told(3, &["check", "where.ron"]);
    let errors: Vec<&str> =
        shown.lines().filter(|line| line.starts_with("error") || line.contains('^')).collect();
    assert_eq!(errors.len(), 4, "{shown}");
    assert_eq!(errors[0], "error: axis `a.env.METHOD` has no value `SimCRL`");
    assert!(errors[1].ends_with("^^^^^^^^ did you mean `SimCLR`?"), "{shown}");
    assert_eq!(errors[2], "error: `where` leaves the baseline `NNCLR` out");
    let of_none =
        r#"tables: {"t": (rows: ["a.env.METHOD"], cell: Mean("m.x"), where: {"a.env.METHOD": None})},"#;
    let tables = std::fs::read_to_string(project.path().join("where.ron")).unwrap().replace(tables, of_none);
    project.write("none.ron", tables);
    let shown = told(3, &["check", "none.ron"]);
    assert!(shown.starts_with("error: `where` leaves no trial of the sweep\n"), "{shown}");
    insta::assert_snapshot!(told(3, &["check", "missing.ron"]), @r"error: cannot read missing.ron: No such file or directory (os error 2)");
    insta::assert_snapshot!(told(3, &["check", "binary.ron"]), @r"
    error: cannot read binary.ron: line 2 is not UTF-8; save the file as UTF-8
    ");
    insta::assert_snapshot!(told(1, &["stages", "Comand"]), @r"error: there is no stage kind `Comand`; did you mean `Command`?");
    assert!(told(0, &["stages"]).contains("Command "));
    assert!(told(0, &["stages", "Command"]).contains("argv: list of string, required"));
    assert!(told(0, &["stages", "--markdown"]).starts_with("# Stage kinds\n"));
}
