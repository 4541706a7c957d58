//! A Korean page has the structure of its English page: the same headings, tables, lists, commands, code and links.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::pages::between;
use crate::root;

/// English pages without a Korean translation, and the reason.
const ENGLISH_ONLY: &[(&str, &str)] = &[("metrics.md", "generated tables")];
/// Sections without a Korean translation: lists of tests, to which the Korean page links.
const SECTIONS: &[(&str, &[&str])] = &[("checkout.md", &["Guarantees", "Extent of the tests"])];
/// Each language has its own index.
const INDEX: &str = "README.md";

/// The parts of a page that do not depend on its language.
#[derive(Debug, Default, PartialEq)]
struct Shape {
    /// Levels of its headings.
    headings: Vec<usize>,
    /// Number of columns of each table row.
    rows: Vec<usize>,
    items: usize,
    /// Code blocks with a language; for those without one (diagrams) the number of lines.
    blocks: Vec<String>,
    spans: BTreeSet<String>,
    links: BTreeSet<PathBuf>,
}

/// Whether a line starts with a list marker.
fn is_item(line: &str) -> bool {
    let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
    line.starts_with("- ") || (number.len() < line.len() && number.starts_with(". "))
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// The English name of the page to which a link leads.
fn target(folder: &str, link: &str) -> PathBuf {
    if link.contains("://") {
        return link.into();
    }
    let file = plain(&Path::new(folder).join(link.split('#').next().unwrap_or_default()));
    let name = file.to_string_lossy().replace("docs/ko/", "docs/").replace("README.ko.md", "README.md");
    name.into()
}

fn shape(text: &str, folder: &str) -> Shape {
    let mut shape = Shape::default();
    let mut prose = String::new();
    for (number, part) in text.split("```").enumerate() {
        if number % 2 == 1 {
            let (language, block) = part.split_once('\n').unwrap_or((part, ""));
            let lines = block.lines().count();
            shape.blocks.push(if language.is_empty() { lines.to_string() } else { part.to_owned() });
            continue;
        }
        for line in part.lines() {
            if line.starts_with('#') {
                shape.headings.push(line.chars().take_while(|c| *c == '#').count());
            } else if line.starts_with('|') {
                shape.rows.push(line.matches('|').count());
            } else if is_item(line) {
                shape.items += 1;
            }
        }
        prose += part;
    }
    let joined = prose.replace('\n', " ");
    shape.spans = between(&joined, "`", "`").into_iter().map(str::to_owned).collect();
    shape.links = between(&prose, "](", ")").into_iter().map(|link| target(folder, link)).collect();
    shape
}

/// A page without its untranslated sections.
fn translatable(name: &str, text: &str) -> String {
    let alone = SECTIONS.iter().find(|(page, _)| *page == name).map_or(&[][..], |(_, sections)| sections);
    let kept = text.split("\n## ").filter(|section| !alone.contains(&section.lines().next().unwrap_or_default()));
    kept.collect::<Vec<_>>().join("\n## ")
}

fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap().flatten().map(|entry| entry.path());
    let pages = entries.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

#[test]
fn every_page_has_its_korean_counterpart() {
    let (english, korean) = (names("docs"), names("docs/ko"));
    let alone: BTreeSet<_> = ENGLISH_ONLY.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<_> = english.difference(&korean).filter(|name| !alone.contains(*name)).collect();
    assert_eq!(missing, [""; 0], "write docs/ko/NAME, or list the page with a reason");
    assert_eq!(korean.difference(&english).collect::<Vec<_>>(), [""; 0], "pages without an English one");
    assert!(alone.is_subset(&english), "{alone:?}");
}

#[test]
fn korean_pages_have_the_shape_of_the_english_ones() {
    let korean = names("docs/ko");
    let translated: Vec<_> = korean.iter().filter(|name| *name != INDEX).collect();
    assert!(translated.len() >= 9, "{translated:?}");
    for name in translated {
        let text = |folder: &str| translatable(name, &fs::read_to_string(root().join(folder).join(name)).unwrap());
        let (english, korean) = (shape(&text("docs"), "docs"), shape(&text("docs/ko"), "docs/ko"));
        assert_eq!(korean.headings, english.headings, "{name}: levels of headings");
        assert_eq!(korean.rows, english.rows, "{name}: columns of rows");
        assert_eq!(korean.items, english.items, "{name}: items of lists");
        assert_eq!(korean.blocks, english.blocks, "{name}: code blocks");
        let differing: Vec<_> = korean.spans.symmetric_difference(&english.spans).collect();
        assert_eq!(differing, [""; 0], "{name}: code in sentences");
        // A page may link to its own English version.
        let own = Path::new("docs").join(name);
        let differing = korean.links.symmetric_difference(&english.links).filter(|link| **link != own);
        let differing: Vec<_> = differing.collect();
        assert!(differing.is_empty(), "{name}: links {differing:?}");
    }
}

#[test]
fn a_shape_sees_what_differs() {
    let page = "# A\n\n| a | b |\n\n- `x y`\n\n```sh\nls\n```\n\n```\none\ntwo\n```\n\n[b](b.md#c) `z`\n";
    let same = "# 가\n\n| 가 | 나 |\n\n- `x\ny`\n\n```sh\nls\n```\n\n```\n하나\n둘\n```\n\n[나](b.md) `z`\n";
    let own = shape(page, "docs");
    assert_eq!(shape(same, "docs/ko"), own);
    for (from, to) in [("# 가", "## 가"), ("| 나 |", "|"), ("- `x", "`x"), ("ls", "rm"), ("둘\n", ""), ("`z`", "")]
    {
        assert_ne!(shape(&same.replacen(from, to, 1), "docs/ko"), own, "{from}");
    }
    assert_ne!(shape(&same.replace("b.md", "../b.md"), "docs/ko").links.len(), 0);
    assert_ne!(shape(&same.replace("b.md", "c.md"), "docs/ko").links, own.links);
}
