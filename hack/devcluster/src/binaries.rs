//! The programs of the cluster: built from the Go modules under `hack/controlplane/`, once, into a cache.
//!
//! The cache folder's name holds a digest of everything that decides what is built, so that a changed pin is a
//! new folder and never a stale program. A build happens beside its final place and is renamed into it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::digest;
use crate::options::Binaries;
use crate::progress::{Progress, Step};

/// A Go module under `hack/controlplane/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Module {
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl.
    Kubernetes,
    /// etcd.
    Etcd,
    /// kwok.
    Kwok,
    /// coredns.
    CoreDns,
    /// cert-manager: controllers and CA injector in one program.
    CertManager,
    /// local-path-provisioner.
    LocalPathProvisioner,
    /// promlint, with which tests look at metrics as Prometheus does.
    Promlint,
}

/// One program of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Go package of its main function; `.` is the module's own.
    pub package: &'static str,
    /// File name.
    pub name: &'static str,
}

impl Module {
    /// Every module.
    pub const ALL: [Self; 7] = [
        Self::Kubernetes,
        Self::Etcd,
        Self::Kwok,
        Self::CoreDns,
        Self::CertManager,
        Self::LocalPathProvisioner,
        Self::Promlint,
    ];

    /// Name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::Kwok => "kwok",
            Self::CoreDns => "coredns",
            Self::CertManager => "cert-manager",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::Promlint => "promlint",
        }
    }

    /// Name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::Etcd => "etcd",
            Self::Kwok => "KWOK",
            Self::CoreDns => "CoreDNS",
            Self::CertManager => "cert-manager",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::Promlint => "promlint",
        }
    }

    /// Its programs.
    pub fn programs(self) -> &'static [Program] {
        macro_rules! programs {
            ($($package:literal => $name:literal),+) => { &[$(Program { package: $package, name: $name }),+] };
        }
        match self {
            Self::Kubernetes => programs![
                "k8s.io/kubernetes/cmd/kube-apiserver" => "kube-apiserver",
                "k8s.io/kubernetes/cmd/kube-controller-manager" => "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-scheduler" => "kube-scheduler",
                "k8s.io/kubernetes/cmd/kubelet" => "kubelet",
                "k8s.io/kubernetes/cmd/kube-proxy" => "kube-proxy",
                "k8s.io/kubernetes/cmd/kubectl" => "kubectl"
            ],
            Self::Etcd => programs!["go.etcd.io/etcd/server/v3" => "etcd"],
            Self::Kwok => programs!["sigs.k8s.io/kwok/cmd/kwok" => "kwok"],
            Self::CoreDns => programs!["." => "coredns"],
            Self::CertManager => programs!["." => "cert-manager"],
            Self::LocalPathProvisioner => programs!["." => "local-path-provisioner"],
            Self::Promlint => programs!["." => "promlint"],
        }
    }

    /// The Go module whose version is the version of the programs.
    fn upstream(self) -> &'static str {
        match self {
            Self::Kubernetes => "k8s.io/kubernetes",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::Kwok => "sigs.k8s.io/kwok",
            Self::CoreDns => "github.com/coredns/coredns",
            Self::CertManager => "github.com/cert-manager/cert-manager",
            Self::LocalPathProvisioner => "sigs.k8s.io/sig-storage-lib-external-provisioner/v13",
            Self::Promlint => "github.com/prometheus/client_golang",
        }
    }

    /// The pinned version, such as `v1.36.3`.
    pub fn version(self) -> Result<String> {
        let file = controlplane_dir().join(self.folder()).join("go.mod");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        required_version(&text, self.upstream())
            .ok_or_else(|| anyhow!("{} does not require {}", file.display(), self.upstream()))
    }

    /// What the linker is told: no debug information, and the version that the programs report.
    fn ldflags(self, version: &str) -> String {
        let mut flags = vec!["-s -w".to_owned()];
        let mut set = |variable: &str, value: &str| flags.push(format!("-X {variable}={value}"));
        match self {
            Self::Kubernetes => {
                let mut numbers = version.trim_start_matches('v').split('.');
                let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
                for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                    set(&format!("{package}.gitVersion"), version);
                    set(&format!("{package}.gitMajor"), major);
                    set(&format!("{package}.gitMinor"), minor);
                    set(&format!("{package}.gitTreeState"), "clean");
                }
            }
            Self::Kwok => set("sigs.k8s.io/kwok/pkg/consts.Version", version),
            Self::Etcd | Self::CoreDns | Self::CertManager | Self::LocalPathProvisioner | Self::Promlint => {}
        }
        flags.join(" ")
    }
}

/// `hack/controlplane` of this source tree.
pub fn controlplane_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane")
}

