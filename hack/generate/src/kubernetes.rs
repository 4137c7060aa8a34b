//! Kubernetes' OpenAPI documents, from the Go module of the pinned Kubernetes version.
//!
//! `hack/controlplane/go.mod` pins the version, so schemas and test clusters have the same one. Go downloads the module
//! into its cache, unless it is there, and verifies it against `go.sum`.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Folder of the `go.mod` that pins Kubernetes, relative to the root of the repository.
const PIN: &str = "hack/controlplane";
const MODULE: &str = "k8s.io/kubernetes";
/// The documents that define `JobTemplateSpec`, `PersistentVolumeClaim` and the types that these refer to.
const DOCUMENTS: [&str; 2] = ["api__v1_openapi.json", "apis__batch__v1_openapi.json"];

/// Schemas of Kubernetes API types.
pub struct Kubernetes {
    /// Version, such as `v1.37.2`.
    pub version: String,
    /// Schemas by full name, such as `io.k8s.api.core.v1.PodSpec`.
    pub schemas: BTreeMap<String, Value>,
}

/// Output of `go mod download -json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Module {
    version: String,
    dir: PathBuf,
    error: String,
}

impl Kubernetes {
    /// Reads the schemas of the Kubernetes version that the repository at `root` pins.
    pub fn load(root: &Path) -> Result<Self> {
        let module = download(&root.join(PIN))?;
        let mut schemas = BTreeMap::new();
        for document in DOCUMENTS {
            let path = module.dir.join("api/openapi-spec/v3").join(document);
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let mut document: Value =
                serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
            match document.pointer_mut("/components/schemas").map(Value::take) {
                Some(Value::Object(found)) => schemas.extend(found),
                _ => bail!("{} is not an OpenAPI v3 document: it has no components.schemas", path.display()),
            }
        }
        Ok(Self { version: module.version, schemas })
    }
}

fn download(folder: &Path) -> Result<Module> {
    let output = match Command::new("go")
        .args(["mod", "download", "-json", MODULE])
        .current_dir(folder)
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => bail!(
            "`go` is not in PATH, and the schemas of pods and claims come from Kubernetes' Go module: install Go"
        ),
        Err(error) => return Err(error).with_context(|| format!("cannot run `go` in {}", folder.display())),
    };
    // The reason of a failure is in the JSON output (for an unavailable module) or on stderr (otherwise).
    let module: Module = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !output.status.success() || !module.error.is_empty() || module.dir.as_os_str().is_empty() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reason = if module.error.is_empty() { stderr.trim() } else { &module.error };
        bail!(
            "cannot download the Go module {MODULE} that {PIN}/go.mod pins: {reason}; check that this machine reaches \
             the Go module proxy (`go env GOPROXY`)"
        );
    }
    Ok(module)
}
