//! Scavenging as fast as can be, for the tests beside this folder.

use event_store::ScavengeOptions;

/// A pass that leaves no event it may reclaim.
pub fn thorough() -> ScavengeOptions {
    ScavengeOptions::default().least_percent(0).bytes_per_second(u64::MAX)
}
