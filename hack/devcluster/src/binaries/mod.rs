//! The programs of the cluster. They are built once from the Go module `hack/controlplane/`, into a cache. Helm, which
//! tests use, has a Go module of its own, `hack/helm/`, so that its updates do not rebuild the cluster's programs.
//!
//! The name of the cache folder is a digest of the inputs of the build, so a changed pin never uses a stale program. A
//! build writes into a temporary folder and moves complete programs into the cache folder.

mod go;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

pub(crate) use go::module_folder;

use crate::digest;
use crate::options::Binaries;
use crate::progress::Progress;

/// The programs of one upstream project, which have one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// The daemons of Kubernetes, and kubectl.
    Kubernetes,
    /// etcd.
    Etcd,
    /// kwok.
    Kwok,
    /// coredns.
    CoreDns,
    /// cert-manager: its controllers and its CA injector in one program.
    CertManager,
    /// local-path-provisioner.
    LocalPathProvisioner,
    /// promlint, which tests use to check metrics.
    Promlint,
    /// helm, which tests use to install the charts.
    Helm,
}

/// The Go module of the cluster's programs.
const CONTROLPLANE: &str = "controlplane";

/// A Go program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    /// Package of the main function. Its last element is the program's name.
    package: &'static str,
    /// The names of its hard links; empty: its own name.
    aliases: &'static [&'static str],
}

impl Program {
    const fn of(package: &'static str) -> Self {
        Self { package, aliases: &[] }
    }

    /// Name of the file that Go writes.
    fn file(self) -> &'static str {
        self.package.rsplit('/').next().unwrap_or(self.package)
    }

    /// The names by which users and daemons call it.
    fn names(self) -> Vec<&'static str> {
        if self.aliases.is_empty() { vec![self.file()] } else { self.aliases.to_vec() }
    }
}

const KUBERNETES: [Program; 2] = [
    Program {
        package: "./kubernetes",
        aliases: &["kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"],
    },
    Program::of("k8s.io/kubernetes/cmd/kubectl"),
];

impl Component {
    /// Every component.
    pub const ALL: [Self; 8] = [
        Self::Kubernetes,
        Self::Etcd,
        Self::Kwok,
        Self::CoreDns,
        Self::CertManager,
        Self::LocalPathProvisioner,
        Self::Promlint,
        Self::Helm,
    ];

    /// Name in messages.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::Etcd => "etcd",
            Self::Kwok => "KWOK",
            Self::CoreDns => "CoreDNS",
            Self::CertManager => "cert-manager",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::Promlint => "promlint",
            Self::Helm => "Helm",
        }
    }

    fn programs(self) -> &'static [Program] {
        const fn one(package: &'static str) -> [Program; 1] {
            [Program::of(package)]
        }
        match self {
            Self::Kubernetes => &KUBERNETES,
            Self::Etcd => const { &one("./etcd") },
            Self::Kwok => const { &one("sigs.k8s.io/kwok/cmd/kwok") },
            Self::CoreDns => const { &one("./coredns") },
            Self::CertManager => const { &one("./cert-manager") },
            Self::LocalPathProvisioner => const { &one("./local-path-provisioner") },
            Self::Promlint => const { &one("./promlint") },
            Self::Helm => const { &one("helm.sh/helm/v4/cmd/helm") },
        }
    }

    /// The component that contains this program.
    fn with(program: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|component| component.names().any(|name| name == program))
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        self.programs().iter().flat_map(|program| program.names())
    }

    /// The Go module that has the version of the programs.
    fn upstream(self) -> &'static str {
        match self {
            Self::Kubernetes => "k8s.io/kubernetes",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kwok => "sigs.k8s.io/kwok",
            Self::CoreDns => "github.com/coredns/coredns",
            Self::CertManager => "github.com/cert-manager/cert-manager",
            Self::LocalPathProvisioner => "sigs.k8s.io/sig-storage-lib-external-provisioner/v13",
            Self::Promlint => "github.com/prometheus/client_golang",
            Self::Helm => "helm.sh/helm/v4",
        }
    }

    /// Folder in `hack/` of the Go module that pins the version.
    fn module(self) -> &'static str {
        if self == Self::Helm { "helm" } else { CONTROLPLANE }
    }

    /// The pinned version, such as `v1.37.2`.
    pub fn version(self) -> Result<String> {
        let file = go::source_folder(self.module()).join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        required_version(&text, self.upstream())
            .ok_or_else(|| anyhow!("{} does not require {}", file.display(), self.upstream()))
    }
}

/// Linker flags: no debug information, and the versions that the programs report.
fn ldflags() -> Result<String> {
    let mut flags = vec!["-s -w".to_owned()];
    let mut set = |variable: &str, value: &str| flags.push(format!("-X {variable}={value}"));
    let kubernetes = Component::Kubernetes.version()?;
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
        set(&format!("{package}.gitVersion"), &kubernetes);
        set(&format!("{package}.gitMajor"), major);
        set(&format!("{package}.gitMinor"), minor);
        set(&format!("{package}.gitTreeState"), "clean");
    }
    set("sigs.k8s.io/kwok/pkg/consts.Version", &Component::Kwok.version()?);
    Ok(flags.join(" "))
}

