//! How the sandbox behaves, chosen by the payment method.

use std::str::FromStr;
use std::time::Duration;

/// Longest wait that can be asked for, in milliseconds: well within what an activity may take.
const SLOW_MS_MAX: u64 = 10_000;

/// What [`Mode`] is read from.
const METHODS: &str = "sandbox:ok, sandbox:decline, sandbox:decline-capture, sandbox:slow:<ms>, \
                       sandbox:duplicate and sandbox:charged-then-timeout";

/// How the sandbox behaves to one payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `sandbox:ok`: as it should.
    Well,
    /// `sandbox:decline`: it declines to authorise.
    Decline,
    /// `sandbox:decline-capture`: it authorises, and declines to capture.
    DeclineCapture,
    /// `sandbox:slow:<ms>`: it thinks about every request.
    Slow(Duration),
    /// `sandbox:duplicate`: every request reaches it twice, as over a network that repeats.
    Duplicate,
    /// `sandbox:charged-then-timeout`: it does what is asked, and its first answer is lost.
    ChargedThenTimeout,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(method: &str) -> Result<Self, Self::Err> {
        let unknown =
            || format!("{method:?} is no payment method of the sandbox, as {METHODS} are");
        match method.strip_prefix("sandbox:").ok_or_else(unknown)? {
            "ok" => Ok(Self::Well),
            "decline" => Ok(Self::Decline),
            "decline-capture" => Ok(Self::DeclineCapture),
            "duplicate" => Ok(Self::Duplicate),
            "charged-then-timeout" => Ok(Self::ChargedThenTimeout),
            other => {
                let ms = other.strip_prefix("slow:").and_then(|ms| ms.parse().ok());
                match ms.ok_or_else(unknown)? {
                    ms if ms > SLOW_MS_MAX => Err(unknown()),
                    ms => Ok(Self::Slow(Duration::from_millis(ms))),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read() {
        assert_eq!("sandbox:ok".parse(), Ok(Mode::Well));
        assert_eq!("sandbox:decline-capture".parse(), Ok(Mode::DeclineCapture));
        assert_eq!("sandbox:slow:20".parse(), Ok(Mode::Slow(Duration::from_millis(20))));
        for bad in ["", "ok", "sandbox:", "sandbox:slow:", "sandbox:slow:10001", "sandbox:okay"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad:?} was taken");
        }
    }
}
