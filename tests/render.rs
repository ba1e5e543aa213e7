//! How tables are written: every renderer on one table with hostile names, missing cells, marks and published rows.
#![cfg(feature = "tables")]

use ablate::table::{self, Cell, Column, Look, Numbers, Rank, Row, Table};

fn column(k: &str, title: &str) -> Column {
    let axes = vec![("graph.k".to_owned(), Some(k.to_owned()))];
    Column { axes, title: title.to_owned(), heading: vec![format!("graph.k={k}"), title.to_owned()] }
}

fn cell(text: &str, mean: Option<f64>) -> Cell {
    let numbers = Numbers { n: 3, of: 3, shown: mean, mean, ..Numbers::default() };
    Cell { text: text.to_owned(), numbers, ..Cell::default() }
}

fn row(label: &str, cells: [Cell; 4], published: bool) -> Row {
    Row { labels: vec![Some(label.to_owned()), None], cells: cells.to_vec(), published }
}

/// Names with everything that some format takes for markup.
fn ugly() -> Table {
    let best = Cell { rank: Rank::Best, ..cell("0.868 ± 0.005", Some(0.8675)) };
    let second = Cell {
        rank: Rank::Second,
        asides: vec!["-0.002*".to_owned()],
        notes: vec![0, 1],
        numbers: Numbers { p: Some(0.0123), p_holm: Some(0.0369), ..cell("", Some(0.8655)).numbers },
        ..cell("0.866 ± 0.004", None)
    };
    Table {
        name: "a <b> & \u{1b}[31mred".to_owned(),
        axes: vec!["method_name".to_owned(), "x|y".to_owned()],
        columns: vec![
            column("5", "acc_1 (%)"),
            column("5", "loss"),
            column("10", "acc_1 (%)"),
            column("10", "loss"),
        ],
        rows: vec![
            row(
                "=SUM(A1)",
                [best, cell("failed", None), cell("missing", None), cell("running", None)],
                false,
            ),
            row(
                "a_b & <i>c</i> | 100% #1 $x^2$ ~ {y} \\z \"q\" × η²",
                [
                    second,
                    cell("-1.500", Some(-1.5)),
                    cell("–", None),
                    cell("0.1 (2 of 3, 1 failed)", Some(0.1)),
                ],
                false,
            ),
            row(
                "**bold** `code` [link](x) \u{202e}\u{1b}[0m\ttab\nline, [first]",
                [cell("1", Some(1.0)), cell("2", Some(2.0)), cell("3", Some(3.0)), cell("4", Some(4.0))],
                false,
            ),
            row("-1", [cell("86.1", None), cell("–", None), cell("–", None), cell("–", None)], true),
        ],
        notes: vec!["encoder on cuda, elsewhere on cpu".to_owned(), "published: A & B, 50% <off>".to_owned()],
        remarks: vec!["in parentheses: difference to method_name=a; * p < 0.05".to_owned()],
    }
}

#[test]
fn a_terminal() {
    insta::assert_snapshot!(ugly().to_terminal(Look::default()));
}

#[test]
fn a_narrow_terminal_gets_the_columns_in_parts() {
    let drawn = ugly().to_terminal(Look { width: Some(72), styled: true });
    let too_wide =
        drawn.lines().filter(|line| !line.starts_with(['[', 'i']) && unstyled(line).chars().count() > 72);
    assert_eq!(too_wide.count(), 0, "{drawn}");
    insta::assert_snapshot!(drawn.replace('\u{1b}', "ESC"));
}

fn unstyled(line: &str) -> String {
    ["\u{1b}[1m", "\u{1b}[4m", "\u{1b}[0m"].iter().fold(line.to_owned(), |line, code| line.replace(code, ""))
}

#[test]
fn markdown() {
    insta::assert_snapshot!(ugly().to_markdown());
}

#[test]
fn csv() {
    insta::assert_snapshot!(String::from_utf8(ugly().to_csv().unwrap()).unwrap());
}

#[test]
fn latex() {
    insta::assert_snapshot!(ugly().to_latex());
}

#[test]
fn html() {
    insta::assert_snapshot!(ugly().to_html());
}

#[test]
fn a_page_needs_nothing_else() {
    let page = table::document("<t>", &ugly().to_html());
    assert!(
        page.starts_with("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"),
        "{page}"
    );
    assert!(page.contains("<title>&lt;t&gt;</title>"), "{page}");
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn parquet_is_parquet() {
    let bytes = ugly().to_parquet().unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[test]
fn what_only_begins_like_a_number_is_a_formula_to_a_spreadsheet() {
    let mut table = ugly();
    let labels = ["-2 +3+cmd|x", "+1.5", "=1", "plain"];
    table.rows =
        labels.map(|label| row(label, [(); 4].map(|()| cell("-0.5 ± 0.1", Some(-0.5))), false)).to_vec();
    let csv = String::from_utf8(table.to_csv().unwrap()).unwrap();
    let first: Vec<&str> =
        csv.lines().skip(1).step_by(4).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(first, ["'-2 +3+cmd|x", "+1.5", "'=1", "plain"]);
    assert!(csv.contains(",-0.5 ± 0.1,"), "what cells show stays: {csv}");
}

/// Without packages for fonts or encodings, and with nothing read as an argument of the line above.
#[test]
fn latex_takes_hostile_labels_literally() {
    let mut table = ugly();
    let labels = ["*a", "[b", "c\"d`e", "f--g''h", "τ=0.1 → ≥ 5 µm, Δ² ≈ −½"];
    table.rows = labels.map(|label| row(label, [(); 4].map(|()| cell("1", Some(1.0))), false)).to_vec();
    table.remarks = vec!["* p < 0.05".to_owned()];
    let latex = table.to_latex();
    for text in [
        "\n{}*a & ",
        "\n{}[b & ",
        "\nc\\textquotedblright{}d\\textasciigrave{}e & ",
        "\nf-{}-g'{}'h & ",
        r"$\tau$=0.1 $\to$ $\ge$ 5 $\mu$m, $\Delta$$^2$ $\approx$ $-$$\frac12$ & ",
        " \\\\\n{}* p \\textless{} 0.05",
    ] {
        assert!(latex.contains(text), "{text} is not in {latex}");
    }
}
