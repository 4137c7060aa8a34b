//! The bill of materials in the format of CycloneDX.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::crates::Crate;

/// What the bill of materials is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// Name of the image, without registry.
    pub name: &'a str,
    /// Version of the release.
    pub version: &'a str,
    /// Commit.
    pub commit: &'a str,
    /// Time of the commit, in seconds since 1970.
    pub created: u64,
}

/// The bill of materials, as JSON.
pub fn bill_of_materials(subject: &Subject<'_>, crates: &[Crate]) -> Result<String> {
    let created =
        i64::try_from(subject.created).context("the commit is from a time too far in the future")?;
    let created = jiff::Timestamp::from_second(created).context("invalid time of the commit")?;
    let image = format!("image:{}@{}", subject.name, subject.version);
    let own = crates.iter().filter(|one| crate::PROGRAMS.contains(&one.name.as_str()) && one.own);
    let mut dependencies = vec![json!({
        "ref": image,
        "dependsOn": own.map(|one| reference(&one.name, &one.version)).collect::<Vec<_>>(),
    })];
    dependencies.extend(crates.iter().map(|one| {
        json!({
            "ref": reference(&one.name, &one.version),
            "dependsOn": one.dependencies.iter().map(|(name, version)| reference(name, version)).collect::<Vec<_>>(),
        })
    }));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created.to_string(),
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": subject.name,
                "version": subject.version,
                "properties": [{ "name": "commit", "value": subject.commit }],
            },
        },
        "components": crates.iter().map(component).collect::<Vec<_>>(),
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

/// The package URL of a crate, which is also its reference inside of the document.
fn reference(name: &str, version: &str) -> String {
    // The plus sign of build metadata means a space in a URL.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn component(one: &Crate) -> Value {
    let purl = reference(&one.name, &one.version);
    let references = one.repository.iter().map(|url| json!({ "type": "vcs", "url": url }));
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": one.name,
        "version": one.version,
        "description": one.description,
        // The image does not contain crates that only run during the build.
        "scope": if one.linked { "required" } else { "excluded" },
        "licenses": [{ "expression": one.license }],
        "purl": purl,
        "externalReferences": references.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cyclonedx_bom::models::bom::Bom;
    use cyclonedx_bom::validation::Validate as _;
    use std::path::Path;

    const SUBJECT: Subject<'_> =
        Subject { name: "jobset-operator", version: "1.2.3", commit: "c0ffee", created: 1_000_000_000 };

    #[test]
    fn the_document_is_valid_and_reproducible() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let crates = crate::read(&root, &["x86_64-unknown-linux-gnu"]).unwrap();
        let text = bill_of_materials(&SUBJECT, &crates).unwrap();
        assert_eq!(text, bill_of_materials(&SUBJECT, &crates).unwrap());
        assert!(!text.contains(root.canonicalize().unwrap().to_str().unwrap()), "a path of this machine");
        // The library of CycloneDX reads it.
        let bom = Bom::parse_from_json(text.as_bytes()).unwrap();
        let validation = bom.validate();
        assert!(validation.passed(), "{validation:?}");
        assert_eq!(bom.components.unwrap().0.len(), crates.len());
        assert_eq!(bom.dependencies.unwrap().0.len(), crates.len() + 1);
        let metadata = bom.metadata.unwrap();
        assert_eq!(metadata.timestamp.unwrap().to_string(), "2001-09-09T01:46:40Z");
        assert_eq!(metadata.component.unwrap().version.unwrap().to_string(), "1.2.3");
    }

    #[test]
    fn crates_of_the_build_are_excluded() {
        let one = |name: &str, linked| Crate {
            name: name.into(),
            version: "1.0.0+a".into(),
            own: false,
            linked,
            license: "MIT".into(),
            description: String::new(),
            repository: None,
            authors: vec![],
            dependencies: vec![],
            folder: "/x".into(),
        };
        let text = bill_of_materials(&SUBJECT, &[one("in", true), one("out", false)]).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["components"][0]["scope"], "required");
        assert_eq!(value["components"][0]["purl"], "pkg:cargo/in@1.0.0%2Ba");
        assert_eq!(value["components"][1]["scope"], "excluded");
        assert_eq!(value["dependencies"][1]["ref"], value["components"][0]["bom-ref"]);
    }
}
