//! An object of a watch that decodes even if the program does not understand it, so that one object never stops the
//! watch of all.
//!
//! Unlike kube's `DeserializeGuard`, it does not build a tree of every object, and does not copy it. And all objects are
//! decoded from text, so that the program contains the code for the many types of a pod once.

use jobset_api::metadata::without_managed_fields;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A decoded object, or its metadata.
#[derive(Clone, Debug)]
pub(crate) struct Decoded<K>(pub(crate) Result<K, Undecodable>);

/// An object that the program cannot decode.
#[derive(Clone, Debug)]
pub(crate) struct Undecodable {
    pub(crate) metadata: ObjectMeta,
    pub(crate) error: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, deserialize_with = "without_managed_fields")]
    metadata: ObjectMeta,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        serde_json::from_str(text.get()).map(Ok).map(Self).or_else(|error| {
            let Metadata { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
            Ok(Self(Err(Undecodable { metadata, error: error.to_string() })))
        })
    }
}

impl<K: Resource> Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &K::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|invalid| &invalid.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|invalid| &mut invalid.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ChildJob;
    use kube::{
        ResourceExt,
        core::{ObjectList, WatchEvent},
    };

    fn job(name: &str, parallelism: &str) -> String {
        let metadata = format!(r#"{{"name": "{name}", "uid": "uid of {name}", "resourceVersion": "7"}}"#);
        format!(r#"{{"metadata": {metadata}, "spec": {{"parallelism": {parallelism}}}}}"#)
    }

    #[test]
    fn an_undecodable_object_of_a_watch_has_its_metadata() {
        for (parallelism, understood) in [("3", true), (r#""three""#, false)] {
            let line = format!(r#"{{"type": "MODIFIED", "object": {}}}"#, job("train", parallelism));
            let event: WatchEvent<Decoded<ChildJob>> = serde_json::from_str(&line).unwrap();
            let WatchEvent::Modified(job) = event else { panic!("{event:?}") };
            assert_eq!((job.name_any(), job.resource_version()), ("train".into(), Some("7".into())));
            match job.0 {
                Ok(job) => assert!(understood && job.record().parallelism == 3),
                Err(invalid) => assert!(!understood && invalid.error.contains("three"), "{}", invalid.error),
            }
        }
    }

    #[test]
    fn a_list_contains_undecodable_objects() {
        let items = [job("first", "1"), job("second", "[]"), job("third", "1")].join(",");
        let list = format!(
            r#"{{"apiVersion": "batch/v1", "kind": "JobList", "metadata": {{"resourceVersion": "9"}}, "items": [{items}]}}"#
        );
        let list: ObjectList<Decoded<ChildJob>> = serde_json::from_str(&list).unwrap();
        let decoded: Vec<_> = list.iter().map(|job| (job.name_any(), job.0.is_ok())).collect();
        assert_eq!(decoded, [("first".into(), true), ("second".into(), false), ("third".into(), true)]);
    }

    #[test]
    fn text_that_is_no_object_is_an_error() {
        for text in ["7", r#"{"metadata": 7}"#, "{"] {
            assert!(serde_json::from_str::<Decoded<ChildJob>>(text).is_err(), "{text}");
        }
    }
}
