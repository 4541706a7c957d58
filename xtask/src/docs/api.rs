//! The admin port's API, from the `OpenAPI` document that it serves.

use std::fmt::Write as _;

use serde_json::Value;

use super::row;

const METHODS: &[&str] = &["get", "put", "post", "patch", "delete"];

pub fn page() -> String {
    let document: Value = serde_json::from_str(&breakerbox::app::openapi()).expect("the document is JSON");
    let mut page = "# Admin API\n\n\
        From [openapi.json](../openapi.json), which every process serves at `/openapi.json`. [api.md](../api.md) says what holds\n\
        for all requests.\n\n\
        ## Requests\n\n\
        🔒 needs the admin token when one is set. Errors are a [Problem](#problem).\n\n\
        | request | what it does | query | body | answer | errors |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for (path, method, operation) in operations(&document) {
        page += &request(path, method, operation);
    }
    page += "\n## Types\n\n`?` marks a field that may be absent or null.\n";
    for (name, schema) in table(&document["components"]["schemas"]) {
        describe(name, schema, &mut page);
    }
    page
}

/// Path, method and operation of every endpoint.
pub fn operations(document: &Value) -> Vec<(&str, &'static str, &Value)> {
    let mut found = Vec::new();
    for (path, item) in table(&document["paths"]) {
        let known = METHODS.iter().filter_map(|method| Some((path, *method, item.get(*method)?)));
        found.extend(known);
    }
    found
}

fn table(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Escapes a text for a table cell.
fn cell(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.is_empty() { "–".to_owned() } else { joined.replace('|', "\\|") }
}

fn request(path: &str, method: &str, operation: &Value) -> String {
    let lock = if operation["security"].is_array() { "🔒 " } else { "" };
    let query = list(&operation["parameters"]).filter(|parameter| parameter["in"] == "query");
    let query: Vec<_> = query.map(|parameter| format!("`{}`", text(&parameter["name"]))).collect();
    let body = content(&operation["requestBody"]);
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for (status, response) in table(&operation["responses"]) {
        if status.starts_with(['4', '5']) {
            errors.push(status.to_owned());
        } else {
            answers.push(format!("{status} {}", content(response)).trim_end().to_owned());
        }
    }
    row(&[
        format!("{lock}`{} {path}`", method.to_uppercase()),
        cell(text(&operation["summary"])),
        cell(&query.join(", ")),
        cell(&body),
        cell(&answers.join(", ")),
        cell(&errors.join(", ")),
    ])
}

/// The type of a body: the schema of its JSON, or else the media type.
fn content(body: &Value) -> String {
    let forms = table(&body["content"]).map(|(media, form)| match media {
        "application/json" => kind(&form["schema"]),
        "text/plain" => "text".to_owned(),
        media => format!("`{media}` of {}", kind(&form["schema"])),
    });
    forms.collect::<Vec<_>>().join(" or ")
}

/// A schema as text: a link to its type, or its JSON type.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let options = options.iter().filter(|option| option["type"] != "null").map(kind);
        return options.collect::<Vec<_>>().join(" or ");
    }
    let named = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).find(|kind| *kind != "null").unwrap_or("any"),
        kind => kind.as_str().unwrap_or("any"),
    };
    match named {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        named => named.to_owned(),
    }
}

fn is_nullable(schema: &Value) -> bool {
    let null = |option: &Value| option == "null" || option["type"] == "null";
    list(&schema["type"]).chain(list(&schema["oneOf"])).any(null)
}

fn describe(name: &str, schema: &Value, page: &mut String) {
    let about = cell(text(&schema["description"]));
    write!(page, "\n### {name}\n\n{about}").expect("a String takes any text");
    if schema["additionalProperties"] == false {
        *page += " Unknown fields are refused.";
    }
    *page += "\n";
    let values: Vec<_> = list(&schema["enum"]).map(|value| format!("`{}`", text(value))).collect();
    if !values.is_empty() {
        writeln!(page, "\nOne of {}.", values.join(", ")).expect("a String takes any text");
    }
    let alternatives: Vec<_> = list(&schema["oneOf"]).collect();
    if !alternatives.is_empty() {
        *page += "\nOne of these:\n\n| form | meaning |\n|---|---|\n";
        for alternative in alternatives {
            *page += &row(&[format!("`{}`", shape(alternative)), cell(text(&alternative["description"]))]);
        }
    }
    if schema["properties"].is_object() {
        *page += "\n| field | type | meaning |\n|---|---|---|\n";
        fields(schema, page);
    }
}

fn fields(schema: &Value, page: &mut String) {
    for (field, own) in table(&schema["properties"]) {
        let required = list(&schema["required"]).any(|name| name == field) && !is_nullable(own);
        let about = list(&own["oneOf"]).map(|option| &option["description"]).find(|about| about.is_string());
        *page += &row(&[
            format!("`{field}`{}", if required { "" } else { "?" }),
            kind(own),
            cell(text(about.unwrap_or(&own["description"]))),
        ]);
    }
}

/// One variant of a type with several: `{"uniform": {"max", "min"}}`.
fn shape(schema: &Value) -> String {
    let fields = table(&schema["properties"]).map(|(name, own)| {
        if own["properties"].is_object() { format!("\"{name}\": {}", shape(own)) } else { format!("\"{name}\"") }
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}
