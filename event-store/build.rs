//! Compiles the protocol's definitions without a `protoc` on the machine.

use std::error::Error;
use std::path::Path;

const FILES: [&str; 5] = [
    "google/rpc/status.proto",
    "shared.proto",
    "streams.proto",
    "gossip.proto",
    "serverfeatures.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [root])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // Payloads are handed on, not copied.
        .bytes(".event_store.client")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
