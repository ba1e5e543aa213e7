//! Our reader of RON against the `ron` crate.

use ablate::source::SourceMap;
use ablate::syntax::{Node, Value, parse};
use proptest::prelude::*;

/// What both parsers can say of a text.
#[derive(Debug, PartialEq)]
enum Plain {
    Unit,
    Bool(bool),
    Number(f64),
    Char(char),
    Text(String),
    Bytes(Vec<u8>),
    Option(Option<Box<Plain>>),
    List(Vec<Plain>),
    Map(Vec<(Plain, Plain)>),
}

fn ours(node: &Node) -> Plain {
    let list = |items: &[Node]| Plain::List(items.iter().map(ours).collect());
    match &node.value {
        Value::Bool(value) => Plain::Bool(*value),
        Value::Integer(value) => Plain::Number(*value as f64),
        Value::Float(value, _) => Plain::Number(*value),
        Value::Char(value) => Plain::Char(*value),
        Value::Text(value) => Plain::Text(value.clone()),
        Value::Bytes(value) => Plain::Bytes(value.clone()),
        Value::List(items) => list(items),
        Value::Map(entries) => sorted(entries.iter().map(|(key, value)| (ours(key), ours(value))).collect()),
        Value::Tuple(Some(name), items) if name.text == "Some" => {
            Plain::Option(Some(Box::new(ours(&items[0]))))
        }
        Value::Tuple(None, items) if items.is_empty() => Plain::Unit,
        Value::Tuple(_, items) => list(items),
        Value::Struct(_, fields) => sorted(
            fields.iter().map(|field| (Plain::Text(field.name.text.clone()), ours(&field.value))).collect(),
        ),
        Value::Name(name) if name == "None" => Plain::Option(None),
        Value::Name(_) => Plain::Unit,
    }
}

fn theirs(value: &ron::Value) -> Plain {
    match value {
        ron::Value::Unit => Plain::Unit,
        ron::Value::Bool(value) => Plain::Bool(*value),
        ron::Value::Number(value) => Plain::Number(value.into_f64()),
        ron::Value::Char(value) => Plain::Char(*value),
        ron::Value::String(value) => Plain::Text(value.clone()),
        ron::Value::Bytes(value) => Plain::Bytes(value.clone()),
        ron::Value::Option(value) => Plain::Option(value.as_deref().map(|value| Box::new(theirs(value)))),
        ron::Value::Seq(items) => Plain::List(items.iter().map(theirs).collect()),
        ron::Value::Map(map) => sorted(map.iter().map(|(key, value)| (theirs(key), theirs(value))).collect()),
    }
}

fn sorted(mut entries: Vec<(Plain, Plain)>) -> Plain {
    entries.sort_by_key(|entry| format!("{entry:?}"));
    Plain::Map(entries)
}

fn parse_text(text: &str) -> Result<Node, String> {
    let mut sources = SourceMap::new();
    let source = sources.add("t", text);
    parse(source, text).map_err(|error| error.render(&sources))
}

