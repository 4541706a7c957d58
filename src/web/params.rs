//! Numbers in paths and queries, parsed from text so that an error can name the parameter and its allowed values.

use std::ops::RangeInclusive;

use super::problem::Problem;

/// A whole number in a query; `default` if it is missing.
pub fn number(field: &str, text: Option<&str>, default: u32, allowed: &RangeInclusive<u32>) -> Result<u32, Problem> {
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| {
        Problem::bad_request(field, format!("must be a whole number from {} to {}", allowed.start(), allowed.end()))
    })
}

/// An id in a path.
pub fn id(field: &str, text: &str) -> Result<u32, Problem> {
    number(field, Some(text), 0, &(1..=u32::MAX))
}

/// Ids separated by commas, at most `most`; empty if missing.
pub fn ids(field: &str, text: Option<&str>, most: usize) -> Result<Vec<u32>, Problem> {
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parsed: Option<Vec<u32>> = text.split(',').take(most + 1).map(|id| id.parse().ok()).collect();
    parsed
        .filter(|ids| ids.len() <= most)
        .ok_or_else(|| Problem::bad_request(field, format!("must be at most {most} whole numbers separated by commas")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_its_range_is_refused_with_the_range() {
        let limit = |text| number("limit", text, 10, &(1..=50));
        assert_eq!((limit(None), limit(Some("1")), limit(Some("50"))), (Ok(10), Ok(1), Ok(50)));
        for wrong in ["0", "51", "-1", "", "ten", "1.5", "99999999999"] {
            assert_eq!(limit(Some(wrong)).unwrap_err().detail(), "limit: must be a whole number from 1 to 50");
        }
    }

    #[test]
    fn a_list_of_ids_is_bounded() {
        assert_eq!(ids("exclude", None, 2), Ok(vec![]));
        assert_eq!(ids("exclude", Some("3,1"), 2), Ok(vec![3, 1]));
        assert!(ids("exclude", Some("1,2,3"), 2).is_err() && ids("exclude", Some("1,,2"), 5).is_err());
    }
}
