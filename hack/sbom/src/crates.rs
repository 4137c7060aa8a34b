//! The crates in the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, TargetKind};

/// Packages whose programs a release contains.
pub const PROGRAMS: [&str; 4] =
    ["in-place-restart-agent", "jobset-controller", "jobset-operator", "kubectl-jobset"];

/// A crate, of this workspace or of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Whether it is a crate of this workspace.
    pub own: bool,
    /// Whether a program contains its code. Other crates run only during the build.
    pub linked: bool,
    /// Expression of SPDX.
    pub license: String,
    /// One line about it.
    pub description: String,
    /// URL of its source.
    pub repository: Option<String>,
    /// Authors, as the crate names them.
    pub authors: Vec<String>,
    /// Names and versions of the crates that it uses.
    pub dependencies: Vec<(String, String)>,
    /// Folder of its source on this machine.
    pub folder: PathBuf,
}

/// Reads the crates in the programs of the workspace at `root`, sorted by name and version. Features are those of the
/// whole workspace, so a crate can be in the list that only a test enables. `targets` are those of the programs.
pub fn read(root: &Path, targets: &[&str]) -> Result<Vec<Crate>> {
    let filter = targets.iter().flat_map(|target| ["--filter-platform", target]);
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(["--locked"].into_iter().chain(filter).map(str::to_owned).collect::<Vec<_>>())
        .exec()
        .context("cannot read the crates of the workspace")?;
    crates(&metadata)
}

fn crates(metadata: &Metadata) -> Result<Vec<Crate>> {
    let packages: BTreeMap<_, _> = metadata.packages.iter().map(|package| (&package.id, package)).collect();
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved no dependencies")?;
    // Each crate, and whether it is linked with the crates that use it, or only runs during the build.
    let edges: BTreeMap<_, Vec<(&PackageId, bool)>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let used = node.deps.iter().filter_map(|dependency| {
                let has = |kind| dependency.dep_kinds.iter().any(|one| one.kind == kind);
                let normal = has(DependencyKind::Normal);
                (normal || has(DependencyKind::Build)).then_some((&dependency.pkg, normal))
            });
            (&node.id, used.collect())
        })
        .collect();

    let mut pending = Vec::new();
    for name in PROGRAMS {
        let is_program = |package: &&Package| package.name.as_str() == name && package.source.is_none();
        let Some(package) = metadata.packages.iter().find(is_program) else {
            bail!("the workspace has no package {name}");
        };
        pending.push((&package.id, true));
    }
    let mut found: BTreeMap<&PackageId, bool> = BTreeMap::new();
    while let Some((id, linked)) = pending.pop() {
        let is_macro = packages
            .get(id)
            .is_some_and(|package| package.targets.iter().any(|it| it.is_kind(TargetKind::ProcMacro)));
        let linked = linked && !is_macro;
        // A crate can be found a second time, as one that is linked.
        if found.get(id).is_some_and(|before| *before || !linked) {
            continue;
        }
        found.insert(id, linked);
        for (used, normal) in edges.get(id).into_iter().flatten() {
            pending.push((used, linked && *normal));
        }
    }

    let name = |id: &PackageId| packages.get(id).map(|one| (one.name.to_string(), one.version.to_string()));
    let mut all: Vec<_> = found
        .iter()
        .filter_map(|(id, linked)| {
            let used: BTreeSet<_> =
                edges.get(id).into_iter().flatten().filter_map(|(id, _)| name(id)).collect();
            Some(described(packages.get(id)?, *linked, used.into_iter().collect()))
        })
        .collect();
    all.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(all)
}

fn described(package: &Package, linked: bool, dependencies: Vec<(String, String)>) -> Crate {
    let description = package.description.as_deref().unwrap_or_default();
    Crate {
        name: package.name.to_string(),
        version: package.version.to_string(),
        own: package.source.is_none(),
        linked,
        // Old crates separate alternatives with a slash.
        license: package.license.as_deref().unwrap_or_default().replace(" / ", " OR ").replace('/', " OR "),
        description: description.split_whitespace().collect::<Vec<_>>().join(" "),
        repository: package.repository.clone(),
        authors: package.authors.clone(),
        dependencies,
        folder: package.manifest_path.parent().map(PathBuf::from).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_workspace() -> Vec<Crate> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        read(&root, &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]).unwrap()
    }

    #[test]
    fn crates_of_the_programs_are_found() {
        let all = this_workspace();
        let find = |name: &str| all.iter().find(|one| one.name == name);
        for name in PROGRAMS {
            assert!(find(name).is_some_and(|one| one.own && one.linked), "{name}");
        }
        assert!(find("rustls").is_some_and(|one| !one.own && one.linked));
        // The cryptography is compiled by cc, and clap's attributes are a macro: neither is in a program.
        assert!(find("cc").is_some_and(|one| !one.linked));
        assert!(find("clap_derive").is_some_and(|one| !one.linked));
        // Crates of tests, of the generator and of devcluster.
        for name in ["libtest-mimic", "generate", "devcluster", "proptest"] {
            assert_eq!(find(name), None, "{name}");
        }
        for one in &all {
            assert!(!one.license.is_empty() && !one.license.contains('/'), "{}: {}", one.name, one.license);
        }
    }

    #[test]
    fn every_dependency_is_a_crate_of_the_list() {
        let all = this_workspace();
        let names: BTreeSet<_> = all.iter().map(|one| (one.name.clone(), one.version.clone())).collect();
        assert_eq!(names.len(), all.len(), "a crate is listed twice");
        for one in &all {
            for dependency in &one.dependencies {
                assert!(names.contains(dependency), "{}: {dependency:?}", one.name);
            }
        }
    }
}
