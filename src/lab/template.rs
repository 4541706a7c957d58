//! Text with placeholders for figures: `{{name}}`.

/// Replaces every placeholder; one without a value is an error.
pub(crate) fn fill(text: &str, value: impl Fn(&str) -> Result<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("{{") {
        out.push_str(&rest[..begin]);
        let after = &rest[begin + 2..];
        let end =
            after.find("}}").ok_or_else(|| format!("{:?} has no end", &rest[begin..rest.len().min(begin + 40)]))?;
        out.push_str(&value(after[..end].trim())?);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_unknown_ones_refused() {
        let value = |name: &str| if name == "a" { Ok("1".to_owned()) } else { Err(format!("no {name}")) };
        assert_eq!(fill("x {{a}} y {{ a }}", value), Ok("x 1 y 1".to_owned()));
        assert_eq!(fill("{{b}}", value), Err("no b".to_owned()));
        assert!(fill("{{a", value).is_err());
    }
}
