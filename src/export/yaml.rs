//! Writes JSON values as readable YAML: block style, with quotes only where needed.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that YAML 1.1 parsers do not read as strings.
const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "null", "y", "n"];

/// One document, without its `---`.
#[must_use]
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut out, value, 0),
        scalar => out.push_str(&inline(scalar)),
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// A text as wrapped comment lines.
#[must_use]
pub fn comment(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut width = 0;
        out.push('#');
        for word in line.split_whitespace() {
            if width > 0 && width + word.chars().count() >= 110 {
                out.push_str("\n#  ");
                width = 2;
            }
            out.push(' ');
            out.push_str(word);
            width += word.chars().count() + 1;
        }
        out.push('\n');
    }
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                write!(out, "{indent}{}:", text(key)).expect("writing to a String never fails");
                nested(out, value, depth);
            }
        }
        Value::Array(list) => {
            for item in list {
                let mut inner = String::new();
                if is_block(item) {
                    block(&mut inner, item, depth + 1);
                    // The first line of the item follows its dash.
                    write!(out, "{indent}- {}", inner.trim_start()).expect("writing to a String never fails");
                } else {
                    write!(out, "{indent}-").expect("writing to a String never fails");
                    nested(out, item, depth);
                }
            }
        }
        scalar => out.push_str(&inline(scalar)),
    }
}

/// The value after `key:` or a dash.
fn nested(out: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        out.push('\n');
        block(out, value, depth + 1);
    } else if let Some(lines) = value.as_str().filter(|text| is_literal(text)) {
        let indent = "  ".repeat(depth + 1);
        // An explicit indentation indicator is needed if the text's first line is indented.
        let indicator = if lines.starts_with(' ') { "2" } else { "" };
        let chomp = if lines.ends_with('\n') { "" } else { "-" };
        writeln!(out, " |{indicator}{chomp}").expect("writing to a String never fails");
        for line in lines.lines() {
            if line.is_empty() {
                out.push('\n');
            } else {
                writeln!(out, "{indent}{line}").expect("writing to a String never fails");
            }
        }
    } else {
        writeln!(out, " {}", inline(value)).expect("writing to a String never fails");
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// Whether a text is better written as a block of lines, and can be.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with('\n')
        && !text.ends_with("\n\n")
        && !text.contains(['\t', '\r'])
        && text.lines().all(|line| line.is_empty() || !line.trim().is_empty())
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        // A float with a whole value is written as an integer.
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A string, unquoted if no parser could read it as another type.
fn text(string: &str) -> String {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '/' || c == '_';
    let plain = string.starts_with(starts)
        && string.chars().all(|c| c.is_ascii_alphanumeric() || "/_.-".contains(c))
        && !WORDS.contains(&string.to_ascii_lowercase().as_str());
    if plain { string.to_owned() } else { Value::from(string).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn lists_of_tables_are_in_block_style() {
        let value = json!({"a": [{"b": 1, "c": {"d": "x y"}}, {"e": []}], "empty": {}, "on": "yes"});
        assert_eq!(document(&value), "a:\n  - b: 1\n    c:\n      d: \"x y\"\n  - e: []\nempty: {}\n\"on\": \"yes\"\n");
    }

    #[test]
    fn long_comments_are_wrapped() {
        let lines = comment(&"word ".repeat(60));
        assert!(lines.lines().all(|line| line.starts_with('#') && line.len() < 120), "{lines}");
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-9_999_i64..9_999).prop_map(Value::from),
            "[ -~\\n]{0,24}".prop_map(Value::from),
            "[a-z0-9.:/_-]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z.-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_yaml_parses_back(value in values()) {
            prop_assert_eq!(read(&document(&value)), value);
        }
    }
}
