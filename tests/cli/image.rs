//! The image's build gets every file that the program is built from.

use std::fs;
use std::path::{Path, PathBuf};

/// What Cargo says the program was built from, relative to the repository.
fn built_from() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let info = Path::new(env!("CARGO_BIN_EXE_breakerbox")).with_extension("d");
    let text = fs::read_to_string(&info).unwrap_or_else(|error| panic!("{}: {error}", info.display()));
    let (_, files) = text.split_once(": ").expect("a make rule");
    // A space inside of a path is written with a backslash before it.
    let files = files.replace("\\ ", "\0");
    let files = files.split_whitespace().map(|file| PathBuf::from(file.replace('\0', " ")));
    files.filter_map(|file| file.strip_prefix(root).map(Path::to_owned).ok()).collect()
}

/// The sources of each `COPY` from the build's context.
fn copied() -> Vec<PathBuf> {
    let dockerfile = include_str!("../../Dockerfile");
    let copies = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with("--"));
    copies
        .flat_map(|copy| {
            let words: Vec<&str> = copy.split_whitespace().collect();
            words[..words.len() - 1].iter().map(PathBuf::from).collect::<Vec<_>>()
        })
        .collect()
}

/// What `.dockerignore` leaves in the context: it begins by leaving out everything.
fn sent() -> Vec<PathBuf> {
    let mut lines = include_str!("../../.dockerignore").lines();
    assert_eq!(lines.next(), Some("*"));
    lines.map(|line| PathBuf::from(line.strip_prefix('!').expect("only exceptions after *"))).collect()
}

#[test]
fn the_image_is_built_from_all_that_the_program_is() {
    let files = built_from();
    assert!(files.iter().any(|file| file == Path::new("src/main.rs")) && files.len() > 100, "{files:?}");
    let (copied, sent) = (copied(), sent());
    for file in files {
        for (places, what) in [(&copied, "the Dockerfile copies"), (&sent, ".dockerignore lets through")] {
            assert!(places.iter().any(|place| file.starts_with(place)), "not among what {what}: {}", file.display());
        }
    }
}

#[test]
fn what_is_copied_is_sent_and_is_there() {
    let sent = sent();
    for place in copied() {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(&place).exists(), "{}", place.display());
        assert!(sent.iter().any(|sent| place.starts_with(sent)), "{} is not sent", place.display());
    }
}
