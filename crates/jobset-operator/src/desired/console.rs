//! What the web console of OpenShift shows about JobSets: a quick start, samples in the YAML editor, and a dashboard.

use super::dashboard::{self, Audience};
use super::{DesiredError, Inputs, template};
use crate::names;
use askama::Template;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DynamicObject};
use serde_json::json;

/// The icon of the operator.
pub const ICON: &str = include_str!("../../assets/icon.svg");

/// Which of these the console of the cluster supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// Whether the API `ConsoleQuickStart` is served.
    pub quick_starts: bool,
    /// Whether the API `ConsoleYAMLSample` is served.
    pub yaml_samples: bool,
    /// Whether the namespace exists from which the console reads dashboards.
    pub dashboards: bool,
}

/// A sample in the YAML editor: one of the files in docs/examples, which the e2e suite runs.
struct Sample {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    yaml: &'static str,
}

/// The JobSet of the quick start.
const DEMO: &str = include_str!("../../../../docs/examples/demo-jobset.yaml");
const SAMPLES: [Sample; 4] = [
    Sample {
        name: names::DEMO_SAMPLE,
        title: "Leader and workers",
        description: "One leader and three workers that run as one unit, and complete or fail together.",
        yaml: DEMO,
    },
    Sample {
        name: names::COORDINATOR_SAMPLE,
        title: "Coordinator",
        description: "Workers that find their driver by a DNS name that stays the same after a restart.",
        yaml: include_str!("../../../../docs/examples/coordinator.yaml"),
    },
    Sample {
        name: names::FAILURE_POLICY_SAMPLE,
        title: "Failure policy",
        description: "The JobSet fails when its leader fails, and restarts when a worker fails.",
        yaml: include_str!("../../../../docs/examples/failure-policy-leader.yaml"),
    },
    Sample {
        name: names::VOLUME_CLAIM_SAMPLE,
        title: "Volume claims",
        description: "Training that continues from its checkpoint, on a volume that outlives the JobSet.",
        yaml: include_str!("../../../../docs/examples/volume-claim.yaml"),
    },
];

/// The objects that the console of the cluster supports.
pub(super) fn objects(inputs: &Inputs) -> Result<Vec<DynamicObject>, DesiredError> {
    #[derive(Template)]
    #[template(path = "console.yaml")]
    struct ConsoleObjects<'a> {
        quick_start: bool,
        quick_start_name: &'a str,
        icon: String,
        demo: &'a str,
        samples: &'a [Sample],
    }
    let console = inputs.console;
    let mut all = Vec::new();
    if console.quick_starts || console.yaml_samples {
        let template = ConsoleObjects {
            quick_start: console.quick_starts,
            quick_start_name: names::QUICK_START,
            icon: data_uri(),
            demo: DEMO,
            samples: if console.yaml_samples { &SAMPLES } else { &[] },
        };
        all.extend(template::objects("console.yaml", &template)?);
    }
    if console.dashboards {
        all.push(dashboard(&inputs.namespace));
    }
    Ok(all)
}

/// The icon in the form that the console expects.
fn data_uri() -> String {
    // Kubernetes encodes bytes as base64 in JSON.
    let encoded = serde_json::to_value(ByteString(ICON.as_bytes().to_vec())).unwrap_or_default();
    format!("data:image/svg+xml;base64,{}", encoded.as_str().unwrap_or_default())
}

fn dashboard(namespace: &str) -> DynamicObject {
    let mut object = DynamicObject::new(names::DASHBOARD, &ApiResource::erase::<ConfigMap>(&()))
        .within(names::DASHBOARD_NAMESPACE)
        .data(json!({"data": {"jobset.json": dashboard::text(Audience::OpenShift { namespace })}}));
    object.metadata.labels = Some([(names::DASHBOARD_LABEL.to_owned(), "true".to_owned())].into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn kinds(console: Console) -> Vec<String> {
        let inputs = Inputs { console, ..Inputs::plain("ns", "image") };
        let objects = objects(&inputs).unwrap();
        objects.into_iter().map(|object| object.types.unwrap().kind).collect()
    }

    #[test]
    fn only_supported_objects_are_desired() {
        assert_eq!(kinds(Console::default()), [""; 0]);
        assert_eq!(kinds(Console { quick_starts: true, ..Console::default() }), ["ConsoleQuickStart"]);
        assert_eq!(kinds(Console { yaml_samples: true, ..Console::default() }), ["ConsoleYAMLSample"; 4]);
        assert_eq!(kinds(Console { dashboards: true, ..Console::default() }), ["ConfigMap"]);
        let everything = Console { quick_starts: true, yaml_samples: true, dashboards: true };
        assert_eq!(kinds(everything).len(), 6);
    }

    fn all() -> Vec<DynamicObject> {
        let console = Console { quick_starts: true, yaml_samples: true, dashboards: true };
        objects(&Inputs { console, ..Inputs::plain("ns-of-operand", "image") }).unwrap()
    }

    #[test]
    fn samples_are_the_files_of_the_documents() {
        let objects = all();
        let text = |name: &str| {
            let object = objects.iter().find(|object| object.metadata.name.as_deref() == Some(name)).unwrap();
            object.data["spec"]["yaml"].as_str().unwrap().to_owned()
        };
        for (name, file) in [
            ("jobset-demo", "demo-jobset"),
            ("jobset-coordinator", "coordinator"),
            ("jobset-failure-policy", "failure-policy-leader"),
            ("jobset-volume-claims", "volume-claim"),
        ] {
            let path = format!("{}/../../docs/examples/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read_to_string(path).unwrap();
            assert_eq!(text(name), file, "{name}");
            let jobset: DynamicObject = serde_yaml::from_str(&file).unwrap();
            assert_eq!(jobset.types.unwrap().kind, "JobSet");
        }
    }

    /// The rules of the CRD of OpenShift.
    #[test]
    fn the_quick_start_has_every_field_that_its_api_requires() {
        let objects = all();
        let spec = &objects[0].data["spec"];
        for field in ["displayName", "description", "introduction", "conclusion"] {
            assert!(spec[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
        }
        assert!(spec["durationMinutes"].as_u64().is_some_and(|minutes| minutes >= 1));
        assert!(
            spec["icon"].as_str().unwrap().starts_with("data:image/svg+xml;base64,PHN2"),
            "{}",
            spec["icon"]
        );
        let tasks = spec["tasks"].as_array().unwrap();
        assert_eq!(tasks.len(), 4);
        for task in tasks {
            for pointer in [
                "/title",
                "/description",
                "/review/instructions",
                "/review/failedTaskHelp",
                "/summary/success",
                "/summary/failed",
            ] {
                assert!(task.pointer(pointer).and_then(Value::as_str).is_some(), "{pointer}: {task}");
            }
        }
    }

    #[test]
    fn the_quick_start_contains_the_demo_as_a_block_of_code() {
        let objects = all();
        let task = objects[0].data["spec"]["tasks"][1]["description"].as_str().unwrap().to_owned();
        let block = task.split("```").nth(1).unwrap();
        assert_eq!(block.trim_start(), DEMO);
    }

    #[test]
    fn the_dashboard_is_in_the_namespace_of_the_console() {
        let objects = all();
        let config_map = objects.last().unwrap();
        assert_eq!(config_map.metadata.namespace.as_deref(), Some("openshift-config-managed"));
        assert_eq!(config_map.metadata.labels.as_ref().unwrap()["console.openshift.io/dashboard"], "true");
        let text = config_map.data["data"]["jobset.json"].as_str().unwrap();
        assert!(text.contains("namespace=\\\"ns-of-operand\\\""), "{text}");
    }
}
