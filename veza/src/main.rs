//! The platform's binary.
fn main() {}
