//! The page of settings: every setting with its default and its variable.

use breakerbox::settings::Settings;
use serde_json::Value;

use super::row;

pub fn page() -> String {
    let mut page = "# Settings\n\n\
        Layers: these defaults, then a TOML file (`--config`), then variables, then flags. `breakerbox settings` prints them as\n\
        they stand, [default.toml](../../src/settings/default.toml) explains them. A list or a table in a variable is not possible;\n\
        use a file. Policies have a [page of their own](policies.md).\n\n\
        | setting | default | variable |\n|---|---|---|\n"
        .to_owned();
    for (path, default) in all() {
        let shown = match &default {
            Value::Null => "–".to_owned(),
            Value::String(text) if text.is_empty() => "empty".to_owned(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        page += &row(&[format!("`{path}`"), shown, format!("`{}`", variable(&path))]);
    }
    page
}

/// Every setting except policies, with its default.
pub fn all() -> Vec<(String, Value)> {
    fn flatten(prefix: &str, value: Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) if !table.is_empty() => {
                for (key, value) in table {
                    flatten(&if prefix.is_empty() { key } else { format!("{prefix}.{key}") }, value, into);
                }
            }
            leaf => into.push((prefix.to_owned(), leaf)),
        }
    }
    let settings = Settings::load(None, std::iter::empty()).expect("the embedded defaults are valid");
    let mut value = serde_json::to_value(&settings).expect("settings are serialisable");
    if let Some(table) = value.as_object_mut() {
        table.remove("policies");
    }
    let mut found = Vec::new();
    flatten("", value, &mut found);
    found
}

/// The variable that sets it.
pub fn variable(path: &str) -> String {
    format!("BREAKERBOX_{}", path.replace('.', "__").replace('-', "_").to_uppercase())
}
