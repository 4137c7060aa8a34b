//! Release notes: the section of a version in CHANGELOG.md.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

const FILE: &str = "CHANGELOG.md";

/// The section of `version`, without its heading's brackets and date.
pub(crate) fn section(root: &Path, version: &str) -> Result<String> {
    let path = root.join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let body = find(&text, version).with_context(|| {
        format!("{FILE} has no section \"## [{version}]\": write what changes for users in this version")
    })?;
    ensure!(
        !body.is_empty(),
        "section [{version}] of {FILE} is empty: write what changes for users in this version"
    );
    Ok(format!("# JobSet Operator {version}\n\n{body}\n"))
}

fn find<'a>(text: &'a str, version: &str) -> Option<&'a str> {
    let heading = format!("## [{version}]");
    let mut rest = text;
    loop {
        let start = rest.find(&heading)?;
        let (before, from) = rest.split_at(start);
        let line = from.find('\n').unwrap_or(from.len());
        let body = from.get(line..)?;
        if before.is_empty() || before.ends_with('\n') {
            let end = ["\n## ", "\n["].iter().filter_map(|next| body.find(next)).min();
            return Some(body.get(..end.unwrap_or(body.len()))?.trim());
        }
        rest = body;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\nSee ## [1.1.0] below.\n\n## [1.1.0] - Unreleased\n\n### Added\n\n* A [link](x).\n\n\
                        ## [1.0.0] - 2026-01-01\n\n* First.\n\n[1.1.0]: https://example.org\n";

    #[test]
    fn a_section_ends_before_the_next_one_or_the_links() {
        assert_eq!(find(TEXT, "1.1.0"), Some("### Added\n\n* A [link](x)."));
        assert_eq!(find(TEXT, "1.0.0"), Some("* First."));
        assert_eq!(find(TEXT, "2.0.0"), None);
    }

    #[test]
    fn errors_name_the_missing_section() {
        let root = tempfile::tempdir().unwrap();
        let message = |version: &str| format!("{:#}", section(root.path(), version).unwrap_err());
        assert!(message("1.1.0").contains("CHANGELOG.md"));
        fs::write(root.path().join(FILE), "## [1.1.0] - Unreleased\n\n## [1.0.0]\n").unwrap();
        assert!(message("1.1.0").contains("is empty"), "{}", message("1.1.0"));
        assert!(message("3.0.0").contains("has no section \"## [3.0.0]\""));
    }
}
