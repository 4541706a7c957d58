//! The image's build context holds every file that the program is built from, and base images are pinned by digest.

use std::fs;
use std::path::{Path, PathBuf};

/// Files that the library was built from according to the compiler, relative to the repository.
fn built_from() -> Vec<PathBuf> {
    let tests = std::env::current_exe().unwrap();
    let entries = fs::read_dir(tests.parent().unwrap()).unwrap().map(|entry| entry.unwrap());
    let own = |path: &Path| {
        let name = path.file_stem().and_then(|name| name.to_str());
        path.extension().is_some_and(|ending| ending == "d") && name.is_some_and(|name| name.starts_with("breakerbox-"))
    };
    let infos = entries.filter(|entry| own(&entry.path()));
    let library = infos
        .map(|entry| (entry.metadata().unwrap().modified().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .filter(|(_, info)| info.contains(": src/lib.rs "))
        .max()
        .expect("cargo compiled the library for this test");
    let (_, files) = library.1.lines().next().and_then(|line| line.split_once(": ")).expect("a make rule");
    files.split_whitespace().map(|file| plain(Path::new(file))).collect()
}

/// The path without `..`, relative to the repository.
fn plain(file: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file) {
        if part == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// The sources of each `COPY` from the build context.
fn copied() -> Vec<PathBuf> {
    let dockerfile = include_str!("../../Dockerfile");
    let copies =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|copy| !copy.starts_with("--"));
    copies
        .flat_map(|copy| {
            let words: Vec<&str> = copy.split_whitespace().collect();
            words[..words.len() - 1].iter().map(PathBuf::from).collect::<Vec<_>>()
        })
        .collect()
}

/// What `.dockerignore` leaves in the context; its first line excludes everything.
fn sent() -> Vec<PathBuf> {
    let mut lines = include_str!("../../.dockerignore").lines();
    assert_eq!(lines.next(), Some("*"));
    lines.map(|line| PathBuf::from(line.strip_prefix('!').expect("only exceptions after *"))).collect()
}

#[test]
fn the_image_is_built_from_all_that_the_program_is() {
    let files = built_from();
    assert!(files.iter().any(|file| file.starts_with("migrations")) && files.len() > 100, "{files:?}");
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
        assert!(sent.iter().any(|sent| place.starts_with(sent)), "{} is not in the build context", place.display());
    }
}

/// All image references after `image:` or `FROM`, except our own image and build stages.
fn images(text: &str) -> impl Iterator<Item = &str> {
    let named = |line: &str| line.trim().trim_start_matches("- ").starts_with("image:") || line.starts_with("FROM ");
    let named = text.lines().filter(move |line| named(line));
    let images =
        named.filter_map(|line| line.split_once("image:").map_or(line.strip_prefix("FROM "), |(_, image)| Some(image)));
    images.filter_map(|image| image.split_whitespace().next()).filter(|image| *image != "breakerbox:local")
}

#[test]
fn images_are_named_by_tag_and_digest() {
    let postgres = include_str!("../../deploy/kubernetes/postgres/postgres.yaml");
    let files = [include_str!("../../Dockerfile"), include_str!("../../docker-compose.yml"), postgres];
    let mut found: Vec<&str> = files.iter().flat_map(|file| images(file)).collect();
    assert_eq!(found.len(), 8, "{found:?}");
    for image in &found {
        let (name, digest) = image.split_once("@sha256:").unwrap_or_else(|| panic!("{image} has no digest"));
        assert!(name.rsplit('/').next().is_some_and(|last| last.contains(':')), "{image} has no tag");
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{image}");
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), 7, "the same PostgreSQL in both: {found:?}");
}
