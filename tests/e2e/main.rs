//! The whole story on a real node.
fn main() {}
