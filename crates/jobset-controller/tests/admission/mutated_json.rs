//! Random mutations of JSON. The fuzz target uses them as well.

use fastrand::Rng;
use serde_json::{Value, json};

/// Mutates an admission review: mostly the object in it, so that the review itself stays valid.
pub(crate) fn mutate_review(review: &mut Value, rng: &mut Rng) {
    let part = match rng.u8(..10) {
        0 => "",
        1 => "/request/oldObject",
        _ => "/request/object",
    };
    if let Some(value) = review.pointer_mut(part) {
        mutate(value, rng);
    }
}

/// Follows a random path and mutates the value there.
fn mutate(value: &mut Value, rng: &mut Rng) {
    let deeper = rng.u8(..8) != 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let at = rng.usize(..fields.len());
            let key = fields.keys().nth(at).cloned().unwrap_or_default();
            match rng.u8(..24) {
                0 => drop(fields.remove(&key)),
                1 => drop(fields.insert(key.to_uppercase(), unusual(rng))),
                _ => mutate(&mut fields[&key], rng),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = rng.usize(..items.len());
            match rng.u8(..16) {
                0 => drop(items.remove(at)),
                1 => items.extend(vec![items[at].clone(); rng.usize(..60)]),
                _ => mutate(&mut items[at], rng),
            }
        }
        other => *other = unusual(rng),
    }
}

/// An unusual value.
fn unusual(rng: &mut Rng) -> Value {
    match rng.u8(..14) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(i32::MAX),
        3 => json!(i32::MIN),
        4 => json!(rng.i64(..)),
        5 => json!(u64::MAX),
        6 => json!(rng.f64() * 1e300),
        7 => json!(""),
        8 => json!("a".repeat(rng.usize(..300))),
        9 => json!(std::iter::repeat_with(|| rng.char(..)).take(5).collect::<String>()),
        10 => json!([]),
        11 => json!({}),
        12 => json!(["worker", "worker", null, 7]),
        _ => json!({"name": "driver", "a/b~c": {"": [{}]}}),
    }
}
