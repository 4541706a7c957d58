//! Validates YAML documents against the schemas of custom resources, strictly: an unknown field is an error, where an
//! API server would drop it silently.
//!
//! `schemas/*.json` are the `openAPIV3Schema` of the custom resource definitions, descriptions and CEL rules left
//! out: `DestinationRule` and `VirtualService` (networking.istio.io/v1) from istio/api 1.31, `PodMonitor` and
//! `PrometheusRule` (monitoring.coreos.com/v1) from prometheus-operator 0.93. Both are under the Apache License 2.0.
#![allow(dead_code, clippy::unwrap_used, unreachable_pub, reason = "shared by tests that need different parts")]

use serde_json::Value;

const SCHEMAS: &[&str] = &[
    include_str!("schemas/DestinationRule.json"),
    include_str!("schemas/VirtualService.json"),
    include_str!("schemas/PodMonitor.json"),
    include_str!("schemas/PrometheusRule.json"),
];

/// Every document of a YAML file.
pub fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .filter(|part| part.lines().any(|line| !line.is_empty() && !line.starts_with('#') && line != "---"))
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|error| panic!("{error}\n{part}")))
        .collect()
}

/// The schema violations of a custom resource; empty if it is valid. A kind without a schema here is a violation.
pub fn faults_of(resource: &Value) -> Vec<String> {
    let known = SCHEMAS.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let fits = |file: &Value| file["apiVersion"] == resource["apiVersion"] && file["kind"] == resource["kind"];
    let Some(file) = known.into_iter().find(fits) else {
        return vec![format!("no schema for {} {}", resource["apiVersion"], resource["kind"])];
    };
    let mut wrong = Vec::new();
    let mut rest = resource.clone();
    for common in ["apiVersion", "kind", "metadata"] {
        assert!(rest.as_object_mut().unwrap().remove(common).is_some(), "{common} is missing: {resource}");
    }
    // `status` is set by the controller.
    let mut schema = file["schema"].clone();
    schema["properties"].as_object_mut().unwrap().retain(|name, _| name == "spec");
    schema["required"] = serde_json::json!(["spec"]);
    check(&rest, &schema, "", &mut wrong);
    wrong
}

fn check(value: &Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        if !(value.is_string() || value.is_i64() || value.is_u64()) {
            wrong.push(format!("{path}: {value} is neither a whole number nor a text"));
        }
    } else if let Some(wanted) = schema["type"].as_str() {
        let fits = match wanted {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => panic!("{path}: the checker does not know the type {other}"),
        };
        if !fits {
            wrong.push(format!("{path}: {value} is no {wanted}"));
            return;
        }
    }
    bounds(value, schema, path, wrong);
    combined(value, schema, path, wrong);
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(item, &schema["items"], &format!("{path}[{index}]"), wrong);
        }
    }
    let Some(fields) = value.as_object() else { return };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(required) {
            wrong.push(format!("{path}.{required} is missing"));
        }
    }
    for (name, field) in fields {
        let path = format!("{path}.{name}");
        if !schema["properties"][name].is_null() {
            check(field, &schema["properties"][name], &path, wrong);
        } else if schema["additionalProperties"].is_object() {
            check(field, &schema["additionalProperties"], &path, wrong);
        } else if schema["x-kubernetes-preserve-unknown-fields"] != true {
            wrong.push(format!("{path}: the schema knows no such field"));
        }
    }
}

fn bounds(value: &Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        wrong.push(format!("{path}: {value} is not one of {allowed:?}"));
    }
    if let Some(number) = value.as_f64() {
        let below = schema["minimum"].as_f64().is_some_and(|least| number < least);
        if below || schema["maximum"].as_f64().is_some_and(|most| number > most) {
            wrong.push(format!("{path}: {number} is out of range"));
        }
    }
    let length = value.as_str().map(str::len).or(value.as_array().map(Vec::len)).map(|length| length as u64);
    let least = schema["minLength"].as_u64().or(schema["minItems"].as_u64());
    let most = schema["maxLength"].as_u64().or(schema["maxItems"].as_u64());
    if let Some(length) = length
        && (least.is_some_and(|least| length < least) || most.is_some_and(|most| length > most))
    {
        wrong.push(format!("{path}: {length} is not an allowed length"));
    }
}

/// Checks `oneOf`, `anyOf` and `not`, which in these schemas only require fields to be present or absent.
fn combined(value: &Value, schema: &Value, path: &str, wrong: &mut Vec<String>) {
    fn holds(value: &Value, rule: &Value) -> bool {
        if let Some(inner) = rule.get("not") {
            return !holds(value, inner);
        }
        if let Some(any) = rule["anyOf"].as_array() {
            return any.iter().any(|rule| holds(value, rule));
        }
        let required = rule["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        required.into_iter().all(|field| value.get(field).is_some())
    }
    if let Some(one) = schema["oneOf"].as_array()
        && one.iter().filter(|rule| holds(value, rule)).count() != 1
    {
        wrong.push(format!("{path}: {value} fits none or several of the alternatives"));
    }
    if schema["x-kubernetes-int-or-string"] != true
        && let Some(any) = schema["anyOf"].as_array()
        && !any.iter().any(|rule| holds(value, rule))
    {
        wrong.push(format!("{path}: {value} fits none of the alternatives"));
    }
}
