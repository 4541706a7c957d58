//! The films: real ones, all in the public domain in the United States, either by age (published before 1931) or
//! because their copyright was never renewed or never claimed.
//!
//! `films.tsv` is part of the program, so that a catalog never starts without films. Running times are those of the
//! release or restoration usually shown; for silent films they depend on the projection speed.

use std::sync::OnceLock;

use super::Genre;
use crate::services::wire::Film;

const TABLE: &str = include_str!("films.tsv");
const HEADER: [&str; 6] = ["id", "title", "year", "director", "minutes", "genres"];

/// Every film. The film with id `n` is the `n`th.
#[must_use]
pub fn all() -> &'static [Film] {
    static FILMS: OnceLock<Vec<Film>> = OnceLock::new();
    FILMS.get_or_init(|| parse(TABLE).expect("the embedded table is parsed by a test"))
}

/// The film with this id.
#[must_use]
pub fn by_id(id: u32) -> Option<&'static Film> {
    all().get(usize::try_from(id).ok()?.checked_sub(1)?)
}

/// The number of films, which is also the highest id.
#[must_use]
pub fn count() -> u32 {
    u32::try_from(all().len()).expect("a few hundred films")
}

fn parse(table: &str) -> Result<Vec<Film>, String> {
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.delimiter(b'\t').quoting(false).flexible(true).from_reader(table.as_bytes());
    if *reader.headers().map_err(|error| error.to_string())? != HEADER[..] {
        return Err(format!("the first line must be {HEADER:?}"));
    }
    let mut films = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let film = film(&record).ok_or_else(|| format!("not a film: {record:?}"))?;
        if usize::try_from(film.id) != Ok(films.len() + 1) {
            return Err(format!("{} has id {}, its id must be {}", film.title, film.id, films.len() + 1));
        }
        films.push(film);
    }
    Ok(films)
}

fn film(record: &csv::StringRecord) -> Option<Film> {
    let [id, title, year, director, minutes, genres] = record.iter().collect::<Vec<_>>().try_into().ok()?;
    Some(Film {
        id: id.parse().ok()?,
        title: title.to_owned(),
        year: year.parse().ok()?,
        director: director.to_owned(),
        genres: genres.split(',').map(Genre::parse).collect::<Option<_>>()?,
        runtime_minutes: minutes.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_embedded_table_is_complete() {
        let films = parse(TABLE).unwrap();
        assert!(films.len() >= 150, "{}", films.len());
        let mut seen = HashSet::new();
        for film in &films {
            assert!((1895..=1970).contains(&film.year), "{film:?}");
            assert!((5..=240).contains(&film.runtime_minutes), "{film:?}");
            assert!(film.genres.is_sorted() && !film.genres.is_empty(), "{film:?}");
            assert!(!film.title.is_empty() && film.title.trim() == film.title, "{film:?}");
            assert!(film.director.contains(' '), "{film:?}");
            assert!(seen.insert((&film.title, film.year)), "twice: {film:?}");
        }
        assert!(films.is_sorted_by_key(|film| film.year));
    }

    #[test]
    fn every_genre_has_enough_films_to_browse() {
        for genre in Genre::ALL {
            let films = all().iter().filter(|film| film.genres.contains(&genre)).count();
            assert!(films >= 5, "{genre}: {films}");
        }
    }

    #[test]
    fn a_film_is_found_by_its_id_and_no_other() {
        for film in all() {
            assert_eq!(by_id(film.id), Some(film));
        }
        assert_eq!((by_id(0), by_id(count() + 1)), (None, None));
    }

    #[test]
    fn a_broken_table_is_refused_with_the_line_that_broke_it() {
        let table = |line: &str| parse(&format!("{}\n{line}", HEADER.join("\t"))).unwrap_err();
        assert!(parse("").is_err());
        assert!(table("1\tIt\t1927\tClarence G. Badger\t72\tcomedy,slapstick").contains("slapstick"));
        assert!(table("1\tIt\t1927").contains("1927"));
        assert!(table("2\tIt\t1927\tClarence G. Badger\t72\tcomedy").contains("its id must be 1"));
    }
}
