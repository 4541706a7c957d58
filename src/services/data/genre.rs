//! The catalog's genres: a closed set, so that an unknown one can be refused with a list of the valid ones.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A genre. A film has at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Genre {
    Adventure,
    Animation,
    Comedy,
    Crime,
    Documentary,
    Drama,
    Fantasy,
    Horror,
    Romance,
    ScienceFiction,
    Thriller,
    Western,
}

impl Genre {
    /// Every genre, by name.
    pub const ALL: [Self; 12] = [
        Self::Adventure,
        Self::Animation,
        Self::Comedy,
        Self::Crime,
        Self::Documentary,
        Self::Drama,
        Self::Fantasy,
        Self::Horror,
        Self::Romance,
        Self::ScienceFiction,
        Self::Thriller,
        Self::Western,
    ];

    /// Its name in JSON and queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adventure => "adventure",
            Self::Animation => "animation",
            Self::Comedy => "comedy",
            Self::Crime => "crime",
            Self::Documentary => "documentary",
            Self::Drama => "drama",
            Self::Fantasy => "fantasy",
            Self::Horror => "horror",
            Self::Romance => "romance",
            Self::ScienceFiction => "science-fiction",
            Self::Thriller => "thriller",
            Self::Western => "western",
        }
    }

    /// The genre with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|genre| genre.as_str() == name)
    }
}

impl fmt::Display for Genre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genre_is_spelled_the_same_everywhere() {
        for genre in Genre::ALL {
            assert_eq!(serde_json::to_value(genre).unwrap(), genre.as_str());
            assert_eq!(Genre::parse(genre.as_str()), Some(genre));
        }
        assert!(Genre::ALL.is_sorted());
        assert_eq!(Genre::parse("Horror"), None);
    }
}