fn check_agreement(text: &str) {
    let expected = ron::from_str::<ron::Value>(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let found = parse_text(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(ours(&found), theirs(&expected), "{text}");
    let printed = parse_text(&found.to_string()).unwrap_or_else(|error| panic!("{found}\n{error}"));
    assert_eq!(ours(&printed), ours(&found), "{found}");
}

#[test]
fn what_ron_accepts_is_read_alike() {
    let samples = [
        "()",
        "true",
        "None",
        "Some(Some(1))",
        "Name",
        "r#type",
        "Name()",
        "Name ( 1 , )",
        "(1,)",
        "(1, \"a\", 'b')",
        "[ ]",
        "[1,2,3,]",
        "{}",
        "{1: 2, \"a\": [b\"x\"],}",
        "(a: 1, b : 2,)",
        "A(b: C(d: ()))",
        "0",
        "-0",
        "+7",
        "1_000",
        "0xfF",
        "-0x10",
        "0b1010_1010",
        "0o17",
        "255u8",
        "-128i8",
        "7i64",
        "b'a'",
        r"b'\n'",
        r"b'\xff'",
        "1.5",
        ".5",
        "5.",
        "-.5e-3",
        "1e5",
        "1E+5",
        "1.5f32",
        "2f64",
        "1_0.2_5",
        "1e-3f64",
        "18446744073709551615",
        "-9223372036854775808",
        "'\\''",
        r"'\u{1F600}'",
        r"'\x41'",
        "'é'",
        r#""a\n\r\t\0\\\"\'\x41\u{e9}""#,
        "\"a\\\n   b\"",
        "\"two\nlines\"",
        r###"r"a\b""###,
        r###"r#"a"b"#"###,
        r###"r##"a"#b"##"###,
        r#"b"a\xff\n""#,
        r###"br"a\b""###,
        r###"br#"a"b"#"###,
        "// c\n1 // d",
        "/* a /* b */ c */ 1 /**/",
        "(/**/a/**/:/**/1/**/,/**/)",
        "#![enable(implicit_some)]\n1",
        "#![enable(unwrap_newtypes, implicit_some,)]\n#![type = \"x\"] (a: 1)",
        "\u{2028}1\u{85}",
        "Deep([(((1)))])",
        "{Key(1): (), (1, 2): 3, 'c': 4, true: 5}",
        r"(r#a-b: 1)",
        "[-1,+2]",
    ];
    samples.iter().for_each(|text| check_agreement(text));
}

#[test]
fn what_ron_refuses_is_refused() {
    let samples = [
        "",
        "(",
        "[1 2]",
        "(a: 1 b: 2)",
        "(a: 1, 2)",
        "{1}",
        "{1:}",
        "1 2",
        "\"a",
        "'ab'",
        "''",
        "/* /* */ 1",
        "1__x",
        "0x",
        "0b2",
        "300u8",
        "1.2.3",
        "--1",
        "1e",
        ".",
        "b'é'",
        r#""\q""#,
        r#""\u{110000}""#,
        r#""\xff""#,
        "r#\"a\"",
        "#![enable(nothing)] 1",
        "#[a] 1",
        "Name(a: )",
        "[,]",
        "(,)",
        "@",
        "+Name",
        "-",
        "{1: 2, 1 3}",
        "a:1",
        "1u7",
    ];
    for text in samples {
        assert!(ron::from_str::<ron::Value>(text).is_err(), "ron accepts {text}");
        assert!(parse_text(text).is_err(), "we accept {text}");
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(ours(&parse_text("\u{feff}1").unwrap()), Plain::Number(1.0));
}

#[test]
fn what_ron_lets_pass_and_is_a_mistake_is_refused() {
    for text in [
        "{1: 2, 1: 3}",
        "(a: 1, a: 2)",
        "NaN",
        "[inf]",
        "-inf",
        "1e999",
        "NaNf32",
        "0..5",
        "{\"a\": 1, \"\\x61\": 2}",
    ] {
        assert!(ron::from_str::<ron::Value>(text).is_ok(), "ron refuses {text}");
        assert!(parse_text(text).is_err(), "we accept {text}");
    }
}

#[test]
fn every_piece_knows_its_place() {
    let mut sources = SourceMap::new();
    let text = "A( b : [1, \"x\"], /* c */ d: (e: B) )";
    let source = sources.add("t", text);
    let node = parse(source, text).unwrap();
    let at = |path: &str| sources.snippet(node.nearest(path).span);
    assert_eq!(at(""), text);
    assert_eq!(at("b"), "[1, \"x\"]");
    assert_eq!((at("b.1"), at("b[1]"), at("b[7]")), ("\"x\"", "\"x\"", "[1, \"x\"]"));
    assert_eq!((at("d.e"), at("d.f.g")), ("B", "(e: B)"));
    assert_eq!(sources.snippet(node.name_span()), "A");
}

/// Random trees as `ron` prints them.
fn printed() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("()".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f32>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:?}")),
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:?}")),
        any::<char>().prop_map(|value| ron::to_string(&value).unwrap()),
        any::<String>().prop_map(|value| ron::to_string(&value).unwrap()),
        "[A-Z][a-z0-9_]{0,6}",
    ];
    let blank = prop::sample::select(vec!["", " ", "\n\t", "/* ( */", "// [ \"\n"]);
    leaf.prop_recursive(6, 64, 5, move |inner| {
        let items = prop::collection::vec((inner.clone(), blank.clone()), 0..5);
        let keys = prop::collection::btree_map("[a-z]{1,5}", (inner, blank.clone()), 0..5);
        let join = |items: &[(String, &str)]| {
            items.iter().map(|(item, blank)| format!("{blank}{item}{blank}")).collect::<Vec<_>>().join(",")
        };
        prop_oneof![
            items.clone().prop_map(move |items| format!("[{}]", join(&items))),
            (items, "[A-Z][a-z]{2,6}|").prop_map(move |(items, name)| format!("{name}({})", join(&items))),
            keys.clone().prop_map(|entries| {
                let entry = |(key, (value, blank)): (&String, &(String, &str))| {
                    format!("{blank}\"{key}\":{blank}{value}")
                };
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }),
            (keys, "[A-Z][a-z]{2,6}|").prop_map(|(fields, name)| {
                let field = |(key, (value, blank)): (&String, &(String, &str))| {
                    format!("r#{key}{blank}:{blank}{value},")
                };
                format!("{name}({})", fields.iter().map(field).collect::<String>())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_are_read_as_ron_reads_them(text in printed()) {
        check_agreement(&text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\](){}:,\"'\\\\a-dr#0-9./*+ \n\u{e9}-]{0,40}") {
        drop(parse_text(&text));
    }
}