/// Path of a program: the one from the options, otherwise the one that devcluster builds.
pub fn find(name: &str, binaries: &Binaries, progress: &Progress) -> Result<PathBuf> {
    if let Some(path) = user_supplied(name, binaries)? {
        return Ok(path);
    }
    Ok(ensure(&[component(name)?], progress)?.join(name))
}

/// Builds those of these programs that are missing, in one build.
pub fn ensure_programs(names: &[&str], binaries: &Binaries, progress: &Progress) -> Result<()> {
    let mut components = Vec::new();
    for name in names {
        let component = component(name)?;
        if user_supplied(name, binaries)?.is_none() && !components.contains(&component) {
            components.push(component);
        }
    }
    ensure(&components, progress).map(drop)
}

fn component(program: &str) -> Result<Component> {
    Component::with(program).ok_or_else(|| anyhow!("devcluster cannot build the program {program}"))
}

/// Path of a program from a flag or from the assets folder.
fn user_supplied(name: &str, binaries: &Binaries) -> Result<Option<PathBuf>> {
    let flag = match name {
        "etcd" => &binaries.etcd,
        "kube-apiserver" => &binaries.kube_apiserver,
        "kube-controller-manager" => &binaries.kube_controller_manager,
        "kube-scheduler" => &binaries.kube_scheduler,
        "kubectl" => &binaries.kubectl,
        "kubelet" => &binaries.kubelet,
        "kube-proxy" => &binaries.kube_proxy,
        "kwok" => &binaries.kwok,
        _ => &None,
    };
    if let Some(path) = flag {
        if !path.is_file() {
            bail!("--{name} {}: no such file", path.display());
        }
        return absolute(path).map(Some);
    }
    // An empty environment variable means no folder.
    let Some(folder) = binaries.assets.as_ref().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        bail!("--assets (or KUBEBUILDER_ASSETS) {}: no such folder", folder.display());
    }
    let path = folder.join(name);
    if path.is_file() { absolute(&path).map(Some) } else { Ok(None) }
}

/// Does not resolve links: a program may depend on the name by which it is called.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))
}

/// Builds the missing programs of these components, which have one Go module. Returns the folder that contains them.
pub fn ensure(components: &[Component], progress: &Progress) -> Result<PathBuf> {
    let module = components.first().map_or(CONTROLPLANE, |component| component.module());
    if components.iter().any(|component| component.module() != module) {
        bail!("the Go module {module} does not pin all of {}", titles(components)?);
    }
    let (ldflags, source) = (ldflags()?, go::source_folder(module));
    let cache = cache_dir()?.join("bin");
    let folder = cache.join(key(&source, &ldflags)?);
    let missing = || -> Vec<Component> {
        let exists = |name| folder.join(name).is_file();
        components.iter().copied().filter(|component| !component.names().all(exists)).collect()
    };
    if missing().is_empty() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create folder {}", folder.display()))?;
    // If two clusters start at once, only one of them builds.
    let lock = lock_file(&cache.join("lock"))?;
    lock.lock().with_context(|| format!("cannot lock {}", cache.display()))?;
    let missing = missing();
    if missing.is_empty() {
        return Ok(folder);
    }
    // With the lock held, this folder can only be from a killed build.
    let building = cache.join("building");
    if building.exists() {
        fs::remove_dir_all(&building).with_context(|| format!("cannot remove {}", building.display()))?;
    }
    fs::create_dir_all(&building).with_context(|| format!("cannot create folder {}", building.display()))?;
    let step = progress.step(format!("Building {}", titles(&missing)?));
    let programs: Vec<Program> = missing.iter().flat_map(|component| component.programs()).copied().collect();
    let packages: Vec<&str> = programs.iter().map(|program| program.package).collect();
    go::build(&source, &packages, &ldflags, &building, &step)?;
    for program in programs {
        let file = building.join(program.file());
        for name in program.names() {
            let (linked, target) = (building.join(format!("{name}.link")), folder.join(name));
            // A hard link, because resolving a symbolic link loses the name.
            fs::hard_link(&file, &linked)
                .and_then(|()| fs::rename(&linked, &target))
                .with_context(|| format!("cannot create {}", target.display()))?;
        }
    }
    fs::remove_dir_all(&building).with_context(|| format!("cannot remove {}", building.display()))?;
    step.done();
    Ok(folder)
}

/// Lists components as in `Kubernetes v1.37.2, etcd v3.7.3 and CoreDNS v1.14.7`.
fn titles(components: &[Component]) -> Result<String> {
    let titles: Vec<String> = components
        .iter()
        .map(|component| Ok(format!("{} {}", component.title(), component.version()?)))
        .collect::<Result<_>>()?;
    Ok(match titles.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    })
}

