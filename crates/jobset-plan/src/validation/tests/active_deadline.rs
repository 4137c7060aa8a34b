use super::*;

#[test]
fn a_deadline_requires_the_feature_gate() {
    let off = Gates::default();
    let on = Gates { active_deadline_seconds: true, ..Gates::default() };
    let deadline = |seconds: Option<i64>| edited(&[("/spec/activeDeadlineSeconds", json!(seconds))]);
    let refused = |seconds: i64| {
        vec![format!(
            "spec.activeDeadlineSeconds: Invalid value: {seconds}: cannot be set when JobSetActiveDeadlineSeconds \
             feature gate is disabled"
        )]
    };
    for (new, expected) in [(None, vec![]), (Some(60), refused(60)), (Some(i64::MAX), refused(i64::MAX))] {
        let create = |gates| texts(&validate_create(&deadline(new), &ExistingClaims::new(), gates));
        assert_eq!(create(&off), expected, "{new:?}");
        assert_eq!(create(&on), [""; 0], "{new:?}");
    }
    for (old, new, expected) in [
        (None, None, vec![]),
        (None, Some(60), refused(60)),
        (Some(60), Some(90), refused(90)),
        (Some(60), Some(30), refused(30)),
        // A JobSet from before the gate was switched off can change otherwise.
        (Some(60), Some(60), vec![]),
        (Some(60), None, vec![]),
    ] {
        let update = |gates| texts(&validate_update(&deadline(old), &deadline(new), gates));
        assert_eq!(update(&off), expected, "{old:?} {new:?}");
        assert_eq!(update(&on), [""; 0], "{old:?} {new:?}");
    }
}
