//! Follows a Containerfile that copies generated files into an empty image, such as `bundle/bundle.Dockerfile`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use generate::files::Files;
use oci_image::Entry;

/// What a Containerfile makes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Entries.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Follows `text`. `context` is the folder of the build, relative to the root of the repository.
pub(crate) fn follow(text: &str, files: &Files, context: &str) -> Result<Contents> {
    let mut contents = Contents { labels: BTreeMap::new(), entries: BTreeMap::new() };
    for line in text.replace("\\\n", " ").lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (instruction, rest) = line.split_once(' ').unwrap_or((line, ""));
        let result = match instruction {
            "FROM" => {
                ensure!(
                    rest.trim() == "scratch",
                    "the base image is {rest:?}, but only scratch is possible here"
                );
                Ok(())
            }
            "LABEL" => labels(rest).map(|labels| contents.labels.extend(labels)),
            "COPY" => copied(rest, files, context).map(|entries| contents.entries.extend(entries)),
            _ => bail!(
                "unknown instruction {instruction}: add it to hack/assemble-release/src/containerfile.rs"
            ),
        };
        result.with_context(|| format!("in line {line:?}"))?;
    }
    Ok(contents)
}

/// Pairs of the form `name=value` or `name="value with spaces"`.
fn labels(text: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=').context("a label has no value")?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').context("a quotation mark is missing")?,
            None => value.split_once(' ').unwrap_or((value, "")),
        };
        ensure!(
            !value.contains(['\\', '$']),
            "the value of {name} has a character that needs an interpretation"
        );
        labels.insert(name.to_owned(), value.to_owned());
        rest = after.trim_start();
    }
    Ok(labels)
}

fn copied(text: &str, files: &Files, context: &str) -> Result<BTreeMap<String, Entry>> {
    let words: Vec<_> = text.split_whitespace().collect();
    let [source, target] = words.as_slice() else { bail!("use one source and one target") };
    let folder = Path::new(context).join(source);
    let target = target.trim_matches('/');
    let mut entries = BTreeMap::new();
    for (path, content) in files.iter() {
        if let Ok(inside) = path.strip_prefix(&folder) {
            let inside = Path::new(target).join(inside);
            let inside = inside.to_str().context("the name of a file is not UTF-8")?;
            // Of a single file, the rest of the path is empty.
            entries.insert(inside.trim_end_matches('/').to_owned(), Entry::text(content, 0o644));
        }
    }
    ensure!(!entries.is_empty(), "no generated file is in {}", folder.display());
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let mut files = Files::default();
        files.add("bundle/manifests/a.yaml", "a: 1\n".into());
        files.add("bundle/tests/scorecard/config.yaml", "b: 1\n".into());
        files.add("bundle/manifests-of-others/c.yaml", "c: 1\n".into());
        files
    }

    #[test]
    fn labels_and_copies_are_followed() {
        let text = "# A comment.\nFROM scratch\nLABEL a.b/c=manifests/\nLABEL d=\"two words\" \\\n      e=f\n\
                    COPY manifests /manifests/\nCOPY tests/scorecard /tests/scorecard/\n";
        let contents = follow(text, &files(), "bundle").unwrap();
        let label = |name: &str| contents.labels[name].as_str();
        assert_eq!((label("a.b/c"), label("d"), label("e")), ("manifests/", "two words", "f"));
        assert_eq!(
            contents.entries.keys().collect::<Vec<_>>(),
            ["manifests/a.yaml", "tests/scorecard/config.yaml"]
        );
        assert_eq!(contents.entries["manifests/a.yaml"], Entry::text("a: 1\n", 0o644));
    }

    #[test]
    fn what_cannot_be_followed_is_an_error() {
        let message = |text: &str| format!("{:#}", follow(text, &files(), "bundle").unwrap_err());
        assert!(message("RUN make\n").contains("unknown instruction RUN"));
        assert!(message("FROM debian\n").contains("only scratch"));
        assert!(message("COPY nothing /x/\n").contains("no generated file is in bundle/nothing"));
        assert!(message("LABEL a=$B\n").contains("needs an interpretation"));
    }
}
