//! Collects objects, events, logs and metrics. What cannot be collected is in the index of the archive, and no failure.

use super::archive::Archive;
use super::redact::{self, Author};
use super::targets::{Scope, Select, TARGETS, Target, USUAL_NAMESPACES, includes_event, namespaces_of, text};
use super::{GatherOptions, metrics};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use manager_runtime::client::api_message;
use manager_runtime::version;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use tracing::info;

/// Objects in one response of a list request.
const PAGE: u32 = 500;
/// The longest time for one request.
const TIMEOUT: Duration = Duration::from_mins(1);
/// The most bytes of a log.
const LOG_BYTES: i64 = 10 * 1024 * 1024;

/// Objects by namespace.
type Objects = BTreeMap<String, Vec<Value>>;

/// A run.
pub(super) struct Collector<'a> {
    client: Client,
    options: &'a GatherOptions,
    archive: &'a mut Archive,
    /// Kind and name of the collected objects of JobSets, by namespace.
    of_jobsets: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Pods of the installation.
    pods: Vec<Value>,
    /// The validity of certificates.
    certificates: Vec<Value>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(client: Client, options: &'a GatherOptions, archive: &'a mut Archive) -> Self {
        Self {
            client,
            options,
            archive,
            of_jobsets: BTreeMap::new(),
            pods: Vec::new(),
            certificates: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) -> io::Result<()> {
        self.versions().await?;
        let installations = self.installations().await;
        info!(?installations, "collecting");
        for target in TARGETS {
            let found = self.list_target(target, &installations).await;
            self.write(target, found)?;
        }
        let namespaces: BTreeSet<_> = installations.iter().chain(self.of_jobsets.keys()).cloned().collect();
        for namespace in &namespaces {
            self.events(namespace, installations.contains(namespace)).await?;
        }
        self.logs().await?;
        for namespace in &installations {
            metrics::collect(&self.client, namespace, self.archive).await?;
        }
        self.archive.yaml("certificates.yaml", &self.certificates, self.certificates.len())
    }

    /// The versions of this program and of the cluster. `oc adm must-gather` expects the file `version`.
    async fn versions(&mut self) -> io::Result<()> {
        self.archive.text("version", &format!("jobset-operator\n{}\n", version::VERSION))?;
        self.archive.text("program.txt", &format!("{}\n", version::long()))?;
        match self.client.apiserver_version().await {
            Ok(info) => self.archive.yaml(
                "cluster-version.yaml",
                &json!({"gitVersion": info.git_version, "platform": info.platform}),
                0,
            ),
            Err(error) => {
                self.archive.missing("version of the API server", api_message(&error));
                Ok(())
            }
        }
    }

    /// The namespaces of operator and controller: the usual ones, the targets of the webhooks, and those with a
    /// Deployment of JobSet.
    async fn installations(&mut self) -> BTreeSet<String> {
        let mut found: BTreeSet<_> = USUAL_NAMESPACES.iter().map(|&namespace| namespace.to_owned()).collect();
        let has_name = |target: &&Target| {
            ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration", "Deployment"]
                .contains(&target.kind)
        };
        for target in TARGETS.iter().filter(has_name) {
            let api = Api::all_with(self.client.clone(), &target.resource());
            // Without this right, an installation in another namespace is not found: the index names it.
            let what = format!("{} of all namespaces, to find installations", target.plural);
            for object in self.list(target, api, &what).await {
                if target.includes(&object) {
                    found.extend(namespaces_of(&object));
                }
            }
        }
        found
    }

    async fn list_target(&mut self, target: &Target, installations: &BTreeSet<String>) -> Objects {
        let resource = target.resource();
        let wanted: Vec<&str> = match target.scope {
            Scope::Cluster => Vec::new(),
            Scope::Installation => installations.iter().map(String::as_str).collect(),
            Scope::JobSets => self.options.namespaces.iter().map(String::as_str).collect(),
        };
        let mut all = Vec::new();
        if wanted.is_empty() {
            let api = Api::all_with(self.client.clone(), &resource);
            all = self.list(target, api, target.plural).await;
        }
        for namespace in wanted {
            let api = Api::namespaced_with(self.client.clone(), namespace, &resource);
            let what = format!("{} in namespace {namespace}", target.plural);
            all.extend(self.list(target, api, &what).await);
        }
        let mut found = Objects::new();
        for object in all.into_iter().filter(|object| target.includes(object)) {
            found.entry(text(&object, "/metadata/namespace").to_owned()).or_default().push(object);
        }
        found
    }

    /// Lists objects. If that is not possible, the index names what is missing.
    async fn list(&mut self, target: &Target, api: Api<DynamicObject>, what: &str) -> Vec<Value> {
        let mut params = ListParams::default().limit(PAGE);
        params.label_selector = target.selector().map(str::to_owned);
        params.field_selector = target.fields().map(str::to_owned);
        let mut found = Vec::new();
        loop {
            let page = match tokio::time::timeout(TIMEOUT, api.list(&params)).await {
                Ok(Ok(page)) => page,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    let version = if target.group.is_empty() {
                        target.version.to_owned()
                    } else {
                        format!("{}/{}", target.group, target.version)
                    };
                    self.archive
                        .missing(what, format!("the API server does not serve {version} {}", target.kind));
                    return found;
                }
                Ok(Err(error)) => {
                    self.archive.missing(what, api_message(&error));
                    return found;
                }
                Err(_) => {
                    self.archive.missing(what, format!("no response within {} seconds", TIMEOUT.as_secs()));
                    return found;
                }
            };
            for mut object in page.items {
                object.types.get_or_insert_with(|| kube::core::TypeMeta {
                    api_version: target.resource().api_version,
                    kind: target.kind.to_owned(),
                });
                found.extend(serde_json::to_value(object));
            }
            if found.len() >= self.options.max_objects {
                let more = page.metadata.remaining_item_count;
                if found.len() > self.options.max_objects
                    || page.metadata.continue_.is_some_and(|token| !token.is_empty())
                {
                    found.truncate(self.options.max_objects);
                    let more = more.map_or_else(String::new, |more| format!(", {more} more exist"));
                    self.archive.missing(
                        format!("more {what}"),
                        format!("--max-objects {} is reached{more}", self.options.max_objects),
                    );
                }
                return found;
            }
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params.continue_token = Some(token),
                _ => return found,
            }
        }
    }

    /// Writes the objects, without what must not leave the cluster.
    fn write(&mut self, target: &Target, found: Objects) -> io::Result<()> {
        for (namespace, mut objects) in found {
            for object in &mut objects {
                self.note(target, &namespace, object);
                if target.kind == "Secret" {
                    *object = redact::secret(object);
                } else {
                    redact::object(object, target.author());
                }
            }
            if target.scope == Scope::Cluster {
                for object in &objects {
                    self.archive.yaml(&target.path("", text(object, "/metadata/name")), object, 1)?;
                }
            } else {
                let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
                self.archive.yaml(&target.path(&namespace, ""), &list, objects.len())?;
            }
        }
        Ok(())
    }

    /// Remembers what later steps need of an object.
    fn note(&mut self, target: &Target, namespace: &str, object: &Value) {
        let name = text(object, "/metadata/name").to_owned();
        if target.scope == Scope::JobSets {
            self.of_jobsets.entry(namespace.to_owned()).or_default().insert((target.kind.to_owned(), name));
            return;
        }
        if target.kind == "Pod" {
            self.pods.push(object.clone());
        }
        let certificates = match target.kind {
            "Secret" => redact::secret_certificates(object),
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => {
                redact::webhook_certificates(object)
            }
            _ => return,
        };
        let title = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
        self.certificates.extend(certificates.into_iter().map(|mut certificate| {
            if let Some(fields) = certificate.as_object_mut() {
                fields.insert("object".to_owned(), json!(format!("{} {title}", target.kind)));
            }
            certificate
        }));
    }

    /// The events of a namespace that are about collected objects.
    async fn events(&mut self, namespace: &str, of_installation: bool) -> io::Result<()> {
        const EVENTS: Target = Target {
            group: "",
            version: "v1",
            kind: "Event",
            plural: "events",
            scope: Scope::Installation,
            select: Select::All,
        };
        let api = Api::namespaced_with(self.client.clone(), namespace, &EVENTS.resource());
        let mut found = self.list(&EVENTS, api, &format!("events in namespace {namespace}")).await;
        let none = BTreeSet::new();
        let objects = self.of_jobsets.get(namespace).unwrap_or(&none);
        found.retain(|event| includes_event(event, of_installation, objects));
        if found.is_empty() {
            return Ok(());
        }
        for event in &mut found {
            redact::object(event, Author::User);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": found});
        self.archive.yaml(&EVENTS.path(namespace, ""), &list, found.len())
    }

    /// The logs of the pods of the installation, also those of the previous containers.
    async fn logs(&mut self) -> io::Result<()> {
        for pod in std::mem::take(&mut self.pods) {
            let (namespace, name) = (text(&pod, "/metadata/namespace"), text(&pod, "/metadata/name"));
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            for (container, restarts) in containers(&pod) {
                for (file, previous) in [("current", false), ("previous", true)] {
                    if previous && restarts == 0 {
                        continue;
                    }
                    let params = LogParams {
                        container: Some(container.to_owned()),
                        limit_bytes: Some(LOG_BYTES),
                        previous,
                        tail_lines: Some(self.options.log_lines),
                        timestamps: true,
                        ..LogParams::default()
                    };
                    let what = format!("{file} log of container {container} of pod {namespace}/{name}");
                    match tokio::time::timeout(TIMEOUT, api.logs(name, &params)).await {
                        Ok(Ok(log)) => {
                            let path = format!(
                                "namespaces/{namespace}/pods/{name}/{container}/{container}/logs/{file}.log"
                            );
                            self.archive.text(&path, &redact::without_credentials(&log))?;
                        }
                        Ok(Err(error)) => self.archive.missing(what, api_message(&error)),
                        Err(_) => {
                            self.archive
                                .missing(what, format!("no response within {} seconds", TIMEOUT.as_secs()));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The containers of a pod, and how often each restarted.
fn containers(pod: &Value) -> Vec<(&str, i64)> {
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let statuses: BTreeMap<&str, i64> = list("/status/initContainerStatuses")
        .chain(list("/status/containerStatuses"))
        .map(|status| {
            (text(status, "/name"), status.get("restartCount").and_then(Value::as_i64).unwrap_or(0))
        })
        .collect();
    list("/spec/initContainers")
        .chain(list("/spec/containers"))
        .map(|container| text(container, "/name"))
        .map(|name| (name, statuses.get(name).copied().unwrap_or(0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_those_of_every_container() {
        let pod = json!({
            "spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "b"}, {"name": "c"}]},
            "status": {"containerStatuses": [{"name": "b", "restartCount": 2}]},
        });
        assert_eq!(containers(&pod), [("a", 0), ("b", 2), ("c", 0)]);
        assert_eq!(containers(&json!({})), []);
    }
}
