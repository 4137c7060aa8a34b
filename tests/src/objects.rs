//! Reads Kubernetes objects of any kind from files, and gets, applies, creates and deletes them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;

/// Root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Parses the objects in a YAML stream. Ignores empty documents.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Ok(Option::<DynamicObject>::deserialize(document)?))
        .filter_map(Result::transpose)
        .collect()
}

/// Reads the objects in a file.
pub fn read(file: &Path) -> Result<Vec<DynamicObject>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("{} does not contain Kubernetes objects", file.display()))
}

/// Reads the objects in the YAML files of a folder and its subfolders, sorted by path, without kustomizations and Helm
/// charts.
pub fn read_folder(folder: &Path) -> Result<Vec<DynamicObject>> {
    let mut paths = std::fs::read_dir(folder)
        .with_context(|| format!("cannot read folder {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        if path.join("Chart.yaml").is_file() {
            continue;
        }
        if path.is_dir() {
            objects.extend(read_folder(&path)?);
        } else if path.extension().is_some_and(|it| it == "yaml")
            && path.file_stem().is_some_and(|it| it != "kustomization")
        {
            objects.extend(read(&path)?);
        }
    }
    Ok(objects)
}

/// Files of the JobSets in docs/examples that need no feature gate, sorted.
pub fn example_files() -> Result<Vec<PathBuf>> {
    example_files_in(&repository())
}

fn example_files_in(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("docs/examples");
    let paths = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let needs_gate = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["in-place-restart", "gang"].iter().any(|prefix| name.starts_with(prefix))
    };
    let mut paths: Vec<_> = paths.into_iter().filter(|path| !needs_gate(path)).collect();
    paths.sort();
    Ok(paths)
}

/// The JobSets of [`example_files`].
pub fn examples() -> Result<Vec<DynamicObject>> {
    examples_in(&repository())
}

/// The JobSets in docs/examples of another release that need no feature gate.
pub fn examples_in(root: &Path) -> Result<Vec<DynamicObject>> {
    Ok(example_files_in(root)?.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?.concat())
}

/// Parses YAML that contains exactly one object.
pub fn one(text: &str) -> Result<DynamicObject> {
    let mut objects = parse(text)?;
    match (objects.pop(), objects.is_empty()) {
        (Some(object), true) => Ok(object),
        _ => bail!("not exactly one object: {text}"),
    }
}

/// A suspended JobSet.
pub fn suspended_jobset(name: &str) -> Result<DynamicObject> {
    one(&format!(
        "
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {{name: {name}}}
spec:
  suspend: true
  replicatedJobs:
  - name: worker
    template: {{spec: {{template: {{spec: {{containers: [{{name: c, image: busybox}}]}}}}}}}}
"
    ))
}

/// Kind of an object; empty if it has none.
pub fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

/// Kind, namespace and name of an object, for messages.
pub fn title(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{} {namespace}/{}", kind(object), object.name_any()),
        None => format!("{} {}", kind(object), object.name_any()),
    }
}

/// The API of objects of this kind and namespace.
pub async fn api_of(client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
    let types =
        object.types.as_ref().ok_or_else(|| anyhow!("{} has no apiVersion and kind", object.name_any()))?;
    let gvk = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("the cluster does not serve {} {}", types.api_version, types.kind))?;
    Ok(match (capabilities.scope, object.namespace()) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), &namespace, &resource),
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    })
}

/// Applies an object with server-side apply and this field manager.
pub async fn apply(client: &Client, object: &DynamicObject, manager: &str) -> Result<DynamicObject> {
    let params = PatchParams::apply(manager).force();
    let api = api_of(client, object).await?;
    api.patch(&object.name_any(), &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("cannot apply {}", title(object)))
}

/// Creates an object, in this namespace if its kind is namespaced. The error is the API server's response.
pub async fn create(
    client: &Client,
    namespace: &str,
    object: &DynamicObject,
    dry_run: bool,
) -> Result<DynamicObject, Refusal> {
    let mut object = object.clone();
    object.metadata.namespace = Some(namespace.to_owned());
    let api = api_of(client, &object)
        .await
        .map_err(|error| Refusal { code: 404, message: format!("{error:#}") })?;
    if api.namespace().is_none() {
        object.metadata.namespace = None;
    }
    let params = PostParams { dry_run, ..PostParams::default() };
    api.create(&params, &object).await.map_err(Refusal::from)
}

/// An error response of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code; 0 if there was no response.
    pub code: u16,
    /// The message that a user sees.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self { code: status.code, message: status.message },
            other => Self { code: 0, message: other.to_string() },
        }
    }
}

/// Deletes an object. Succeeds if the object or its kind does not exist.
pub async fn delete(client: &Client, object: &DynamicObject) -> Result<()> {
    let Ok(api) = api_of(client, object).await else { return Ok(()) };
    match api.delete(&object.name_any(), &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot delete {}", title(object))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_ignores_empty_documents() {
        let objects = parse("---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n").unwrap();
        assert_eq!(objects.iter().map(title).collect::<Vec<_>>(), ["Secret b/a", "Namespace c"]);
    }

    #[test]
    fn examples_are_jobsets() {
        let objects = examples().unwrap();
        assert_eq!(example_files().unwrap().len(), objects.len(), "each file has one JobSet");
        assert!(objects.iter().all(|object| kind(object) == "JobSet") && objects.len() >= 2);
    }

    #[test]
    fn an_error_names_the_file_without_objects() {
        let error = read(&repository().join("Cargo.toml")).unwrap_err();
        assert!(format!("{error:#}").contains("Cargo.toml does not contain Kubernetes objects"), "{error:#}");
    }
}