/// The program of this name: the one that the options name, or else the one that devcluster builds.
pub fn find(name: &str, binaries: &Binaries, progress: &Progress) -> Result<PathBuf> {
    if let Some(path) = given(name, binaries)? {
        return Ok(path);
    }
    let module = Module::ALL
        .into_iter()
        .find(|module| module.programs().iter().any(|program| program.name == name))
        .ok_or_else(|| anyhow!("devcluster knows no program {name}"))?;
    Ok(ensure(module, progress)?.join(name))
}

/// The program that a flag names, or the folder of assets holds.
fn given(name: &str, binaries: &Binaries) -> Result<Option<PathBuf>> {
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
            bail!("--{name} {}: there is no such file", path.display());
        }
        return Ok(Some(path.canonicalize()?));
    }
    // An empty environment variable is none.
    let Some(folder) = binaries.assets.as_ref().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(None);
    };
    if !folder.is_dir() {
        bail!("--assets (or KUBEBUILDER_ASSETS) {}: there is no such folder", folder.display());
    }
    let path = folder.join(name);
    if path.is_file() { Ok(Some(path.canonicalize()?)) } else { Ok(None) }
}

/// The folder that holds the module's programs, which are built when they are missing.
pub fn ensure(module: Module, progress: &Progress) -> Result<PathBuf> {
    let source = controlplane_dir().join(module.folder());
    let version = module.version()?;
    let ldflags = module.ldflags(&version);
    let cache = cache_dir()?.join("bin");
    let folder = cache.join(format!("{}-{}", module.folder(), key(&source, module, &ldflags)?));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot create folder {}", cache.display()))?;
    // Two clusters that start at once build once.
    let lock = lock_file(&cache.join(format!("{}.lock", module.folder())))?;
    lock.lock().with_context(|| format!("cannot lock {}", cache.display()))?;
    if folder.is_dir() {
        return Ok(folder);
    }
    let step = progress.step(format!("Building {} {version}", module.title()));
    let go = go()?;
    // What a build that was killed left behind is in nobody's use: the lock is ours.
    let building = cache.join(format!("{}.building", module.folder()));
    if building.exists() {
        fs::remove_dir_all(&building).with_context(|| format!("cannot remove {}", building.display()))?;
    }
    fs::create_dir_all(&building).with_context(|| format!("cannot create folder {}", building.display()))?;
    build(&go, module, &source, &ldflags, &building, &step)?;
    fs::rename(&building, &folder).with_context(|| format!("cannot create folder {}", folder.display()))?;
    step.done();
    Ok(folder)
}

/// `devcluster` under `$XDG_CACHE_HOME`, or `~/.cache`.
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

/// The Go compiler, when it is new enough to fetch the one that a module asks for.
pub(crate) fn go() -> Result<PathBuf> {
    const INSTALL: &str = "install Go 1.21 or newer, or name ready-made programs with --assets";
    let standard = Path::new("/usr/local/go/bin/go");
    let (go, output) = [Path::new("go"), standard]
        .into_iter()
        .find_map(|go| Some((go.to_path_buf(), Command::new(go).args(["env", "GOVERSION"]).output().ok()?)))
        .ok_or_else(|| {
            anyhow!("the programs of the cluster are built with Go, which is not installed: {INSTALL}")
        })?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !is_new_enough(&version) {
        bail!("the programs of the cluster cannot be built with {version}: {INSTALL}");
    }
    Ok(go)
}

fn is_new_enough(goversion: &str) -> bool {
    let mut numbers = goversion.trim_start_matches("go").split(['.', '-', ' ']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => minor >= 21,
        (Some(Ok(major)), _) => major > 1,
        // A development version.
        _ => goversion.starts_with("devel"),
    }
}

fn build(go: &Path, module: Module, source: &Path, ldflags: &str, target: &Path, step: &Step) -> Result<()> {
    let go_command = || {
        let mut command = Command::new(go);
        // The user's own settings must not change what is built.
        command
            .current_dir(source)
            .env("GOFLAGS", "-mod=readonly")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0");
        command
    };
    let packages = module.programs().iter().map(|program| program.package);
    // Fetches what is missing, and tells how many packages there are to compile.
    let mut count = 0;
    stream(go_command().args(["list", "-deps"]).args(packages), |line, is_error| {
        if is_error {
            step.message(line);
        } else {
            count += 1;
        }
    })
    .with_context(|| format!("cannot fetch the sources of {}", module.title()))?;
    step.total(count);
    for program in module.programs() {
        let mut command = go_command();
        command.args(["build", "-v", "-trimpath", "-ldflags", ldflags, "-o"]);
        command.arg(target.join(program.name)).arg(program.package);
        step.message(program.name);
        stream(&mut command, |line, _| {
            step.advance(1);
            step.message(format!("{}: {line}", program.name));
        })
        .with_context(|| format!("cannot build {}", program.name))?;
    }
    Ok(())
}