/// `devcluster` under `$XDG_CACHE_HOME` or `~/.cache`.
pub fn cache_dir() -> Result<PathBuf> {
    Ok(user_dir("XDG_CACHE_HOME", ".cache")?.join("devcluster"))
}

/// A folder of the XDG base directory specification.
pub(crate) fn user_dir(variable: &str, below_home: &str) -> Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| absolute("HOME").map(|home| home.join(below_home)))
        .ok_or_else(|| anyhow!("neither {variable} nor HOME is set to an absolute path: set one of them"))
}

pub(crate) fn lock_file(path: &Path) -> Result<fs::File> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The first 16 hexadecimal digits of a digest of the build's inputs.
fn key(source: &Path, ldflags: &str) -> Result<String> {
    let mut files = vec![source.join("go.mod"), source.join("go.sum")];
    files.extend(go::sources(source)?);
    let mut parts = Vec::new();
    for file in files {
        parts.push(file.strip_prefix(source).unwrap_or(&file).as_os_str().as_encoded_bytes().to_vec());
        parts.push(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    parts.push(ldflags.into());
    Ok(digest::short(parts, 8))
}

/// The version of a module that a go.mod requires.
fn required_version(go_mod: &str, module: &str) -> Option<String> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module))
            .then(|| words.next())
            .flatten()
            .filter(|word| word.starts_with('v'))
            .map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_a_pinned_version() {
        for component in Component::ALL {
            let version = component.version().unwrap();
            assert!(version.starts_with('v') && version.contains('.'), "{}: {version}", component.title());
        }
    }

    #[test]
    fn both_forms_of_require_contain_versions() {
        let text = "require a.io/one v1.2.3\n\nrequire (\n\ta.io/two v0.4.0 // indirect\n)\nreplace (\n\ta.io/three => a.io/three v9.0.0\n)\n";
        assert_eq!(required_version(text, "a.io/one").unwrap(), "v1.2.3");
        assert_eq!(required_version(text, "a.io/two").unwrap(), "v0.4.0");
        assert_eq!(required_version(text, "a.io/three"), None);
        assert_eq!(required_version(text, "a.io"), None);
    }

    #[test]
    fn linker_flags_contain_the_pinned_versions() {
        let (flags, version) = (ldflags().unwrap(), Component::Kubernetes.version().unwrap());
        let minor = version.split('.').nth(1).unwrap();
        for part in [
            format!("component-base/version.gitVersion={version}"),
            "gitMajor=1 ".to_owned(),
            format!("client-go/pkg/version.gitMinor={minor}"),
        ] {
            assert!(flags.contains(&part), "{flags}");
        }
    }

    #[test]
    fn a_component_is_found_by_the_names_of_its_programs() {
        for (name, component) in [
            ("kubelet", Component::Kubernetes),
            ("kubectl", Component::Kubernetes),
            ("etcd", Component::Etcd),
            ("kwok", Component::Kwok),
            ("local-path-provisioner", Component::LocalPathProvisioner),
            ("helm", Component::Helm),
        ] {
            assert_eq!(Component::with(name), Some(component), "{name}");
        }
        // Only the names of the daemons count.
        assert_eq!(Component::with("kubernetes"), None);
    }

    #[test]
    fn the_digest_changes_with_pins_sources_and_flags() {
        let folder = tempfile::tempdir().unwrap();
        let key = |flags: &str| super::key(folder.path(), flags).unwrap();
        for (file, text) in [("go.mod", "module a"), ("go.sum", "")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        let first = key("-s");
        assert_eq!(first.len(), 16);
        fs::write(folder.path().join("README.md"), "not built").unwrap();
        assert_eq!(key("-s"), first);
        assert_ne!(key("-w"), first);
        fs::write(folder.path().join("go.sum"), "sum").unwrap();
        let second = key("-s");
        assert_ne!(second, first);
        fs::create_dir(folder.path().join("etcd")).unwrap();
        fs::write(folder.path().join("etcd/main.go"), "package main").unwrap();
        assert_ne!(key("-s"), second);
    }

    #[test]
    fn a_supplied_program_is_used_and_an_error_names_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let etcd = folder.path().join("etcd");
        fs::write(&etcd, "").unwrap();
        let assets = Binaries { assets: Some(folder.path().into()), ..Binaries::default() };
        assert_eq!(user_supplied("etcd", &assets).unwrap(), Some(etcd));
        assert_eq!(user_supplied("kubectl", &assets).unwrap(), None);
        let flag = Binaries { kubectl: Some("/nowhere/kubectl".into()), ..assets };
        assert_eq!(
            user_supplied("kubectl", &flag).unwrap_err().to_string(),
            "--kubectl /nowhere/kubectl: no such file"
        );
    }

    #[test]
    fn titles_form_a_list() {
        let text = titles(&[Component::Kubernetes, Component::Etcd, Component::Kwok]).unwrap();
        assert!(
            text.starts_with("Kubernetes v") && text.contains(", etcd v") && text.contains(" and KWOK v"),
            "{text}"
        );
    }
}
