//! Compiles the protocol's definitions without a `protoc` on the machine; and plants the bug that
//! `VEZA_CANARY` names, which the tests must catch (`make canaries`).

use std::error::Error;
use std::path::Path;
use std::{env, fs};

/// The bugs that can be planted, a line each: its name, and what is wrong then.
const CANARIES: &str = "tests/canaries.txt";

const FILES: [&str; 14] = [
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
    "kurrent/rpc/errors.proto",
    "shared.proto",
    "streams.proto",
    "persistent.proto",
    "projections.proto",
    "gossip.proto",
    "operations.proto",
    "monitoring.proto",
    "serverfeatures.proto",
    "users.proto",
    "v2/streams.proto",
    "v2/errors.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    plant_canary()?;
    compile_protocol()
}

fn plant_canary() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={CANARIES}");
    println!("cargo::rerun-if-env-changed=VEZA_CANARY");
    let lines = fs::read_to_string(CANARIES)?;
    let names: Vec<&str> = lines.lines().filter_map(|line| line.split(' ').next()).collect();
    let values = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    println!("cargo::rustc-check-cfg=cfg(veza_canary, values({values}))");
    let Ok(name) = env::var("VEZA_CANARY") else {
        return Ok(());
    };
    if !names.contains(&name.as_str()) || env::var("PROFILE")? == "release" {
        return Err(
            format!("`{name}` of VEZA_CANARY is not in {CANARIES}, or not for tests").into()
        );
    }
    println!("cargo::rustc-cfg=veza_canary={name:?}");
    Ok(())
}

fn compile_protocol() -> Result<(), Box<dyn Error>> {
    let root = Path::new("proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES, [root])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::grpc::codec::PieceCodec")
        // Replies hand payloads on. What is sent is copied out of its message, which may be much
        // larger: nobody who keeps an event is to keep all of that.
        .bytes(".event_store.client.streams.ReadResp")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
