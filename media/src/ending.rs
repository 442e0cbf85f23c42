//! How a process ended: by its own fault, or because somebody stopped it.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;

/// The signals that a process brings on itself: it broke down, or used up its processor time.
const OWN_FAULTS: [Signal; 7] = [
    Signal::ABORT,
    Signal::BUS,
    Signal::FPE,
    Signal::ILL,
    Signal::SEGV,
    Signal::TRAP,
    Signal::XCPU,
];

/// Whether it ended by a signal that it brought on itself.
pub(crate) fn is_crash(status: ExitStatus) -> bool {
    OWN_FAULTS.iter().any(|signal| ended_by(status, *signal))
}

/// Whether it ended by this signal.
pub(crate) fn ended_by(status: ExitStatus, signal: Signal) -> bool {
    status.signal() == Some(signal.as_raw())
}