/// Runs a command and hands over each line of what it says as it comes (true: on standard error).
fn stream(command: &mut Command, mut each: impl FnMut(&str, bool)) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = std::sync::mpsc::channel();
    let pipes: [(Option<Box<dyn std::io::Read + Send>>, bool); 2] = [
        (child.stdout.take().map(|pipe| Box::new(pipe) as _), false),
        (child.stderr.take().map(|pipe| Box::new(pipe) as _), true),
    ];
    for (pipe, is_error) in pipes {
        let Some(pipe) = pipe else { continue };
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send((line, is_error)).is_err() {
                    break;
                }
            }
        });
    }
    drop(sender);
    let mut last = String::new();
    for (line, is_error) in lines {
        each(&line, is_error);
        if is_error && !line.trim().is_empty() {
            last = line;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("go ended with {status}: {last}");
    }
    Ok(())
}

/// The first 16 hexadecimal digits of a digest over all that decides what is built.
fn key(source: &Path, module: Module, ldflags: &str) -> Result<String> {
    let mut files: Vec<_> = fs::read_dir(source)
        .with_context(|| format!("cannot read folder {}", source.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name == "go.mod" || name == "go.sum")
                || path.extension().is_some_and(|extension| extension == "go")
        })
        .collect();
    files.sort();
    let mut parts = Vec::new();
    for file in files {
        parts.push(file.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
        parts.push(fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    parts.extend(module.programs().iter().map(|program| program.package.into()));
    parts.push(ldflags.into());
    Ok(digest::short(parts, 8))
}

/// The version at which a go.mod requires a module.
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
    fn every_module_pins_the_version_it_reports() {
        for module in Module::ALL {
            let version = module.version().unwrap();
            assert!(version.starts_with('v') && version.contains('.'), "{}: {version}", module.title());
            assert!(controlplane_dir().join(module.folder()).join("go.sum").is_file());
        }
    }

    #[test]
    fn a_version_is_read_from_both_forms_of_require() {
        let text = "require a.io/one v1.2.3\n\nrequire (\n\ta.io/two v0.4.0 // indirect\n)\nreplace (\n\ta.io/three => a.io/three v9.0.0\n)\n";
        assert_eq!(required_version(text, "a.io/one").unwrap(), "v1.2.3");
        assert_eq!(required_version(text, "a.io/two").unwrap(), "v0.4.0");
        assert_eq!(required_version(text, "a.io/three"), None);
        assert_eq!(required_version(text, "a.io"), None);
    }

    #[test]
    fn kubernetes_programs_are_told_their_version() {
        let flags = Module::Kubernetes.ldflags("v1.36.3");
        for part in
            ["component-base/version.gitVersion=v1.36.3", "gitMajor=1 ", "client-go/pkg/version.gitMinor=36"]
        {
            assert!(flags.contains(part), "{flags}");
        }
        assert_eq!(Module::Etcd.ldflags("v3.6.16"), "-s -w");
    }

    #[test]
    fn the_digest_changes_with_the_pins_and_with_the_flags() {
        let folder = tempfile::tempdir().unwrap();
        let key = |flags: &str| super::key(folder.path(), Module::Etcd, flags).unwrap();
        fs::write(folder.path().join("go.mod"), "module a").unwrap();
        let first = key("-s");
        assert_eq!(first.len(), 16);
        fs::write(folder.path().join("README.md"), "not built").unwrap();
        assert_eq!(key("-s"), first);
        assert_ne!(key("-w"), first);
        fs::write(folder.path().join("go.sum"), "sum").unwrap();
        assert_ne!(key("-s"), first);
    }

    #[test]
    fn old_go_is_told_from_new_go() {
        for (version, expected) in [
            ("go1.26.8", true),
            ("go1.21", true),
            ("go1.19.8", false),
            ("go2.0", true),
            ("", false),
            ("devel go1.27-abc", true),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
    }

    #[test]
    fn a_given_program_is_used_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let etcd = folder.path().join("etcd");
        fs::write(&etcd, "").unwrap();
        let assets = Binaries { assets: Some(folder.path().into()), ..Binaries::default() };
        assert_eq!(given("etcd", &assets).unwrap(), Some(etcd.canonicalize().unwrap()));
        assert_eq!(given("kubectl", &assets).unwrap(), None);
        let flag = Binaries { kubectl: Some("/nowhere/kubectl".into()), ..assets };
        assert_eq!(
            given("kubectl", &flag).unwrap_err().to_string(),
            "--kubectl /nowhere/kubectl: there is no such file"
        );
    }
}
