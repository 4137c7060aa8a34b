//! The add-ons of a cluster with a real node: DNS, and optionally a default StorageClass and cert-manager.
//! They run as Deployments. Each image contains one program.

mod cert_manager;
mod manifests;

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::binaries::{self, Component};
use crate::context::Context;
use crate::node::{self, images};
use crate::options::Addons;
use manifests::Replacements;

/// How long to wait for a Deployment to become Available.
const TIMEOUT: Duration = Duration::from_mins(3);

/// An add-on: a program, the manifests that run it, and the Deployments to wait for.
struct Addon {
    component: Component,
    program: &'static str,
    manifests: &'static str,
    /// Namespace and name of each Deployment.
    deployments: &'static [(&'static str, &'static str)],
}

const ADDONS: [Addon; 3] = [
    Addon {
        component: Component::CoreDns,
        program: "coredns",
        manifests: include_str!("coredns.yaml"),
        deployments: &[("kube-system", "coredns")],
    },
    Addon {
        component: Component::CertManager,
        program: "cert-manager",
        manifests: include_str!("cert-manager.yaml"),
        deployments: &[("cert-manager", "cert-manager"), ("cert-manager", "cert-manager-cainjector")],
    },
    Addon {
        component: Component::LocalPathProvisioner,
        program: "local-path-provisioner",
        manifests: include_str!("local-path-provisioner.yaml"),
        deployments: &[("local-path-storage", "local-path-provisioner")],
    },
];

/// The programs of the selected add-ons and of DNS.
pub fn programs(selection: Addons) -> Vec<&'static str> {
    selected(selection).map(|addon| addon.program).collect()
}

fn selected(selection: Addons) -> impl Iterator<Item = &'static Addon> {
    ADDONS.iter().filter(move |addon| match addon.component {
        Component::CertManager => selection.cert_manager,
        Component::LocalPathProvisioner => selection.storage,
        _ => true,
    })
}

/// Installs the add-ons and waits until their Deployments are Available. Idempotent.
pub fn install(context: &Context) -> Result<()> {
    let selection = context.settings.addons;
    let addons: Vec<&Addon> = selected(selection).collect();
    let components: Vec<Component> = addons.iter().map(|addon| addon.component).collect();
    let folder = binaries::ensure(&components, &context.progress)?;
    let crds = if selection.cert_manager { cert_manager::crds(&context.progress)? } else { String::new() };
    let titles: Vec<&str> = addons.iter().map(|addon| addon.component.title()).collect();
    let step = context.progress.step(format!("Installing {}", titles.join(", ")));
    let kubectl = context.kubectl()?;
    let images = addons.iter().map(|addon| image_name(addon)).collect::<Result<Vec<_>>>()?;
    // containerd unpacks images while the API server stores CRDs.
    std::thread::scope(|scope| -> Result<()> {
        let loads: Vec<_> = addons
            .iter()
            .zip(&images)
            .map(|(addon, tag)| {
                let image = images::program(tag, addon.program, &folder.join(addon.program));
                let folder = &folder;
                scope.spawn(move || node::load_cached(context, &image, folder))
            })
            .collect();
        step.message("images and CRDs");
        kubectl.apply(&[include_str!("local-images.yaml"), &crds].join("\n---\n"))?;
        for load in loads {
            load.join().map_err(|_| anyhow!("the thread that loads an image panicked"))??;
        }
        Ok(())
    })?;
    let rendered = addons
        .iter()
        .zip(&images)
        .map(|(addon, image)| {
            manifests::render(addon.manifests, &Replacements { image, volumes: node::VOLUMES })
        })
        .collect::<Result<Vec<_>>>()?;
    kubectl.apply(&rendered.join("\n---\n"))?;
    for (namespace, name) in addons.iter().flat_map(|addon| addon.deployments) {
        step.message(*name);
        kubectl.wait_condition(namespace, &format!("deployment/{name}"), "Available", TIMEOUT)?;
    }
    step.done();
    Ok(())
}

/// Name of the image of an add-on.
fn image_name(addon: &Addon) -> Result<String> {
    Ok(format!("localhost/devcluster/{}:{}", addon.program, addon.component.version()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize as _;

    fn documents(text: &str) -> Vec<serde_json::Value> {
        serde_yaml::Deserializer::from_str(text)
            .map(|document| serde_json::Value::deserialize(document).unwrap())
            .collect()
    }

    #[test]
    fn manifests_contain_the_deployments_and_use_the_image() {
        for addon in &ADDONS {
            let text =
                manifests::render(addon.manifests, &Replacements { image: "localhost/x:1", volumes: "/v" })
                    .unwrap();
            let deployments: Vec<_> =
                documents(&text).into_iter().filter(|it| it["kind"] == "Deployment").collect();
            assert_eq!(deployments.len(), addon.deployments.len(), "{}", addon.program);
            for (namespace, name) in addon.deployments {
                let found = deployments
                    .iter()
                    .find(|it| it["metadata"]["name"] == *name && it["metadata"]["namespace"] == *namespace)
                    .unwrap_or_else(|| panic!("{name}"));
                let container = &found["spec"]["template"]["spec"]["containers"][0];
                assert_eq!(container["image"], "localhost/x:1");
                assert!(container["readinessProbe"].is_object() || addon.program == "local-path-provisioner");
            }
        }
    }

    #[test]
    fn dns_service_has_the_address_of_the_kubelet_configuration() {
        let manifests = include_str!("coredns.yaml");
        let service = documents(manifests).into_iter().find(|it| it["kind"] == "Service").unwrap();
        assert_eq!(service["spec"]["clusterIP"], crate::state::Network::DNS.to_string());
        assert!(manifests.contains(crate::state::Network::CLUSTER_DOMAIN));
    }
}
