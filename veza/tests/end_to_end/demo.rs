//! The demo's story, told to a real platform from the same files that `make demo` runs.

use std::path::Path;

use crate::platform::Platform;

// The module is the demo's own; its file is not among the tests.
#[path = "../../examples/demo/story.rs"]
mod story;

use story::Stage;

#[tokio::test]
async fn the_story_is_as_told() {
    let platform = Platform::start().await;
    let veza_replay = Path::new(env!("CARGO_BIN_EXE_veza-replay"));
    let (url, data) = (platform.url(), platform.data());
    let elsewhere = Path::new("/nowhere");
    let told = Stage::new(url, url, elsewhere, veza_replay).err().unwrap().to_string();
    assert_eq!(told, "no platform that takes commands runs on /nowhere (VEZA_DATA)");
    let other = "http://127.0.0.1:1";
    let told = Stage::new(other, url, data, veza_replay).err().unwrap().to_string();
    assert!(told.contains("is not at http://127.0.0.1:1 (VEZA_URL): it is on port"), "{told}");
    let stage = Stage::new(url, url, data, veza_replay).unwrap();
    story::tell(&stage).await.unwrap();
    platform.stop().await;
}
