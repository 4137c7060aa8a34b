//! Program jobset-operator.
fn main() {}
