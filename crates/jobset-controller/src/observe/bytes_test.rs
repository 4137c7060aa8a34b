//! The memory of records, as the allocator counts it.

use super::{Index, Source::Watch};
use jobset_api::JobSet;
use serde_json::{Value, json};

/// Twice its text and half a kilobyte.
#[test]
fn a_jobset_takes_little_more_than_its_text() {
    let text = include_str!("../../../../tests/scale/jobset.yaml");
    let template: Value = serde_yaml::from_str(text).unwrap();
    let jobset = |number: u64| {
        let mut jobset = template.clone();
        jobset["metadata"] = json!({
            "name": format!("js-{number}"), "namespace": "scale", "resourceVersion": "77",
            "uid": format!("3a0b2c5e-1f0e-4c1c-9a43-{number:012}"), "creationTimestamp": "2026-03-01T09:00:00Z",
        });
        jobset["status"] = json!({"restarts": 0, "replicatedJobsStatus": [{
            "name": "w", "ready": 1, "succeeded": 0, "failed": 0, "active": 1, "suspended": 0,
        }]});
        jobset
    };
    let (index, count) = (Index::default(), 1000);
    let text = u64::try_from(jobset(0).to_string().len()).unwrap();
    let allocated = allocation_counter::measure(|| {
        for number in 0..count {
            let jobset: JobSet = serde_json::from_value(jobset(number)).unwrap();
            index.apply_jobset(&jobset, Watch).unwrap();
        }
    });
    let bytes = u64::try_from(allocated.bytes_current).unwrap() / count;
    println!("{bytes} bytes for each JobSet of {text} bytes");
    assert!((text..=2 * text + 512).contains(&bytes), "{bytes} bytes for each JobSet of {text} bytes");
}
